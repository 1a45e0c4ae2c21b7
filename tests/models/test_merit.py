import numpy as np
import pytest

from flyback.models.ptychography.merit import denoised, ring_correlation, side_of


def test_rings_that_halves_share_pass_and_others_do_not():
    side = 32
    y, x = np.indices((side, side))
    coarse = 1 + 0.1j * np.cos(2 * np.pi * 3 * x / side)
    fine = 0.1 * np.cos(2 * np.pi * 12 * y / side)
    frc = np.where(np.arange(17) < 8, 1.0, 0.0)
    clean = denoised((coarse + fine).astype(np.complex64), frc, side)
    np.testing.assert_allclose(clean, coarse, atol=1e-5)
    shared = denoised((coarse + fine).astype(np.complex64), np.ones(17), side)
    np.testing.assert_allclose(shared, coarse + fine, atol=1e-5)


def test_half_a_correlation_is_two_thirds_of_a_signal():
    side = 32
    wave = np.exp(2j * np.pi * 5 * np.arange(side) / side)[None].repeat(side, 0)
    out = denoised((1 + 0.1 * wave).astype(np.complex64), np.full(17, 0.5), side)
    np.testing.assert_allclose(out, 1 + 0.1 * wave * 2 / 3, atol=1e-6)


@pytest.mark.parametrize(("frc", "side"), [(np.full(1, np.nan), 0), (np.full(9, np.nan), 16)])
def test_nothing_known_changes_nothing(frc, side):
    obj = np.random.default_rng(0).normal(size=(2, 20, 20)).astype(np.complex64)
    assert denoised(obj, frc, side) is obj


def test_each_plane_keeps_its_mean():
    rng = np.random.default_rng(1)
    obj = (rng.normal(size=(3, 24, 20)) + 2j).astype(np.complex64)
    out = denoised(obj, np.zeros(11), 20)
    np.testing.assert_allclose(out, obj.mean(axis=(1, 2), keepdims=True) + 0 * obj, atol=1e-5)


def test_a_correlation_tells_signal_from_noise():
    rng = np.random.default_rng(2)
    q = np.hypot(*np.meshgrid(*[np.fft.fftfreq(64)] * 2, indexing="ij"))
    signal = np.fft.ifft2(np.fft.fft2(rng.normal(size=(64, 64))) * (q < 0.15)).real
    halves = [
        (1 + 1j * (signal + 0.05 * rng.normal(size=signal.shape))).astype(np.complex64)
        for _ in range(2)
    ]
    frc = ring_correlation(*halves, np.zeros(2), np.array([64.0, 64.0]))
    assert frc[2:8].min() > 0.9
    assert abs(frc[16:].mean()) < 0.15
    assert side_of(np.array([64.7, 90.0])) == 64
