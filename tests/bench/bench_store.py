"""What a document costs on the RunEngine's thread, how fast the store is, how far behind.

Beside it, in the same run, what upstream offers: bluesky-tiled-plugins' TiledWriter, subscribed as
it is or through bluesky's BufferingWrapper.
"""

from statistics import median
from time import perf_counter, process_time

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.callbacks.buffer import BufferingWrapper
from bluesky_tiled_plugins import TiledWriter
from event_model import compose_run
from ophyd import Signal

from flyback.callbacks.record import Recorder
from flyback.profiles.store.batches import BatchWriter
from flyback.profiles.store.catalog import open_catalog
from flyback.profiles.store.store_process import StoreProcess
from flyback.profiles.store.writer import StoreWriter
from flyback.tests.bench.yardstick import record

COLUMNS = {f"c{i}": 1.5 * i for i in range(10)}
EVENT = {
    "uid": "x" * 36,
    "time": 1.0,
    "seq_num": 1,
    "descriptor": "d",
    "data": {**COLUMNS, "i": np.int64(3), "a": np.zeros((2, 3))},
    "timestamps": dict.fromkeys(COLUMNS, 1.0),
    "filled": {},
}


def median_cost(consumer, n=2000):
    consumer("start", {"uid": "a", "time": 1.0})
    consumer("descriptor", {"uid": "d", "run_start": "a", "data_keys": {}, "time": 1.0})
    costs = []
    for _ in range(n):
        began = perf_counter()
        consumer("event", EVENT)
        costs.append(perf_counter() - began)
    return median(costs)


@pytest.mark.benchmark(min_rounds=1)
def bench_journal(benchmark, tmp_path):
    """Target: at most 50 microseconds a document (median), flushed, without fsync."""
    with Recorder(tmp_path) as recorder:
        cost = benchmark.pedantic(median_cost, args=(recorder,), rounds=1)
    record(benchmark, microseconds_a_document=cost * 1e6)


@pytest.mark.benchmark(min_rounds=1)
@pytest.mark.filterwarnings("ignore")
def bench_store_queue(benchmark, tmp_path):
    """Target: at most 100 microseconds a document."""
    with open_catalog(tmp_path / "catalog") as catalog, StoreWriter(catalog) as writer:
        cost = benchmark.pedantic(median_cost, args=(writer,), rounds=1)
    record(benchmark, microseconds_a_document=cost * 1e6)


def run_documents(n):
    """Return the documents of a step scan with ten columns."""
    run = compose_run()
    key = {"source": "x", "dtype": "number", "shape": [], "dtype_numpy": "<f8"}
    stream = run.compose_descriptor(name="primary", data_keys=dict.fromkeys(COLUMNS, key))
    events = [
        stream.compose_event(data=COLUMNS, timestamps=dict.fromkeys(COLUMNS, 1.0), validate=False)
        for _ in range(n)
    ]
    return [
        ("start", run.start_doc),
        ("descriptor", stream.descriptor_doc),
        *(("event", event) for event in events),
        ("stop", run.compose_stop()),
    ]


def give(consumer, finish, docs):
    """Give documents as fast as they are taken; return events/s, CPU s, worst and median call."""
    cpu, began, calls = process_time(), perf_counter(), []
    for name, doc in docs:
        at = perf_counter()
        consumer(name, doc)
        calls.append(perf_counter() - at)
    finish()
    n = len(docs) - 3
    return {
        "events_per_s": n / (perf_counter() - began),
        "cpu_ms_per_event": (process_time() - cpu) * 1e3 / n,
        "us_per_document": median(calls) * 1e6,
        "mean_us_per_document": sum(calls) / len(calls) * 1e6,
        "worst_call_ms": max(calls) * 1e3,
    }


def nothing(catalog):
    return (lambda *_: None), (lambda: None)


def ours(catalog):
    writer = StoreWriter(catalog)
    return writer, writer.close


def plain(batch_size):
    def make(catalog):
        return TiledWriter(catalog.raw, batch_size=batch_size), lambda: None

    return make


def buffered(batch_size):
    def make(catalog):
        wrapper = BufferingWrapper(TiledWriter(catalog.raw, batch_size=batch_size))
        return wrapper, wrapper.shutdown

    return make


PROCESS = "flyback, a process"
WRITERS = {
    "flyback": ours,
    "TiledWriter, batches of 1": plain(1),
    "TiledWriter, batches of 100": plain(100),
    "BufferingWrapper, batches of 1": buffered(1),
    "BufferingWrapper, batches of 100": buffered(100),
}


@pytest.mark.benchmark(min_rounds=1)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WRITERS)
def bench_backlog(benchmark, tmp_path, name):
    """Target: at least 700 events/s, 10 columns, SQLite."""
    n = 200 if name.endswith(" 1") else 5000
    with open_catalog(tmp_path / "catalog") as catalog:
        for docs in (run_documents(3), run_documents(n)):  # the first one warms up
            figures = give(*WRITERS[name](catalog), docs)
        uid = docs[0][1]["uid"]
        assert len(catalog.raw[uid]["primary"]["c3"].read()) == n
    benchmark.pedantic(lambda: None, rounds=1)
    print(f"\n    {name}", end="")
    record(benchmark, **figures)


@pytest.mark.benchmark(min_rounds=1)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["nothing", PROCESS, *WRITERS])
def bench_behind(benchmark, tmp_path, name):
    """Target: never more than 1 s behind the RunEngine at its full rate; 100 us a document.

    The first run of a process pays for imports and for new databases; the second is the figure.
    """
    n = 200 if name.endswith(" 1") else 2000
    signals = [Signal(name=f"s{i}", value=float(i)) for i in range(10)]
    given, behind, calls = [], [], []

    @bpp.run_decorator()
    def plan(points):
        for _ in range(points):
            yield from bps.trigger_and_read(signals)

    class Timed:
        """Batches, and how long after the RunEngine each of their events is in the catalogue."""

        def __init__(self, batches):
            self._batches = batches

        def write(self, batch):
            failed = self._batches.write(batch)
            assert not failed
            now, events = perf_counter(), sum(doc_name == "event" for _, doc_name, _ in batch)
            behind.extend(now - at for at in given[len(behind) : len(behind) + events])
            return failed

        def close(self):
            self._batches.close()

    engine = RunEngine({})
    engine.subscribe(lambda *_: given.append(perf_counter()), "event")
    folder = tmp_path / "catalog"
    with open_catalog(folder) as catalog:
        if name.startswith("flyback"):
            batches = StoreProcess(folder) if name == PROCESS else BatchWriter(catalog)
            consumer = StoreWriter(catalog, batches=Timed(batches))
            finish = consumer.close
        else:
            consumer, finish = WRITERS.get(name, nothing)(catalog)

        def timed(doc_name, doc):
            at = perf_counter()
            consumer(doc_name, doc)
            calls.append(perf_counter() - at)

        engine.subscribe(timed)
        engine(plan(50))
        if name.startswith("flyback"):
            consumer.wait()
        first = len(behind)
        calls.clear()
        began = perf_counter()
        engine(plan(n))
        rate = n / (perf_counter() - began)
        finish()
        done = perf_counter() - began
    benchmark.pedantic(lambda: None, rounds=1)
    figures = {"engine_events_per_s": rate, "stored_after_s": done - n / rate}
    figures |= {"us_per_document": median(calls) * 1e6, "worst_call_ms": max(calls) * 1e3}
    if name.startswith("flyback"):
        assert len(behind) == n + 50
        figures |= {"most_s_behind": max(behind[first:]), "median_s_behind": median(behind[first:])}
        figures |= {"most_s_behind_in_first_run": max(behind[:first])}
    print(f"\n    {name}", end="")
    record(benchmark, **figures)
