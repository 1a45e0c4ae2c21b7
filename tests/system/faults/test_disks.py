"""Full disks and cut files: what is there is given back, what is not is said."""

import os

import numpy as np
import pytest

from flyback.devices.frame_writer import Field, FrameWriter
from flyback.profiles.faults.table import try_faults
from flyback.profiles.store.frame_files import release, rows


@pytest.mark.parametrize("keep", [1.0, 0.7, 0.4, 0.1])
def test_rows_behind_the_end_of_a_cut_file_do_not_count(tmp_path, keep):
    field = Field("frames", "camera_frames", (32, 32), np.dtype("u2"), compress=True)
    writer = FrameWriter(tmp_path, "cut", [field], chunk_rows=8, reserve_bytes=0)
    frames = np.random.default_rng(0).integers(0, 4000, (64, 32, 32), np.uint16)
    for block in np.split(frames, 8):
        writer.append({"frames": block})
    # As after a kill: the file as it is now, without what closing would write.
    path = tmp_path / "killed.h5"
    path.write_bytes(writer.path.read_bytes())
    writer.close()
    os.truncate(path, int(path.stat().st_size * keep))
    release(path)
    n = rows(path, field.dataset)
    assert n == 64 if keep == 1.0 else n < 64
    if n:
        import h5py

        with h5py.File(path) as file:
            np.testing.assert_array_equal(file[field.dataset][:n], frames[:n])


@pytest.mark.heavy
@pytest.mark.skipif(os.name == "nt", reason="no small file systems there")
def test_a_file_that_is_cut_loses_what_was_cut_and_says_so():
    outcomes = list(try_faults(kinds=["file_limit", "truncated_file"]))
    assert [o for o in outcomes if not o.survived] == []
    assert any(o.destroyed for o in outcomes)
