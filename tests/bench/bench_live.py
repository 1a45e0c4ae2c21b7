"""Live ptychography at 5 kHz, with writing on: quality at the last frame, drops, memory, overhead.

python -m pytest tests/bench/bench_live.py -q -s
"""

import threading
import time

import numpy as np
import pytest
import scipy.ndimage

import flyback as fb
from flyback.devices.recorded import Recording, play
from flyback.models.physics import wavelength_m
from flyback.models.ptychography.forward import simulate_frames
from flyback.models.ptychography.probe import aberrated_probe
from flyback.models.trajectories import Archimedean, Fermat, Multipass, Raster
from flyback.plans.scanning import points
from flyback.profiles.schema import parse_profile
from flyback.tests.bench.yardstick import record

psutil = pytest.importorskip("psutil", reason="the resident memory is read by psutil")

RATE_HZ, SIDE, ALPHA_RAD, STEP_NM, DOSE = 5000.0, 128, 0.02, 0.03, 20_000
FIELD_NM = 96 * STEP_NM
WAVELENGTH_M = wavelength_m("electron", 200.0)
SAMPLING_RAD = ALPHA_RAD / 30.6
PIXEL_NM = WAVELENGTH_M / (SIDE * SAMPLING_RAD) * 1e9
ANALYSES = {
    "virtual_images": {},
    "dose_map": {},
    "ptychography": {"method": "single_sideband"},
}
SHORT = "45 x 45"
SCANS = {
    SHORT: (Raster(fov=45 * STEP_NM, step=STEP_NM), 0.0),
    "raster": (Raster(fov=FIELD_NM, step=STEP_NM), 0.0),
    "archimedean": (Archimedean(fov=FIELD_NM, step=STEP_NM), 0.0),
    "fermat": (Fermat(fov=FIELD_NM, step=STEP_NM), 0.0),
    "interleaved": (Multipass(fov=FIELD_NM, step=STEP_NM, passes=4, order="interleaved"), 0.0),
    "raster, 10 % dropped": (Raster(fov=FIELD_NM, step=STEP_NM), 0.1),
}


def specimen(side):
    """A weak phase: Gaussian atoms on a jittered lattice, rad."""
    rng = np.random.default_rng(5)
    spacing = 0.2 / PIXEL_NM
    grid = np.stack(np.mgrid[: side / spacing, : side / spacing], -1).reshape(-1, 2) * spacing
    phase = np.zeros((side, side))
    places = np.rint(grid + rng.normal(0, 0.15 * spacing, grid.shape)).astype(int) % side
    np.add.at(phase, tuple(places.T), rng.uniform(0.3, 1, len(places)))
    phase = scipy.ndimage.gaussian_filter(phase, 0.045 / PIXEL_NM, mode="wrap")
    return 0.2 * phase / phase.max()


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """Render each scan once, to a file; return its path and the phase with its origin."""
    folder = tmp_path_factory.mktemp("rendered")
    sampling = (SAMPLING_RAD, SAMPLING_RAD)
    probe = aberrated_probe((SIDE, SIDE), WAVELENGTH_M, sampling, ALPHA_RAD)
    made = {}

    def render(name):
        if name in made:
            return made[name]
        path, dropped = SCANS[name]
        positions = path.positions
        if dropped:
            rng = np.random.default_rng(2)
            positions = positions[rng.random(len(positions)) >= dropped]
        origin = positions.min(axis=0) - (SIDE // 2 + 4) * PIXEL_NM
        pixels = (positions - origin) / PIXEL_NM
        phase = specimen(int(pixels.max()) + SIDE // 2 + 5)
        obj = np.exp(1j * phase).astype(np.complex64)
        frames = simulate_frames(obj, probe, pixels, DOSE, workers=2)
        file = folder / f"{len(made)}.npz"
        np.savez(
            file,
            frames=frames,
            positions_m=positions * 1e-9,
            radiation="electron",
            energy_kev=200.0,
            semi_convergence_angle_mrad=ALPHA_RAD * 1e3,
            angular_sampling_mrad=SAMPLING_RAD * 1e3,
            defocus_nm=0.0,
            scan_rotation_deg=0.0,
        )
        made[name] = file, phase, origin * 1e-9
        return made[name]

    return render


def correlations(result, phase, origin_m):
    """Correlation with the truth, both band-limited to 2, 1.5 and 1 convergence angles."""
    ours = result["object_phase"].value
    pixel, start = result["object_pixel_m"].value, result["object_origin_m"].value
    limits = []
    for angles in (2.0, 1.5, 1.0):
        truth = limited(phase, PIXEL_NM * 1e-9, angles)
        y, x = (
            (start[k] - origin_m[k] + np.arange(ours.shape[k]) * pixel[k]) / (PIXEL_NM * 1e-9)
            for k in (0, 1)
        )
        seen = scipy.ndimage.map_coordinates(truth, np.meshgrid(y, x, indexing="ij"), order=3)
        a, b = seen, limited(ours, pixel[0], angles)
        yy, xx = np.indices(a.shape)
        radius = 0.4 * min(a.shape)  # within the disc that a spiral covers too
        disc = np.hypot(yy - a.shape[0] / 2, xx - a.shape[1] / 2) < radius
        limits.append(float(np.corrcoef(a[disc], b[disc])[0, 1]))
    return limits


def limited(picture, pixel_m, angles):
    spectrum = np.fft.fft2(picture)
    q = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n, pixel_m) for n in picture.shape), indexing="ij"))
    spectrum[q >= angles * ALPHA_RAD / WAVELENGTH_M] = 0
    return np.fft.ifft2(spectrum).real


class Memory(threading.Thread):
    """Follow the most resident memory of this process, MB."""

    def __init__(self):
        super().__init__(daemon=True)
        self.process, self.done = psutil.Process(), threading.Event()
        self.begin = self.most = self.process.memory_info().rss / 1e6

    def run(self):
        while not self.done.wait(0.05):
            self.most = max(self.most, self.process.memory_info().rss / 1e6)


def scan(session, recording, directory, *, watch=None):
    """Play a recording at the rate; return the camera and the seconds it took."""
    camera, coils, md = play(recording, directory, rate=RATE_HZ)
    for offload in session.offloads:
        getattr(session.live, offload)._rings = [camera.ring]
    if watch is not None:
        session.live.ptychography.watchers[:] = [watch]
    begun = time.perf_counter()
    session.RE(points([camera], coils, dwell_ms=1e3 / RATE_HZ, md=md))
    wall = time.perf_counter() - begun
    return camera, wall


@pytest.mark.parametrize("name", [name for name in SCANS if name != SHORT])
def bench_live_ptychography_at_5_khz(benchmark, rendered, tmp_path, name):
    """Phase as the last frame arrives, what was dropped, the rate and the memory."""
    file, phase, origin = rendered(name)
    profile = parse_profile("bench", {"analyses": ANALYSES})
    with Recording(file) as recording, fb.open(profile, tmp_path, progress=False) as session:
        n = len(recording)
        recording.frames[:1]
        last = {}

        def watch(callback):
            if callback.frames == n and "at" not in last:
                last["at"] = time.perf_counter()
                last["phase"] = callback.result_

        scan(session, recording, tmp_path, watch=watch)  # compiled, and the file in memory
        session.join(120)
        last.clear()
        memory = Memory()
        memory.start()
        out = {}
        announced = []  # (when, how many frames there are by now)

        def count(kind, doc):
            if kind == "stream_datum":
                announced.append((time.perf_counter(), doc["indices"]["stop"]))

        counting = session.RE.subscribe(count)

        def once():
            out["camera"], out["wall"] = scan(session, recording, tmp_path, watch=watch)
            out["end"] = time.perf_counter()

        benchmark.pedantic(once, rounds=1)
        session.join(120)
        memory.done.set()
        session.RE.unsubscribe(counting)
        (first, already), (final, all_of_them) = announced[0], announced[-1]
        two, one_and_half, one = correlations(last["phase"], phase, origin)
        assert out["camera"].dropped.get() == 0
        record(
            benchmark,
            frames=n,
            frames_per_s=n / out["wall"],
            sustained_frames_per_s=(all_of_them - already) / (final - first),
            dropped=int(out["camera"].dropped.get()),
            behind_s=last["at"] - out["end"],
            correlation_2_alpha=two,
            correlation_1_5_alpha=one_and_half,
            correlation_1_alpha=one,
            memory_mb=memory.most - memory.begin,
        )


def bench_analyses_and_the_runengines_thread(benchmark, rendered, tmp_path):
    """CPU time of the RunEngine's own thread a document, in 20 interleaved pairs of scans."""
    file, _, _ = rendered(SHORT)
    without = parse_profile("without", {"analyses": {}})
    with_them = parse_profile("with", {"analyses": ANALYSES})
    costs = {"without": [], "with": []}
    with (
        Recording(file) as recording,
        fb.open(without, tmp_path / "a", progress=False) as bare,
        fb.open(with_them, tmp_path / "b", progress=False) as full,
    ):
        sessions = {"without": bare, "with": full}
        seen = []
        for session in sessions.values():
            session.RE.subscribe(lambda name, doc: seen.append(name))
            scan(session, recording, tmp_path)
            session.join(120)

        def pair():
            for name, session in sessions.items():
                seen.clear()
                clock = time.pthread_getcpuclockid(session.RE._th.ident)
                before = time.clock_gettime(clock)
                scan(session, recording, tmp_path)
                costs[name].append((time.clock_gettime(clock) - before) / len(seen) * 1e6)
                session.join(120)

        benchmark.pedantic(pair, rounds=20)
    median = {name: float(np.median(values)) for name, values in costs.items()}
    ratios = np.array(costs["with"]) / np.array(costs["without"])
    record(
        benchmark,
        microseconds_without=median["without"],
        microseconds_with=median["with"],
        ratio_of_medians=median["with"] / median["without"],
        median_of_ratios=float(np.median(ratios)),
    )
