"""Spectra all the way: from a simulated or recorded detector to areas, live and replayed."""

import numpy as np
import pytest

import flyback as fb
from flyback.devices.sim.spectra import Interphase
from flyback.profiles.schema import parse_profile
from flyback.tests.small_microscope import MICROSCOPE

LOSSES = {
    "devices": {
        **{name: MICROSCOPE["devices"][name] for name in ("column", "specimen", "beam", "blanker")},
        "scan_coils": MICROSCOPE["devices"]["scan_coils"],
        "eels": {"plugin": "sim_energy_loss_spectrometer", "beam": "@beam", "offset_ev": 2.0},
    },
    "analyses": {
        "energy_loss": {"edges": "Pt_O,Pt_N", "references": "Li2CO3,LiF"},
    },
}


@pytest.mark.heavy
def test_a_map_of_the_interphase_live_and_replayed(tmp_path):
    profile = parse_profile("losses", LOSSES)
    with fb.open(profile, tmp_path, progress=False) as session:
        (uid,) = session.RE(
            session.plans.raster(
                [session.eels], session.scan_coils, fov_nm=4, step_nm=0.25, dwell_ms=20
            )
        )
        (live,) = session.join(120)
        assert live.error is None
        again = fb.replay(uid, "energy_loss", session=session)
        found = {name: quantity.value for name, quantity in live.final.items()}
        for name, quantity in again.callback.final.items():
            np.testing.assert_array_equal(quantity.value, found[name], err_msg=name)
    assert found["energy_offset_ev"] == pytest.approx(2.0, abs=0.5)
    assert found["edges"] == ["Pt O", "Pt N", "Li2CO3", "LiF"]
    area = found["area"]
    ratio = area[:, 3] / (area[:, 2] + area[:, 3])
    iy, ix = np.divmod(np.arange(256), 16)
    at = np.stack([iy, ix], axis=1) * 0.25
    best = max(
        np.corrcoef(ratio, Interphase().fluoride(at - shift))[0, 1]
        for shift in (0.0, 2.0, 1.875, 1.75)
    )
    assert best > 0.95
    assert found["rate_image"].shape == (4, 16, 16)


@pytest.mark.data
@pytest.mark.heavy
def test_real_fluorescence_by_the_command_line(flyback, data_folder, tmp_path):
    save = tmp_path / "out.npz"
    code, _, err = flyback(
        "play", data_folder / "xrf/axo_standard.npz", "--analysis", "fluorescence", "--set",
        "fluorescence.elements=Ca,Fe,Cu", "--rate", "max", "--save", save,
    )  # fmt: skip
    assert code == 0, err
    with np.load(save, allow_pickle=False) as saved:
        assert saved["fluorescence.area"].shape == (121, 3)
        assert saved["fluorescence.area_sigma"].shape == (121, 3)
        assert saved["fluorescence.elements"].tolist() == ["Ca", "Fe", "Cu"]
        assert saved["fluorescence.area_image"].shape == (3, 11, 11)


@pytest.mark.data
@pytest.mark.heavy
def test_real_energy_losses_by_the_command_line(flyback, data_folder, tmp_path):
    pytest.importorskip("rsciio", reason="the extra 'formats' is not installed")
    save = tmp_path / "out.npz"
    code, _, err = flyback(
        "play", data_folder / "eels/EELS_STO.dm3", "--analysis", "energy_loss", "--set",
        "energy_loss.edges=Ti_L,O_K", "--rate", "max", "--save", save,
    )  # fmt: skip
    assert code == 0, err
    with np.load(save, allow_pickle=False) as saved:
        for known in (454.0, 456.25, 459.5, 461.25):
            assert np.abs(saved["energy_loss.peak_stated_ev"] - known).min() <= 0.25


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ((), "elements are needed"),
        (("--set", "fluorescence.elements=Zz"), "no element"),
        (("--set", "fluorescence.elements=Fe"), "energy_slope_kev"),
        (
            ("--set", "fluorescence.elements=Li,Fe", "--set", "fluorescence.energy_slope_kev=0.01"),
            "Li has no lines",
        ),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(flyback, tmp_path, settings, says):
    path = tmp_path / "spectra.npz"
    np.savez(path, spectra=np.ones((4, 900), np.uint16))
    code, out, err = flyback("play", path, "--analysis", "fluorescence", *settings)
    assert code == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert says in err
