"""Recordings: what is understood, what is said about it, and what is refused."""

import os
import zipfile

import h5py
import numpy as np
import pytest

import flyback.devices.recording_store as store
from flyback.devices.recording import Recording, RecordingError
from flyback.tests.microscope import need_data

FRAMES = np.arange(6 * 8 * 8, dtype="<u2").reshape(6, 8, 8)


def npz(folder, **arrays):
    path = folder / "scan.npz"
    np.savez(path, **arrays)
    return path


def h5(folder, attributes=None, **arrays):
    path = folder / "scan.h5"
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
        file.attrs.update(attributes or {})
    return path


@pytest.mark.parametrize("make", [npz, h5])
def test_our_own_names(tmp_path, make):
    positions = np.arange(12.0).reshape(6, 2) * 1e-10
    path = make(
        tmp_path,
        frames=FRAMES,
        positions_m=positions,
        radiation="electron",
        energy_kev=80.0,
        angular_sampling_mrad=[0.5, 0.6],
        semi_convergence_angle_mrad=20.0,
        defocus_nm=-3.0,
        probe=np.ones((8, 8), np.complex64),
        dark=np.ones((8, 8)),
        bad_pixels=np.eye(8),
        time_s=np.arange(6) * 2e-3,
    )
    with Recording(path) as recording:
        assert len(recording) == 6
        assert np.array_equal(recording.frames[1:4], FRAMES[1:4])
        np.testing.assert_allclose(recording.positions, positions * 1e9)
        assert recording.units == "nm"
        assert recording.metadata() == {
            "radiation": "electron",
            "energy_kev": 80.0,
            "angular_sampling_mrad": [0.5, 0.6],
            "semi_convergence_angle_mrad": 20.0,
            "defocus_nm": -3.0,
            "recording": path.name,
        }
        assert recording.probe.shape == (1, 8, 8)
        assert set(recording.corrections) == {"dark", "bad_pixels"}
        assert recording.corrections["bad_pixels"].dtype == bool
        assert recording.dwell_ms == pytest.approx(2.0)
        assert recording.missing == []
        assert recording.notes == []
        assert recording.trajectory().type == "points"


@pytest.mark.parametrize(
    ("names", "expected", "note"),
    [
        ({"energy_eV": 200e3}, {"energy_kev": 200.0}, "taken from 'energy_eV'"),
        ({"energy": 200e3}, {"energy_kev": 200.0}, "was taken to be in eV"),
        ({"energy": 9.7}, {"energy_kev": 9.7}, "was taken to be in keV"),
        ({"semiangle_cutoff": 21.0}, {"semi_convergence_angle_mrad": 21.0}, "semiangle_cutoff"),
        ({"C10_A": -50.0}, {"defocus_nm": 5.0}, "taken from 'C10_A'"),
        ({"defocus_A": 50.0}, {"defocus_nm": 5.0}, "taken from 'defocus_A'"),
        ({"wavelength_A": 0.0250793}, {"energy_kev": 200.0}, "taken from 'wavelength_A'"),
        ({"psize": 75e-6, "distance": 2.0}, {"detector_pixel_m": 75e-6}, "'psize'"),
        ({"angular_sampling_rad": 1e-3}, {"angular_sampling_mrad": 1.0}, "angular_sampling_rad"),
    ],
)
def test_spellings_of_others(tmp_path, names, expected, note):
    with Recording(npz(tmp_path, data=FRAMES, step_A=2.0, **names)) as recording:
        for name, value in expected.items():
            assert recording.metadata()[name] == pytest.approx(value, rel=1e-4)
        assert any(note in text for text in recording.notes)
        assert "frames: taken from 'data'" in recording.notes


def test_a_cxi_file(tmp_path):
    path = h5(
        tmp_path,
        **{
            "entry_1/data_1/data": FRAMES,
            "entry_1/data_1/translation": np.arange(18.0).reshape(6, 3) * 1e-6,
            "entry_1/instrument_1/source_1/energy": 1000 * 1.602176634e-19,
            "entry_1/instrument_1/detector_1/distance": 0.5,
            "entry_1/instrument_1/detector_1/x_pixel_size": 30e-6,
        },
    )
    with Recording(path) as recording:
        assert recording.metadata()["radiation"] == "xray"
        assert recording.metadata()["energy_kev"] == pytest.approx(1.0)
        np.testing.assert_allclose(recording.positions[1], [4e3, 3e3])
        assert recording.missing == []


def test_a_grid_with_a_step_is_a_raster(tmp_path):
    frames = np.arange(12 * 64).reshape(3, 4, 8, 8)
    with Recording(h5(tmp_path, frames=frames, step_m=2e-10)) as recording:
        path = recording.trajectory()
        assert (path.type, path.grid_shape, path.units) == ("raster", (3, 4), "nm")
        assert path.step == pytest.approx(0.2)
        assert np.array_equal(recording.frames[2:7], frames.reshape(12, 8, 8)[2:7])


def test_what_is_missing_is_named_and_can_be_set(tmp_path):
    path = npz(tmp_path, frames=FRAMES, step_m=1e-10)
    with Recording(path) as recording:
        assert recording.missing == ["energy_kev", "angular_sampling_mrad"]
    with Recording(path, energy_kev=80, angular_sampling_mrad=0.5) as recording:
        assert recording.missing == []
    with pytest.raises(RecordingError, match="nothing is called 'energy_kv'"):
        Recording(path, energy_kv=80)


def test_patterns_of_one_line(tmp_path):
    path = npz(tmp_path, patterns=np.ones((5, 100)), q_per_a=np.arange(100.0), radiation="xray")
    with Recording(path) as recording:
        assert recording.frames.shape == (5, 100)
        assert set(recording.axes) == {"q_per_a"}


def test_an_off_centre_pattern_is_rolled(tmp_path):
    frame = np.zeros((2, 8, 8), "<u2")
    frame[:, 2, 5] = 1
    with Recording(npz(tmp_path, data=frame, bf_center_px=[2, 5])) as recording:
        assert np.argwhere(recording.frames[0:1][0]).tolist() == [[4, 4]]
        assert any("rolled by" in note for note in recording.notes)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"frames": FRAMES[:0]}, "holds no frames"),
        ({"nothing": np.ones(3)}, "holds no frames"),
        ({"frames": np.ones(5)}, r"shape \(5,\)"),
        ({"frames": FRAMES.astype(complex)}, "not numbers of counts"),
        ({"frames": FRAMES, "positions_m": np.ones((5, 2))}, r"expected \(6, 2\)"),
        ({"frames": FRAMES, "positions_m": np.full((6, 2), np.nan)}, "6 of the 6 positions"),
        ({"frames": FRAMES, "probe": np.ones((4, 4))}, "the probe 'probe' has shape"),
        ({"frames": FRAMES, "time_s": np.arange(6)[::-1]}, "ascending order"),
        ({"frames": FRAMES, "energy_kev": np.nan}, "finite numbers"),
        ({"frames": FRAMES, "radiation": "neutron"}, "'electron' or 'xray'"),
    ],
)
@pytest.mark.parametrize("make", [npz, h5])
def test_what_cannot_be_played_is_said_in_one_sentence(tmp_path, make, arrays, sentence):
    with pytest.raises(RecordingError, match=sentence) as caught:
        Recording(make(tmp_path, **arrays))
    assert "\n" not in str(caught.value)


def test_damaged_files(tmp_path):
    good = npz(tmp_path, frames=np.random.default_rng(0).integers(0, 9, (50, 16, 16)))
    data = good.read_bytes()
    for cut in (10, len(data) // 2, len(data) - 30):
        broken = tmp_path / "broken.npz"
        broken.write_bytes(data[:cut])
        with pytest.raises(RecordingError, match="cut short"):
            Recording(broken)
    broken.write_bytes(data[:300] + b"\xff" * 200 + data[500:])
    with pytest.raises(RecordingError):
        Recording(broken)
    whole = h5(tmp_path, frames=FRAMES).read_bytes()
    torn = tmp_path / "torn.h5"
    torn.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RecordingError, match="cut short"):
        Recording(torn)
    empty = tmp_path / "empty.h5"
    empty.write_bytes(b"")
    with pytest.raises(RecordingError):
        Recording(empty)
    with pytest.raises(RecordingError, match="there is no file"):
        Recording(tmp_path / "none.h5")
    strange = tmp_path / "scan.bin"
    strange.write_text("hello")
    with pytest.raises(RecordingError, match="neither HDF5 nor"):
        Recording(strange)


def test_pickles_are_not_opened(tmp_path):
    path = npz(tmp_path, frames=np.array([{"a": 1}], dtype=object))
    with pytest.raises(RecordingError):
        Recording(path)


def test_a_size_that_lies_is_refused_before_memory_is_taken(tmp_path, monkeypatch):
    header = np.lib.format.header_data_from_array_1_0(np.ones(1, "<f8"))
    header["shape"] = (10**6, 4096, 4096)
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w") as archive, archive.open("frames.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(RecordingError, match="GB of memory"):
        Recording(path)
    monkeypatch.setattr(store, "LARGEST_BYTES", 100)
    with pytest.raises(RecordingError, match="store it in HDF5"):
        Recording(npz(tmp_path, frames=FRAMES))
    assert len(Recording(h5(tmp_path, frames=FRAMES)).frames[0:2]) == 2


def test_formats_of_makers_say_which_extra_they_need(tmp_path, monkeypatch):
    import importlib

    found = importlib.import_module

    def without(name, *args):
        if name == "rsciio":
            raise ImportError(name)
        return found(name, *args)

    monkeypatch.setattr(importlib, "import_module", without)
    path = tmp_path / "scan.blo"
    path.write_bytes(b"IMGBLO" + bytes(100))
    with pytest.raises(RecordingError, match=r"pip install 'flyback\[formats\]'"):
        Recording(path)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("stem4d/blo_arina_emd/test1.blo", (6, 144, 144)),
        ("stem4d/blo_arina_emd/Si100_4D.emd", (121, 8, 8)),
        ("stem4d/blo_arina_emd/test_00_master.h5", (16, 192, 192)),
        ("stem4d/blo_arina_emd", (16, 192, 192)),
        ("eels/EELS_STO.dm3", (1, 2048)),
    ],
)
def test_files_of_makers(name, shape):
    path = need_data(name)
    if name.endswith((".blo", ".dm3")):
        pytest.importorskip("rsciio", reason="the extra 'formats' is not installed")
    with Recording(path) as recording:
        assert recording.frames.shape == shape
        assert recording.frames[0:1].shape == (1, *shape[1:])


@pytest.mark.data
def test_real_recordings_are_understood():
    with Recording(need_data("ptycho/siemens_star.h5")) as star:
        assert star.frames.shape == (516, 128, 128)
        assert (star.units, star.metadata()["radiation"]) == ("px", "xray")
        assert star.missing == []
        assert star.probe.shape == (1, 128, 128)
    with Recording(need_data("stem4d/mos2_4dstem.npz")) as mos2:
        assert mos2.frames.shape == (1760, 106, 106)
        assert mos2.metadata()["energy_kev"] == 80.0
        assert mos2.trajectory().grid_shape == (44, 40)
        assert mos2.missing == []
    with Recording(need_data("domains/test_map.npz")) as domains:
        assert domains.trajectory().grid_shape == (24, 24)


@pytest.mark.skipif(os.name != "posix", reason="checks descriptors in /proc")
def test_files_are_let_go(tmp_path):
    path = h5(tmp_path, frames=FRAMES)
    with Recording(path):
        pass
    with pytest.raises(RecordingError):
        Recording(path, nonsense=1)
    with h5py.File(path, "r+"):
        pass
