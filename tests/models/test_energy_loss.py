"""Edges and compounds in energy-loss spectra: against the truth, and on a real spectrum."""

import numpy as np
import pytest

from flyback.models.base import Batch
from flyback.models.experiment import Experiment, MissingMetadata
from flyback.models.spectra.edges import COMPOUNDS, ElementError, compound, continuum, edge, peak
from flyback.models.spectra.eels import EnergyLoss
from flyback.models.spectra.loss_columns import Asked, build, windows
from flyback.models.trajectories import Multipass, Raster
from flyback.tests.models import chunk_law

AXIS_EV = np.arange(380.0, 720.0, 0.5)


def spectra(n=50, offset_ev=0.0, seed=0, dose=1.0):
    """Ti L with its four peaks and O K on a power law whose height varies."""
    rng = np.random.default_rng(seed)
    true = AXIS_EV + offset_ev
    asked = Asked([edge("Ti_L"), edge("O_K")])
    columns = build(asked, AXIS_EV, true**-3.0, offset_ev)
    amounts = np.zeros((n, columns.values.shape[1]))
    own = columns.sums.astype(bool)
    amounts[:, own[0]] = [4e4, 6e3, 8e3, 7e3, 9e3]
    amounts[:, own[1]] = [5e4, 3e3, 4e3]
    amounts *= dose * (0.5 + rng.random((n, 1)))
    amounts[:, columns.background] = 0
    # a power law of its own, not one of the columns
    level = dose * 4000 * (true / 450) ** -3.2 * (0.8 + 0.4 * rng.random((n, 1)))
    frames = rng.poisson(amounts @ columns.values.T + level)
    return frames.astype(np.uint16), amounts @ columns.sums.T


def fitted(frames, **settings):
    model = EnergyLoss(Experiment(), ["Ti_L", "O_K"], AXIS_EV * 1e-3, **settings)
    model.partial_fit(Batch(frames, np.arange(len(frames)))).converge()
    return {name: quantity.value for name, quantity in model.result_.items()}


def test_areas_against_the_truth_with_sigmas_that_hold():
    frames, truth = spectra(300)
    found = fitted(frames, offset_ev=0.0)
    assert found["edges"] == ["Ti L", "O K"]
    pulls = (found["area"] - truth) / found["area_sigma"]
    assert np.abs(np.median(pulls, axis=0)).max() < 1
    assert (pulls.std(axis=0) < 1.25).all()
    assert np.abs((found["area"].mean(axis=0) / truth.mean(axis=0)) - 1).max() < 0.03
    assert np.median(found["chi2"]) == pytest.approx(1, abs=0.1)
    assert (found["area"] >= 0).all()


@pytest.mark.parametrize("offset", [-5.5, 3.75])
def test_the_offset_is_found_and_peaks_lie_where_they_are(offset):
    frames, _ = spectra(60, offset)
    found = fitted(frames)
    assert found["energy_offset_ev"] == pytest.approx(offset, abs=0.5)
    for known in (458.0, 460.25):  # the others overlap
        at = found["peak_stated_ev"] + offset
        assert np.abs(at - known).min() < 0.6


def test_a_zero_loss_peak_is_the_scale():
    axis = np.arange(-20.0, 120.0, 0.25)
    shape = 5e4 * peak(axis, 1.3, 0.8) / 0.25 + 400 * np.clip((axis + 25) / 30, 0.1, None) ** -2
    shape += 30 * compound("LiF", axis) / compound("LiF", axis).max()
    frames = np.random.default_rng(0).poisson(np.repeat(shape[None], 30, axis=0)).astype("<u4")
    model = EnergyLoss(Experiment(), ["Li_K"], axis * 1e-3)
    model.partial_fit(Batch(frames, np.arange(30))).converge()
    assert model.result_["energy_offset_ev"].value == pytest.approx(-1.3, abs=0.15)


def test_carbonate_and_fluoride_are_told_apart():
    """The interphase: Li2CO3 becomes LiF along a line, platinum's edges under lithium's."""
    axis = np.arange(30.0, 780.0, 0.5)
    n, rng = 40, np.random.default_rng(3)
    share = np.linspace(0, 1, n)[:, None]
    parts = {name: compound(name, axis) for name in ("Li2CO3", "LiF")}
    # counts in 45 ... 780 eV
    parts = {name: shape / shape.sum() for name, shape in parts.items()}
    platinum = continuum("Pt_O", axis) + 0.5 * continuum("Pt_N", axis)
    level = 3e5 * (axis / 50) ** -2.6
    mean = 4e5 * (1 - share) * parts["Li2CO3"] + 4e5 * share * parts["LiF"]
    frames = rng.poisson(mean + 1e5 * platinum / platinum.sum() + level).astype("<u4")
    model = EnergyLoss(
        Experiment(), ["Pt_O", "Pt_N"], axis * 1e-3, references=["Li2CO3", "LiF"], offset_ev=0.0
    )
    model.partial_fit(Batch(frames, np.arange(n))).converge()
    area = model.result_["area"].value
    assert model.result_["edges"].value == ["Pt O", "Pt N", "Li2CO3", "LiF"]
    ratio = area[:, 3] / (area[:, 2] + area[:, 3])
    assert np.corrcoef(ratio, share[:, 0])[0, 1] > 0.995
    assert np.abs(ratio - share[:, 0]).max() < 0.12


def test_batches_do_not_matter():
    frames, _ = spectra(60)
    path = Raster(fov=(6, 10), step=1)
    experiment = Experiment.from_metadata({"trajectory": path.to_dict()})
    batch = Batch(frames, np.arange(60), {"positions_m": path.positions * 1e-9})
    whole = chunk_law.check(
        lambda: EnergyLoss(experiment, ["Ti_L"], AXIS_EV * 1e-3, dwell_s=0.01, offset_ev=0.0),
        batch, final=True, relative=1e-6, singles=False,
    )  # fmt: skip
    np.testing.assert_allclose(whole["rate_image"], whole["area_image"] / 0.01)


def test_a_beam_that_damages_shows_from_pass_to_pass():
    """Half the edge is lost with each pass; images and areas say so, at any dwell."""
    path = Multipass(fov=(9, 9), step=1, passes=3)
    experiment = Experiment.from_metadata({"trajectory": path.to_dict()})
    of_frame = experiment.passes
    rng = np.random.default_rng(0)
    dwell = 0.01 * (1 + (np.arange(path.n_points) % 2))
    signal = 20 * continuum("Ti L", AXIS_EV) / continuum("Ti L", AXIS_EV).max()
    rate = 0.5 ** of_frame[:, None] * signal + 300 * (AXIS_EV / 450) ** -3
    frames = rng.poisson(rate * dwell[:, None] * 1e3).astype("<u2")
    batch = Batch(
        frames,
        np.arange(path.n_points),
        {"positions_m": path.positions * 1e-9, "dwell_s": dwell},
    )
    model = EnergyLoss(experiment, ["Ti_L"], AXIS_EV * 1e-3, offset_ev=0.0)
    found = model.partial_fit(batch).converge().result_
    passes = found["pass_area"].value[:, 0]
    sigma = found["pass_area_sigma"].value[:, 0]
    np.testing.assert_allclose(passes[1:] / passes[0], [0.5, 0.25], atol=5 * sigma[0] / passes[0])
    assert found["pass_image"].value.shape[:2] == (3, 1)
    first = found["pass_image"].value[0, 0]
    assert np.nanstd(first) / np.nanmean(first) < 0.2  # not the dwell's factor of two


@pytest.mark.parametrize("name", ["Ti", "Ti_Q", "Xx_K", "", "Ti L O"])
def test_what_is_no_edge(name):
    with pytest.raises(ElementError):
        edge(name)


def test_edges_that_are_not_tabulated_come_from_xraydb():
    assert edge("Ba_M").onset_ev == pytest.approx(781, abs=3)
    with pytest.raises(ElementError, match="H has no edge L"):
        edge("H_L")


@pytest.mark.parametrize("name", ["Li K", "C K", "O K", "F K", "Ti L", "Pt O", "Pt N", "Ba M"])
def test_a_continuum_rises_at_its_onset_and_falls(name):
    onset = edge(name).onset_ev
    at = np.arange(max(onset - 20, 5), onset + 300, 0.5)
    shape = continuum(name, at, 1.0, 200.0, 20.0)
    assert (shape >= 0).all()
    assert shape[at < onset - 3].max() < 0.02 * shape.max()
    assert shape[-1] < 0.6 * shape.max()
    assert shape[np.searchsorted(at, onset + 6)] > 0.5 * shape.max()


def test_compounds_name_edges_that_are_known():
    for name, parts in COMPOUNDS.items():
        assert compound(name, np.arange(20.0, 800.0, 0.5)).max() > 0
        assert all(edge(part[0]).onset_ev > 0 for part in parts)


def test_windows_join_where_they_touch():
    axis = np.arange(40.0, 900.0, 0.5)
    assert len(windows([55.0, 284.0, 685.0], axis)) == 3
    assert len(windows([456.0, 532.0], axis)) == 1


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"edges": []}, "edges or references are needed"),
        ({"edges": ["Li_K"]}, "lies on the energy axis"),
        ({"edges": ["Ti_L", "Ti L"]}, "named once"),
        ({"edges": ["Ti_L"], "references": ["NaCl"]}, "no reference 'NaCl'"),
        ({"edges": ["Ti_L"], "resolution_ev": 0}, "must be positive"),
    ],
)
def test_settings_that_make_no_sense(settings, says):
    with pytest.raises(ValueError, match=says):
        EnergyLoss(Experiment(), settings.pop("edges"), AXIS_EV * 1e-3, **settings)


def test_an_axis_is_needed_and_must_fit():
    with pytest.raises(MissingMetadata, match="energy_step_ev"):
        EnergyLoss(Experiment(), ["Ti_L"], None)
    with pytest.raises(ValueError, match="must ascend"):
        EnergyLoss(Experiment(), ["Ti_L"], AXIS_EV[::-1] * 1e-3)
    model = EnergyLoss(Experiment(), ["Ti_L"], AXIS_EV * 1e-3)
    with pytest.raises(ValueError, match="680 channels, the spectra 100"):
        model.partial_fit(Batch(np.ones((2, 100), np.uint16), np.arange(2)))


def test_dark_and_broken_spectra():
    found = fitted(np.zeros((3, len(AXIS_EV)), np.uint16))
    assert (found["area"] == 0).all()
    assert "empty" in found["flags"][0]
    frames, _ = spectra(20)
    frames = frames.astype(np.float32)
    frames[4, 100] = np.inf
    found = fitted(frames)
    assert np.isnan(found["area"][4]).all()
    assert np.isfinite(np.delete(found["area"], 4, axis=0)).all()


@pytest.mark.data
def test_titanium_in_strontium_titanate(data_folder):
    pytest.importorskip("rsciio", reason="the extra 'formats' is not installed")
    from flyback.devices.recording import Recording

    with Recording(data_folder / "eels/EELS_STO.dm3") as recording:
        frames, axis = recording.frames[0:1], recording.axes["energy_kev_axis"]
    model = EnergyLoss(Experiment(), ["Ti_L", "O_K"], axis)
    found = model.partial_fit(Batch(frames, np.arange(1))).converge().result_
    assert found["energy_offset_ev"].value == pytest.approx(4.0, abs=0.5)
    for known in (454.0, 456.25, 459.5, 461.25):
        assert np.abs(found["peak_stated_ev"].value - known).min() <= 0.25
