"""flyback convert: a cell log in the Battery Data Format, or one sentence."""

import json
import zipfile

import numpy as np
import pytest

from flyback.devices.cell_log import read_cell_log
from flyback.profiles.archive import Archive


def test_a_log_is_written_anew(flyback, tmp_path):
    source = tmp_path / "cell.mpt"
    source.write_text(
        "EC-Lab ASCII FILE\nNb header lines : 3\ntime/s\tEwe/V\t<I>/mA\n0\t3.5\t-2\n1,5\t3.4\t-2\n"
    )
    target = tmp_path / "cell.bdf.csv"
    code, out, err = flyback("convert", source, "--to", target)
    assert code == 0, err
    assert "2 samples" in out
    log = read_cell_log(target)
    np.testing.assert_array_equal(log.time_s, [0, 1.5])
    np.testing.assert_array_equal(log.current_a, [-0.002, -0.002])


@pytest.mark.parametrize(
    ("name", "to", "says"),
    [("x.h5", "y.bdf.csv", "is no cell log"), ("x.csv", "y.bdf.csv", "cannot be opened")],
)
def test_what_is_no_log_is_refused_in_one_sentence(flyback, tmp_path, name, to, says):
    code, out, err = flyback("convert", tmp_path / name, "--to", tmp_path / to)
    assert code == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert says in err


def series(folder, times):
    """Patterns in a folder, a scan log beside it, and a cell's log from 100 to 200 s."""
    (folder / "xrd").mkdir(parents=True)
    rows = ["scan_number,cell_name,start_time,end_time"]
    for number, time in enumerate(times, start=101):
        axis = np.linspace(2, 30, 60)
        np.savetxt(folder / "xrd" / f"{number}_sum.xye", np.stack([axis, axis, axis], axis=1))
        stamp = "1970-01-12 13:{:02d}:{:02d}"
        begin, end = time - 5, time + 5
        rows.append(
            f"{number},c,{stamp.format(*divmod(begin, 60))},{stamp.format(*divmod(end, 60))}"
        )
    (folder / "scans.csv").write_text("\n".join(rows))
    began = 11 * 86400 + 13 * 3600
    lines = ["Test Time / s,Voltage / V,Current / A,Unix Time / s"]
    lines += [f"{t},{3 + t / 1000},0.001,{began + 100 + t}" for t in range(0, 101, 10)]
    (folder / "cell.bdf.csv").write_text("\n".join(lines))
    return folder


def test_patterns_are_joined_with_a_cell_by_time(flyback, tmp_path):
    folder = series(tmp_path / "run", [50, 105, 155, 300])
    save = tmp_path / "out.npz"
    code, _, err = flyback(
        "play", folder / "xrd", "--cell", folder / "cell.bdf.csv", "--rate", "max", "--save", save
    )
    assert code == 0, err
    assert "2 of 4 frames have no sample of the cell" in err
    with np.load(save, allow_pickle=False) as saved:
        assert "virtual_images.sum" in saved.files
        np.testing.assert_array_equal(saved["cell.has_sample"], [False, True, True, False])
        np.testing.assert_allclose(saved["cell.voltage_v"], [np.nan, 3.005, 3.055, np.nan])
        np.testing.assert_allclose(saved["cell.current_ma"][1:3], 1.0)


@pytest.fixture
def played(flyback, tmp_path):
    """A played series with its cell's log from inside an archive, and what came of it."""
    folder = series(tmp_path / "run", [50, 105, 155, 300])
    with zipfile.ZipFile(tmp_path / "cell.zip", "w") as archive:
        archive.write(folder / "cell.bdf.csv", "log/cell.bdf.csv")
    save = tmp_path / "live.npz"
    code, out, err = flyback(
        "play", folder / "xrd", "--cell", tmp_path / "cell.zip/log/cell.bdf.csv",
        "--analysis", "virtual_images", "--rate", "max", "--save", save, "--json",
    )  # fmt: skip
    assert code == 0, err
    return json.loads(out.splitlines()[-1])["runs"][0]["uid"]


def test_the_cell_s_samples_are_stored_with_the_run(played, tmp_path):
    with Archive(tmp_path / "store") as archive:
        run = archive.find(played)
        cell = run["cell"].read()
        taken = np.asarray(run["primary"]["camera_time"].read())
    np.testing.assert_allclose(cell["cell_voltage_v"], 3 + np.arange(0, 101, 10) / 1000)
    np.testing.assert_allclose(cell["cell_capacity_mah"], np.arange(0, 101, 10) / 3600)
    began = 11 * 86400 + 13 * 3600
    np.testing.assert_allclose(np.asarray(cell["cell_utc_s"]) - began, np.arange(100, 201, 10))
    np.testing.assert_allclose(taken - began, [50, 105, 155, 300])


def test_what_lies_in_no_archive_is_said(flyback, tmp_path):
    with zipfile.ZipFile(tmp_path / "cell.zip", "w") as archive:
        archive.writestr("x.txt", "x")
    code, _, err = flyback("convert", tmp_path / "cell.zip/log.mpt", "--to", tmp_path / "x.bdf.csv")
    assert code == 2
    assert "cell.zip holds no file log.mpt" in err


def test_frames_without_times_cannot_be_joined(flyback, tmp_path):
    folder = series(tmp_path / "run", [50, 105])
    (folder / "scans.csv").unlink()
    code, out, err = flyback("play", folder / "xrd", "--cell", folder / "cell.bdf.csv")
    assert code == 2
    assert out == ""
    assert "nothing says when the frames of xrd were taken" in err


@pytest.mark.data
@pytest.mark.heavy
def test_the_coin_cell_of_the_reference_data(flyback, data_folder, tmp_path):
    pytest.importorskip("NewareNDA", reason="the extra 'cells' is not installed")
    archive = data_folder / "operando/coincell8/coincell8_LDE2_reduced.zip"
    with zipfile.ZipFile(archive) as file:
        file.extract("coincell8_LDE2/Echem/cc8.ndax", tmp_path)
    save = tmp_path / "out.npz"
    code, _, err = flyback(
        "play", archive, "--cell", tmp_path / "coincell8_LDE2/Echem/cc8.ndax", "--rate", "max",
        "--analysis", "phases", "--save", save,
    )  # fmt: skip
    assert code == 0, err
    with np.load(save, allow_pickle=False) as saved:
        np.testing.assert_array_equal(saved["cell.has_sample"], [False, True, True, True, True])
        np.testing.assert_allclose(
            saved["cell.voltage_v"], [np.nan, 3.0977, 3.0977, 3.0974, 3.5801], atol=2e-4
        )
        live = {name: saved[name] for name in saved.files if name.startswith("phases.")}
    # the run has the cell's samples: the phases lie beside them, live and in replay
    np.testing.assert_allclose(
        live["phases.voltage_v"][1:], [3.0977, 3.0977, 3.0974, 3.5801], atol=2e-4
    )
    again = tmp_path / "again.npz"
    code, _, err = flyback("replay", "last", "phases", "--save", again)
    assert code == 0, err
    with np.load(again, allow_pickle=False) as saved:
        for name in ("time_s", "voltage_v", "current_ma", "capacity_mah"):
            np.testing.assert_array_equal(saved[f"phases.{name}"], live[f"phases.{name}"])
