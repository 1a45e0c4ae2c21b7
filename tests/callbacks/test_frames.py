import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flyback.callbacks.assets import AssetError, path_of
from flyback.callbacks.frames import FrameSource, block_length
from flyback.tests.run_documents import feed, fly_documents, write_files

N = 70
RNG = np.random.default_rng(7)
FRAMES = RNG.integers(0, 1000, (N, 6, 5)).astype(np.uint16)
POSITIONS = RNG.normal(size=(N, 2))
CUTS = st.lists(st.integers(0, N), max_size=6)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("run"), FRAMES, np.arange(N), POSITIONS)


def same(ours, theirs):
    assert [len(b) for b in ours] == [len(b) for b in theirs]
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a.frames, b.frames)
        np.testing.assert_array_equal(a.scan_index, b.scan_index)
        assert sorted(a.coordinates) == sorted(b.coordinates)
        for key, values in a.coordinates.items():
            np.testing.assert_array_equal(values, b.coordinates[key])


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(camera=CUTS, coils=CUTS, coils_first=st.booleans())
def test_batches_do_not_depend_on_how_documents_were_cut(files, camera, coils, coils_first):
    md = {"dwell_ms": 10.0}
    whole = feed(FrameSource(md), fly_documents(files, FRAMES, POSITIONS, **md))
    docs = fly_documents(
        files, FRAMES, POSITIONS, camera_cuts=camera, coil_cuts=coils, coils_first=coils_first, **md
    )
    same(feed(FrameSource(docs[0][1]), docs), whole)


def test_frames_meet_their_read_back_positions_in_metres(files):
    batches = feed(FrameSource({}), fly_documents(files, FRAMES, POSITIONS))
    np.testing.assert_array_equal(np.concatenate([b.frames for b in batches]), FRAMES)
    positions = np.concatenate([b.coordinates["positions_m"] for b in batches])
    np.testing.assert_allclose(positions, (POSITIONS + 0.25) * 1e-9)
    assert all("time_s" in b.coordinates for b in batches)


@pytest.mark.parametrize("coils", [(), (1, 7, 40)])
def test_coils_that_do_not_read_back_are_taken_to_lag_as_the_run_says(files, coils):
    md = {"dwell_ms": 2.0, "coil_time_constant_ms": 0.5}
    docs = fly_documents(files, FRAMES, POSITIONS, coil_cuts=coils, readback=False, **md)
    batches = feed(FrameSource(docs[0][1]), docs)
    positions = np.concatenate([b.coordinates["positions_m"] for b in batches])
    beam, fine = POSITIONS[0].copy(), 4000
    for seen, wanted in zip(positions * 1e9, POSITIONS, strict=True):
        path = wanted + (beam - wanted) * np.exp(-np.arange(fine + 1)[:, None] / fine * 2.0 / 0.5)
        beam = path[-1]
        np.testing.assert_allclose(seen, (path[1:] + path[:-1]).mean(axis=0) / 2, atol=1e-6)
    # what is read back needs no model
    docs = fly_documents(files, FRAMES, POSITIONS, **md)
    first = feed(FrameSource(docs[0][1]), docs)[0].coordinates["positions_m"]
    np.testing.assert_allclose(first, (POSITIONS[: len(first)] + 0.25) * 1e-9)


def test_a_dropped_frame_shifts_nothing(tmp_path):
    kept = np.delete(np.arange(N), [3, 40, 41])
    files = write_files(tmp_path, FRAMES[kept], kept, POSITIONS)
    batches = feed(FrameSource({}), fly_documents(files, FRAMES[kept], POSITIONS))
    np.testing.assert_array_equal(np.concatenate([b.scan_index for b in batches]), kept)
    positions = np.concatenate([b.coordinates["positions_m"] for b in batches])
    np.testing.assert_allclose(positions, (POSITIONS[kept] + 0.25) * 1e-9)


def test_frames_without_a_position_come_at_the_end_as_nan(files):
    docs = fly_documents(files, FRAMES, POSITIONS)
    coils = {d["uid"] for n, d in docs if n == "stream_resource" and "coils" in d["data_key"]}
    short = []
    for name, doc in docs:
        if name == "stream_datum" and doc["stream_resource"] in coils:
            doc = {**doc, "indices": {"start": 0, "stop": 50}}
        short.append((name, doc))
    source = FrameSource({})
    batches = feed(source, short)
    positions = np.concatenate([b.coordinates["positions_m"] for b in batches])
    assert np.isfinite(positions[:50]).all()
    assert np.isnan(positions[50:]).all()
    assert source.unplaced == N - 50


class Ring:
    """Holds frames that differ by one from those in the file, or nothing."""

    def __init__(self, holds, resource_uid):
        self.holds, self.resource_uid, self.asked = holds, resource_uid, 0

    def read(self, resource_uid, start, stop):
        self.asked += 1
        if self.holds and resource_uid == self.resource_uid:
            return FRAMES[start:stop] + np.uint16(1)
        return None


def test_the_ring_is_asked_first_and_the_file_answers_after(files):
    docs = fly_documents(files, FRAMES, POSITIONS)
    frames_resource = next(
        d["uid"] for n, d in docs if n == "stream_resource" and d["data_key"] == "camera_frames"
    )
    for holds in (True, False):
        ring = Ring(holds, frames_resource)
        batches = feed(FrameSource({}, [ring]), docs)
        np.testing.assert_array_equal(np.concatenate([b.frames for b in batches]), FRAMES + holds)
        assert ring.asked > 0


def test_corrections_stored_beside_the_frames_travel_with_them(tmp_path):
    dark = np.full((6, 5), 2.0, np.float32)
    files = write_files(tmp_path, FRAMES, np.arange(N), POSITIONS, dark=dark)
    batch = feed(FrameSource({}), fly_documents(files, FRAMES, POSITIONS))[0]
    np.testing.assert_array_equal(batch.corrections.dark, dark)
    assert batch.corrections.gain is None


def test_announcing_more_than_is_on_disk_is_an_error(files):
    docs = fly_documents(files, FRAMES, POSITIONS)
    for name, doc in docs:
        if name == "stream_datum":
            doc["indices"] = {"start": 0, "stop": N + 5}
    with pytest.raises(AssetError, match=rf"holds {N} rows .* but {N + 5} were announced"):
        feed(FrameSource({}), docs)


@pytest.mark.parametrize(
    ("dwell_ms", "block"), [(None, 256), (0.1, 256), (1.0, 64), (10.0, 8), (1000.0, 1)]
)
def test_blocks_hold_a_tenth_of_a_second(dwell_ms, block):
    assert block_length({"dwell_ms": dwell_ms}) == block


def test_only_local_files_are_read():
    with pytest.raises(AssetError, match="only file://"):
        path_of("http://127.0.0.1/x.h5")


def test_only_the_frames_of_the_camera_that_is_named_are_handed_on(files):
    docs = fly_documents(files, FRAMES, POSITIONS)
    assert sum(len(b) for b in feed(FrameSource({}, camera="camera"), docs)) == N
    assert feed(FrameSource({}, camera="another"), docs) == []


def test_frames_that_follow_a_cells_clock_come_one_by_one():
    assert block_length({"every_s": 30.0, "dwell_ms": 1.0}) == 1
