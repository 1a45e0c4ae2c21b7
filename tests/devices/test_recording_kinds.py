"""Text, images, series and the layouts of other programs; and files that nobody should have."""

import importlib
import io
import struct
import zipfile

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from flyback.devices.recording import Recording, RecordingError

FRAMES = np.arange(6 * 8 * 8, dtype="<u2").reshape(6, 8, 8)
XY = "".join(f"{10 + k * 0.1:.2f} {k * k % 17}\n" for k in range(40))
CALM = settings(
    max_examples=60, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def h5(folder, name="scan.h5", attributes=None, **arrays):
    path = folder / name
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file[key] = array
        file.attrs.update(attributes or {})
    return path


def text(folder, name, body):
    path = folder / name
    path.write_text(body)
    return path


def notes_of(recording):
    return " | ".join(recording.notes)


def said(path, **known):
    with pytest.raises(RecordingError) as caught:
        Recording(path, **known)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "body", "axis", "first"),
    [
        ("a.xy", XY, "two_theta_deg", 10.0),
        ("a.xy", "# 2th_deg I\n" + XY.replace(" ", "\t"), "two_theta_deg", 10.0),
        ("a.dat", "# q_A^-1 I\n" + XY.replace(" ", ", "), "q_per_a", 10.0),
        ("a.chi", "title\n q_nm^-1\nIntensity\n  40\n" + XY, "q_per_a", 1.0),
        ("a.fxye", "head\nBANK 1 40 40 CONS 1 1 0 0 FXYE\n" + XY, "two_theta_deg", 0.1),
        ("a.xy", "\r\n".join(XY.splitlines()), "two_theta_deg", 10.0),
        ("a.xy", "\n".join(reversed(XY.splitlines())), "two_theta_deg", 10.0),
    ],
)
def test_patterns_in_text(tmp_path, name, body, axis, first):
    with Recording(text(tmp_path, name, body)) as recording:
        assert recording.frames.shape == (1, 40)
        assert recording.dims == ("bin",)
        assert recording.axes[axis][0] == pytest.approx(first)
        assert recording.frames[0:1][0, 5] == 8
        assert recording.metadata()["radiation"] == "xray"


def test_a_third_column_is_sigma_and_a_wavelength_is_read(tmp_path):
    body = "# Calibrated wavelength = 0.413263\n" + XY.replace("\n", " 2.5\n")
    with Recording(text(tmp_path, "a.xye", body)) as recording:
        assert recording.axes["sigma"].shape == (1, 40)
        assert recording.metadata()["energy_kev"] == pytest.approx(30.0, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "body", "shape"),
    [
        ("a.mca", "# comment\n" + "3\n" * 100, (1, 100)),
        ("a.mca", "#@CALIB 0 0.01 0\n@A 1 2 3 4 5 6 7 8\\\n 9 10 11 12 13 14 15 16\n", (1, 16)),
        ("a.mca", "<<DATA>>\n" + "3\n" * 64 + "<<END>>\n", (1, 64)),
        ("a.spe", "$DATA:\n0 63\n" + "7 " * 64 + "\n$MCA_CAL:\n2\n0.1 0.01 keV\n", (1, 64)),
    ],
)
def test_spectra_in_text(tmp_path, name, body, shape):
    with Recording(text(tmp_path, name, body)) as recording:
        assert recording.frames.shape == shape
        calibrated = "CAL" in body
        assert ("energy_kev_axis" in recording.axes) == calibrated


@pytest.mark.parametrize(
    ("name", "body", "sentence"),
    [
        ("a.xy", "hello", "holds no pattern"),
        ("a.xy", "1 2\n" * 30, "an axis that ascends"),
        ("a.xy", "1 2 3 4\n2 3 4 5\n" * 9, "rows of 4 numbers"),
        ("a.csv", "time,Voltage,Current\n1,2,3\n2,2,3\n3,2,3\n4,2,3\n", "cell log"),
        ("a.mpt", "EC-Lab ASCII FILE\n", "cell log"),
        ("a.mca", "nothing", "holds no spectrum"),
        ("a.cif", "data_Al", "crystal structure"),
        ("a.json", "[]", "Bluesky documents"),
        ("a.npy", "x", "save it as .npz"),
        ("a.edf", "{", "no readable EDF image"),
        ("a.cbf", "###CBF", "no readable CBF image"),
        ("a.tif", "II*", "no readable TIFF"),
        ("a.mib", "HDR", "no readable .mib"),
        ("a.zip", "PK", "no readable .zip"),
    ],
)
def test_what_is_no_recording_is_named(tmp_path, name, body, sentence):
    message = said(text(tmp_path, name, body))
    assert sentence in message
    assert name in message


def test_binary_spectra_are_refused(tmp_path):
    path = tmp_path / "princeton.spe"
    path.write_bytes(bytes(5000))
    assert "binary" in said(path)


def tiff(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


def test_images_one_several_and_in_pages(tmp_path):
    counts = FRAMES[0].astype("<i4")
    counts[0, 0] = -1
    with Recording(tiff(tmp_path / "one.tif", counts)) as recording:
        assert recording.frames.shape == (1, 8, 8)
        assert recording.corrections["bad_pixels"][0, 0]
        assert "negative" in notes_of(recording)
    pages = [Image.fromarray(frame) for frame in FRAMES]
    pages[0].save(tmp_path / "pages_3x2.tif", save_all=True, append_images=pages[1:])
    with Recording(tmp_path / "pages_3x2.tif") as recording:
        assert np.array_equal(recording.frames[1:4], FRAMES[1:4])
        assert recording.trajectory().grid_shape == (2, 3)
    colour = tiff(tmp_path / "colour.tif", np.zeros((8, 8, 3), np.uint8))
    assert "colour picture" in said(colour)


def test_a_folder_and_a_zip_are_a_series_in_natural_order(tmp_path):
    folder = tmp_path / "series"
    folder.mkdir()
    order = [10, 2, 1]
    for k in order:
        tiff(folder / f"scan_{k}.tif", np.full((8, 8), k, "<u2"))
    (folder / "notes.json").write_text("{}")
    archive = tmp_path / "series.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for each in folder.iterdir():
            file.write(each, f"inner/{each.name}")
        file.writestr("__MACOSX/inner/._scan_1.tif", b"junk")
    for path in (folder, archive):
        with Recording(path) as recording:
            assert recording.frames[0:3][:, 0, 0].tolist() == [1, 2, 10]
    with Recording(archive / "scan_2.tif") as recording:
        assert recording.frames.shape == (1, 8, 8)
    assert "there is no file scan_3.tif in series.zip" in said(archive / "scan_3.tif")
    tiff(folder / "scan_11.tif", np.ones((9, 8), "<u2"))
    assert "differ in shape" in said(folder)
    (tmp_path / "empty").mkdir()
    assert "holds no file that can be played" in said(tmp_path / "empty")


def test_patterns_of_a_zip_share_an_axis(tmp_path):
    archive = tmp_path / "p.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a_1.xy", XY)
        file.writestr("a_2.xy", XY)
        file.writestr("log.ndax", b"x")
    with Recording(archive) as recording:
        assert recording.frames.shape == (2, 40)
        assert set(recording.axes) == {"two_theta_deg"}


def test_an_hdf5_file_inside_a_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.write(h5(tmp_path, frames=FRAMES), "scan.h5")
    with Recording(tmp_path / "a.zip") as recording:
        assert np.array_equal(recording.frames[0:6], FRAMES)


def test_a_zip_that_lies_about_its_size(tmp_path):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.xy", XY)
    raw = bytearray(data.getvalue())
    at = raw.index(b"PK\x01\x02")
    raw[at + 24 : at + 28] = struct.pack("<I", 0xFFFFFFF0)
    (tmp_path / "bomb.zip").write_bytes(raw)
    assert "GB" in said(tmp_path / "bomb.zip")


METRES = np.arange(12.0).reshape(6, 2) * 1e-6


@pytest.mark.parametrize(
    ("arrays", "units", "scale"),
    [
        ({"positions_nm": METRES * 1e9}, "nm", 1e9),
        ({"positions_A": METRES * 1e10}, "nm", 1e9),
        ({"scan_positions_um": METRES * 1e6}, "nm", 1e9),
        ({"positions": METRES}, "nm", 1e9),
        ({"positions": METRES * 1e7}, "px", 1e7),
        ({"scan": METRES}, "px", 1.0),
        ({"positions_m": METRES.T}, "nm", 1e9),
        ({"probe_position_y_m": METRES[:, 0], "probe_position_x_m": METRES[:, 1]}, "nm", 1e9),
        ({"y_um": METRES[:, 0] * 1e6, "x_um": METRES[:, 1] * 1e6}, "nm", 1e9),
    ],
)
def test_positions_in_many_spellings(tmp_path, arrays, units, scale):
    with Recording(h5(tmp_path, dp=FRAMES, **arrays)) as recording:
        assert recording.units == units
        np.testing.assert_allclose(recording.positions, METRES * scale)


def test_ptypy_pty_chi_and_nexus(tmp_path):
    ptyd = h5(
        tmp_path, "a.ptyd",
        **{"chunks/0/data": FRAMES, "chunks/1/data": FRAMES, "chunks/0/positions":
           np.concatenate([METRES, METRES + 1]), "meta/energy": 9.7, "meta/psize": 172e-6,
           "meta/distance": 2.0},
    )  # fmt: skip
    with Recording(ptyd) as recording:
        assert recording.frames.shape == (12, 8, 8)
        known = recording.metadata()
        assert (known["energy_kev"], known["radiation"]) == (9.7, "xray")
        assert (known["detector_pixel_m"], known["detector_distance_m"]) == (172e-6, 2.0)
    chi = h5(tmp_path, "b.h5", {"probe_energy_eV": 9700.0}, dp=FRAMES)
    with Recording(chi) as recording:
        assert recording.metadata()["energy_kev"] == pytest.approx(9.7)
    master = tmp_path / "x_master.h5"
    with h5py.File(master, "w") as file:
        file["entry/data/data_000001"] = h5py.ExternalLink("gone.h5", "/entry/data/data")
    assert "leads to a file that is missing" in said(master)


def test_py4dstem_calibration(tmp_path):
    path = h5(
        tmp_path,
        **{"root/datacube/data": np.ones((3, 4, 8, 8), "<u2"),
           "root/metadatabundle/calibration/R_pixel_size": 0.5,
           "root/metadatabundle/calibration/R_pixel_units": "nm",
           "root/metadatabundle/calibration/Q_pixel_size": 0.7,
           "root/metadatabundle/calibration/Q_pixel_units": "mrad"},
    )  # fmt: skip
    with Recording(path, energy_kev=200) as recording:
        assert recording.trajectory().grid_shape == (3, 4)
        assert recording.trajectory().step == pytest.approx(0.5)
        assert recording.metadata()["angular_sampling_mrad"] == pytest.approx(0.7)


@pytest.fixture
def zarr():
    module = pytest.importorskip("zarr")
    yield module
    importlib.import_module("zarr.core.sync").cleanup_resources()  # its threads would stay


def test_abtem_zarr(tmp_path, zarr):
    root = zarr.open(str(tmp_path / "scan.zarr"), mode="w")
    array = root.create_array("array0", shape=(3, 4, 8, 8), dtype="f4")
    array[...] = np.ones((3, 4, 8, 8))
    root.attrs["kwargs0"] = {
        "metadata": {"energy": 80e3, "semiangle_cutoff": 20.0},
        "ensemble_axes_metadata": [{"sampling": 0.3}, {"sampling": 0.3}],
        "sampling": [0.05, 0.05],
    }
    with Recording(tmp_path / "scan.zarr") as recording:
        assert recording.frames.shape == (12, 8, 8)
        assert recording.metadata()["energy_kev"] == 80.0
        assert recording.trajectory().step == pytest.approx(0.03)


def test_frames_with_their_centre_in_the_corner_are_shifted(tmp_path):
    y, x = np.mgrid[-16:16, -16:16]
    disk = (np.hypot(y, x) < 4) * 100.0 + 1
    with Recording(h5(tmp_path, frames=np.stack([np.fft.ifftshift(disk)] * 3))) as recording:
        assert np.array_equal(recording.frames[0:1][0], disk)
        assert "corner" in notes_of(recording)
        assert "float64 became float32" in notes_of(recording)
    with Recording(h5(tmp_path, frames=np.stack([disk] * 3))) as recording:
        assert "corner" not in notes_of(recording)


def test_spectra_of_several_elements(tmp_path):
    spectra = np.arange(4 * 3 * 5 * 32).reshape(4, 3, 5, 32)
    path = h5(tmp_path, spectra=spectra, counts=np.ones((3, 5)), energy_offset_kev=0.1,
              energy_slope_kev=0.01)  # fmt: skip
    with Recording(path) as recording:
        assert recording.dims == ("element", "channel")
        assert recording.frames.shape == (15, 4, 32)
        assert np.array_equal(recording.frames[7:8][0], spectra[:, 1, 2])
        assert recording.axes["energy_kev_axis"][10] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"frames": FRAMES > 3}, "yes or no"),
        ({"frames": FRAMES, "y_m": np.ones(5), "x_m": np.ones(5)}, "hold 5 and 5 values for 6"),
        ({"frames": FRAMES, "positions_m": np.ones((7, 2))}, r"expected (6, 2)"),
        ({"probe": np.ones((3, 8, 8), complex)}, "holds no frames"),
    ],
)
def test_what_does_not_fit(tmp_path, arrays, sentence):
    assert sentence in said(h5(tmp_path, **arrays))


def test_a_large_file_with_nothing_in_it(tmp_path):
    path = tmp_path / "hollow.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("frames", (10**6, 512, 512), "u2", chunks=(1, 512, 512))
    assert "was not finished" in said(path)
    with h5py.File(path, "w") as file:
        group = file.create_group("a")
        for k in range(20):
            group[f"again{k}"] = group
    assert "holds no frames" in said(path)


def try_all(path):
    """Any file gives a recording that can be read, or a sentence."""
    try:
        with Recording(path) as recording:
            recording.frames[0:2]
            recording.metadata()
            recording.trajectory()
    except RecordingError as refusal:
        return str(refusal)
    return ""


TEXTS = [".xy", ".xye", ".fxye", ".chi", ".dat", ".csv", ".mca", ".spe", ".txt"]
SUFFIXES = st.sampled_from([*TEXTS, ".tif", ".mib", ".zip", ".npz", ".h5"])
LINES = st.lists(
    st.one_of(
        st.text(max_size=20),
        st.lists(st.floats(), min_size=1, max_size=4).map(lambda v: " ".join(map(str, v))),
        st.sampled_from(["$DATA:", "DATA:", "@A 1 2\\", "BANK 1 FXYE", "CHANNELS: 9", "MQ1,1,384"]),
    ),
    max_size=30,
)


@CALM
@given(suffix=SUFFIXES, lines=LINES)
def test_any_text(tmp_path, suffix, lines):
    path = tmp_path / f"any{suffix}"
    path.write_text("\n".join(lines), encoding="utf-8", errors="replace")
    assert "\n" not in try_all(path)


@CALM
@given(suffix=SUFFIXES, data=st.binary(max_size=600))
def test_any_bytes(tmp_path, suffix, data):
    path = tmp_path / f"any{suffix}"
    path.write_bytes(data)
    assert "\n" not in try_all(path)


ARRAY_NAMES = """
    frames data dp patterns spectra positions positions_m positions_px scan y_m x_m time_s probe
    dark mask energy energy_kev step_m two_theta_deg radiation center_px wavelength_A psize
"""
NAMES = st.sampled_from(ARRAY_NAMES.split())
ARRAYS = st.tuples(
    st.lists(st.integers(0, 6), max_size=5),
    st.sampled_from(["u1", "i8", "f4", "f8", "f2", ">u2", "c8", "?", "S3"]),
    st.sampled_from([0, 1, -1, np.nan, np.inf, 1e300]),
)


def filled(shape, dtype, value):
    if dtype in ("f4", "f8", "c8"):
        with np.errstate(over="ignore"):
            return np.full(shape, value).astype(dtype)
    return np.full(shape, 1 if not np.isfinite(value) else int(np.sign(value)) % 2).astype(dtype)


@CALM
@given(arrays=st.dictionaries(NAMES, ARRAYS, max_size=5), kind=st.sampled_from(["npz", "h5"]))
def test_any_layout(tmp_path, arrays, kind):
    made = {name: filled(*spec) for name, spec in arrays.items()}
    path = tmp_path / f"any.{kind}"
    if kind == "npz":
        np.savez(path, **made)
    else:
        h5(tmp_path, "any.h5", **made)
    assert "\n" not in try_all(path)


@pytest.mark.parametrize("suffix", [".cbf", ".edf"])
def test_images_of_beamlines_are_played_alone_and_as_a_series(tmp_path, suffix):
    fabio = pytest.importorskip("fabio")
    made = fabio.cbfimage.CbfImage if suffix == ".cbf" else fabio.edfimage.EdfImage
    images = np.random.default_rng(0).poisson(9, (3, 12, 10)).astype(np.int32)
    images[:, 4] = -1
    folder = tmp_path / "series"
    folder.mkdir()
    for i, image in enumerate(images):
        made(data=image).write(str(folder / f"a_{i}{suffix}"))
    with Recording(folder / f"a_1{suffix}") as one:
        assert (one.frames[0:1] == images[1]).all()
        np.testing.assert_array_equal(one.corrections["bad_pixels"], images[0] < 0)
    with Recording(folder) as series:
        np.testing.assert_array_equal(series.frames[0:3], images)
    whole = (folder / f"a_0{suffix}").read_bytes()
    (tmp_path / f"cut{suffix}").write_bytes(whole[: len(whole) // 2])
    assert "cut short" in said(tmp_path / f"cut{suffix}")
