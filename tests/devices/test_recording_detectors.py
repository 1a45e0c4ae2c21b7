"""Images as beamlines keep them: CBF, EDF, TIFF, Eiger's HDF5; packed, masked, dated, damaged."""

import bz2
import gzip
import lzma
from datetime import UTC, datetime

import fabio
import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from flyback.devices.frame_times import frame_times
from flyback.devices.recording import Recording, RecordingError
from flyback.devices.recording_dates import exposure_s, moment, taken
from flyback.tests.devices.test_recording_kinds import said, try_all

FRAMES = np.random.default_rng(3).poisson(40, (3, 12, 10)).astype("<i4")
FRAMES[:, 4] = -1  # a gap between modules
FRAMES[:, 0, 0] = -2  # a pixel that is dead
PILATUS = """# Detector: PILATUS 1M, S/N 10-0120
# 2012-05-10T14:20:{:02d}.500
# Pixel_size 172e-6 m x 172e-6 m
# Exposure_time 1.0 s
# Exposure_period 2.0 s
# Count_cutoff 1048500 counts
# Wavelength 0.6888 A
# Detector_distance 0.2 m
"""
BEGAN = datetime(2012, 5, 10, 14, 20, tzinfo=UTC).timestamp()


def cbf(path, frame, second=0):
    header = {
        "_array_data.header_convention": "PILATUS_1.2",
        "_array_data.header_contents": PILATUS.format(second).replace("\n", "\r\n"),
    }
    fabio.cbfimage.CbfImage(data=frame, header=header).write(str(path))
    return path


def edf(path, frames, **header):
    image = fabio.edfimage.EdfImage(data=frames[0], header=dict(header))
    for k, frame in enumerate(frames[1:], 1):
        own = {key: value for key, value in header.items() if key != "Date"}
        if "Date" in header:
            own["Date"] = header["Date"].replace(":00", f":{2 * k:02d}", 1)
        image.append_frame(fabio.edfimage.EdfImage(data=frame, header=own))
    image.write(str(path))
    return path


def eiger(folder, frames, lost=False):
    """Return the master of two data files, compressed as DECTRIS does."""
    links = {}
    for k, part in enumerate((frames[:2], frames[2:]), 1):
        name = f"run_data_{k:06d}.h5"
        if not (lost and k == 2):
            with h5py.File(folder / name, "w") as file:
                file.create_dataset(
                    "entry/data/data", data=part, chunks=(1, *part.shape[1:]),
                    **hdf5plugin.Bitshuffle(cname="lz4"),
                )  # fmt: skip
        links[f"data_{k:06d}"] = h5py.ExternalLink(name, "/entry/data/data")
    with h5py.File(folder / "run_master.h5", "w") as file:
        for name, link in links.items():
            file[f"entry/data/{name}"] = link
        detector = file.create_group("entry/instrument/detector")
        detector["frame_time"], detector["count_time"] = 2.0, 1.0
        specific = detector.create_group("detectorSpecific")
        specific["data_collection_date"] = "2012-05-10T14:20:00.500+02:00"
        specific["pixel_mask"] = (np.arange(120).reshape(12, 10) == 7).astype("u4")
    return folder / "run_master.h5"


def middles(recording):
    notes = []
    return frame_times(recording, notes) - BEGAN, " | ".join(notes)


def test_a_pilatus_cbf_says_when_and_how(tmp_path):
    paths = [cbf(tmp_path / f"a_{k}.cbf", frame, 2 * k) for k, frame in enumerate(FRAMES)]
    with Recording(paths) as recording:
        np.testing.assert_array_equal(recording.frames[0:3], FRAMES)
        np.testing.assert_array_equal(recording.corrections["bad_pixels"], FRAMES[0] < 0)
        known = recording.metadata()
        assert known["detector_distance_m"] == 0.2
        assert known["energy_kev"] == pytest.approx(18.0, rel=1e-4)
        assert recording.dwell_ms == 2000
        assert known["saturation_counts"] == 1048500
        seconds, note = middles(recording)
        assert seconds.tolist() == [1.0, 3.0, 5.0]
        assert "taken to show UTC" in note


@pytest.mark.parametrize(
    ("header", "zoned"),
    [
        ({"Date": "2012-05-10T14:20:00", "ExposureTime": "1"}, False),
        ({"Date": "2012-05-10 16:20:00+02:00", "exposure_time": "1 s"}, True),
        ({"Date": "Thu May 10 14:20:00 2012", "acq_expo_time": "1000 ms"}, False),
    ],
)
def test_an_edf_with_several_frames(tmp_path, header, zoned):
    path = edf(tmp_path / "a.edf", FRAMES, **header)
    with Recording(path) as recording:
        np.testing.assert_array_equal(recording.frames[0:3], FRAMES)
        np.testing.assert_array_equal(recording.frames[1:2], FRAMES[1:2])
        assert recording.dated_with_zone == zoned
        seconds, _ = middles(recording)
        assert seconds.tolist() == [0.5, 2.5, 4.5]


def test_a_header_with_seconds_since_1970_needs_no_zone(tmp_path):
    path = edf(tmp_path / "a.edf", FRAMES[:1], time_of_day=str(BEGAN), count_time="3")
    with Recording(path) as recording:
        assert (middles(recording)[0][0], recording.dated_with_zone) == (1.5, True)


@pytest.mark.parametrize("packer", [gzip, bz2, lzma])
@pytest.mark.parametrize("kind", ["cbf", "edf", "tif", "xy"])
def test_packed_files_are_unpacked(tmp_path, packer, kind):
    plain = tmp_path / f"a.{kind}"
    if kind == "cbf":
        cbf(plain, FRAMES[0])
    elif kind == "edf":
        edf(plain, FRAMES)
    elif kind == "tif":
        Image.fromarray(FRAMES[0]).save(plain)
    else:
        plain.write_text("".join(f"{10 + k} {k * k}\n" for k in range(20)))
    ending = {gzip: "gz", bz2: "bz2", lzma: "xz"}[packer]
    packed = tmp_path / f"b.{kind}.{ending}"
    packed.write_bytes(packer.compress(plain.read_bytes()))
    with Recording(plain) as one, Recording(packed) as other:
        np.testing.assert_array_equal(other.frames[0:9], one.frames[0:9])
    folder = tmp_path / "series"
    folder.mkdir()
    for k in range(2):
        (folder / f"{k}.{kind}.{ending}").write_bytes(packed.read_bytes())
    with Recording(folder) as series:
        assert len(series) == (6 if kind == "edf" else 2)
    packed.write_bytes(packed.read_bytes()[:-20])
    assert "cut short" in said(packed)


def test_a_packed_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("flyback.devices.recording_packed.LARGEST_UNPACKED_BYTES", 1000)
    (tmp_path / "a.edf.gz").write_bytes(gzip.compress(bytes(100_000)))
    assert "unpack it first" in said(tmp_path / "a.edf.gz")


def test_an_archive_is_still_an_archive(tmp_path):
    for name in ("a.tar.gz", "a.gz", "a.h5.gz"):
        (tmp_path / name).write_bytes(gzip.compress(b"x"))
        assert "is an archive" in said(tmp_path / name)


def test_an_eigers_master_links_and_filters(tmp_path):
    frames = FRAMES.astype("<u4")
    with Recording(eiger(tmp_path, frames)) as recording:
        np.testing.assert_array_equal(recording.frames[0:3], frames)
        assert recording.corrections["bad_pixels"].sum() == 1
        assert recording.dwell_ms == 2000
        seconds, note = middles(recording)
        assert (seconds + 7200).tolist() == [1.0, 3.0, 5.0]
        assert "UTC" not in note


def test_an_eiger_whose_data_file_is_gone_plays_the_rest(tmp_path):
    with Recording(eiger(tmp_path, FRAMES.astype("<u4"), lost=True)) as recording:
        assert len(recording) == 2
        assert "linked files are missing" in " | ".join(recording.notes)


def test_a_nexus_file_with_one_stack(tmp_path):
    with h5py.File(tmp_path / "a.nxs", "w") as file:
        file["entry/data/data"] = FRAMES.astype("<u2")
        file["entry/start_time"] = "2012-05-10T14:20:00Z"
        file["entry/instrument/detector/count_time"] = 2.0
    with Recording(tmp_path / "a.nxs") as recording:
        assert middles(recording)[0].tolist() == [1.0, 3.0, 5.0]


def test_stacks_of_tiff_pages(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    for dtype in ("u1", "u2", "i4", "f4", "f8", "i8"):
        frames = np.abs(FRAMES).astype(dtype)
        tifffile.imwrite(tmp_path / "a.tif", frames, photometric="minisblack")
        with Recording(tmp_path / "a.tif") as recording:
            np.testing.assert_array_equal(recording.frames[0:3], frames)
    tifffile.imwrite(tmp_path / "u4.tif", FRAMES.astype("<u4"), photometric="minisblack")
    with Recording(tmp_path / "u4.tif") as recording:
        assert recording.corrections["bad_pixels"].sum() == 11
    tifffile.imwrite(
        tmp_path / "d.tif", FRAMES[0], description=PILATUS.format(0), photometric="minisblack"
    )
    with Recording(tmp_path / "d.tif") as recording:
        assert middles(recording)[0].tolist() == [1.0]
    tifffile.imwrite(tmp_path / "e.tif", FRAMES[0], datetime="2012:05:10 14:20:00")
    with Recording(tmp_path / "e.tif") as recording:
        assert middles(recording)[0].tolist() == [0.0]


def test_negative_numbers_that_are_no_marks(tmp_path):
    """Floats less a background are not dead pixels; whole negative floats are."""
    less = FRAMES[1].astype("f4") - 30.5
    with Recording(edf(tmp_path / "a.edf", [less])) as recording:
        assert "bad_pixels" not in recording.corrections
    with Recording(edf(tmp_path / "b.edf", [FRAMES[1].astype("f4")])) as recording:
        assert recording.corrections["bad_pixels"].sum() == 11


def test_the_largest_of_64_bits_is_no_count(tmp_path):
    frames = np.ones((2, 8, 8), "<u8")
    frames[0, 3, 3] = 2**64 - 1
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["frames"] = frames
    with Recording(tmp_path / "a.h5") as recording:
        assert np.isnan(recording.frames[0:2]).sum() == 1


@pytest.mark.parametrize("at", [0.1, 0.45, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["cbf", "edf", "tif", "h5"])
def test_what_is_cut_short_is_one_sentence(tmp_path, kind, at):
    path = tmp_path / f"a.{kind}"
    frames = np.random.default_rng(0).integers(0, 60_000, (2, 64, 64)).astype("<i4")
    if kind == "cbf":
        cbf(path, frames[0])
    elif kind == "edf":
        edf(path, frames)
    elif kind == "tif":
        Image.fromarray(frames[0]).save(path)
    else:
        with h5py.File(path, "w") as file:
            file["entry/data/data"] = frames
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * at)])
    message = try_all(path)
    assert message
    assert "\n" not in message
    assert "a." + kind in message


def test_images_of_two_shapes_are_refused(tmp_path):
    paths = [cbf(tmp_path / "a_0.cbf", FRAMES[0]), cbf(tmp_path / "a_1.cbf", FRAMES[0, :8])]
    with pytest.raises(RecordingError, match="differ in shape"):
        Recording(paths)


@pytest.mark.parametrize(
    ("text", "seconds", "zoned"),
    [
        ("# 2012-05-10T14:20:00.25", BEGAN + 0.25, False),
        ("# 2012/May/10 14:20:00.25", BEGAN + 0.25, False),
        ("2012-05-10T14:20:00Z", BEGAN, True),
        ("2012-05-10T16:20:00+0200", BEGAN, True),
        ("2012:05:10 14:20:00", BEGAN, False),
        ("Thu May 10 14:20:00 2012", BEGAN, False),
    ],
)
def test_dates(text, seconds, zoned):
    assert moment(text) == (seconds, zoned)


def test_what_is_no_date():
    for text in ("", "2012-02-31T14:20:00", "2012-Foo-10 14:20:00", "12 3 4"):
        assert moment(text) is None
    assert taken({"time_of_day": "3.5", "Image": "1"}) is None
    assert exposure_s("Exposure_time 0 s") is None
    assert exposure_s("exposure_time = 250 ms") == 0.25


@given(st.text(max_size=80))
def test_any_header(text):
    taken(text)
    taken({"Date": text, "time_of_day": text})
    exposure_s(f"Exposure_time {text}")


def test_a_cbf_without_its_sections_beginning_ends(tmp_path):
    """Fabio would read on at the end of the file forever."""
    path = cbf(tmp_path / "a.cbf", FRAMES[0])
    path.write_bytes(path.read_bytes().replace(b"--CIF-BINARY-FORMAT-SECTION--", b"--CIF--", 1))
    assert "it ends before its data" in said(path)


WHOLE = st.sampled_from(["cbf", "edf", "tif", "edf.gz", "tif.bz2"])
CHANGES = st.lists(
    st.tuples(st.integers(0, 2000), st.integers(0, 12), st.binary(max_size=8)), max_size=5
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(kind=WHOLE, changes=CHANGES)
def test_any_damage_is_one_sentence(tmp_path, kind, changes):
    plain = tmp_path / f"a.{kind.partition('.')[0]}"
    if plain.suffix == ".cbf":
        cbf(plain, FRAMES[0])
    elif plain.suffix == ".edf":
        edf(plain, FRAMES, Date="2012-05-10T14:20:00", ExposureTime="1")
    else:
        Image.fromarray(FRAMES[0]).save(plain)
    pack = {"gz": gzip.compress, "bz2": bz2.compress}.get(kind.partition(".")[2], bytes)
    data = bytearray(pack(plain.read_bytes()))
    for at, length, new in changes:
        data[at : at + length] = new
    path = tmp_path / f"b.{kind}"
    path.write_bytes(bytes(data))
    assert "\n" not in try_all(path)
