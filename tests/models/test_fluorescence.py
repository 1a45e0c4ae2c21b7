"""Elements in spectra: their areas against the truth, the scale, and what bad input gets."""

import numpy as np
import pytest

from flyback.models.base import Batch
from flyback.models.experiment import Experiment, MissingMetadata
from flyback.models.spectra.lines import ElementError, family
from flyback.models.spectra.response import Response
from flyback.models.spectra.xrf import Fluorescence
from flyback.models.trajectories import Raster
from flyback.tests.models import chunk_law

TRUE = Response(0.012, 0.01017, noise_kev=0.11, fano=0.12)
CHANNELS = 1500
AXIS = 0.0 + 0.01 * np.arange(CHANNELS)
BEAM = Experiment(energy_kev=18.0, radiation="xray")
ELEMENTS = ["Ca", "Fe", "Pt"]


def spectra(n=60, seed=0, dose=1.0, response=TRUE):
    """Ca, Fe, Pt L (and M), with argon and zinc that nobody asked for, on a smooth background."""
    rng = np.random.default_rng(seed)
    names = [("Ca", "K"), ("Fe", "K"), ("Pt", "L"), ("Pt", "M"), ("Ar", "K"), ("Zn", "K")]
    columns = np.stack([response.column(family(*f, 18.0), CHANNELS) for f in names], axis=1)
    truth = np.array([800, 300, 1500, 500, 400, 200]) * dose * (0.5 + rng.random((n, 6)))
    smooth = dose * 0.6 * np.exp(-np.arange(CHANNELS) / 600)
    return rng.poisson(truth @ columns.T + smooth).astype(np.uint16), truth


def fitted(frames, model=None, **settings):
    model = model or Fluorescence(BEAM, ELEMENTS, AXIS, also=["Zn"], **settings)
    model.partial_fit(Batch(frames, np.arange(len(frames)))).converge()
    return {name: quantity.value for name, quantity in model.result_.items()}


def test_areas_against_the_truth_with_sigmas_that_hold():
    frames, truth = spectra(400)
    found = fitted(frames)
    assert found["elements"] == ELEMENTS
    pulls = (found["area"] - truth[:, :3]) / found["area_sigma"]
    assert np.abs(pulls.mean(axis=0)).max() < 0.5  # the background's shape is estimated
    assert (pulls.std(axis=0) > 0.8).all()
    assert (pulls.std(axis=0) < 1.2).all()
    assert np.median(found["chi2"]) == pytest.approx(1, abs=0.1)
    assert "2.96" in " ".join(found["unexplained"])  # argon


def test_the_scale_is_refined_on_the_sum():
    found = fitted(spectra(400)[0])
    at = found["energy_offset_kev"][0] + found["energy_slope_kev"][0] * CHANNELS * 0.6
    true = TRUE.offset_kev + TRUE.slope_kev * CHANNELS * 0.6
    assert at == pytest.approx(true, abs=2e-3)
    assert found["fwhm_ev"][0] == pytest.approx(TRUE.fwhm_kev() * 1e3, rel=0.03)
    shift = TRUE.offset_kev + (TRUE.slope_kev - 0.01) * 362  # at the strongest line, Ca Ka
    assert found["energy_shift_ev"][0] == pytest.approx(shift * 1e3, abs=5)
    kept = fitted(spectra(50)[0], refine=False)
    assert kept["energy_slope_kev"][0] == pytest.approx(0.01)


@pytest.mark.parametrize("slope", [0.0055, 0.0145, 0.0262])
def test_the_scale_is_found_from_the_elements_alone(slope):
    true = Response(-0.02, slope, noise_kev=0.11)
    frames, _ = spectra(100, response=true)
    found = fitted(frames, Fluorescence(Experiment(), ["Ca", "Fe"], None))
    assert found["energy_slope_kev"][0] == pytest.approx(slope, rel=4e-3)


def test_detectors_of_different_scales_add_up():
    first, truth = spectra(80)
    other = Response(-0.03, 0.0099, noise_kev=0.13)
    second, more = spectra(80, seed=1, response=other)
    frames = np.stack([first, second], axis=1)
    found = fitted(frames)
    np.testing.assert_allclose(found["energy_slope_kev"], [TRUE.slope_kev, 0.0099], rtol=2e-3)
    pulls = (found["area"] - truth[:, :3] - more[:, :3]) / found["area_sigma"]
    assert np.abs(pulls.mean()) < 0.4
    assert found["mean"].shape == found["fitted"].shape == (2, CHANNELS)


def test_batches_do_not_matter():
    frames, _ = spectra(60)
    path = Raster(fov=(6, 10), step=1)
    experiment = Experiment.from_metadata(
        {"trajectory": path.to_dict(), "energy_kev": 18.0, "radiation": "xray"}
    )
    batch = Batch(frames, np.arange(60), {"positions_m": path.positions * 1e-9})
    whole = chunk_law.check(
        lambda: Fluorescence(experiment, ELEMENTS, AXIS), batch, final=True, relative=1e-6,
        singles=False,
    )  # fmt: skip
    assert whole["area_image"].shape == (3, 6, 10)
    np.testing.assert_array_equal(whole["area_image"][1].ravel(), whole["area"][:, 1])


def test_what_is_seen_so_far_is_near_the_answer():
    frames, truth = spectra(120)
    model = Fluorescence(BEAM, ELEMENTS, AXIS)
    for rows in np.array_split(np.arange(120), 6):
        model.partial_fit(Batch(frames[rows], rows))
    preview = model.result_
    assert preview["refined"].value is False
    ratio = preview["area"].value[:, 2].mean() / truth[:, 2].mean()
    assert ratio == pytest.approx(1, abs=0.05)


def test_platinum_that_dissolves():
    """10 % an hour over two hours is found, with a sigma that counts say."""
    rng = np.random.default_rng(5)
    n, hours = 200, np.linspace(0, 2, 200)
    lines = TRUE.column(family("Pt", "L", 18.0), CHANNELS)
    frames = rng.poisson(4000 * (1 - 0.1 * hours)[:, None] * lines + 0.2).astype(np.uint16)
    model = Fluorescence(BEAM, ["Pt"], AXIS, mass="Pt", mass_first=10, mass_ug_cm2=214.5)
    batch = Batch(frames, np.arange(n), {"time_s": 1.7e9 + hours * 3600})
    model.partial_fit(batch).converge()
    found = {name: quantity.value for name, quantity in model.result_.items()}
    assert found["mass_change_per_h"] == pytest.approx(
        -0.1, abs=4 * found["mass_change_per_h_sigma"] + 1e-3
    )
    assert found["mass_drift_sigmas"] < -5
    assert found["mass_ratio"][:10].mean() == pytest.approx(1)
    last = (found["mass_ratio"][-50:] - (1 - 0.1 * hours[-50:])) / found["mass_ratio_sigma"][-50:]
    assert 0.7 < last.std() < 1.3
    assert found["mass_ug_cm2"][0] == pytest.approx(214.5 * found["mass_ratio"][0])


def test_a_fading_beam_and_a_dead_detector_are_no_loss_of_mass():
    """Half the beam and a third of the live time go; a reading that is missing gives no ratio."""
    rng = np.random.default_rng(6)
    n = 120
    beam, live = np.linspace(200.0, 100.0, n), np.linspace(0.9, 0.6, n)
    lines = TRUE.column(family("Pt", "L", 18.0), CHANNELS)
    level = 6000 * (beam / beam[0]) * (live / live[0])
    frames = rng.poisson(level[:, None] * lines + 0.2).astype(np.uint16)
    beam[7] = np.nan
    model = Fluorescence(BEAM, ["Pt"], AXIS, mass="Pt", mass_first=5)
    times = {"time_s": 1.7e9 + 60.0 * np.arange(n), "monitor": beam, "live_time_s": live}
    found = model.partial_fit(Batch(frames, np.arange(n), times)).converge().result_
    assert np.isnan(found["mass_ratio"].value[7])
    known = np.arange(n) != 7
    off = found["mass_ratio"].value[known] - 1
    assert np.abs(off).max() < 0.08
    assert abs(found["mass_drift_sigmas"].value) < 4
    assert found["area"].value[-1, 0] < 0.5 * found["area"].value[0, 0]  # as counted
    np.testing.assert_allclose(
        found["exposure"].value[known], (level / level[0])[known], rtol=1e-12
    )


def test_an_element_that_is_not_there_is_never_negative():
    frames, _ = spectra(100)
    found = fitted(frames, Fluorescence(BEAM, ["Ca", "Fe", "Pt", "Mn", "V"], AXIS))
    assert (found["area"] >= 0).all()
    assert (found["area_sigma"] > 0).all()
    assert found["area"][:, 4].mean() < 3 * found["area_sigma"][:, 4].mean()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"elements": []}, "elements are needed"),
        ({"elements": ["Fe", "fe"]}, "once each"),
        ({"elements": ["Qq"]}, "no element"),
        ({"elements": ["Fe"], "slope_kev": -1.0}, "energy_slope_kev must lie between"),
        ({"elements": ["Fe"], "mass": "Pt", "slope_kev": 0.01}, "must be one of the elements Fe"),
        ({"elements": ["Fe"]}, "energy_slope_kev"),
    ],
)
def test_settings_that_make_no_sense(settings, says):
    with pytest.raises((ValueError, ElementError, MissingMetadata), match=says):
        Fluorescence(BEAM, settings.pop("elements"), None, **settings)


@pytest.mark.parametrize(
    ("frames", "axis", "says"),
    [
        (np.ones((2, 3, 4, 5)), AXIS, "spectra must be"),
        (np.ones((2, 100), np.uint16), AXIS, "the energy axis has 1500 channels"),
        (np.ones((2, CHANNELS), np.uint16), AXIS[::-1], "must ascend"),
        (np.ones((2, CHANNELS), np.uint16), AXIS / 10, "no lines between"),
        (np.ones((2, CHANNELS), complex), AXIS, "real numbers"),
    ],
)
def test_frames_that_are_no_spectra(frames, axis, says):
    with pytest.raises(ValueError, match=says):
        Fluorescence(BEAM, ["Fe"], axis).partial_fit(Batch(frames, np.arange(len(frames))))


def test_a_spectrum_that_fits_no_scale_is_refused():
    frames = np.random.default_rng(0).poisson(40, (20, 800)).astype(np.uint16)
    model = Fluorescence(Experiment(), ["Fe", "Cu"], None)
    model.partial_fit(Batch(frames, np.arange(20)))
    with pytest.raises(ValueError, match="none makes the spectrum that of Fe, Cu"):
        model.converge()


def test_broken_values_are_left_out_and_flagged():
    frames, _ = spectra(30)
    frames = frames.astype(np.float32)
    frames[3, 700] = np.nan
    found = fitted(frames)
    assert np.isnan(found["area"][3]).all()
    assert np.isfinite(np.delete(found["area"], 3, axis=0)).all()
    assert "1 of 30 spectra" in found["flags"][0]
    dark = fitted(np.zeros((5, CHANNELS), np.uint16))
    assert (dark["area"] == 0).all()
    assert "too few counts" in dark["flags"][0]


@pytest.mark.data
def test_a_uniform_film_scatters_as_photons_do(data_folder):
    """APS 2-ID-E, four detectors of different gains, no scale in the file."""
    with np.load(data_folder / "xrf/axo_standard.npz") as file:
        frames = np.moveaxis(file["spectra"], 0, 2).reshape(121, 4, 2000)
    model = Fluorescence(Experiment(), ["Ca", "Fe", "Cu"], None)
    found = fitted(frames, model)
    # its own MAPS file has 9.52 eV a channel, four detectors in one
    np.testing.assert_allclose(found["energy_slope_kev"], 0.00964, rtol=0.015)
    scatter = found["area"].std(axis=0, ddof=1) / np.sqrt((found["area_sigma"] ** 2).mean(axis=0))
    assert (scatter[1:] > 0.85).all()
    assert (scatter[1:] < 1.15).all()
    # calcium's rises as argon leaves the path, which raw sums of channels show as well
    assert 1.1 < scatter[0] < 1.7
    # argon, lanthanum of the film, the elastic peak
    for line in ("2.9", "4.6", "9.9"):
        assert any(text.startswith(line) for text in found["unexplained"])


@pytest.mark.data
def test_lines_of_srm_1832_within_5_ev(data_folder):
    from flyback.devices.recording import Recording

    with Recording(data_folder / "xrf/srm1832.mca") as recording:
        frames, axis = recording.frames[0:1], recording.axes["energy_kev_axis"]
    names = ["Ar", "Ca", "V", "Mn", "Co", "Cu"]
    model = Fluorescence(Experiment(), names, axis)
    found = fitted(frames, model)
    for detector in range(4):
        offset, slope = (found[f"energy_{key}_kev"][detector] for key in ("offset", "slope"))
        for name in names:
            line = family(name, "K")
            alpha = line.energy_kev < line.main_kev + 0.1
            weight = line.intensity[alpha] / line.intensity[alpha].sum()
            known = line.energy_kev[alpha] @ weight
            near = np.rint((known - offset) / slope).astype(int) + np.arange(-4, 5)
            a, b, _ = np.polyfit(near, np.log(frames[0, detector, near]), 2)
            assert -b / (2 * a) * slope + offset == pytest.approx(known, abs=5e-3), name
    assert (found["area"] / found["area_sigma"] > 100).all()
