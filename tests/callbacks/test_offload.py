import threading

import pytest

from flyback.callbacks.offload import OVERFLOW, Offload, QueueOverflowError


class Gate:
    """A consumer that waits at a gate, and keeps what it was given."""

    def __init__(self):
        self.open = threading.Event()
        self.entered = threading.Event()
        self.seen = []

    def __call__(self, name, doc):
        self.entered.set()
        assert self.open.wait(20)
        self.seen.append((name, doc))


def datum(resource, start, stop):
    return {
        "uid": f"{resource}/{start}",
        "stream_resource": resource,
        "descriptor": "d",
        "indices": {"start": start, "stop": stop},
        "seq_nums": {"start": start + 1, "stop": stop + 1},
    }


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.open.set()


def test_waiting_datums_of_one_resource_are_joined(gate):
    offload = Offload("slow", gate)
    offload("start", {"uid": "r"})
    assert gate.entered.wait(20)
    for i in range(1000):  # two interleaved resources, as a plan collects them
        offload("stream_datum", datum("a", i, i + 1))
        offload("stream_datum", datum("b", i, i + 1))
    assert offload.lag <= 3
    gate.open.set()
    offload.close()
    spans = [(d["stream_resource"], d["indices"]) for n, d in gate.seen if n == "stream_datum"]
    assert spans == [(r, {"start": 0, "stop": 1000}) for r in "ab"]
    assert gate.seen[-1][1]["seq_nums"] == {"start": 1, "stop": 1001}


def test_datums_with_a_gap_or_another_document_between_stay_apart(gate):
    offload = Offload("slow", gate)
    offload("start", {"uid": "r"})
    assert gate.entered.wait(20)
    offload("stream_datum", datum("a", 0, 2))
    offload("stream_datum", datum("a", 3, 4))
    offload("event", {"seq_num": 1})
    offload("stream_datum", datum("a", 4, 5))
    gate.open.set()
    offload.close()
    assert len(gate.seen) == 5


def test_joining_never_changes_the_shared_document(gate):
    offload = Offload("slow", gate)
    offload("start", {"uid": "r"})
    assert gate.entered.wait(20)
    first = datum("a", 0, 2)
    offload("stream_datum", first)
    offload("stream_datum", datum("a", 2, 4))
    gate.open.set()
    offload.close()
    assert first["indices"] == {"start": 0, "stop": 2}


def test_an_exception_is_kept_and_the_thread_goes_on():
    seen = []

    def consumer(name, doc):
        if name == "bad":
            raise ValueError("no such thing")
        seen.append(name)

    offload = Offload("faulty", consumer)
    for name in ("start", "bad", "stop"):
        offload(name, {})
    offload.join(20)
    offload.close()
    assert seen == ["start", "stop"]
    assert [str(e) for e in offload.errors] == ["no such thing"]


def test_overflow_refuses_tells_the_consumer_and_says_how_to_get_the_result(gate):
    offload = Offload("slow", gate, capacity=3)
    offload("start", {"uid": "r"})
    assert gate.entered.wait(20)
    for i in range(10):
        offload("event", {"seq_num": i})
    gate.open.set()
    offload.join(20)
    assert [n for n, _ in gate.seen] == ["start", "event", "event", "event", OVERFLOW]
    assert isinstance(offload.errors[0], QueueOverflowError)
    assert "replay it" in str(offload.errors[0])
    offload("event", {"seq_num": 11})  # still inside the damaged run
    offload("start", {"uid": "next"})
    offload("event", {"seq_num": 1})
    offload.close()
    assert [n for n, _ in gate.seen[5:]] == ["start", "event"]


def test_join_says_what_it_waited_for(gate):
    offload = Offload("slow", gate)
    offload("start", {"uid": "r"})
    with pytest.raises(TimeoutError, match="'slow' still has 1 documents"):
        offload.join(0.01)
    gate.open.set()
    offload.close()
    with pytest.raises(RuntimeError, match="is closed"):
        offload("start", {})
