"""The ring: what it gives is right, or it gives nothing."""

import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flyback.callbacks.shared_ring import SharedRings
from flyback.devices.ring import FrameRing
from flyback.models import ring_memory

SHAPE = (4, 4)


def ring(rows=16):
    made = FrameRing(rows * (32 + 8) * 1e-6)
    begin(made, "a")
    return made


def begin(made, uid):
    made.begin(
        {"frames": f"{uid}/f", "scan_index": f"{uid}/i"},
        {"frames": SHAPE, "scan_index": ()},
        {"frames": np.dtype("<u2"), "scan_index": np.dtype("<i8")},
    )


def block(start, stop):
    index = np.arange(start, stop)
    return {
        "frames": np.broadcast_to(index[:, None, None], (len(index), *SHAPE)).astype("<u2"),
        "scan_index": index,
    }


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_the_latest_rows_are_there_and_the_older_are_not(sizes):
    made = ring()
    total = 0
    for size in sizes:
        made.put(block(total, total + size))
        total += size
    oldest = max(0, total - made.capacity)
    found = made.read("a/f", oldest, total)
    assert np.array_equal(found[:, 0, 0], np.arange(oldest, total))
    assert np.array_equal(made.read("a/i", oldest, total), np.arange(oldest, total))
    assert made.read("a/f", total - 1, total + 1) is None
    if oldest:
        assert made.read("a/f", oldest - 1, oldest + 1) is None


def test_what_is_read_is_a_copy():
    made = ring()
    made.put(block(0, 4))
    kept = made.read("a/f", 0, 4)
    made.put(block(4, 40))
    assert np.array_equal(kept[:, 0, 0], range(4))


def test_an_older_run_is_not_mistaken_for_a_newer():
    made = ring()
    made.put(block(0, 8))
    begin(made, "b")
    assert made.read("b/f", 0, 4) is None
    assert np.array_equal(made.read("a/f", 2, 4)[:, 0, 0], [2, 3])
    made.put(block(0, 4))
    assert made.read("a/f", 0, 4) is None
    assert np.array_equal(made.read("a/f", 4, 8)[:, 0, 0], range(4, 8))
    assert np.array_equal(made.read("b/f", 0, 4)[:, 0, 0], range(4))


def test_another_shape_takes_new_memory_and_forgets():
    made = ring()
    made.put(block(0, 8))
    made.begin({"frames": "c"}, {"frames": (2, 2)}, {"frames": np.dtype("<u4")})
    assert made.read("a/f", 0, 4) is None
    made.put({"frames": np.ones((3, 2, 2), "<u4")})
    assert made.read("c", 0, 3).sum() == 12


def test_nonsense_is_answered_with_none():
    made = ring()
    made.put(block(0, 8))
    assert made.read("unknown", 0, 1) is None
    assert made.read("a/f", 3, 3) is None
    assert made.read("a/f", -2, 3) is None
    assert made.read("a/f", 0, 100) is None


def test_a_reader_beside_a_fast_writer_sees_right_rows_or_none():
    made = ring(64)
    stop = threading.Event()

    def write():
        row = 0
        while not stop.is_set():
            made.put(block(row, row + 16))
            row += 16

    writer = threading.Thread(target=write)
    writer.start()
    seen = 0
    try:
        while seen < 200:
            start = int(made._next_row) - 32
            found = made.read("a/i", start, start + 16) if start >= 0 else None
            if found is not None:
                assert np.array_equal(found, np.arange(start, start + 16))
                seen += 1
    finally:
        stop.set()
        writer.join()


def test_another_process_reads_what_is_shared_and_nothing_else():
    made = FrameRing(16 * 40e-6)
    begin(made, "a")
    assert made.describe("a/f") is None
    made.share()
    begin(made, "b")
    made.put(block(0, 20))
    described = made.describe("b/f")
    assert made.describe("unknown") is None
    rings = SharedRings()
    rings.add(described)
    assert np.array_equal(rings.read("b/f", 10, 20), made.read("b/f", 10, 20))
    for start, stop in ((0, 4), (18, 21), (5, 5), (-1, 3), (0, 1000)):
        assert rings.read("b/f", start, stop) is None
    assert rings.read("a/f", 0, 1) is None
    begin(made, "c")
    made.put(block(0, 16))
    assert rings.read("b/f", 10, 14) is None
    path = Path(described["path"])
    assert path.exists()
    del made
    assert not path.exists()
    gone = SharedRings()
    gone.add(described)
    assert gone.read("b/f", 10, 14) is None


def test_without_room_to_share_rows_stay_in_the_process(monkeypatch, caplog):
    monkeypatch.setattr(ring_memory.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    made = ring()
    made.share()
    begin(made, "b")
    made.put(block(0, 8))
    assert made.describe("b/f") is None
    assert made.read("b/f", 0, 8) is not None
    assert "other processes read frames from files" in caplog.text
