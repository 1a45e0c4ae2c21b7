"""The kernels of the iterative engines against their oracles, in float64."""

import numpy as np
import pytest

from flyback.models.ptychography import engine_kernels as kernels
from flyback.tests import naive

FLOOR = 0.3


def complex_normal(rng, *shape):
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


def small(modes, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    obj, probe = complex_normal(rng, 40, 36), complex_normal(rng, modes, 16, 16)
    counts = rng.poisson(200, (3, 16, 16)).astype(dtype)
    good = np.ones((16, 16), np.float32)
    good[3, 4:7] = 0
    return obj, probe, counts, good, np.array([[5, 6], [9, 2], [12, 8]])


@pytest.mark.parametrize("modes", [1, 3])
@pytest.mark.parametrize("poisson", [True, False])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_an_engine_step(modes, poisson, dtype):
    obj, probe, counts, good, corners = small(modes, dtype)
    power = (np.abs(probe) ** 2).sum(axis=0)
    step = (1 / (0.8 * power + 0.2 * power.max())).astype(np.float32)
    truth = obj.astype(complex)
    gradients, misfits = zip(
        *(
            naive.engine_step(truth, probe, counts[f], good, corners[f], 0.2, FLOOR, poisson)
            for f in (1, 0)
        ),
        strict=True,
    )
    gradient, density = np.zeros_like(probe), np.zeros((16, 16), np.float32)
    none, moves = np.zeros((0, *probe.shape), np.complex64), np.zeros((3, 2))
    misfit = kernels.sweep(
        obj, probe, none, step, counts, good, np.zeros_like(good), np.float32(FLOOR), poisson,
        np.array([1, 0]), corners, gradient, density, moves,
    )  # fmt: skip
    np.testing.assert_allclose(obj, truth, atol=2e-4)
    np.testing.assert_allclose(gradient, sum(gradients), atol=5e-3)
    assert misfit == pytest.approx(sum(misfits), rel=1e-4)
    assert density.min() > 0
    assert not moves.any()


def test_the_misfit_alone():
    obj, probe, counts, good, corners = small(2)
    background = np.full_like(good, 7)
    errors = np.zeros(3)
    order = np.array([2, 0])
    kernels.measure(obj, probe, counts, good, background, order, corners, errors)
    for f in range(3):
        y, x = corners[f]
        patch = obj[y : y + 16, x : x + 16]
        expected = naive.revised(patch, probe, counts[f], good, 0.0, True, background)[1]
        assert errors[f] == pytest.approx(expected if f in (0, 2) else 0, rel=1e-4)


def test_the_poisson_step_is_right_in_the_mean_where_the_amplitude_s_is_not():
    """At 0.3 counts the mean of sqrt(n) is half of sqrt(mean n)."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.3, (4000, 8, 8)).astype(np.uint16)
    good, dark = np.ones((8, 8), np.float32), np.zeros((8, 8), np.float32)
    kept = {}
    for poisson in (True, False):
        total = 0.0
        for frame in counts:
            waves = np.full((1, 8, 8), np.sqrt(0.3), np.complex64)
            kernels.constrain(
                waves, frame, good, dark, np.float32(1), np.float32(1), poisson, np.float32(0)
            )
            total += float(waves.real.mean()) / np.sqrt(0.3)
        kept[poisson] = total / len(counts)
    assert kept[True] == pytest.approx(1, abs=0.01)
    assert kept[False] < 0.6


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_counts(dtype):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 100, (3, 6, 5)).astype(dtype)
    good = np.ones((6, 5), bool)
    good[2, 3] = False
    if dtype in (np.int32, np.float32):
        frames[1, 0, 0] = -3
        frames[2, 2, 3] = -3  # not good, not counted
    out = np.empty((3, 6, 5), np.float32)
    assert kernels.to_counts(frames, good, out) == int(dtype in (np.int32, np.float32))
    expected = np.where(good, np.maximum(frames.astype(float), 0), 0)
    np.testing.assert_array_equal(out, np.fft.ifftshift(expected, axes=(1, 2)))
