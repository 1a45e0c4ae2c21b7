"""Several files, globs and members of archives as one series, as a newcomer types them."""

import json
import zipfile

import fabio
import h5py
import numpy as np
import pytest
from PIL import Image

from flyback.devices.recording import Recording, RecordingError
from flyback.profiles.play_files import expand
from flyback.profiles.registry import SettingError

XY = "# 2th_deg I\n" + "".join(f"{10 + k * 0.1:.2f} {{}}\n" for k in range(40))


def images(folder, numbers, suffix=".tif"):
    folder.mkdir(exist_ok=True)
    for k in numbers:
        Image.fromarray(np.full((8, 9), k, "<u2")).save(folder / f"scan_{k}{suffix}")
    return folder


def first_pixels(paths):
    with Recording(paths) as recording:
        return recording.frames[0 : len(recording)][:, 0, 0].tolist()


def refusal(path):
    with pytest.raises(RecordingError) as caught:
        Recording(path)
    return str(caught.value)


def test_a_glob_is_expanded_in_natural_order(tmp_path):
    folder = images(tmp_path / "data", [10, 2, 1])
    (folder / "readme.md").write_text("x")
    assert first_pixels(expand(f"{folder}/*.tif")) == [1, 2, 10]
    assert first_pixels(expand([folder / "scan_10.tif", folder / "scan_1.tif"])) == [1, 10]
    twice = expand([f"{folder}/scan_1*.tif", f"{folder}/*_1.tif"])
    assert [path.name for path in twice] == ["scan_1.tif", "scan_10.tif"]
    assert len(expand(f"{tmp_path}/**/*.tif")) == 3
    assert len(expand(f"{folder}/scan_[12].tif")) == 2


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path):
    folder = images(tmp_path / "data", [1])
    (folder / "scan_1.tif").rename(folder / "run[1].tif")
    assert expand(f"{folder}/run[1].tif") == [folder / "run[1].tif"]


def test_nothing_fits(tmp_path):
    with pytest.raises(SettingError, match="no file fits"):
        expand(f"{tmp_path}/*.cbf")
    with pytest.raises(SettingError, match="at least one file"):
        expand([])


def test_members_of_an_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for k in (11, 9):
            archive.writestr(f"inner/p_{k}.xy", XY.replace("{}", str(k)))
        archive.writestr("__MACOSX/inner/._p_9.xy", b"junk")
        archive.writestr("notes.txt", "none")
    found = expand(f"{tmp_path}/a.zip/*.xy")
    with Recording(found) as recording:
        assert recording.frames[0:2][:, 0].tolist() == [9, 11]
    assert recording.name == "p_9.xy to p_11.xy"


def test_stacks_in_several_files_are_one_series(tmp_path):
    frames = np.arange(7 * 8 * 9, dtype="<u2").reshape(7, 8, 9)
    for k, part in enumerate((frames[:3], frames[3:])):
        with h5py.File(tmp_path / f"run_{k}.h5", "w") as file:
            file["entry/data/data"] = part
            file["time_s"] = np.arange(len(part)) + 3.0 * k
            file["energy_kev"] = 18.0
    with Recording(expand(f"{tmp_path}/run_*.h5")) as recording:
        np.testing.assert_array_equal(recording.frames[0:7], frames)
        np.testing.assert_array_equal(recording.frames[2:5], frames[2:5])
        assert recording.time_s.tolist() == [0, 1, 2, 3, 4, 5, 6]
        assert recording.metadata()["energy_kev"] == 18.0
    with h5py.File(tmp_path / "run_1.h5", "r+") as file:
        file["time_s"][...] = np.arange(4)
    with Recording(expand(f"{tmp_path}/run_*.h5")) as recording:
        assert recording.time_s is None
        assert any("begins anew" in note for note in recording.notes)
    assert "all as one series" in refusal(tmp_path)
    with h5py.File(tmp_path / "run_9.h5", "w") as file:
        file["entry/data/data"] = frames[:, :7]
    with pytest.raises(RecordingError, match="one shape"):
        Recording(expand(f"{tmp_path}/run_*.h5"))


def test_a_master_stands_for_what_it_links_to(tmp_path):
    frames = np.arange(5 * 8 * 9, dtype="<u4").reshape(5, 8, 9)
    with h5py.File(tmp_path / "x_data_000001.h5", "w") as file:
        file["entry/data/data"] = frames
    with h5py.File(tmp_path / "x_master.h5", "w") as file:
        link = h5py.ExternalLink("x_data_000001.h5", "/entry/data/data")
        file["entry/data/data_000001"] = link
    with Recording(expand(f"{tmp_path}/x_*.h5")) as recording:
        np.testing.assert_array_equal(recording.frames[0:9], frames)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["data/*"], "the 3 files are of 2 kinds, .tif (scan_1.tif), .xy (p.xy)"),
        (["data/*.tif", "data/p.xy"], "of 2 kinds"),
        (["data", "data/p.xy"], "data is a folder or an archive"),
        (["data/*.cbf"], "no file fits"),
        (["data/gone.tif", "data/scan_1.tif"], "there is no file"),
        (["data/scan_1.tif", "cell.mpt"], "cell log"),
    ],
)
def test_what_is_no_series_is_refused_in_one_sentence(
    flyback, tmp_path, monkeypatch, arguments, sentence
):
    monkeypatch.chdir(tmp_path)
    (images(tmp_path / "data", [1, 2]) / "p.xy").write_text(XY.replace("{}", "3"))
    (tmp_path / "cell.mpt").write_text("EC-Lab ASCII FILE\n")
    code, out, err = flyback("play", *arguments)
    assert (code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1
    assert sentence in err


@pytest.mark.heavy
def test_several_images_are_played_as_one_run(flyback, tmp_path):
    folder = images(tmp_path / "data", [10, 2, 1])
    code, out, err = flyback("play", f"{folder}/*.tif", "--rate", "max", "--json")
    assert code == 0, err
    report = json.loads(out.splitlines()[-1])
    assert [run["frames"] for run in report["runs"]] == [3]
    assert any("scan_1.tif to scan_10.tif" in text for text in report["warnings"])


@pytest.mark.data
@pytest.mark.heavy
def test_real_images_patterns_and_a_cell(flyback, data_folder, tmp_path):
    save = tmp_path / "out.npz"
    archive = data_folder / "operando/coincell8/coincell8_LDE2_reduced.zip"
    pytest.importorskip("NewareNDA", reason="the extra 'cells' is not installed")
    code, _, err = flyback(
        "play", f"{archive}/*.xye", "--cell", archive / "cc8.ndax", "--rate", "max", "--save", save,
    )  # fmt: skip
    assert code == 0, err
    with np.load(save) as saved:
        shown = saved["cell.voltage_v"]
    assert np.isnan(shown[0])
    np.testing.assert_allclose(shown[1:], [3.0977, 3.0977, 3.0974, 3.5801], atol=2e-4)
    code, _, err = flyback(
        "play", data_folder / "xrd2d/fe3o4_map/*.tif", "--rate", "max", "--save", save
    )
    assert code == 0, err
    with np.load(save) as saved:
        several = saved["virtual_images.sum"]
    names = sorted((data_folder / "xrd2d/fe3o4_map").glob("*.tif"))
    code, _, err = flyback("play", names[1], "--rate", "max", "--save", save)
    assert code == 0, err
    with np.load(save) as saved:
        np.testing.assert_array_equal(saved["virtual_images.sum"], several[1:2])


def dated_images(tmp_path, *, minute):
    """Write three images, a minute apart from 14 o'clock and some minutes on."""
    folder = tmp_path / "data"
    folder.mkdir()
    for k in range(3):
        began = f"2025-07-10T14:{minute + k:02d}:00"
        header = {
            "_array_data.header_convention": "PILATUS_1.2",
            "_array_data.header_contents": f"# {began}\r\n# Exposure_time 20 s",
        }
        image = fabio.cbfimage.CbfImage(data=np.full((8, 9), k, "<i4"), header=header)
        image.write(str(folder / f"a_{k}.cbf"))
    return folder


@pytest.mark.heavy
def test_dated_images_meet_a_cell_whose_clock_is_in_another_zone(flyback, tmp_path):
    """Images are dated in Berlin, the cycler's clock stands in New York; both say nothing of it."""
    folder = dated_images(tmp_path, minute=0)
    head = "EC-Lab ASCII FILE\nNb header lines : 4\nAcquisition started on : 07/10/2025 08:00:00\n"
    rows = "".join(f"{t}\t{3 + t / 1000}\t1.0\n" for t in range(0, 200, 5))
    (tmp_path / "cell.mpt").write_text(f"{head}time/s\tEwe/V\t<I>/mA\n{rows}")
    save = tmp_path / "out.npz"
    arguments = ("play", folder / "*.cbf", "--cell", tmp_path / "cell.mpt", "--save", save)
    code, _, err = flyback(
        *arguments, "--set", "cell.time_zone=America/New_York", "--set",
        "frames.time_zone=Europe/Berlin", "--json",
    )  # fmt: skip
    assert code == 0, err
    with np.load(save) as saved:
        np.testing.assert_allclose(saved["cell.voltage_v"], [3.010, 3.070, 3.130], atol=1e-6)
    code, out, err = flyback("show", "last", "--json")
    assert code == 0, err
    start = json.loads(out)["start"]
    assert (start["cell_clock"], start["frames_clock"]) == ("America/New_York", "Europe/Berlin")
    assert len(start["recorded_files"]) == 3
    code, _, err = flyback(*arguments, "--set", "cell.time_zone=Nowhere")
    assert code == 2
    assert "cell.time_zone takes a name such as Europe/Berlin" in err


@pytest.mark.heavy
def test_a_cyclers_clock_is_set_by_pulses_that_the_beamline_saw(flyback, tmp_path):
    """The cycler's clock is 40 s slow; the voltage climbs by 1 mV a second."""
    folder = dated_images(tmp_path, minute=4)
    began = 1752156000.0  # 2025-07-10 14:00:00 UTC
    pulses = [(20.0, 30.0), (71.0, 20.0), (113.0, 35.0), (190.0, 15.0)]

    def current(t):
        return np.sum([(t > a) & (t <= a + n) for a, n in pulses], axis=0) * 0.2

    true = np.arange(0.5, 500.0)
    lines = ["Test Time / s,Voltage / V,Current / A,Unix Time / s"]
    lines += [
        f"{t},{3 + t / 1000},{i / 1000},{began - 40 + t}"
        for t, i in zip(true.tolist(), current(true).tolist(), strict=True)
    ]
    log, witness = tmp_path / "cell.bdf.csv", tmp_path / "witness.csv"
    log.write_text("\n".join(lines))
    seen = np.arange(0, 230, 0.25)
    witness.write_text(
        "time,shunt\n"
        + "\n".join(
            f"{began + t},{i}" for t, i in zip(seen.tolist(), current(seen).tolist(), strict=True)
        )
    )
    save = tmp_path / "out.npz"
    arguments = ("play", folder / "*.cbf", "--cell", log, "--save", save, "--rate", "max")
    code, _, err = flyback(*arguments, "--set", f"cell.witness={witness}")
    assert code == 0, err
    assert "s behind the frames' (within" in err
    with np.load(save) as saved:
        np.testing.assert_allclose(saved["cell.voltage_v"], [3.250, 3.310, 3.370], atol=1e-3)
    code, out, err = flyback("show", "last", "--json")
    fitted = json.loads(out)["start"]["cell_clock_fit"]
    assert fitted["offset_s"] == pytest.approx(40.0, abs=fitted["offset_bound_s"] + 1e-3)
    code, _, err = flyback(*arguments, "--set", "cell.witness=gone.csv")
    assert code == 2
    assert "gone.csv cannot be opened" in err
