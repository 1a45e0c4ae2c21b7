"""The amplitude of the phase: gains near 1 with and without noise, and schedules from the dose."""

import numpy as np
import pytest

from flyback.models.base import Batch
from flyback.models.ptychography.iterative import IterativePtychography
from flyback.models.ptychography.settings import Settings
from flyback.models.ptychography.solve import alphas_for, floor_for
from flyback.tests.models.scenes import correlation, scene
from flyback.tests.models.test_iterative import DEFOCUSED, scanned

DENSE = {"kind": "jittered", "n": 20, "step_px": 2.0, "defocus_m": 10e-9, "peak": 0.5}


def gain(result, view):
    ours, truth = scanned(result, view)
    return float(np.polyfit(truth.ravel(), ours.ravel(), 1)[0])


@pytest.mark.parametrize("dose", [1e4, 1e5, 1e6])
def test_the_phase_has_the_true_amplitude(dose):
    view = scene(**DENSE, dose=dose)
    model = IterativePtychography(view.experiment(), preview=False).partial_fit(view.batch())
    result = model.converge().result_
    assert gain(result, view) == pytest.approx(1, abs=0.1)
    assert result["trust_reasons"].value == []


def test_the_amplitude_likelihood_loses_contrast_where_counts_are_few():
    view = scene(**DENSE, dose=1e4)
    model = IterativePtychography(view.experiment(), preview=False, likelihood="amplitude")
    assert gain(model.partial_fit(view.batch()).converge().result_, view) < 0.9


def test_noise_is_not_fitted():
    """More passes over noisy frames do not make the object worse."""
    view = scene(**DENSE, dose=3e3)
    errors = []
    for iterations in (8, 40):
        model = IterativePtychography(view.experiment(), preview=False, iterations=iterations)
        ours, truth = scanned(model.partial_fit(view.batch()).converge().result_, view)
        errors.append(float(np.std(ours - ours.mean() - truth + truth.mean())))
    assert errors[1] < 1.15 * errors[0]


def test_the_schedule_follows_the_dose():
    assert alphas_for(1e6) == (0.1, 1)
    assert alphas_for(1e3) == (1, 1)
    assert 0.1 < alphas_for(3e4)[0] < 0.5
    assert floor_for(1e7) == 0.1
    assert floor_for(1e7, careful=True) == 1
    assert floor_for(1e3) == 2
    assert np.isfinite(alphas_for(0)).all()


def test_it_stops_when_nothing_is_gained():
    view = scene(**DEFOCUSED)
    model = IterativePtychography(view.experiment(), preview=False, iterations=200)
    model.partial_fit(view.batch()).converge()
    assert 8 < len(model.errors_) < 100
    assert not any("not converged" in r for r in model.result_["trust_reasons"].value)


def test_the_number_of_threads_does_not_matter():
    view = scene("jittered", n=24, step_px=4.0, defocus_m=6e-9, peak=0.5)
    results = []
    for workers in (1, 2, 5):
        model = IterativePtychography(view.experiment(), iterations=2, workers=workers)
        model.preview = False
        results.append(model.partial_fit(view.batch()).converge())
    for other in results[1:]:
        np.testing.assert_array_equal(results[0].obj_, other.obj_)
        np.testing.assert_array_equal(results[0].probe_, other.probe_)
    from flyback.models.ptychography.stripes import stripes_of

    assert stripes_of(view.positions_m / 0.3e-10, 20).max() >= 1


def test_frames_held_out_and_halves():
    view = scene(**DENSE)
    model = IterativePtychography(
        view.experiment(), preview=False, iterations=8, held_out=0.1, frc=True
    )
    result = model.partial_fit(view.batch()).converge().result_
    learnt, other = result["fourier_error"].value, result["held_out_error"].value
    assert learnt < other < 1.5 * learnt
    rings = result["frc"].value
    assert rings.ndim == 1
    assert np.mean(rings[1:6]) > 0.8
    assert np.mean(rings[-3:]) < np.mean(rings[1:6])
    plain = IterativePtychography(view.experiment(), preview=False, iterations=1, frc=False)
    result = plain.partial_fit(view.batch()).converge().result_
    assert np.isnan(result["frc"].value).all()
    assert np.isnan(result["held_out_error"].value)


@pytest.mark.parametrize("dose", [3e3, 1e5])
def test_what_halves_do_not_share_is_noise(dose):
    view = scene(n=32, dose=dose)
    raw = IterativePtychography(view.experiment(), preview=False, iterations=10, noise_filter=False)
    clean = IterativePtychography(view.experiment(), preview=False, iterations=10)
    before, after = (
        correlation(*scanned(model.partial_fit(view.batch()).converge().result_, view))
        for model in (raw, clean)
    )
    assert 1 - after < 0.6 * (1 - before)
    np.testing.assert_array_equal(raw.obj_, clean.obj_)


def test_the_noise_filter_is_for_electrons_and_asks_for_halves():
    assert Settings().filters("electron")
    assert not Settings().filters("xray")
    assert Settings(noise_filter=True).filters("xray")
    assert not Settings(frc=False).filters("electron")
    with pytest.raises(ValueError, match="noise_filter must be false where frc is"):
        Settings(noise_filter=True, frc=False)
    with pytest.raises(ValueError, match='noise_filter must be true, false or "auto"'):
        Settings(noise_filter="strong")


def test_a_scan_that_shows_nothing_is_flagged_as_noise():
    view = scene(n=20, dose=5)
    model = IterativePtychography(view.experiment(), preview=False, iterations=3)
    reasons = model.partial_fit(view.batch()).converge().result_["trust_reasons"].value
    assert any(
        reason.startswith("noise: odd and even frames share no detail") for reason in reasons
    )


def test_oddities_of_frames_are_flagged():
    view = scene(**DEFOCUSED)
    frames = view.frames.astype(np.float32)
    frames[:, :, 30] = 0
    frames[3, 0, 0] = -2
    index = np.arange(144)
    index[7] = 6
    model = IterativePtychography(view.experiment(), preview=False, iterations=1)
    model.partial_fit(Batch(frames, index, {"positions_m": view.positions_m}))
    reasons = " | ".join(model.converge().result_["trust_reasons"].value)
    assert "dead columns: 30 " in reasons
    assert "negative counts: in 1 of 144" in reasons
    assert "duplicate frames: 1 of 144" in reasons
    still = IterativePtychography(view.experiment(), preview=False, iterations=1)
    still.partial_fit(Batch(view.frames, np.arange(144), {"positions_m": view.positions_m * 0}))
    assert "duplicate positions: 143" in " | ".join(still.converge().result_["trust_reasons"].value)
    empty = IterativePtychography(view.experiment(), preview=False)
    empty.partial_fit(Batch(view.frames * 0, np.arange(144), {"positions_m": view.positions_m}))
    with pytest.raises(ValueError, match="hold no counts"):
        empty.converge()
