"""Direct ptychography beside the yardsticks: a frame, a refresh, a change of the optics.

pytest tests/bench/bench_direct.py -s
"""

import numpy as np
import pytest

from flyback.models.base import Batch
from flyback.models.experiment import Experiment
from flyback.models.ptychography.parallax import estimate_defocus
from flyback.models.ptychography.single_sideband import SingleSideband
from flyback.tests.bench.yardstick import cpu_seconds, record
from flyback.tests.models.scenes import scene
from flyback.tests.models.test_single_sideband import score

BOX, STEP_M = 128, 0.03e-9


def model_of(side, frames=None, **settings):
    experiment = Experiment.from_metadata(
        {
            "radiation": "electron",
            "energy_kev": 200,
            "semi_convergence_angle_mrad": 20,
            "angular_sampling_mrad": 2.507934e-12 / (BOX * STEP_M) * 1e3,
            "trajectory": {
                "units": "nm",
                "step": STEP_M * 1e9,
                "extent": [[0, 0], [(side - 1) * STEP_M * 1e9] * 2],
                "n_points": side**2,
            },
        }
    )
    model = SingleSideband(experiment, **settings)
    if frames is not None:
        places = np.random.default_rng(0).uniform(0, (side - 1) * STEP_M, (len(frames), 2))
        model.partial_fit(Batch(frames, np.arange(len(frames)), {"positions_m": places}))
    return model


@pytest.fixture(scope="module")
def counts():
    return np.random.default_rng(0).poisson(3, (4096, BOX, BOX)).astype(np.uint16)


@pytest.mark.parametrize("bins", [16, 8])
@pytest.mark.parametrize("kind", ["raster", "anywhere"])
def test_ingest(benchmark, counts, bins, kind):
    n = len(counts)
    places = np.stack(np.divmod(np.arange(n), 64), 1) * STEP_M
    if kind == "anywhere":
        places = np.random.default_rng(0).uniform(0, 63 * STEP_M, (n, 2))
    model = model_of(64, counts[:512], bins_across=bins)

    def work():
        for start in range(0, n, 512):
            rows = slice(start, start + 512)
            model.partial_fit(
                Batch(counts[rows], np.arange(n)[rows], {"positions_m": places[rows]})
            )

    benchmark.pedantic(work, rounds=1)
    record(benchmark, frames_per_cpu_s=n / cpu_seconds(work, 6))


@pytest.mark.parametrize("side", [128, 512])
def test_refresh_and_change(benchmark, counts, side):
    model = model_of(side, counts)
    model.phase()
    again = cpu_seconds(model.phase, 5)
    benchmark.pedantic(model.phase, rounds=5)
    turn = iter(np.linspace(0.01, 0.3, 40))

    def change():
        model.set_optics(scan_rotation_rad=next(turn)).phase()

    changed = cpu_seconds(change, 3)
    model.set_optics(aberrations={"C10": -2e-9})
    aberrated = cpu_seconds(change, 3)
    record(
        benchmark,
        refresh_cpu_ms=again * 1e3,
        refresh_wall_ms=benchmark.stats.stats.min * 1e3,
        changed_cpu_ms=changed * 1e3,
        changed_with_aberrations_cpu_ms=aberrated * 1e3,
    )


@pytest.mark.parametrize("kind", ["raster", "spiral"])
def test_quality_and_defocus(benchmark, kind):
    view = scene(kind, n=32)
    model = SingleSideband(view.experiment()).partial_fit(view.batch())
    benchmark.pedantic(model.phase, rounds=1)
    seconds = cpu_seconds(lambda: estimate_defocus(model), 1)
    record(benchmark, correlation=score(model, view), defocus_cpu_s=seconds)
