"""An analysis on a thread of the session against a process of its own.

python -m pytest tests/bench/bench_workers.py -q -s
"""

import asyncio
import time

import numpy as np
import pytest

import flyback as fb
from flyback.devices.recorded import Recording, play
from flyback.plans.scanning import points
from flyback.profiles.schema import parse_profile
from flyback.tests.bench.yardstick import record

N, SIDE = 8192, 128
DISK_PX = 24.0
ANALYSES = {
    "virtual_images": {},
    "ptychography": {"method": "single_sideband", "semi_convergence_angle_mrad": 20.0},
}


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A bright disk with counting noise, as heavy to analyse as a real one."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    disk = 3.0 * (np.hypot(y, x) < DISK_PX)
    pool = rng.poisson(disk, (256, SIDE, SIDE)).astype(np.uint16)
    path = tmp_path_factory.mktemp("bench") / "frames.npz"
    positions = np.stack(np.divmod(np.arange(N), 128), axis=1) * 3e-11
    np.savez(
        path, frames=pool[np.arange(N) % 256], positions_m=positions, radiation="electron",
        energy_kev=200.0, semi_convergence_angle_mrad=20.0, angular_sampling_mrad=20 / DISK_PX,
    )  # fmt: skip
    with Recording(path) as opened:
        opened.frames[:1]
        yield opened


@pytest.fixture(params=["no analysis", "thread", "process"])
def session(request, recording, tmp_path):
    """A session with the recorded camera and both analyses on threads, in processes, or without."""
    camera, coils, md = play(recording, tmp_path, rate="max")
    tables = {} if request.param == "no analysis" else ANALYSES
    profile = {"analyses": {n: {**t, "worker": request.param} for n, t in tables.items()}}
    devices = {"camera": camera, "coils": coils}
    with fb.open(
        parse_profile("bench", profile), tmp_path, devices=devices, progress=False
    ) as opened:
        opened.md = md
        if opened.warming is not None:
            opened.warming.join()
        yield opened


def run_engine_cpu_s(session) -> float:
    """CPU seconds that the RunEngine's own thread has used."""

    async def used():
        return time.thread_time()

    return asyncio.run_coroutine_threadsafe(used(), session.RE.loop).result()


def bench_throughput_and_the_run_engine(benchmark, session):
    """Frames per second until the last result is final, and the RunEngine's CPU time beside it."""
    spent = []

    def scan():
        before, began = run_engine_cpu_s(session), time.perf_counter()
        session.RE(points([session.camera], session.coils, dwell_ms=0.1, md=session.md))
        acquired = time.perf_counter() - began
        spent.append((run_engine_cpu_s(session) - before, acquired))
        session.join(300)

    benchmark.pedantic(scan, rounds=3, warmup_rounds=1)
    cpu_s, acquired_s = np.median(spent[1:], axis=0)
    record(
        benchmark,
        frames_per_s=N / benchmark.stats.stats.min,
        acquired_frames_per_s=N / acquired_s,
        run_engine_cpu_s=cpu_s,
    )


def bench_latency(benchmark, session):
    """From a frame's document handed over until the model has it, frame by frame."""
    if not session.offloads:
        pytest.skip("there is nothing to wait for")
    (uid,) = session.RE(points([session.camera], session.coils, dwell_ms=1000.0, md=session.md))
    session.join(300)
    documents = list(session.archive.documents(uid, source="journal"))
    name = "virtual_images"
    offload, worker = session.offloads[name], session.workers.get(name)
    latencies = []

    def done():
        if worker is None:
            offload.join(60)
            return
        link = worker._link
        offload.join(60)
        with link._changed:
            link._changed.wait_for(lambda: link._done == link._sent)

    def feed():
        datums = [doc for kind, doc in documents if kind == "stream_datum"]
        for kind, doc in documents:
            if kind in {"start", "descriptor", "stream_resource"}:
                offload(kind, doc)
        done()
        resources = list(dict.fromkeys(doc["stream_resource"] for doc in datums))
        for row in range(400):
            for resource in resources:
                first = next(doc for doc in datums if doc["stream_resource"] == resource)
                seq_nums = {"start": row + 1, "stop": row + 2}
                began = time.perf_counter()
                offload(
                    "stream_datum",
                    {**first, "indices": {"start": row, "stop": row + 1}, "seq_nums": seq_nums},
                )
                done()
                last = time.perf_counter() - began
            latencies.append(last)
        offload("stop", documents[-1][1])
        offload.join(60)

    benchmark.pedantic(feed, rounds=1)
    p50, p99 = np.percentile(np.array(latencies[20:]) * 1e3, [50, 99])
    record(benchmark, p50_ms=p50, p99_ms=p99)
