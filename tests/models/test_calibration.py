import numpy as np
import pytest

from flyback.devices.sim import coils
from flyback.models.calibration import find_defocus, fit_descan, fit_lag, lagging
from flyback.models.ptychography.single_sideband import SingleSideband
from flyback.models.trajectories import Archimedean
from flyback.tests.models.scenes import scene

RNG = np.random.default_rng(0)


def test_descan():
    positions = RNG.uniform(-5e-9, 5e-9, (400, 2)) + 3e-9
    slope = np.array([[0.2, -0.05], [0.1, 0.3]]) * 1e9
    centres = positions @ slope.T + (15.3, 16.9) + RNG.normal(0, 0.1, (400, 2))
    centres[::50] += 8  # crystals that scatter aside
    centres[3] = np.nan
    found = fit_descan(centres, positions)
    np.testing.assert_allclose(np.array(found.slope_px), slope, atol=0.01e9)
    np.testing.assert_allclose(found.centre_px, (15.3, 16.9), atol=0.05)
    assert 0.001 < found.sigma_px < 0.1
    np.testing.assert_allclose(found(positions[:5])[0], centres[0] - 8, atol=0.5)
    assert np.shape(found.to_metadata()["descan_px_per_nm"]) == (2, 2)
    with pytest.raises(ValueError, match="two directions"):
        fit_descan(centres, np.outer(np.arange(400), [1.0, 2.0]))
    with pytest.raises(ValueError, match=r"must both be \(n, 2\)"):
        fit_descan(centres, positions[:4])
    with pytest.raises(ValueError, match="at least 8"):
        fit_descan(np.zeros((0, 2)), np.zeros((0, 2)))


@pytest.mark.parametrize("tau_s", [5e-5, 4e-4, 3e-3])
def test_the_lag_of_the_coils_from_one_spiral(tau_s):
    path = Archimedean(fov=10.0, step=0.2).positions
    seen = lagging(path, path[0], 1e-3, tau_s)[0] + RNG.normal(0, 0.002, path.shape)
    seen[7] = np.nan
    found = fit_lag(path, seen, 1e-3)
    assert found.time_constant_s == pytest.approx(tau_s, rel=0.05)
    assert abs(found.time_constant_s - tau_s) < 5 * found.sigma_s
    assert found.residual == pytest.approx(0.002 * 2**0.5, rel=0.1)
    assert found.to_metadata()["coil_time_constant_ms"] == found.time_constant_s * 1e3


def test_the_lag_is_that_of_the_simulated_coils():
    path = Archimedean(fov=4.0, step=0.2).positions
    for tau in (0.0, 2e-4):
        ours, _ = lagging(path, np.zeros(2), 1e-3, tau)
        np.testing.assert_allclose(ours, coils.lagging(path, np.zeros(2), 1e-3, tau))


def test_bad_paths_are_named():
    path = np.zeros((40, 2))
    with pytest.raises(ValueError, match="dwell_s must be positive"):
        fit_lag(path, path, -1.0)
    with pytest.raises(ValueError, match="at least 16 points"):
        fit_lag(path[:5], path[:5], 1e-3)
    with pytest.raises(ValueError, match=r"must both be \(n, 2\)"):
        fit_lag(path, path[:5], 1e-3)


@pytest.mark.parametrize("defocus_m", [-6e-9, 0.0, 9e-9])
def test_defocus_from_the_direct_method(defocus_m):
    view = scene("raster", n=24, box=64, defocus_m=defocus_m, dose=1e5)
    model = SingleSideband(view.experiment(defocus_nm=2.0)).partial_fit(view.batch())
    found = find_defocus(model)
    assert found.defocus_m == pytest.approx(defocus_m, abs=1.5e-9)
    assert found.contrast > 0.01
    assert 0 < found.sigma_m < 5e-9
    assert found.to_metadata()["defocus_nm"] == found.defocus_m * 1e9
    with pytest.raises(ValueError, match="low_m must be below"):
        find_defocus(model, 1e-9, -1e-9)
    with pytest.raises(ValueError, match="steps must lie"):
        find_defocus(model, steps=2)
