"""The documents of one or several stored runs in the order, and at the pace, of their times."""

from __future__ import annotations

import heapq
import math
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

Document = tuple[str, dict[str, Any]]
Timed = tuple[float, str, dict[str, Any]]

PIECE = 64


def check_speed(speed: float) -> float:
    """Return a speed that is one.

    Raises
    ------
    ValueError
        If it is not positive.
    """
    if not speed > 0:
        raise ValueError(f"--speed must be above 0 (1 is as fast as it was, inf at once): {speed}")
    return float(speed)


def timed(documents: Iterable[Document]) -> Iterator[Timed]:
    """Yield (time, name, document), the order kept and the times never going back.

    Resources and datums have no time of their own: they come with what came before them.
    """
    now = -math.inf
    for name, doc in documents:
        stamp = doc.get("time")
        if isinstance(stamp, Sequence) and len(stamp):  # an event page
            stamp = stamp[-1]
        if isinstance(stamp, int | float) and stamp > now:
            now = float(stamp)
        yield now, name, doc


def interleaved(documents: Iterable[Document]) -> list[Timed]:
    """Return a run of the catalogue as it may have come: frames among the events.

    The catalogue joins the datums of a resource. A piece that belongs to events of its stream comes
    just before the last of them; in a stream without events, pieces of `PIECE` rows are spread
    evenly over the run.

    Parameters
    ----------
    documents : iterable of (name, document)
        As `store.documents.documents_of` returns them.
    """
    documents = list(documents)
    events: dict[str, list[tuple[int, float]]] = defaultdict(list)
    begins: dict[str, float] = {}
    lengths: dict[str, int] = {}
    ends = -math.inf
    for name, doc in documents:
        ends = max(ends, doc.get("time", ends))
        if name == "event":
            events[doc["descriptor"]].append((doc["seq_num"], doc["time"]))
        elif name == "descriptor":
            begins[doc["uid"]] = doc["time"]
        elif name == "stream_datum":
            of = doc["descriptor"]
            lengths[of] = max(lengths.get(of, 1), doc["seq_nums"]["stop"] - 1)
    rows: list[tuple[float, int, int, int, str, dict[str, Any]]] = []
    for number, (name, doc) in enumerate(documents):
        if name != "stream_datum":
            # Descriptors and resources first, the stop last, whatever the clocks said.
            stamp = {"event": doc.get("time", 0.0), "stop": math.inf}.get(name, -math.inf)
            rows.append((stamp, doc.get("seq_num", 0), 1, number, name, doc))
            continue
        of = doc["descriptor"]
        for piece in _pieces(doc, known := sorted(events[of])):
            last = piece["seq_nums"]["stop"] - 1
            stamp = _stamp(last, known, begins.get(of, ends), ends, lengths[of])
            rows.append((stamp, last if known else 0, 0, number, name, piece))
    rows.sort(key=lambda row: row[:4])
    found: list[Timed] = []
    now = -math.inf
    for stamp, _, _, _, name, doc in rows:
        now = max(now, doc.get("time", now) if math.isinf(stamp) else stamp)
        found.append((now, name, doc))
    return found


def _stamp(
    last: int, known: Sequence[tuple[int, float]], begin: float, end: float, length: int
) -> float:
    """Return the time of the event with a sequence number, or a guess from the run's times."""
    at = bisect_left(known, (last, -math.inf))
    if at < len(known):
        return known[at][1]
    return begin + (end - begin) * last / length


def _pieces(doc: dict[str, Any], known: Sequence[tuple[int, float]]) -> Iterator[dict[str, Any]]:
    """Cut a datum at the events of its stream, or every `PIECE` rows."""
    indices, seq_nums = doc["indices"], doc["seq_nums"]
    n, events = indices["stop"] - indices["start"], seq_nums["stop"] - seq_nums["start"]
    if n != events:  # several frames an event: it stays whole
        yield doc
        return
    step = 1 if known else PIECE
    for begin in range(0, n, step):
        end = min(begin + step, n)
        yield doc | {
            "uid": f"{doc['uid']}/{begin}",
            "indices": {"start": indices["start"] + begin, "stop": indices["start"] + end},
            "seq_nums": {"start": seq_nums["start"] + begin, "stop": seq_nums["start"] + end},
        }


def merged(runs: dict[str, Iterable[Timed]]) -> Iterator[tuple[float, str, str, dict[str, Any]]]:
    """Merge runs by time; yield (time, uid of the run, name, document)."""

    def tagged(uid: str, run: Iterable[Timed]) -> Iterator[tuple[float, str, str, dict[str, Any]]]:
        return ((stamp, uid, name, doc) for stamp, name, doc in run)

    return heapq.merge(*(tagged(uid, run) for uid, run in runs.items()), key=lambda row: row[0])


def paced(
    rows: Iterable[tuple[float, str, str, dict[str, Any]]],
    speed: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (uid, name, document), each when it is due: ``speed`` 2 takes half the time.

    The pause is from the first document; what is late does not shift what follows.
    """
    check_speed(speed)
    origin: tuple[float, float] | None = None
    for stamp, uid, name, doc in rows:
        if math.isfinite(speed) and math.isfinite(stamp):
            origin = origin or (stamp, clock())
            due = origin[1] + (stamp - origin[0]) / speed
            while (rest := due - clock()) > 0:
                sleep(rest)
        yield uid, name, doc
