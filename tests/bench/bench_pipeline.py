"""Frames per second from the detector to a callback, and what a scan costs beside its frames.

python -m pytest tests/bench -q -s
"""

import time

import numpy as np
import pytest
from bluesky import RunEngine

import flyback as fb
from flyback.callbacks.frames import FrameSource
from flyback.callbacks.offload import Offload
from flyback.devices.recorded import Recording, play
from flyback.plans.scanning import points
from flyback.profiles.schema import parse_profile
from flyback.tests.bench.yardstick import record
from flyback.tests.small_microscope import MICROSCOPE

N, SIDE = 8192, 128


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    rng = np.random.default_rng(0)
    pool = rng.poisson(3, (256, SIDE, SIDE)).astype(np.uint16)
    path = tmp_path_factory.mktemp("bench") / "frames.npz"
    side = int(np.sqrt(N))
    frames = pool[np.arange(N) % 256]
    positions = np.stack(np.divmod(np.arange(N), side), axis=1) * 1e-11
    np.savez(path, frames=frames, positions_m=positions, radiation="electron", energy_kev=80.0)
    with Recording(path) as opened:
        opened.frames[:1]
        yield opened


class Sums:
    """The lightest analysis: one sum of each batch."""

    def __init__(self):
        self.frames, self.total, self.source = 0, 0, None

    def __call__(self, name, doc):
        if name == "start":
            self.source = FrameSource(doc, self.rings)
        for batch in self.source(name, doc):
            self.frames += len(batch)
            self.total += int(batch.frames[:, 64, 64].sum())


@pytest.mark.parametrize("through", ["ring", "file"])
def bench_detector_to_callback(benchmark, recording, tmp_path, through):
    """Plan, writer (bitshuffle-LZ4, SWMR), documents, FrameSource."""
    sink = Sums()

    def scan():
        camera, coils, md = play(recording, tmp_path, rate="max")
        sink.frames = 0
        sink.rings = [camera.ring] if through == "ring" else []
        offload = Offload("sums", sink)
        RE = RunEngine({})
        RE.subscribe(offload)
        before = time.process_time()
        RE(points([camera], coils, dwell_ms=0.1, md=md))
        offload.join(60)
        offload.close()
        return time.process_time() - before

    cpu = benchmark.pedantic(scan, rounds=3, warmup_rounds=1)
    assert sink.frames == N
    assert not sink.source.unplaced
    wall = benchmark.stats.stats.min
    record(
        benchmark,
        frames_per_s=N / wall,
        frames_per_cpu_s=N / cpu,
        written_mb_per_s=N * SIDE * SIDE * 2 / wall / 1e6,
    )


def bench_a_scan_of_one_point(benchmark, tmp_path):
    """What the RunEngine, the devices, the journal and two analyses cost a scan."""
    profile = parse_profile("bench", MICROSCOPE)
    with fb.open(profile, tmp_path, progress=False) as session:

        def scan():
            session.RE(session.plans.points([session.camera], session.scan_coils, [[0.0, 0.0]]))

        scan()
        benchmark.pedantic(scan, rounds=10)
        session.join(60, check=False)
    record(benchmark, seconds_a_scan=benchmark.stats.stats.min)


def bench_handing_a_document_to_an_offload(benchmark):
    """Time on the RunEngine's thread for each document and analysis."""
    offload = Offload("nothing", lambda name, doc: None)
    offload("start", {"uid": "r"})
    doc = {
        "uid": "d",
        "stream_resource": "a",
        "descriptor": "x",
        "indices": {"start": 0, "stop": 64},
        "seq_nums": {"start": 1, "stop": 65},
    }
    benchmark(offload, "stream_datum", doc)
    offload.close()
    record(benchmark, microseconds_a_document=benchmark.stats.stats.median * 1e6)
