"""Thick objects against simulated truth: what lies at two depths comes out at two depths."""

import functools

import numpy as np
import pytest

from flyback.models.base import Batch
from flyback.models.experiment import Experiment, MissingMetadata
from flyback.models.ptychography.forward import partially_coherent, simulate_frames
from flyback.models.ptychography.iterative import IterativePtychography
from flyback.models.ptychography.probe import aberrated_probe
from flyback.models.ptychography.propagation import fresnel
from flyback.tests.models.scenes import ALPHA_RAD, PIXEL_M, WAVELENGTH_M, atoms, sampled

BOX, DEFOCUS_M, THICKNESS_M = 64, 10e-9, 10e-9
SAMPLING = WAVELENGTH_M / (BOX * PIXEL_M)
METADATA = {
    "radiation": "electron",
    "energy_kev": 200.0,
    "semi_convergence_angle_mrad": ALPHA_RAD * 1e3,
    "angular_sampling_mrad": SAMPLING * 1e3,
    "defocus_nm": DEFOCUS_M * 1e9,
    "trajectory": {"units": "nm"},
}


@functools.cache
def thick_scene(n=18, step_px=2.0, dose=1e6, source_px=0.0, moved_px=0.0, rotation_deg=0):
    """Two lattices that do not match, 10 nm apart; a batch and the two phases."""
    probe = aberrated_probe((BOX, BOX), WAVELENGTH_M, (SAMPLING,) * 2, ALPHA_RAD, DEFOCUS_M)
    if source_px:
        probe = partially_coherent(probe, source_px)
    side = int((n - 1) * step_px) + BOX + 10
    phases = [atoms((side, side), 0.4, seed=1), atoms((side, side), 0.4, seed=7, spacing=11)]
    rng = np.random.default_rng(3)
    grid = np.stack(np.mgrid[:n, :n], -1).reshape(-1, 2) * step_px + BOX // 2 + 4
    positions = grid + rng.uniform(-0.4, 0.4, grid.shape)
    flight = fresnel((BOX, BOX), (PIXEL_M, PIXEL_M), WAVELENGTH_M, THICKNESS_M)
    slices = np.exp(1j * np.array(phases))
    frames = simulate_frames(slices, probe, positions, dose, seed=1, propagator=flight)
    told = positions + rng.normal(0, moved_px, positions.shape)
    batch = Batch(frames, np.arange(n * n), {"positions_m": told * PIXEL_M})
    return batch, phases, positions * PIXEL_M


def solved(batch, experiment=None, **settings):
    experiment = experiment or Experiment.from_metadata(METADATA)
    settings = {"preview": False, "iterations": 15} | settings
    return IterativePtychography(experiment, **settings).partial_fit(batch).converge()


def depths(result, phases, positions_m):
    """Correlation of each slice (rows) with each truth (columns) where the beam has been."""
    planes, pixel = result["object_phase"].value, result["object_pixel_m"].value
    origin = result["object_origin_m"].value
    low, high = (
        np.rint((edge - origin) / pixel).astype(int)
        for edge in (positions_m.min(axis=0), positions_m.max(axis=0))
    )
    window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    truths = [sampled(phase, origin, pixel, planes.shape[-2:])[window] for phase in phases]
    planes = planes if planes.ndim == 3 else planes[None]
    return np.array(
        [[np.corrcoef(p[window].ravel(), t.ravel())[0, 1] for t in truths] for p in planes]
    )


TWO = {"slices": 2, "slice_thickness_nm": THICKNESS_M * 1e9, "slice_regularisation": 0.6}


@pytest.mark.parametrize("likelihood", ["poisson", "amplitude"])
def test_two_depths_are_told_apart(likelihood):
    batch, phases, positions = thick_scene()
    thin = solved(batch, likelihood=likelihood)
    thick = solved(batch, likelihood=likelihood, **TWO)
    result = thick.result_
    ours, single = depths(result, phases, positions), depths(thin.result_, phases, positions)
    assert np.diag(ours).min() > 0.94
    assert np.diag(ours).min() > single.max() + 0.1
    assert abs(ours[0, 1]) < 0.2
    assert abs(ours[1, 0]) < 0.2
    assert thick.fourier_error_ < 0.6 * thin.fourier_error_
    assert result["object"].dims == result["object_phase"].dims == ("slice", "y", "x")
    assert result["object"].value.shape[0] == 2
    assert result["slice_thickness_m"].value == pytest.approx(10e-9)
    assert result["trust_reasons"].value == []
    assert thin.result_["object"].dims == ("y", "x")
    assert "slice_thickness_m" not in thin.result_


@pytest.mark.heavy
def test_regularisation_keeps_slices_from_sharing_what_has_no_depth():
    batch, phases, positions = thick_scene()
    free = solved(batch, **TWO | {"slice_regularisation": 0, "iterations": 25})
    held = solved(batch, **TWO | {"iterations": 25})
    assert (
        depths(held.result_, phases, positions)[0, 0]
        > depths(free.result_, phases, positions)[0, 0] + 0.03
    )


@pytest.mark.heavy
def test_several_modes_threads_and_previews():
    batch, phases, positions = thick_scene(source_px=1.5)
    models = [
        IterativePtychography(
            Experiment.from_metadata(METADATA), **TWO, probe_modes=3, iterations=n, workers=workers
        )
        for n, workers in ((12, 1), (2, 1), (2, 3))
    ]
    first = models[0]
    for rows in (slice(0, 100), slice(100, 324)):
        first.partial_fit(batch[rows])
    assert first.result_["object_phase"].value.ndim == 3
    assert "preview" in first.result_["trust_reasons"].value[0]
    result = first.converge().result_
    assert np.diag(depths(result, phases, positions)).min() > 0.87
    assert result["probe"].value.shape == (3, BOX, BOX)
    for model in models[1:]:
        model.preview = False
        model.partial_fit(batch).converge()
    np.testing.assert_array_equal(models[1].obj_, models[2].obj_)


@pytest.mark.heavy
def test_positions_are_refined_in_thick_objects_too():
    batch, _, positions = thick_scene(moved_px=0.4)
    still = solved(batch, **TWO, iterations=20)
    walked = solved(batch, **TWO, iterations=20, position_bound_px=2.0)
    assert walked.fourier_error_ < 0.85 * still.fourier_error_
    wrong = batch.coordinates["positions_m"] - positions
    left = walked.result_["positions_m"].value - positions
    assert np.std(left - left.mean(axis=0)) < 0.8 * np.std(wrong)


def test_halves_and_frames_held_out():
    batch, _, _ = thick_scene()
    model = solved(batch, **TWO, iterations=8, frc=True, held_out=0.1)
    assert np.mean(model.frc_[1:5]) > 0.7
    assert model.fourier_error_ < model.held_out_error_ < 2 * model.fourier_error_


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"slices": 21}, "slices must lie between 1 and 20"),
        ({"slices": 1.5}, "slices must be a whole number"),
        ({"slices": 2}, "slice_thickness_nm must lie above 0 where slices is more than 1"),
        ({"slices": 2, "slice_thickness_nm": -1}, "slice_thickness_nm must lie above 0"),
        ({"slice_regularisation": 0.5}, "slice_regularisation must be 0 where slices is 1"),
        ({**TWO, "slice_regularisation": 2}, "slice_regularisation must lie between 0 and 1"),
        ({**TWO, "method": "dm"}, "slices must be 1 for method 'dm'"),
        ({**TWO, "object_modes": 2}, "object_modes must be 1 where slices is more than 1"),
    ],
)
def test_bad_settings_are_named(settings, words):
    with pytest.raises(ValueError, match=words):
        IterativePtychography(Experiment(), **settings)


def test_what_slices_need_is_asked_for():
    batch, _, _ = thick_scene()
    with pytest.raises(ValueError, match=r"slice_thickness_nm must lie above 0 and up to 23"):
        solved(batch, **TWO | {"slice_thickness_nm": 60})
    unknown = {"radiation": "xray", "trajectory": {"units": "px"}}
    pixels = Batch(batch.frames, batch.scan_index, {"positions_px": np.zeros((len(batch), 2))})
    with pytest.raises(MissingMetadata, match="radiation and energy_kev"):
        solved(pixels, Experiment.from_metadata(unknown), **TWO)
