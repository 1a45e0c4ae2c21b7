"""Free flight and the kernels of thick and mixed objects against their oracles, in float64."""

import numpy as np
import pytest

from flyback.models.ptychography import (
    background_kernels,
    engine_kernels,
    propagation,
    thick_kernels,
)
from flyback.models.ptychography.forward import simulate_frames
from flyback.models.ptychography.probe import aberrated_probe
from flyback.models.ptychography.propagation_kernels import carry
from flyback.tests import naive
from flyback.tests.models.scenes import ALPHA_RAD, PIXEL_M, WAVELENGTH_M
from flyback.tests.models.test_kernels_iterative import complex_normal, small

FLOOR = 0.3
PIXELS = (PIXEL_M, PIXEL_M)
NOTHING = np.zeros((0, 1, 1, 1), np.complex64)


def focused(defocus_m, side=64):
    sampling = WAVELENGTH_M / (side * PIXEL_M)
    return aberrated_probe((side, side), WAVELENGTH_M, (sampling,) * 2, ALPHA_RAD, defocus_m)


def test_flight_takes_from_the_defocus_and_back():
    flight = propagation.fresnel((64, 64), PIXELS, WAVELENGTH_M, 7e-9)
    wave = focused(10e-9)
    carry(wave, flight, False)
    np.testing.assert_allclose(wave, focused(3e-9), atol=1e-5)
    assert (np.abs(wave) ** 2).sum() == pytest.approx(1, abs=1e-5)
    carry(wave, flight, True)
    np.testing.assert_allclose(wave, focused(10e-9), atol=1e-5)


@pytest.mark.parametrize("distance_m", [0, -1e-9, 24e-9, np.nan])
def test_a_flight_that_the_box_cannot_hold_is_refused(distance_m):
    with pytest.raises(ValueError, match=r"slice_thickness_nm must lie above 0 and up to 23"):
        propagation.fresnel((64, 64), PIXELS, WAVELENGTH_M, distance_m)


def thick_setup():
    rng = np.random.default_rng(0)
    phases = rng.normal(0, 0.3, (3, 90, 84))
    positions = np.array([[40.3, 38.7], [45.0, 41.5], [44.25, 43.0]])
    return np.exp(1j * phases).astype(np.complex64), positions


def test_frames_of_a_thick_object_agree_with_the_oracle():
    slices, positions = thick_setup()
    flight = propagation.fresnel((64, 64), PIXELS, WAVELENGTH_M, 5e-9)
    probe = focused(10e-9)
    out = np.empty((3, 64, 64), np.float32)
    simulate_frames(slices, probe, positions, 1e6, out=out, noise=False, propagator=flight)
    truth = naive.expected_thick_frames(slices, probe, positions, 1e6, flight)
    np.testing.assert_allclose(out, truth, atol=2e-5 * truth.max())
    np.testing.assert_allclose(out.sum(axis=(1, 2)), 1e6, rtol=1e-4)  # nothing is absorbed


def test_one_slice_is_the_thin_object_and_empty_slices_are_defocus():
    slices, positions = thick_setup()
    flight = propagation.fresnel((64, 64), PIXELS, WAVELENGTH_M, 5e-9)
    frames = [np.empty((3, 64, 64), np.float32) for _ in range(4)]
    empty = np.ones_like(slices)
    empty[2] = slices[0]
    for out, obj, defocus in (
        (frames[0], slices[0], 10e-9),
        (frames[1], slices[:1], 10e-9),
        (frames[2], empty, 10e-9),
        (frames[3], slices[0], 0.0),
    ):
        simulate_frames(
            obj, focused(defocus), positions, 1e6, out=out, noise=False, propagator=flight
        )
    np.testing.assert_array_equal(frames[0], frames[1])
    np.testing.assert_allclose(frames[2], frames[3], atol=1e-4 * frames[3].max())


def test_a_thick_object_needs_a_propagator():
    slices, positions = thick_setup()
    with pytest.raises(ValueError, match=r"propagator must be \(64, 64\).* 3 slices, got None"):
        simulate_frames(slices, focused(0.0), positions, 1e3)


def thick_small(states, slices, modes, split=1, seed=0):
    rng = np.random.default_rng(seed)
    obj = np.exp(1j * rng.normal(0, 0.5, (states, slices, 40, 36))).astype(np.complex64)
    probe = complex_normal(rng, modes, 16, 16)
    angle = rng.uniform(-1, 1, (16, 16))
    counts = rng.poisson(200, (3, 16 // split, 16 // split)).astype(np.float32)
    good = np.ones(counts.shape[1:], np.float32)
    good[3, 4:7] = 0
    corners = np.array([[5, 6], [9, 2], [12, 8]])
    return obj, probe, np.exp(1j * angle).astype(np.complex64), counts, good, corners


@pytest.mark.parametrize("poisson", [True, False])
@pytest.mark.parametrize(
    ("states", "slices", "modes", "split"),
    [(1, 3, 2, 1), (2, 1, 2, 1), (1, 1, 1, 2), (2, 2, 1, 4)],
)
def test_an_engine_step(states, slices, modes, split, poisson):
    obj, probe, flight, counts, good, corners = thick_small(states, slices, modes, split)
    truth = obj.astype(complex)
    gradients, misfits = zip(
        *(
            naive.thick_step(
                truth, probe, flight, counts[f], good, corners[f], 0.2, 0.5, FLOOR, poisson, split
            )
            for f in (1, 0)
        ),
        strict=True,
    )
    gradient, density = np.zeros_like(probe), np.zeros((16, 16), np.float32)
    misfit = thick_kernels.sweep_thick(
        obj, probe, NOTHING, flight, np.float32(0.2), np.float32(0.5), counts, good,
        np.zeros_like(good), np.float32(FLOOR), poisson, np.array([1, 0]), corners, gradient,
        density, np.zeros((3, 2)),
    )  # fmt: skip
    np.testing.assert_allclose(obj, truth, atol=5e-4)
    expected = sum(gradients)
    np.testing.assert_allclose(gradient, expected, atol=2e-4 * np.abs(expected).max())
    assert misfit == pytest.approx(sum(misfits), rel=1e-4)
    assert density.min() > 0


@pytest.mark.parametrize("modes", [1, 2])
def test_one_slice_is_the_thin_engine(modes):
    obj, probe, counts, good, corners = small(modes)
    power = (np.abs(probe) ** 2).sum(axis=0)
    step = (1 / (0.8 * power + 0.2 * power.max())).astype(np.float32)
    slopes = np.stack([np.roll(probe, 1, 1) - probe, np.roll(probe, 1, 2) - probe])
    thin, thick = obj.copy(), obj.copy()[None, None]
    order, dark = np.array([2, 0, 1]), np.zeros_like(good)
    sums = [(np.zeros_like(probe), np.zeros((16, 16), np.float32)) for _ in range(2)]
    moves = np.zeros((2, 3, 2))
    one = engine_kernels.sweep(
        thin, probe, slopes, step, counts, good, dark, np.float32(FLOOR), True, order, corners,
        *sums[0], moves[0],
    )  # fmt: skip
    other = thick_kernels.sweep_thick(
        thick, probe, slopes, probe[0], np.float32(0.2), np.float32(1), counts, good, dark,
        np.float32(FLOOR), True, order, corners, *sums[1], moves[1],
    )  # fmt: skip
    np.testing.assert_allclose(thick[0, 0], thin, atol=2e-4)
    np.testing.assert_allclose(sums[1][0], sums[0][0], atol=1e-3 * np.abs(sums[0][0]).max())
    np.testing.assert_allclose(sums[1][1], sums[0][1], rtol=1e-4)
    assert other == pytest.approx(one, rel=1e-5)


@pytest.mark.parametrize("split", [1, 2])
def test_the_misfit_and_the_residuals_alone(split):
    obj, probe, flight, counts, good, corners = thick_small(2, 2, 2, split)
    background = np.full_like(good, 7)
    order = np.array([2, 0])
    errors = np.zeros(3)
    thick_kernels.measure_thick(
        obj, probe, flight, counts, good, background, order, corners, errors
    )
    sums = np.zeros((2, *good.shape))
    background_kernels.residual_sums(
        obj, probe, flight, counts, background, np.float32(2), order, corners, *sums
    )
    expected = np.zeros_like(sums)
    for f in order:
        y, x = corners[f]
        total = np.full(good.shape, 7.0)
        for state in obj[..., y : y + 16, x : x + 16]:
            far = np.fft.fft2(naive.thick_exit_wave(state, probe, flight)[1])
            total += naive.seen_by_pixels((np.abs(far) ** 2).sum(axis=0), split)
        misfit = ((np.sqrt(total) - np.sqrt(counts[f])) ** 2 * good).sum()
        assert errors[f] == pytest.approx(misfit, rel=1e-4)
        expected += [(counts[f] - total) / (total + 2), 1 / (total + 2)]
    assert errors[1] == 0
    np.testing.assert_allclose(sums, expected, rtol=1e-3, atol=1e-5)


def test_the_filter_in_depth_takes_what_the_far_field_cannot_tell():
    taken = propagation.depth_filter((4, 32, 32), PIXELS, WAVELENGTH_M, 5e-9, 1.0)
    assert taken.shape == (4, 32, 32)
    np.testing.assert_array_equal(taken[0], 1)  # what all slices share stays
    assert taken[1:, 0, 0].max() == pytest.approx(0, abs=1e-6)  # a mean has no depth
    assert np.all(np.diff(taken[1:, 0, :16], axis=1) >= 0)  # finer things have more of it
    assert np.all(np.diff(taken[:, 0, 8]) <= 0)
    none = propagation.depth_filter((4, 32, 32), PIXELS, WAVELENGTH_M, 5e-9, 0.0)
    np.testing.assert_array_equal(none, 1)
