"""What a document costs on the RunEngine's thread: journal and store."""

from statistics import median
from time import perf_counter

import numpy as np
import pytest

from flyback.callbacks.record import Recorder
from flyback.profiles.store.catalog import open_catalog
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
