"""The transforms of small square waves against scipy's, and rPIE upon them against its oracle."""

import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st

from flyback.models.ptychography import engine_kernels, in_cache_kernels
from flyback.models.ptychography.in_cache_fft import (
    PAD,
    RADICES,
    backward,
    forward,
    room,
    suits,
    tables,
)
from flyback.tests import naive

FLOOR = 0.3


def complex_normal(rng, *shape):
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


def planes(n):
    flat = np.zeros(room(n), np.float32)
    return flat, flat.reshape(n, 2, n + PAD)[:, :, :n]


@given(n=st.sampled_from(tuple(RADICES)), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_it_agrees_with_scipy_and_comes_back(n, seed):
    wave = complex_normal(np.random.default_rng(seed), n, n)
    (near, here), (far, there) = planes(n), planes(n)
    here[:, 0], here[:, 1] = wave.real, wave.imag
    table = tables(n)
    forward(near, far, table.table, table.places)
    expected = scipy.fft.fft2(wave.astype(complex)).T[table.rows]
    np.testing.assert_allclose(there[:, 0] + 1j * there[:, 1], expected, atol=2e-6 * n * n)
    backward(far, near, table.table, table.places)
    np.testing.assert_allclose((here[:, 0] + 1j * here[:, 1]) / n**2, wave, atol=5e-6)


@given(n=st.sampled_from(tuple(RADICES)), data=st.data())
@settings(max_examples=20, deadline=None)
def test_a_plane_wave_is_one_pixel(n, data):
    ky, kx = (data.draw(st.integers(0, n - 1)) for _ in range(2))
    y, x = np.indices((n, n))
    (near, here), (far, there) = planes(n), planes(n)
    wave = np.exp(2j * np.pi * (ky * y + kx * x) / n)
    here[:, 0], here[:, 1] = wave.real, wave.imag
    table = tables(n)
    forward(near, far, table.table, table.places)
    power = (there**2).sum(axis=1)
    assert np.unravel_index(power.argmax(), power.shape) == (table.places[kx], ky)
    assert power.max() == pytest.approx(n**4, rel=1e-4)
    assert power.sum() == pytest.approx(n**4, rel=1e-4)


@pytest.mark.parametrize("shape", [(48, 48), (64, 32), (512, 512), (16, 16)])
def test_other_shapes_are_left_to_others(shape):
    assert not suits(shape)


def scene(n, modes, dtype):
    rng = np.random.default_rng(n)
    obj, probe = complex_normal(rng, n + 24, n + 20), complex_normal(rng, modes, n, n)
    counts = rng.poisson(200, (3, n, n)).astype(dtype)
    good = np.ones((n, n), np.float32)
    good[3, 4:7] = 0
    return obj, probe, counts, good, np.array([[5, 6], [9, 2], [12, 8]])


def turned(array):
    return np.ascontiguousarray(np.swapaxes(array, -1, -2))


@pytest.mark.parametrize("modes", [1, 2])
@pytest.mark.parametrize("poisson", [True, False])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_an_engine_step(modes, poisson, dtype):
    n = 32
    obj, probe, counts, good, corners = scene(n, modes, dtype)
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
    gradient, density = np.zeros_like(probe), np.zeros((n, n), np.float32)
    over = turned(obj)
    misfit = in_cache_kernels.sweep_in_cache(
        over, turned(probe), np.zeros((0, *probe.shape), np.complex64), turned(step), counts, good,
        np.zeros_like(good), np.float32(FLOOR), poisson, np.array([1, 0]),
        np.ascontiguousarray(corners[:, ::-1]), gradient, density, np.zeros((3, 2)), *tables(n),
    )  # fmt: skip
    np.testing.assert_allclose(turned(over), truth, atol=2e-4)
    np.testing.assert_allclose(turned(gradient), sum(gradients), atol=1e-2)
    assert misfit == pytest.approx(sum(misfits), rel=1e-4)
    assert density.min() > 0


@pytest.mark.parametrize("n", [64, 128])
def test_both_ways_to_transform_give_the_same_update(n):
    obj, probe, counts, good, corners = scene(n, 1, np.uint16)
    rng = np.random.default_rng(1)
    slopes, background = complex_normal(rng, 2, 1, n, n), rng.random((n, n)).astype(np.float32)
    step, order = np.full((n, n), 0.01, np.float32), np.array([2, 0])
    straight = (obj.copy(), np.zeros_like(probe), np.zeros_like(step), np.zeros((3, 2)))
    over = (turned(obj), np.zeros_like(probe), np.zeros_like(step), np.zeros((3, 2)))
    same = (counts, good, background, np.float32(FLOOR), True, order)
    engine_kernels.sweep(straight[0], probe, slopes, step, *same, corners, *straight[1:])
    in_cache_kernels.sweep_in_cache(
        over[0], turned(probe), turned(slopes[::-1]), step, *same,
        np.ascontiguousarray(corners[:, ::-1]), *over[1:], *tables(n),
    )  # fmt: skip
    for one, other in zip(straight[:3], over[:3], strict=True):
        scale = np.abs(one).max()
        np.testing.assert_allclose(turned(other) / scale, one / scale, atol=1e-5)
    np.testing.assert_allclose(over[3][:, ::-1], straight[3], atol=1e-5)
    errors = np.zeros((2, 3))
    engine_kernels.measure(obj, probe, counts, good, background, order, corners, errors[0])
    in_cache_kernels.measure_in_cache(
        turned(obj), turned(probe), counts, good, background, order,
        np.ascontiguousarray(corners[:, ::-1]), errors[1], *tables(n),
    )  # fmt: skip
    np.testing.assert_allclose(errors[1], errors[0], rtol=1e-5)
    assert errors[1, 1] == 0
