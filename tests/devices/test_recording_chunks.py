"""Packed chunks whose sizes were changed are refused before they are unpacked."""

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flyback.devices.recording_chunks import ChunkError, guarded


def write(path, frames, rows=1, **packing):
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "x", data=frames, chunks=(rows, *frames.shape[1:]), **hdf5plugin.Bitshuffle(**packing)
        )


@given(
    st.integers(1, 5), st.integers(1, 70), st.integers(1, 70), st.integers(1, 3),
    st.sampled_from(["u1", "u2", "u4", "f8"]), st.sampled_from(["lz4", "zstd"]),
    st.sampled_from([0, 64]),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_good_chunks_of_any_shape_pass(tmp_path_factory, n, h, w, rows, kind, name, nelems):
    path = tmp_path_factory.mktemp("chunks") / "x.h5"
    frames = np.random.default_rng(0).poisson(3, (n, h, w)).astype(kind)
    write(path, frames, min(rows, n), cname=name, nelems=nelems)
    with h5py.File(path) as file:
        looked = guarded(file["x"])  # type: ignore[arg-type]
        assert type(looked).__name__ == "_Guarded"
        np.testing.assert_array_equal(looked[()], frames)
        np.testing.assert_array_equal(looked[1:3], frames[1:3])
        np.testing.assert_array_equal(looked[-1], frames[-1])


def test_a_changed_size_is_refused(tmp_path):
    path = tmp_path / "x.h5"
    frames = np.random.default_rng(0).poisson(3, (4, 128, 128)).astype(np.uint16)
    write(path, frames, cname="lz4")
    with h5py.File(path) as file:
        at = file["x"].id.get_chunk_info(2).byte_offset  # type: ignore[attr-defined]
    for place in (at, at + 3, at + 9, at + 12, at + 13):
        data = bytearray(path.read_bytes())
        data[place] ^= 0x41
        changed = tmp_path / f"{place}.h5"
        changed.write_bytes(data)
        with h5py.File(changed) as file:
            looked = guarded(file["x"])  # type: ignore[arg-type]
            np.testing.assert_array_equal(looked[:2], frames[:2])
            with pytest.raises(ChunkError, match="packed chunk"):
                looked[1:3]
