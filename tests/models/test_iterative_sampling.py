"""Finer object pixels and larger boxes than the detector's, against simulated truth."""

from types import SimpleNamespace

import numpy as np
import pytest

from flyback.models.base import Batch
from flyback.models.experiment import Experiment
from flyback.models.ptychography import sampling, start
from flyback.models.ptychography.forward import simulate_frames
from flyback.models.ptychography.iterative import IterativePtychography
from flyback.models.ptychography.probe import aberrated_probe
from flyback.models.ptychography.sampling import Sampling
from flyback.tests import naive
from flyback.tests.models.scenes import ALPHA_RAD, PIXEL_M, WAVELENGTH_M, atoms, correlation, scene
from flyback.tests.models.test_iterative import scanned
from flyback.tests.models.test_iterative_contrast import DENSE, gain


def solved(view, frames, experiment, **settings):
    batch = Batch(frames, np.arange(len(frames)), {"positions_m": view.positions_m})
    settings = {"preview": False, "iterations": 20} | settings
    return IterativePtychography(experiment, **settings).partial_fit(batch).converge()


def test_unmeasured_pixels_round_a_small_detector():
    """What a detector of half the width leaves out is not lost: the overlap tells some of it."""
    view = scene(**DENSE, dose=1e6)
    frames = view.frames[:, 16:48, 16:48].copy()
    plain, finer = (
        solved(view, frames, view.experiment(), object_upsampling=n).result_ for n in (1, 2)
    )
    np.testing.assert_allclose(plain["object_pixel_m"].value, 2 * PIXEL_M, rtol=1e-6)
    np.testing.assert_allclose(finer["object_pixel_m"].value, PIXEL_M, rtol=1e-6)
    assert finer["probe"].value.shape == (1, 64, 64)
    assert gain(finer, view) == pytest.approx(1, abs=0.05)
    assert gain(plain, view) < 0.9
    assert correlation(*scanned(finer, view)) > 0.98
    assert finer["fourier_error"].value < 0.7 * plain["fourier_error"].value
    assert finer["trust_reasons"].value == []


@pytest.mark.parametrize("split", [2, 3, 4])
@pytest.mark.heavy
def test_detector_pixels_are_split_for_probes_larger_than_their_box(split):
    """Frames of 128 (96) pixels counted by pixels of 2, 3 or 4: the probe fills the small box."""
    side = 96 if split == 3 else 128
    fine = WAVELENGTH_M / (side * PIXEL_M)
    probe = aberrated_probe((side, side), WAVELENGTH_M, (fine, fine), ALPHA_RAD, 25e-9)
    rng = np.random.default_rng(0)
    grid = np.stack(np.mgrid[:14, :14], -1).reshape(-1, 2) * 4.0 + 68
    positions = grid + rng.uniform(-1, 1, grid.shape)
    view = SimpleNamespace(positions_m=positions * PIXEL_M, phase=atoms((200, 200), 0.5))
    obj = np.exp(1j * view.phase).astype(np.complex64)
    # zero frequency into the middle of the central pixel
    middle = np.full(positions.shape, (split - 1) / 2 - (side // 2) % split)
    frames = simulate_frames(obj, probe, positions, 2e6, descan_px=middle)
    small = side // split
    frames = frames.reshape(-1, small, split, small, split).sum(axis=(2, 4)).astype(np.uint16)
    experiment = Experiment.from_metadata(
        {
            "radiation": "electron",
            "energy_kev": 200.0,
            "semi_convergence_angle_mrad": ALPHA_RAD * 1e3,
            "angular_sampling_mrad": fine * split * 1e3,
            "defocus_nm": 25.0,
            "trajectory": {"units": "nm"},
        }
    )
    whole, parts = (
        solved(view, frames, experiment, iterations=12, detector_upsampling=n).result_
        for n in (1, split)
    )
    assert parts["probe"].value.shape == (1, side, side)
    np.testing.assert_allclose(parts["object_pixel_m"].value, PIXEL_M, rtol=1e-6)
    ours, theirs = correlation(*scanned(parts, view)), correlation(*scanned(whole, view))
    assert ours > 0.98
    assert ours > theirs + 0.003
    assert gain(parts, view) == pytest.approx(1, abs=0.05)
    truth = np.vdot(parts["probe"].value[0], probe)
    assert abs(truth) ** 2 > 0.98 * (np.abs(parts["probe"].value) ** 2).sum()
    if split == 4:
        assert "probe larger than the box" in " ".join(whole["trust_reasons"].value)
    assert not any("probe" in reason for reason in parts["trust_reasons"].value)


@pytest.mark.heavy
def test_threads_do_not_matter_and_previews_grow():
    view = scene("jittered", n=14, step_px=5.0, defocus_m=6e-9, peak=0.5)
    settings = {"object_upsampling": 2, "detector_upsampling": 2, "iterations": 1}
    frames = view.frames[:, 16:48, 16:48].copy()
    alone, many = (solved(view, frames, view.experiment(), **settings, workers=n) for n in (1, 3))
    np.testing.assert_array_equal(alone.obj_, many.obj_)
    model = IterativePtychography(view.experiment(), **settings)
    for rows in (slice(0, 90), slice(90, 196)):
        coordinates = {"positions_m": view.positions_m[rows]}
        model.partial_fit(Batch(frames[rows], np.arange(196)[rows], coordinates))
    assert model.canvas_.shape == alone.canvas_.shape
    assert np.isfinite(model.result_["object_phase"].value).all()


@pytest.mark.parametrize("shape", [(6, 8), (5, 7)])
def test_padding_and_splitting_keep_frequencies(shape):
    frame = np.random.default_rng(0).random(shape).astype(np.float32)
    padded = Sampling(shape, finer=3).padded(frame)
    for y in range(-(shape[0] // 2), (shape[0] + 1) // 2):
        for x in range(-(shape[1] // 2), (shape[1] + 1) // 2):
            assert padded[y, x] == frame[y, x]
    assert padded.sum() == pytest.approx(frame.sum(), rel=1e-6)
    np.testing.assert_array_equal(Sampling(shape, finer=3).measured(padded), frame)
    for wider in (2, 3):
        spread = Sampling(shape, wider=wider).split(frame)
        np.testing.assert_allclose(naive.seen_by_pixels(spread, wider), frame, rtol=1e-6)


def test_a_given_probe_is_resampled():
    fine = WAVELENGTH_M / (128 * PIXEL_M)
    small = aberrated_probe((64, 64), WAVELENGTH_M, (2 * fine,) * 2, ALPHA_RAD, 5e-9)
    large = aberrated_probe((128, 128), WAVELENGTH_M, (fine, fine), ALPHA_RAD, 5e-9)
    ours = Sampling((64, 64), wider=2).resampled(small[None])[0]
    assert abs(np.vdot(ours, large)) ** 2 > 0.98
    finer = Sampling((64, 64), finer=2).resampled(small[None])[0]
    np.testing.assert_allclose(finer[::2, ::2], small, atol=1e-6)


def test_too_much_memory_is_refused(monkeypatch):
    view = scene(**DENSE, dose=1e6)
    monkeypatch.setattr(sampling, "MOST_BYTES", 1e6)
    with pytest.raises(ValueError, match=r"object_upsampling must be lower than 4: 400 frames"):
        solved(view, view.frames, view.experiment(), object_upsampling=4)
    monkeypatch.setattr(start, "MOST_BYTES", 1e5)
    with pytest.raises(ValueError, match=r"an object of 3 planes of .* lower slices, object_modes"):
        solved(view, view.frames, view.experiment(), object_modes=3)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"object_upsampling": 5}, "object_upsampling must lie between 1 and 4"),
        ({"object_upsampling": 1.5}, "object_upsampling must be a whole number"),
        ({"detector_upsampling": 0}, "detector_upsampling must lie between 1 and 4"),
        ({"detector_upsampling": 2, "method": "dm"}, "detector_upsampling must be 1 for method"),
    ],
)
def test_bad_settings_are_named(settings, words):
    with pytest.raises(ValueError, match=words):
        IterativePtychography(Experiment(), **settings)
