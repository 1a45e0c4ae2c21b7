"""Constraints of the probe, the background and states of the object, against simulated truth."""

import numpy as np
import pytest

from flyback.models.base import Batch
from flyback.models.experiment import Experiment, MissingMetadata
from flyback.models.ptychography.constraints import aperture_mask, support_mask
from flyback.models.ptychography.forward import partially_coherent, simulate_frames
from flyback.models.ptychography.iterative import IterativePtychography
from flyback.models.ptychography.probe import aberrated_probe
from flyback.models.ptychography.sampling import Sampling
from flyback.models.ptychography.thick import states_of
from flyback.tests.models.scenes import ALPHA_RAD, PIXEL_M, WAVELENGTH_M, atoms, correlation, scene
from flyback.tests.models.test_iterative import DEFOCUSED, scanned
from flyback.tests.models.test_iterative_contrast import DENSE, gain

SAMPLING = WAVELENGTH_M / (64 * PIXEL_M)


def solved(view, frames=None, **settings):
    batch = view.batch()
    if frames is not None:
        batch = Batch(frames, batch.scan_index, batch.coordinates)
    settings = {"preview": False, "iterations": 20} | settings
    return IterativePtychography(view.experiment(), **settings).partial_fit(batch).converge()


def true_probe(defocus_m=10e-9):
    return aberrated_probe((64, 64), WAVELENGTH_M, (SAMPLING,) * 2, ALPHA_RAD, defocus_m)


def fidelity(probe, truth):
    """How much of a mode is the true probe, whatever its scale and phase."""
    overlap = abs(np.vdot(probe, truth)) ** 2
    return overlap / (np.vdot(probe, probe).real * np.vdot(truth, truth).real)


def test_the_aperture_keeps_light_out_of_the_dark_field_of_the_probe():
    view = scene(**DENSE, dose=1e4)
    free, held = solved(view), solved(view, probe_aperture=True)
    outside = aperture_mask(view.experiment(), Sampling((64, 64))) == 0
    spectra = [np.abs(np.fft.fft2(model.probe_[0])) ** 2 for model in (free, held)]
    assert spectra[0][outside].sum() > 1e-3 * spectra[0].sum()
    assert spectra[1][outside].sum() < 1e-9 * spectra[1].sum()
    assert fidelity(held.probe_[0], true_probe()) > fidelity(free.probe_[0], true_probe())
    assert correlation(*scanned(held.result_, view)) > 0.98 * correlation(
        *scanned(free.result_, view)
    )
    np.testing.assert_array_equal(solved(view, probe_aperture="auto").probe_, held.probe_)


def test_an_aperture_that_is_not_known_is_asked_for_or_left_open():
    view = scene(**DEFOCUSED)
    given = Experiment.from_metadata({"trajectory": {"units": "px"}}, probe=true_probe())
    batch = Batch(view.frames, np.arange(144), {"positions_px": view.positions_m / PIXEL_M})
    settings = {"preview": False, "iterations": 1}
    left = IterativePtychography(given, **settings, probe_aperture="auto").partial_fit(batch)
    assert left.converge().obj_ is not None
    asked = IterativePtychography(given, **settings, probe_aperture=True).partial_fit(batch)
    with pytest.raises(MissingMetadata, match="semi_convergence_angle_mrad"):
        asked.converge()


def test_the_support_holds_the_probe_together():
    view = scene(**DENSE, dose=1e4)
    held = solved(view, probe_support=0.6)
    assert not held.probe_[0][support_mask((64, 64), 0.6) == 0].any()
    assert correlation(*scanned(held.result_, view)) > 0.8
    y, x = np.indices((64, 64)) - 32
    mask = support_mask((64, 64), 0.5)
    assert np.all(mask[np.hypot(y, x) <= 16] == 1)
    assert np.all(mask[np.hypot(y, x) >= 20] == 0)


@pytest.mark.parametrize("method", ["rpie", "lsqml", "dm"])
def test_the_probe_s_power_is_the_counts_and_the_fit_stays(method):
    view = scene(**DENSE, dose=1e5)
    free, held = (
        solved(view, method=method, iterations=8, probe_power=power) for power in (False, True)
    )
    power = (np.abs(held.probe_) ** 2).sum() * 64 * 64
    assert power == pytest.approx(view.frames.sum() / len(view.frames), rel=1e-4)
    assert held.fourier_error_ < 1.1 * free.fourier_error_


@pytest.mark.heavy
@pytest.mark.parametrize("method", ["rpie", "lsqml"])
@pytest.mark.parametrize("kind", ["flat", "peaked"])
def test_a_background_is_found_and_the_object_is_better_for_it(kind, method):
    view = scene(**DENSE, dose=1e5)
    radius = np.hypot(*(np.indices((64, 64)) - 32))
    truth = {"flat": np.full((64, 64), 2.0), "peaked": 20 * np.exp(-(radius**2) / 162)}[kind]
    noise = np.random.default_rng(1).poisson(truth, view.frames.shape)
    frames = (view.frames + noise).astype(np.uint16)
    without, found = (solved(view, frames, method=method, background=b) for b in (False, True))
    result = found.result_
    assert found.fourier_error_ < 1.01 * without.fourier_error_
    contrast = [abs(gain(m.result_, view) - 1) for m in (without, found)]
    assert contrast[1] < 0.75 * contrast[0]
    assert contrast[1] < 0.25
    assert correlation(*scanned(result, view)) > 0.93
    dark = radius > 20  # in the direct beam frames hardly differ
    background = result["background"].value
    assert background.min() >= 0
    assert result["background"].units == "counts"
    if method == "rpie":
        left = np.sqrt(((background - truth)[dark] ** 2).mean())
        assert left < 0.6 * np.sqrt((truth[dark] ** 2).mean())
    assert "background" not in without.result_


@pytest.mark.heavy
def test_where_there_is_no_background_little_is_found():
    view = scene(**DENSE, dose=1e5)
    found = solved(view, background=True)
    assert found.background_.sum() < 0.03 * view.frames.sum() / len(view.frames)
    assert gain(found.result_, view) == pytest.approx(1, abs=0.1)


def test_a_known_source_starts_the_modes():
    view = scene(**DEFOCUSED)
    modes = partially_coherent(true_probe(), 2.0, 3)
    obj = np.exp(1j * view.phase).astype(np.complex64)
    frames = simulate_frames(obj, modes, view.positions_m / PIXEL_M, 1e6)
    size_nm = 2.0 * PIXEL_M * 1e9 * 2.3548
    settings = {"probe_modes": 3, "iterations": 6, "update_probe": False}
    guessed, told = (solved(view, frames, **settings, source_size_nm=s) for s in (0, size_nm))
    assert told.fourier_error_ < 0.5 * guessed.fourier_error_
    for ours, truth in zip(told.probe_, modes, strict=True):
        assert fidelity(ours, truth) > 0.99
    with pytest.raises(ValueError, match=r"source_size_nm must lie below 0\.565"):
        solved(view, probe_modes=2, source_size_nm=5.0)


@pytest.mark.heavy
def test_states_of_the_object_are_told_apart():
    """A specimen that is one thing 60 % of the time and another thing 40 %."""
    view = scene(**DENSE, dose=1e6)
    positions = view.positions_m / PIXEL_M
    phases = [view.phase, view.phase + atoms(view.phase.shape, 1.5, 9, 19, 2.5)]
    expected = np.zeros((len(positions), 64, 64))
    for phase, share in zip(phases, (0.6, 0.4), strict=True):
        out = np.empty(expected.shape, np.float32)
        obj = np.exp(1j * phase).astype(np.complex64)
        simulate_frames(obj, true_probe(), positions, 1e6, out=out, noise=False)
        expected += share * out
    frames = np.random.default_rng(0).poisson(expected).astype(np.uint16)
    one = solved(view, frames, iterations=30)
    two = solved(view, frames, iterations=30, object_modes=2)
    assert two.fourier_error_ < 0.75 * one.fourier_error_
    result = two.result_
    assert result["object"].dims == ("object_mode", "y", "x")
    strength = (np.abs(result["object"].value) ** 2).mean(axis=(1, 2))
    assert strength[0] > strength[1]
    low, high = (
        np.rint((edge - result["object_origin_m"].value) / PIXEL_M).astype(int)
        for edge in (view.positions_m.min(axis=0), view.positions_m.max(axis=0))
    )
    window = (slice(low[0], high[0]), slice(low[1], high[1]))
    start = np.rint(view.positions_m.min(axis=0) / PIXEL_M).astype(int)
    same = tuple(slice(a, a + b - c) for a, b, c in zip(start, high, low, strict=True))
    apart = (np.exp(1j * phases[1]) - np.exp(1j * phases[0]))[same].ravel()

    def explained(model):
        planes = model.obj_[:, 0] if model.obj_.ndim == 4 else model.obj_[None]
        span, _ = np.linalg.qr(np.array([p[window].ravel() for p in planes]).T)
        return np.linalg.norm(span.conj().T @ apart) ** 2 / np.linalg.norm(apart) ** 2

    assert explained(two) > 0.6
    assert explained(two) > 2 * explained(one)


def test_states_are_made_orthogonal():
    rng = np.random.default_rng(0)
    obj = (rng.normal(size=(2, 8, 8)) + 1j * rng.normal(size=(2, 8, 8))).astype(np.complex64)
    lit = np.zeros((8, 8), bool)
    lit[2:7, 1:6] = True
    flat = states_of(obj, lit)[:, lit]
    gram = flat.conj() @ flat.T
    assert abs(gram[0, 1]) < 1e-4 * gram[0, 0].real
    assert gram[0, 0].real > gram[1, 1].real
    np.testing.assert_allclose(
        (np.abs(flat) ** 2).sum(axis=0), (np.abs(obj[:, lit]) ** 2).sum(axis=0), rtol=1e-4
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"probe_aperture": "on"}, 'probe_aperture must be true, false or "auto"'),
        ({"probe_support": 1.2}, "probe_support must lie between 0 and 1"),
        ({"probe_power": 1.0}, "probe_power must be true or false"),
        ({"background": "yes"}, "background must be true or false"),
        ({"source_size_nm": 0.1}, "source_size_nm must be 0 where probe_modes is 1"),
        ({"source_size_nm": -1}, "source_size_nm must lie between 0 and 1000"),
        ({"object_modes": 4}, "object_modes must lie between 1 and 3"),
        ({"object_modes": 2, "method": "lsqml"}, "object_modes must be 1 for method 'lsqml'"),
    ],
)
def test_bad_settings_are_named(settings, words):
    with pytest.raises(ValueError, match=words):
        IterativePtychography(Experiment(), **settings)
