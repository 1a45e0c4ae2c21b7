"""Frames on disk: announced only when there, readable while they grow, never half."""

import os
import subprocess
import sys
import textwrap

import h5py
import hdf5plugin  # noqa: F401
import numpy as np
import pytest

from flyback.devices.frame_writer import Field, FrameWriter, WriteError
from flyback.tests.microscope import local

FIELDS = [
    Field("frames", "c_frames", (8, 8), np.dtype("<u2"), "counts", ("ky", "kx"), compress=True),
    Field("scan_index", "c_scan_index", (), np.dtype("<i8")),
]


def rows(start, stop):
    index = np.arange(start, stop)
    return {
        "frames": np.ones((len(index), 8, 8), "<u2") * index[:, None, None],
        "scan_index": index,
    }


def test_what_is_announced_can_be_read_by_another_process(tmp_path):
    writer = FrameWriter(tmp_path, "c", FIELDS, chunk_rows=4)
    writer.append(rows(0, 6))
    documents = list(writer.documents())
    assert [name for name, _ in documents] == ["stream_resource"] * 2 + ["stream_datum"] * 2
    script = textwrap.dedent(
        f"""
        import h5py, hdf5plugin
        with h5py.File({str(writer.path)!r}, "r", swmr=True) as file:
            assert file["/entry/data/frames"][:6].sum() == 64 * 15
            assert list(file["/entry/data/scan_index"][:6]) == list(range(6))
        """
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    writer.close()
    writer.close()


def test_documents_follow_each_other_without_gap_or_overlap(tmp_path):
    writer = FrameWriter(tmp_path, "c", FIELDS)
    assert list(writer.documents()) == []
    ranges = []
    for start in range(0, 10, 5):
        writer.append(rows(start, start + 5))
        ranges += [
            d["indices"] for n, d in writer.documents(index=start + 3) if n == "stream_datum"
        ]
    ranges += [d["indices"] for n, d in writer.documents() if n == "stream_datum"]
    assert ranges[::2] == [
        {"start": 0, "stop": 3},
        {"start": 3, "stop": 8},
        {"start": 8, "stop": 10},
    ]
    writer.close()


def test_the_file_says_its_units_and_extras(tmp_path):
    dark = np.arange(64.0).reshape(8, 8)
    writer = FrameWriter(
        tmp_path / "new" / "folder with space",
        "c",
        FIELDS,
        extras={"/entry/instrument/detector/dark": dark},
    )
    writer.close()
    assert "%20" in writer.uri
    assert local(writer.uri.replace("%20", " ")) == writer.path
    with h5py.File(writer.path) as file:
        assert file["/entry/data/frames"].attrs["units"] == "counts"
        assert file["/entry/data/frames"].attrs["dtype_numpy"] == "<u2"
        assert np.array_equal(file["/entry/instrument/detector/dark"][()], dark)


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="choose another folder"):
        FrameWriter(tmp_path / "file", "c", FIELDS)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(WriteError, match="choose another folder"):
        FrameWriter(tmp_path, "c", FIELDS)


def test_a_full_disk_is_refused_before_it_is_full(tmp_path):
    with pytest.raises(WriteError, match="is full"):
        FrameWriter(tmp_path, "c", FIELDS, reserve_bytes=10**18)
    writer = FrameWriter(tmp_path, "c", FIELDS)
    writer.append(rows(0, 3))
    writer.reserve_bytes = 10**18
    with pytest.raises(WriteError, match="kept in reserve"):
        writer.append(rows(3, 6))
    assert writer.written == 3
    assert [d["indices"]["stop"] for n, d in writer.documents() if n == "stream_datum"] == [3, 3]
    writer.close()
    with h5py.File(writer.path) as file:
        assert len(file["/entry/data/frames"]) == 3


def test_a_write_that_fails_leaves_only_whole_rows(tmp_path):
    writer = FrameWriter(tmp_path, "c", FIELDS)
    writer.append(rows(0, 3))
    with pytest.raises(WriteError, match="5 rows of scan_index"):
        writer.append({"frames": np.ones((2, 8, 8), "<u2"), "scan_index": np.zeros(5, "<i8")})
    writer.close()
    with h5py.File(writer.path) as file:
        assert len(file["/entry/data/frames"]) == len(file["/entry/data/scan_index"]) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_disk_that_fills_in_mid_write_fails_with_a_reason(tmp_path):
    script = textwrap.dedent(
        f"""
        import resource, signal, numpy as np, pathlib, os
        from flyback.devices.frame_writer import Field, FrameWriter, WriteError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
        writer = FrameWriter(
            pathlib.Path({str(tmp_path)!r}), "c", [Field("frames", "f", (64, 64), np.dtype("<u2"))]
        )
        block = np.random.default_rng(0).integers(0, 65535, (32, 64, 64)).astype("<u2")
        try:
            for _ in range(100):
                writer.append({{"frames": block}})
        except WriteError as error:
            print("refused after", writer.written, error)
        os._exit(0)
        """
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "refused after" in done.stdout, done.stderr
    assert "failed" in done.stdout
