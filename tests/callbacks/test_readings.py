"""A monitor's readings by frame: from the frames' own events, from a stream of its own, a file."""

import numpy as np
import pytest
from event_model import compose_run

from flyback.callbacks.frames import FrameSource
from flyback.callbacks.readings import Readings
from flyback.tests.run_documents import cut, feed, key, write_files

N = 12
FRAMES = np.arange(N * 8 * 8, dtype="<u2").reshape(N, 8, 8)
CURRENT = 100.0 + 5 * np.arange(N)
TIMES = 1e9 + np.arange(N) * 1e-3  # as write_files has them
NUMBER = {"source": "test", "dtype": "number", "shape": []}


@pytest.fixture
def files(tmp_path):
    return write_files(tmp_path, FRAMES, np.arange(N), np.zeros((N, 2)))


def documents(files, *, beside, cuts=(), replayed=False, lost=(), after=0.0):
    """Return a step run whose ring current is read with the frames, or monitored beside them."""
    run = compose_run(metadata={"plan_name": "count"})
    keys = {
        "camera_frames": key((8, 8), "<u2", "counts"),
        "camera_scan_index": key((), "<i8"),
        "camera_time": key((), "<f8", "s"),
    }
    named = {"ring": ["ring_note", "ring_current_pa"]}
    readings = {"ring_note": {**NUMBER, "dtype": "string"}, "ring_current_pa": NUMBER}
    camera = run.compose_descriptor(
        name="primary", data_keys=keys | (readings if beside else {}), hints={}, configuration={},
        object_keys={"camera": list(keys)} | (named if beside else {}),
    )  # fmt: skip
    descriptors, resources, datums, events = [camera.descriptor_doc], [], [], []
    for name in keys:
        field = name.removeprefix("camera_")
        made = run.compose_stream_resource(
            mimetype="application/x-hdf5", data_key=name,
            uri="file://localhost" + files["camera"].as_uri().removeprefix("file://"),
            parameters={"dataset": f"/entry/data/{field}", "chunk_shape": [1], "swmr": False},
        )  # fmt: skip
        resources.append(made.stream_resource_doc)
    datums += [
        {
            "uid": f"{a}-{resource['uid']}",
            "stream_resource": resource["uid"],
            "descriptor": camera.descriptor_doc["uid"],
            "indices": {"start": a, "stop": b},
            "seq_nums": {"start": a + 1, "stop": b + 1},
        }
        for a, b in cut(N, cuts or range(N))
        for resource in resources
    ]
    stream = camera
    if not beside:
        stream = run.compose_descriptor(
            name="ring_monitor", data_keys=readings, hints={}, configuration={}, object_keys=named
        )
        descriptors.append(stream.descriptor_doc)
    for k in sorted(set(range(N)) - set(lost)):
        data = {"ring_note": "x", "ring_current_pa": CURRENT[k]}
        stamps = dict.fromkeys(data, TIMES[k])
        events.append(
            stream.compose_event(
                data=data, timestamps=stamps, time=TIMES[k] + after, seq_num=k + 1, validate=False
            )
        )
    docs = [("start", dict(run.start_doc))]
    docs += [("descriptor", dict(d)) for d in descriptors]
    docs += [("stream_resource", dict(r)) for r in resources]
    named_datums = [("stream_datum", d) for d in datums]
    named_events = [("event", dict(e)) for e in events]
    if replayed:
        docs += named_datums + named_events
    else:
        while named_datums or named_events:
            docs += named_datums[:3] + named_events[:1]
            named_datums, named_events = named_datums[3:], named_events[1:]
    return [*docs, ("stop", dict(run.compose_stop()))]


def readings_of(docs, monitor):
    batches = feed(FrameSource(docs[0][1] | {"every_s": 1.0}, monitor=monitor), docs)
    np.testing.assert_array_equal(np.concatenate([b.frames for b in batches]), FRAMES)
    assert all(("monitor" in b.coordinates) == ("monitor" in batches[0].coordinates)
               for b in batches)  # fmt: skip
    if "monitor" not in batches[0].coordinates:
        return None
    return np.concatenate([b.coordinates["monitor"] for b in batches])


@pytest.mark.parametrize("replayed", [False, True])
@pytest.mark.parametrize("name", ["ring", "ring_current_pa"])
@pytest.mark.parametrize("cuts", [(), (1, 5, 6)])
def test_readings_of_the_frames_own_events(files, replayed, name, cuts):
    docs = documents(files, beside=True, replayed=replayed, cuts=cuts)
    np.testing.assert_array_equal(readings_of(docs, name), CURRENT)


@pytest.mark.parametrize("replayed", [False, True])
def test_a_reading_that_was_lost_is_nan_and_holds_nothing_up(files, replayed):
    docs = documents(files, beside=True, replayed=replayed, lost=(3, N - 1))
    wanted = CURRENT.copy()
    wanted[[3, N - 1]] = np.nan
    np.testing.assert_array_equal(readings_of(docs, "ring"), wanted)


@pytest.mark.parametrize("replayed", [False, True])
def test_a_stream_of_its_own_is_joined_by_time(files, replayed):
    docs = documents(files, beside=False, replayed=replayed, lost=(4,))
    np.testing.assert_allclose(readings_of(docs, "ring"), CURRENT, atol=1e-3)
    docs = documents(files, beside=False, replayed=replayed, after=0.5e-3)
    found = readings_of(docs, "ring")
    assert np.isnan(found[0])  # before the first reading
    np.testing.assert_allclose(found[1:], CURRENT[1:] - 2.5, atol=1e-3)


def test_frames_wait_for_the_reading_after_them(files):
    source = FrameSource({"every_s": 1.0}, monitor="ring")
    seen = []
    for name, doc in documents(files, beside=False):
        if name == "stop":
            break
        seen += list(source(name, doc))
    assert sum(len(b) for b in seen) == N  # the last reading came with the last frame
    source = FrameSource({"every_s": 1.0}, monitor="ring")
    held = documents(files, beside=False, lost=range(6, N))
    assert sum(len(b) for name, doc in held[:-1] for b in source(name, doc)) == 6


def test_a_run_without_the_monitor_has_no_coordinate(files):
    assert readings_of(documents(files, beside=True), "elsewhere") is None
    assert readings_of(documents(files, beside=True), None) is None


def test_a_baseline_is_no_monitor():
    readings = Readings("ring")
    described = {"uid": "a", "name": "baseline", "data_keys": {"ring": NUMBER}}
    readings.descriptor(described, "camera_frames")
    assert readings.key is None


@pytest.mark.parametrize("replayed", [False, True])
def test_a_reading_of_the_camera_itself_goes_by_its_own_name(files, replayed):
    """Here the ring's current stands for it; a reading that the run has not is left out."""
    docs = [(name, _renamed(doc)) for name, doc in documents(files, beside=True, replayed=replayed)]
    source = FrameSource(docs[0][1] | {"every_s": 1.0}, own=("live_time_s", "humidity"))
    batches = feed(source, docs)
    found = np.concatenate([b.coordinates["live_time_s"] for b in batches])
    np.testing.assert_array_equal(found, CURRENT)
    assert all("humidity" not in b.coordinates for b in batches)
    assert all("monitor" not in b.coordinates for b in batches)


def _renamed(doc):
    """Return a document in which ring_current_pa is called camera_live_time_s."""
    if isinstance(doc, dict):
        names = {"ring_current_pa": "camera_live_time_s"}
        return {names.get(key, key): _renamed(value) for key, value in doc.items()}
    return doc
