"""`flyback play SERIES --analysis phases`: the outside interface."""

import numpy as np
import pytest

from flyback.tests.models.powder_scene import Q, Scene, read, write_cif

pytest.importorskip("gemmi")


@pytest.fixture
def series(tmp_path):
    scene = Scene(read(tmp_path, "Pt", "LiPt"))
    part = np.linspace(0.0, 0.6, 8)
    rng = np.random.default_rng(9)
    patterns = [rng.poisson(scene.mean([1 - x, x])) for x in part]
    path = tmp_path / "series.npz"
    np.savez(path, patterns=np.array(patterns, "f4"), q_per_a=Q, wavelength_A=0.6888)
    return path, part


def test_volumes_cells_and_the_verdict_are_saved(flyback, series, tmp_path):
    path, part = series
    out = tmp_path / "out.npz"
    cif = f"phases.cif={tmp_path / 'Pt.cif'},{tmp_path / 'LiPt.cif'}"
    code, _, err = flyback("play", path, "--analysis", "phases", "--set", cif, "--save", out)
    assert code == 0, err
    saved = np.load(out)
    assert saved["phases.names"].tolist() == ["Pt", "LiPt"]
    assert np.abs(saved["phases.volume"][:, 1] - part).max() < 0.03
    assert saved["phases.volume_sigma"].shape == (8, 2)
    assert saved["phases.lattice_angstrom"].shape == (8, 2, 6)
    assert saved["phases.lattice_angstrom_sigma"].shape == (8, 2, 6)
    assert saved["phases.residual"].shape == (8, len(Q))
    assert saved["phases.peak_tracks"].shape[0] == 8
    assert str(saved["phases.verdict"]) == "two_phase"
    assert saved["phases.onset_index"].tolist() == [0, 1]


@pytest.mark.heavy
def test_lines_alone_need_no_crystal_and_structures_go_by_name(flyback, series, tmp_path):
    path, _ = series
    out = tmp_path / "lines.npz"
    code, _, err = flyback("play", path, "--analysis", "phases", "--save", out)
    assert code == 0, err
    saved = np.load(out)
    assert "phases.volume" not in saved
    assert str(saved["phases.verdict"]) == "undecided"
    assert np.nanmin(np.abs(saved["phases.peak_tracks"] - 2.774)) < 0.002
    code, _, err = flyback(
        "play", path, "--analysis", "phases", "--set", "phases.cif=Pt,LiPt", "--save", out
    )
    assert code == 0, err
    assert np.load(out)["phases.names"].tolist() == ["Pt", "LiPt"]


def test_bad_input_gets_one_sentence(flyback, series, tmp_path):
    path, _ = series
    empty = tmp_path / "empty.cif"
    empty.write_text("data_x\n_cell_length_a 4\n")
    first = write_cif(tmp_path, "Pt")
    for setting, said in (
        (f"phases.cif={empty}", "holds no atom sites"),
        (f"phases.cif={tmp_path / 'none.cif'}", "no CIF at"),
        (f"phases.cif={first},{first}", "two CIFs are called 'Pt'"),
        ("phases.false_alarm_rate=2", "false_alarm_rate must lie between"),
        ("phases.verdict_every=-1", "verdict_every must be at least 1"),
        ("phases.fit=colour", "fit may hold"),
        ("phases.poni=nowhere.poni", "no file at poni"),
    ):
        code, _, err = flyback("play", path, "--analysis", "phases", "--set", setting)
        assert code != 0
        assert said in err
        assert "Traceback" not in err


@pytest.mark.data
@pytest.mark.heavy
def test_images_are_integrated_first(flyback, data_folder, tmp_path):
    """CeO2 on a Pilatus: a = 5.41165 angstrom."""
    folder, out = data_folder / "xrd2d" / "ceo2_pilatus1m", tmp_path / "ceo2.npz"
    code, _, err = flyback(
        "play", folder / "CeO2_Pilatus1M.tif", "--analysis", "phases",
        "--set", f"phases.poni={folder / 'CeO2_Pilatus1M.poni'}", "--set", "phases.flip=vertical",
        "--set", f"phases.cif={data_folder / 'structures' / 'literature' / 'CeO2.cif'}",
        "--save", out,
    )  # fmt: skip
    assert code == 0, err
    assert np.load(out)["phases.lattice_angstrom"][0, 0, 0] == pytest.approx(5.41165, abs=3e-4)
