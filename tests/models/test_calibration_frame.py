import functools

import numpy as np
import pytest

from flyback.models.calibration_frame import find_scan_frame
from flyback.models.ptychography.forward import simulate_frames
from flyback.models.ptychography.geometry import into_detector, into_scan, turn
from flyback.models.ptychography.probe import aberrated_probe
from flyback.tests.models.scenes import ALPHA_RAD, PIXEL_M, WAVELENGTH_M, atoms

RNG = np.random.default_rng(0)
BOX, N = 48, 32
SAMPLING = WAVELENGTH_M / (BOX * PIXEL_M)


@functools.cache
def turned_scan(rotation_deg, transposed, dose=2e4, peak=0.3):
    """Deflection and dark field of a scan whose axes are turned against the detector's."""
    probe = aberrated_probe((BOX, BOX), WAVELENGTH_M, (SAMPLING, SAMPLING), ALPHA_RAD, 0)
    grid = np.stack(np.mgrid[:N, :N], -1).reshape(-1, 2) - N / 2
    size = BOX + 2 * N
    obj = np.exp(1j * atoms((size, size), peak))
    positions = turn(grid, np.radians(rotation_deg)) + size / 2
    frames = simulate_frames(obj, probe, positions, dose)
    if transposed:
        frames = frames.swapaxes(1, 2)
    y, x = np.indices((BOX, BOX)) - BOX // 2
    total = frames.sum(axis=(1, 2))
    com = np.stack([(frames * axis).sum(axis=(1, 2)) / total for axis in (y, x)], axis=1)
    dark = (frames * (np.hypot(y, x) > 1.1 * ALPHA_RAD / SAMPLING)).sum(axis=(1, 2))
    return com.reshape(N, N, 2), dark.reshape(N, N).astype(float)


def apart(one, other):
    return abs((one - other + 180) % 360 - 180)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("rotation_deg", [0, 17, 90, -60, 135, 180])
@pytest.mark.parametrize("with_dark", [False, True])
def test_rotation_and_transposition(rotation_deg, transposed, with_dark):
    com, dark = turned_scan(rotation_deg, transposed)
    found = find_scan_frame(com[..., 0], com[..., 1], dark if with_dark else None)
    assert found.transposed == transposed
    assert apart(found.scan_rotation_deg, rotation_deg) < 2
    assert found.trust
    assert found.sign_by == ("dark field" if with_dark else "peaks")
    assert found.sigma_deg < 2
    assert found.to_metadata()["transposed"] is transposed


def test_noise_says_less():
    com, dark = turned_scan(30, False, dose=300)
    found = find_scan_frame(com[..., 0], com[..., 1], dark)
    assert apart(found.scan_rotation_deg, 30) < 10
    clean = find_scan_frame(*np.moveaxis(turned_scan(30, False)[0], -1, 0))
    assert found.sigma_deg > clean.sigma_deg
    noise = RNG.normal(size=(2, N, N))
    assert not find_scan_frame(*noise).trust


def test_missing_pixels_and_descan_do_little():
    com, dark = (np.array(field) for field in turned_scan(30, True))
    y, x = np.indices((N, N))
    com += np.stack([0.05 * y - 0.02 * x, 0.03 * x], -1)
    com[RNG.random((N, N)) < 0.1] = np.nan
    com[np.hypot(y - N / 2, x - N / 2) > N / 2] = np.nan
    found = find_scan_frame(com[..., 0], com[..., 1], dark)
    assert found.transposed
    assert apart(found.scan_rotation_deg, 30) < 5


def test_what_is_known_is_obeyed():
    com, dark = turned_scan(30, False)
    found = find_scan_frame(com[..., 0], com[..., 1], dark, rotation_deg=50)
    assert found.scan_rotation_deg == 50
    assert find_scan_frame(com[..., 0], com[..., 1], dark, transposed=True).transposed


def test_frames_of_reference_are_inverse():
    vectors = RNG.normal(size=(9, 2))
    for transposed in (False, True):
        there = into_detector(vectors, 0.4, transposed)
        np.testing.assert_allclose(into_scan(there, 0.4, transposed), vectors)


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (0, 0), (64,)])
def test_too_few_pixels_are_named(shape):
    with pytest.raises(ValueError, match=r"at least 64 pixels|must be \(ny, nx\)"):
        find_scan_frame(np.ones(shape), np.ones(shape))
