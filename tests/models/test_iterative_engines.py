"""LSQ-ML, the difference map and the refinement of positions: oracles, truth, determinism."""

import numpy as np
import pytest

from flyback.models.base import Batch
from flyback.models.ptychography import (
    batch_kernels,
    difference_kernels,
    difference_map,
    engine_kernels,
    lsqml_kernels,
)
from flyback.models.ptychography.forward import simulate_frames
from flyback.models.ptychography.iterative import IterativePtychography
from flyback.models.ptychography.probe import aberrated_probe
from flyback.tests import naive
from flyback.tests.models.chunk_law import check
from flyback.tests.models.scenes import ALPHA_RAD, PIXEL_M, WAVELENGTH_M, correlation, scene
from flyback.tests.models.test_iterative import DEFOCUSED, scanned
from flyback.tests.models.test_iterative_contrast import DENSE, gain
from flyback.tests.models.test_kernels_iterative import FLOOR, complex_normal, small


def zero_sums(obj, probe):
    return (
        np.zeros_like(obj),
        np.zeros(obj.shape, np.float32),
        np.zeros_like(probe),
        np.zeros(probe.shape[1:], np.float32),
    )


def gathered(obj, probe, waves, corners):
    """The four sums, plainly."""
    sums = [np.zeros(s, complex) for s in (obj.shape, obj.shape, probe.shape, probe.shape[1:])]
    h, w = probe.shape[1:]
    for wave, (y, x) in zip(waves, corners, strict=True):
        box = np.s_[y : y + h, x : x + w]
        sums[0][box] += (probe.conj() * wave).sum(axis=0)
        sums[1][box] += (np.abs(probe) ** 2).sum(axis=0)
        sums[2] += obj[box].conj() * wave
        sums[3] += np.abs(obj[box]) ** 2
    return sums


@pytest.mark.parametrize("modes", [1, 2])
def test_lsqml_s_directions_and_steps(modes):
    obj, probe, counts, good, corners = small(modes)
    sums, changes = zero_sums(obj, probe), np.zeros((3, *probe.shape), np.complex64)
    order = np.array([2, 0, 1])
    batch_kernels.directions(
        obj, probe, counts, good, np.zeros_like(good), np.float32(FLOOR), True, order, corners,
        changes, *sums,
    )  # fmt: skip
    expected = []
    for f in order:
        y, x = corners[f]
        patch = obj[y : y + 16, x : x + 16].astype(complex)
        expected.append(
            naive.revised(patch, probe, counts[f], good, FLOOR, True)[0] - probe * patch
        )
    np.testing.assert_allclose(changes, expected, atol=2e-3)
    for ours, theirs in zip(sums, gathered(obj, probe, expected, corners[order]), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-2)
    ways = complex_normal(np.random.default_rng(3), *obj.shape), probe[:, ::-1].copy()
    sizes = np.zeros((3, 2))
    batch_kernels.step_sizes(obj, probe, *ways, order, corners, changes, sizes)
    for k, f in enumerate(order):
        y, x = corners[f]
        box = np.s_[y : y + 16, x : x + 16]
        columns = np.stack([(ways[0][box] * probe).ravel(), (ways[1] * obj[box]).ravel()], 1)
        columns, right = (np.concatenate([v.real, v.imag]) for v in (columns, changes[k].ravel()))
        best = np.linalg.lstsq(columns.astype(float), right.astype(float), rcond=None)[0]
        np.testing.assert_allclose(sizes[k], best, rtol=1e-3, atol=1e-4)


def test_the_difference_map_s_step():
    obj, probe, counts, good, corners = small(2)
    waves = complex_normal(np.random.default_rng(4), 3, *probe.shape)
    before, sums = waves.astype(complex), zero_sums(obj, probe)
    order = np.array([0, 2])
    difference_kernels.reflect(
        obj,
        probe,
        counts,
        good,
        np.zeros_like(good),
        np.float32(0),
        False,
        order,
        corners,
        waves,
        *sums,
    )
    for f in order:
        y, x = corners[f]
        overlap = probe * obj[y : y + 16, x : x + 16].astype(complex)
        mirror = 2 * overlap - before[f]
        seen = naive.revised(np.ones((16, 16)), mirror, counts[f], good, 0.0, False)[0]
        before[f] += seen - overlap
    np.testing.assert_allclose(waves, before, atol=5e-3)


def test_a_shift_of_the_probe_is_found():
    rng = np.random.default_rng(0)
    frequencies = np.hypot(*np.meshgrid(np.fft.fftfreq(16), np.fft.fftfreq(16)))
    probe = np.fft.ifft2(complex_normal(rng, 1, 16, 16) * (frequencies < 0.15)).astype(np.complex64)
    obj = complex_normal(rng, 16, 16)
    waves = (naive.moved(probe, (0.03, -0.02)) * obj).astype(np.complex64)
    slopes = np.stack(
        [
            np.fft.ifft2(np.fft.fft2(probe) * 2j * np.pi * f)
            for f in (np.fft.fftfreq(16)[:, None], np.fft.fftfreq(16)[None])
        ]
    ).astype(np.complex64)
    move = np.zeros(2)
    engine_kernels.move_of(obj, probe, slopes, waves, move)
    np.testing.assert_allclose(move, (0.03, -0.02), atol=2e-3)


def test_a_shift_of_the_probe_is_found_from_changes():
    rng = np.random.default_rng(0)
    frequencies = np.hypot(*np.meshgrid(np.fft.fftfreq(16), np.fft.fftfreq(16)))
    probe = np.fft.ifft2(complex_normal(rng, 2, 16, 16) * (frequencies < 0.15)).astype(np.complex64)
    obj = complex_normal(rng, 20, 20)
    patch = obj[2:18, 3:19]
    change = ((naive.moved(probe, (0.03, -0.02)) - probe) * patch).astype(np.complex64)
    slopes = np.stack(
        [
            np.fft.ifft2(np.fft.fft2(probe) * 2j * np.pi * f)
            for f in (np.fft.fftfreq(16)[:, None], np.fft.fftfreq(16)[None])
        ]
    ).astype(np.complex64)
    moves, corners = np.zeros((3, 2)), np.array([[0, 0], [2, 3], [0, 0]])
    lsqml_kernels.moves_of(obj, slopes, np.array([1]), corners, change[None], moves)
    np.testing.assert_allclose(moves[1], (0.03, -0.02), atol=2e-3)
    assert not moves[[0, 2]].any()


@pytest.mark.parametrize("method", ["lsqml", "dm"])
def test_truth(method):
    view = scene(**DENSE, dose=1e6)
    model = IterativePtychography(view.experiment(), method=method, iterations=30, preview=False)
    result = model.partial_fit(view.batch()).converge().result_
    assert correlation(*scanned(result, view)) > 0.98
    assert gain(result, view) == pytest.approx(1, abs=0.05 if method == "dm" else 0.1)
    assert result["trust_reasons"].value == []


@pytest.mark.heavy
@pytest.mark.parametrize("dose", [1e5, 1e6])
def test_the_difference_map_comes_to_rest_and_keeps_contrast_with_noise(dose):
    view = scene(**DENSE, dose=dose)
    settings = {"method": "dm", "iterations": 60, "preview": False}
    ours, old = (
        IterativePtychography(view.experiment(), **settings, likelihood=likelihood)
        .partial_fit(view.batch())
        .converge()
        .result_
        for likelihood in ("poisson", "amplitude")
    )
    assert gain(ours, view) == pytest.approx(1, abs=0.05)
    assert correlation(*scanned(ours, view)) > 0.98
    assert gain(old, view) < 0.75
    assert "contrast: the difference map" in " ".join(old["trust_reasons"].value)
    assert not any("contrast" in reason for reason in ours["trust_reasons"].value)


@pytest.mark.heavy
def test_the_difference_map_without_noise_has_all_the_contrast():
    view = scene(**DENSE, dose=1e6)
    sampling = WAVELENGTH_M / (64 * PIXEL_M)
    probe = aberrated_probe((64, 64), WAVELENGTH_M, (sampling,) * 2, ALPHA_RAD, 10e-9)
    frames = np.empty(view.frames.shape, np.float32)
    obj = np.exp(1j * view.phase).astype(np.complex64)
    simulate_frames(obj, probe, view.positions_m / PIXEL_M, 1e6, out=frames, noise=False)
    model = IterativePtychography(view.experiment(), method="dm", iterations=30, preview=False)
    batch = Batch(frames, np.arange(400), {"positions_m": view.positions_m})
    result = model.partial_fit(batch).converge().result_
    assert gain(result, view) == pytest.approx(1, abs=0.03)
    assert correlation(*scanned(result, view)) > 0.998


def test_a_step_towards_counts_is_the_least_of_its_sum():
    rng = np.random.default_rng(0)
    waves = complex_normal(rng, 2, 16, 16) * np.float32(3)
    before = waves.astype(complex)
    counts = rng.poisson(rng.choice([0.2, 3, 200], (16, 16))).astype(np.uint16)
    good, background = np.ones((16, 16), np.float32), np.full((16, 16), 0.5, np.float32)
    good[2, 3:6] = 0
    misfit = difference_kernels.approach(
        waves, counts, good, background, np.float32(1), np.float32(1)
    )
    modelled = (np.abs(before) ** 2).sum(axis=0) + 0.5
    was = np.sqrt(modelled)
    trial = np.linspace(0, 40, 40001)[1:]
    for y, x in np.ndindex(16, 16):
        ours = was[y, x] * np.abs(waves[0, y, x]) / np.abs(before[0, y, x])
        if not good[y, x]:
            assert ours == pytest.approx(was[y, x], rel=1e-5)
            continue
        cost = trial**2 - (counts[y, x] + 1) * np.log(trial**2 + 1) + (trial - was[y, x]) ** 2
        assert ours == pytest.approx(trial[np.argmin(cost)], abs=3e-3)
    expected = ((np.sqrt(modelled + 1) - np.sqrt(counts + 1.0)) ** 2 * good).sum()
    assert misfit == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("modes", [1, 2])
def test_the_difference_map_s_step_towards_counts(modes):
    obj, probe, counts, good, corners = small(modes)
    waves = complex_normal(np.random.default_rng(4), 3, *probe.shape)
    before, sums = waves.copy(), zero_sums(obj, probe)
    order, dark = np.array([0, 2]), np.zeros_like(good)
    difference_kernels.reflect(
        obj, probe, counts, good, dark, np.float32(FLOOR), True, order, corners, waves, *sums
    )
    for f in order:
        y, x = corners[f]
        overlap = probe * obj[y : y + 16, x : x + 16]
        far = np.fft.fft2(2 * overlap - before[f]).astype(np.complex64)
        difference_kernels.approach(far, counts[f], good, dark, np.float32(1), np.float32(FLOOR))
        before[f] += np.fft.ifft2(far) - overlap
    np.testing.assert_allclose(waves, before, atol=5e-3)
    expected = gathered(obj, probe, before[order], corners[order])
    for ours, theirs in zip(sums, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=5e-2)


@pytest.mark.parametrize("method", ["lsqml", "dm"])
def test_the_chunk_law_and_threads(method):
    view = scene(**DEFOCUSED)
    check(
        lambda: IterativePtychography(
            view.experiment(), method=method, iterations=2, preview=False, probe_modes=2
        ),
        view.batch(slice(0, 60)),
        final=True,
        singles=False,
    )
    alone, many = (
        IterativePtychography(view.experiment(), method=method, iterations=2, workers=n)
        for n in (1, 3)
    )
    np.testing.assert_array_equal(
        alone.partial_fit(view.batch()).converge().obj_,
        many.partial_fit(view.batch()).converge().obj_,
    )


@pytest.mark.parametrize(("method", "modes"), [("rpie", 1), ("rpie", 2), ("lsqml", 1)])
@pytest.mark.heavy
def test_positions_are_refined_within_bounds(method, modes):
    view = scene(**DENSE, dose=1e6)
    wrong = np.random.default_rng(0).normal(0, 0.5, view.positions_m.shape)
    batch = Batch(view.frames, np.arange(400), {"positions_m": view.positions_m + wrong * PIXEL_M})
    settings = {"preview": False, "iterations": 25, "rpie_alpha": (0.2, 1), "method": method}
    still, refined, tight = (
        IterativePtychography(
            view.experiment(), **settings, probe_modes=modes, position_bound_px=bound
        )
        .partial_fit(batch)
        .converge()
        for bound in (0.0, 2.0, 0.25)
    )
    assert refined.fourier_error_ < 0.85 * still.fourier_error_
    left = refined.result_["positions_m"].value - view.positions_m
    assert np.std(left - left.mean(axis=0)) < 0.7 * np.std(wrong) * PIXEL_M
    assert np.abs(tight.moves_px_).max() <= 0.25 + 1e-9
    assert "positions wandering" in " | ".join(tight.result_["trust_reasons"].value)
    assert "positions wandering" not in " | ".join(refined.result_["trust_reasons"].value)


def test_the_difference_map_says_when_it_needs_too_much(monkeypatch):
    view = scene(**DEFOCUSED)
    model = IterativePtychography(view.experiment(), method="dm", preview=False)
    monkeypatch.setattr(difference_map, "MOST_BYTES", 1e6)
    with pytest.raises(ValueError, match="keeps an exit wave for each frame"):
        model.partial_fit(view.batch()).converge()
