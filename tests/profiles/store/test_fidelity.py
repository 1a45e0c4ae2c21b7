"""What is stored comes back: values, dtypes, and the documents."""

from collections import defaultdict

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import h5py
import numpy as np
import pytest
from event_model import compose_run
from ophyd import Signal
from ophyd.sim import motor

from flyback.profiles.store.runs import analyses, documents, find
from flyback.profiles.store.writer import StoreWriter


def by_name(docs):
    found = defaultdict(list)
    for name, doc in docs:
        found[name].append(doc)
    return found


@pytest.fixture(scope="module")
def flown(store, block_flyer, RE):
    return {}


@pytest.fixture
def fly_run(acquire, store, block_flyer, flown):
    """A fly run of 100 frames, made once."""
    if not flown:
        camera = block_flyer.BlockFlyer(name="camera", directory=store.frames, n_frames=100)
        flown["uid"], flown["docs"] = acquire(block_flyer.fly(camera, [motor]))
    return flown["uid"], flown["docs"]


def test_frames_come_back_exactly(store, fly_run, block_flyer):
    stream = find(store.catalog, fly_run[0])["primary"]
    frames = stream["camera_frames"].read()
    assert frames.dtype == np.uint16
    np.testing.assert_array_equal(frames, block_flyer.frames_at(range(100)))
    index, time = stream["camera_scan_index"].read(), stream["camera_time"].read()
    assert (index.dtype, time.dtype) == (np.int64, np.float64)
    np.testing.assert_array_equal(index, np.arange(100))
    np.testing.assert_array_equal(time, np.arange(100) * 0.5)


def test_a_part_of_the_frames_can_be_read(store, fly_run, block_flyer):
    node = find(store.catalog, fly_run[0])["primary"]["camera_frames"]
    np.testing.assert_array_equal(node[40:43], block_flyer.frames_at(range(40, 43)))


def test_a_fly_run_is_played_back(store, fly_run, check_documents):
    uid, original = fly_run
    docs = documents(store.catalog, uid)
    assert check_documents(docs)[1] == []
    before, after = by_name(original), by_name(docs)
    for name in ("start", "stop", "stream_resource"):
        key = lambda doc: doc["uid"]  # noqa: E731
        assert sorted(after[name], key=key) == sorted(before[name], key=key)
    for ours, theirs in zip(after["descriptor"], before["descriptor"], strict=True):
        for key in ("uid", "name", "time", "hints", "run_start", "object_keys"):
            assert ours[key] == theirs[key], key
        for key, data_key in theirs["data_keys"].items():
            assert data_key.items() <= ours["data_keys"][key].items()
    covered = {d["stream_resource"]: d["indices"] for d in after["stream_datum"]}
    assert list(covered.values()) == [{"start": 0, "stop": 100}] * 3
    assert {d["descriptor"] for d in after["stream_datum"]} == {after["descriptor"][1]["uid"]}
    names = [name for name, _ in docs]
    assert names.index("stream_datum") > max(i for i, n in enumerate(names) if n == "descriptor")
    assert (names[0], names[-1]) == ("start", "stop")


def scalars_and_arrays(n, signals):
    @bpp.run_decorator(md={"plan_name": "step"})
    def inner():
        for i in range(n):
            signals[0].put(i)
            signals[1].put(i * 0.1 if i else float("nan"))
            signals[2].put(np.arange(6, dtype="<f4").reshape(2, 3) * i)
            signals[3].put(f"état {i}")
            signals[4].put(i % 2 == 0)
            signals[5].put(np.array([i, i + 1], dtype="<i2"))
            yield from bps.create("primary")
            for signal in signals:
                yield from bps.read(signal)
            yield from bps.save()

    return inner()


class Typed(Signal):
    """A signal that declares its dtype."""

    def __init__(self, *, dtype, **kwargs):
        super().__init__(**kwargs)
        self._dtype = dtype

    def describe(self):
        described = super().describe()
        described[self.name]["dtype_numpy"] = self._dtype
        return described


@pytest.fixture
def signals():
    return [
        Signal(name="count", value=0),
        Signal(name="ratio", value=0.0),
        Typed(name="field", value=np.zeros((2, 3), "<f4"), dtype="<f4"),
        Signal(name="label", value=""),
        Signal(name="flag", value=True),
        Typed(name="pair", value=np.zeros(2, "<i2"), dtype="<i2"),
    ]


def test_scalars_text_and_small_arrays_come_back(store, acquire, signals, check_documents):
    uid, original = acquire(scalars_and_arrays(5, signals))
    stream = find(store.catalog, uid)["primary"]
    assert stream["count"].read().tolist() == [0, 1, 2, 3, 4]
    assert stream["count"].read().dtype == np.int64
    np.testing.assert_array_equal(stream["ratio"].read(), [np.nan, *np.arange(1, 5) * 0.1])
    assert list(stream["label"].read()) == [f"état {i}" for i in range(5)]
    assert stream["field"].read().dtype == np.float32
    assert stream["pair"].read().dtype == np.int16
    np.testing.assert_array_equal(stream["pair"].read(), [[i, i + 1] for i in range(5)])
    docs = documents(store.catalog, uid)
    assert check_documents(docs)[1] == []
    before, after = by_name(original)["event"], by_name(docs)["event"]
    for theirs, ours in zip(before, after, strict=True):
        assert (ours["seq_num"], ours["time"]) == (theirs["seq_num"], theirs["time"])
        assert ours["timestamps"] == pytest.approx(theirs["timestamps"], abs=0)
        for key, value in theirs["data"].items():
            np.testing.assert_array_equal(ours["data"][key], value)
            assert type(ours["data"][key]) is type(value), key
        assert ours["data"]["field"].dtype == np.float32


def test_events_are_found_in_time_order_over_streams(store, acquire):
    uid, original = acquire(
        bpp.baseline_wrapper(bp.scan([motor], motor, 0, 1, 3), [Signal(name="lamp", value=1)])
    )
    docs = documents(store.catalog, uid)
    streams = {d["uid"]: d["name"] for d in by_name(docs)["descriptor"]}
    order = [streams[d["descriptor"]] for d in by_name(docs)["event"]]
    assert order == ["baseline", "primary", "primary", "primary", "baseline"]
    assert [d["time"] for d in by_name(docs)["event"]] == sorted(
        d["time"] for d in by_name(original)["event"]
    )


def test_the_broker_sees_the_same_runs(store, acquire):
    uid, _ = acquire(bp.scan([motor], motor, 0, 1, 3))
    header = store.catalog.broker()[uid]
    assert header.start["uid"] == uid
    assert header.stop["exit_status"] == "success"
    assert list(header.table()["motor"]) == [0, 0.5, 1]
    assert [name for name, _ in header.documents()].count("event") == 3


def result_run(path, parent, phase):
    """An analysis's documents: a number that grows, and a complex image in a file."""
    with h5py.File(path, "w") as file:
        file["phase"] = phase[None]
    run = compose_run(
        metadata={
            "purpose": "analysis",
            "analysis": "ptychography",
            "parents": [parent],
            "original_run_uid": parent,
            "parameters": {"energy_kev": 200.0},
        }
    )
    yield "start", run.start_doc
    number = {"source": "x", "dtype": "number", "shape": [], "dtype_numpy": "<f8"}
    scalars = run.compose_descriptor(name="primary", data_keys={"error": number})
    yield "descriptor", scalars.descriptor_doc
    for error in (3.0, 2.0):
        yield "event", scalars.compose_event(data={"error": error}, timestamps={"error": 1.0})
    image = {
        "source": "x",
        "dtype": "array",
        "shape": list(phase.shape),
        "dtype_numpy": phase.dtype.str,
        "external": "STREAM:",
    }
    result = run.compose_descriptor(name="result", data_keys={"obj": image})
    yield "descriptor", result.descriptor_doc
    resource = run.compose_stream_resource(
        mimetype="application/x-hdf5",
        uri=f"file://localhost/{path.as_posix().lstrip('/')}",
        data_key="obj",
        parameters={"dataset": "phase", "chunk_shape": [1, *phase.shape], "swmr": False},
    )
    yield "stream_resource", resource.stream_resource_doc
    yield (
        "stream_datum",
        resource.compose_stream_datum(
            indices={"start": 0, "stop": 1},
            seq_nums={"start": 1, "stop": 2},
            descriptor=result.descriptor_doc,
        ),
    )
    yield "stop", run.compose_stop()


def test_a_derived_run_is_found_with_its_complex_image(store, acquire):
    parent, _ = acquire(bp.count([motor]))
    phase = np.exp(1j * np.arange(30).reshape(5, 6)).astype("c8")
    with StoreWriter(store.catalog) as writer:
        for number in range(2):
            docs = list(result_run(store.frames / f"{parent}-{number}.h5", parent, phase + number))
            for name, doc in docs:
                writer(name, doc)
        assert writer.wait(60), writer.problems
    found = analyses(store.catalog, parent)
    assert set(found) == {"ptychography"}
    run = found["ptychography"]
    assert run.metadata["start"]["uid"] == docs[0][1]["uid"]
    obj = run["result"]["obj"].read()
    assert obj.dtype == np.complex64
    np.testing.assert_array_equal(obj, phase[None] + 1)
    assert docs[0][1]["uid"] not in store.catalog.raw
    assert [name for name, _ in documents(store.catalog, docs[0][1]["uid"])].count("event") == 2


def test_documents_are_not_changed(store, acquire, signals):
    seen = []
    copies = []

    def keep(name, doc):
        seen.append(doc)
        copies.append(repr(doc))

    with StoreWriter(store.catalog) as writer:
        for name, doc in result_run(store.frames / "unchanged.h5", "none", np.ones((2, 2), "c8")):
            keep(name, doc)
            writer(name, doc)
        assert writer.wait(60), writer.problems
    assert [repr(doc) for doc in seen] == copies


def test_a_run_that_goes_on_is_played_back_as_far_as_it_is(store):
    docs = list(result_run(store.frames / "open.h5", "none", np.ones((2, 3), "c8")))
    with StoreWriter(store.catalog) as writer:
        for name, doc in docs[:-1]:
            writer(name, doc)
        assert writer.wait(60), writer.problems
        found = by_name(documents(store.catalog, docs[0][1]["uid"]))
    assert found["stop"] == []
    assert len(found["event"]) == 2
    (resource,), (datum,) = found["stream_resource"], found["stream_datum"]
    recorded = by_name(docs)["stream_resource"][0]
    assert resource["uri"] == recorded["uri"]
    assert resource["data_key"] == "obj"
    assert resource["parameters"]["dataset"] == "phase"
    assert resource["parameters"]["chunk_shape"] == [1, 2, 3]
    assert datum["indices"] == {"start": 0, "stop": 1}
    assert datum["stream_resource"] == resource["uid"]


def test_two_files_of_one_key_come_back_as_two(store):
    run = compose_run()
    key = {"source": "x", "dtype": "number", "shape": [], "dtype_numpy": "<i8"}
    stream = run.compose_descriptor(
        name="primary", data_keys={"index": key | {"external": "STREAM:"}}
    )
    docs = [("start", run.start_doc), ("descriptor", stream.descriptor_doc)]
    for number in range(2):
        path = store.frames / f"part{number}.h5"
        with h5py.File(path, "w") as file:
            file["index"] = np.arange(4) + 4 * number
        resource = run.compose_stream_resource(
            mimetype="application/x-hdf5",
            uri=f"file://localhost/{path.as_posix().lstrip('/')}",
            data_key="index",
            parameters={"dataset": "index", "chunk_shape": [4], "swmr": False},
        )
        datum = resource.compose_stream_datum(
            indices={"start": 4 * number, "stop": 4 * number + 4},
            seq_nums={"start": 4 * number + 1, "stop": 4 * number + 5},
            descriptor=stream.descriptor_doc,
        )
        docs += [("stream_resource", resource.stream_resource_doc), ("stream_datum", datum)]
    docs.append(("stop", run.compose_stop()))
    with StoreWriter(store.catalog) as writer:
        for name, doc in docs:
            writer(name, doc)
        assert writer.wait(60), writer.problems
    uid = run.start_doc["uid"]
    assert find(store.catalog, uid)["primary"]["index"].read().tolist() == list(range(8))
    before, after = by_name(docs), by_name(documents(store.catalog, uid))
    assert after["stream_resource"] == before["stream_resource"]
    assert [d["indices"] for d in after["stream_datum"]] == [
        d["indices"] for d in before["stream_datum"]
    ]


def test_frames_of_a_step_scan_stand_beside_its_events(store):
    path = store.frames / "step.h5"
    with h5py.File(path, "w") as file:
        file["frames"] = np.arange(12, dtype="<u2").reshape(3, 2, 2)
    run = compose_run()
    frames = {
        "source": "x",
        "dtype": "array",
        "shape": [2, 2],
        "dtype_numpy": "<u2",
        "external": "STREAM:",
    }
    place = {"source": "x", "dtype": "number", "shape": [], "dtype_numpy": "<f8"}
    stream = run.compose_descriptor(name="primary", data_keys={"frames": frames, "coils_y": place})
    docs = [("start", run.start_doc), ("descriptor", stream.descriptor_doc)]
    resource = run.compose_stream_resource(
        mimetype="application/x-hdf5",
        uri=path.as_uri(),
        data_key="frames",
        parameters={"dataset": "frames", "chunk_shape": [1, 2, 2], "swmr": False},
    )
    docs.append(("stream_resource", resource.stream_resource_doc))
    for i in range(3):
        datum = resource.compose_stream_datum(
            indices={"start": i, "stop": i + 1},
            seq_nums={"start": i + 1, "stop": i + 2},
            descriptor=stream.descriptor_doc,
        )
        docs.append(("stream_datum", datum))
        docs.append(
            ("event", stream.compose_event(data={"coils_y": i * 2.0}, timestamps={"coils_y": 1.0}))
        )
    docs.append(("stop", run.compose_stop()))
    with StoreWriter(store.catalog) as writer:
        for name, doc in docs:
            writer(name, doc)
        assert writer.wait(60), writer.problems
    played = by_name(documents(store.catalog, run.start_doc["uid"]))
    assert [e["data"] for e in played["event"]] == [{"coils_y": i * 2.0} for i in range(3)]
    (datum,) = played["stream_datum"]
    assert (datum["indices"], datum["seq_nums"]) == (
        {"start": 0, "stop": 3},
        {"start": 1, "stop": 4},
    )
