"""Axes and sigmas that lie beside patterns of one line travel with them."""

import h5py
import numpy as np

from flyback.callbacks.assets import path_of
from flyback.callbacks.frames import FrameSource
from flyback.tests.run_documents import feed, fly_documents, write_files

N = 20
PATTERNS = np.arange(N * 6, dtype=np.float32).reshape(N, 6)
POSITIONS = np.zeros((N, 2))


def test_axes_and_the_sigma_of_each_frame_come_with_the_batch(tmp_path):
    files = write_files(tmp_path, PATTERNS, np.arange(N), POSITIONS)
    docs = fly_documents(files, PATTERNS, POSITIONS, dwell_ms=20.0)
    path = next(
        path_of(d["uri"])
        for n, d in docs
        if n == "stream_resource" and d["data_key"] == "camera_frames"
    )
    with h5py.File(path, "a") as file:
        file["/entry/instrument/detector/q_per_a"] = np.linspace(1, 2, 6)
        file["/entry/instrument/detector/sigma"] = PATTERNS + 1
    batches = feed(FrameSource(docs[0][1]), docs)
    assert len(batches) > 1
    np.testing.assert_allclose(batches[0].axes["q_per_a"], np.linspace(1, 2, 6))
    sigma = np.concatenate([b.coordinates["sigma"] for b in batches])
    np.testing.assert_array_equal(sigma, PATTERNS + 1)
    assert batches[0][:1].axes.keys() == {"q_per_a"}


def test_a_detector_that_states_no_axes_has_none(tmp_path):
    files = write_files(tmp_path, PATTERNS, np.arange(N), POSITIONS)
    batch = feed(FrameSource({}), fly_documents(files, PATTERNS, POSITIONS))[0]
    assert batch.axes == {}
    assert "sigma" not in batch.coordinates
