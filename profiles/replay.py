"""Replay: a stored run enters the analysis again, with other settings if wanted.

The run's documents come from the catalogue or from the journal and enter where they entered live;
the result becomes a new derived run with `replay_of`. Direct models give the same bits as live,
iterative ones after `converge` too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..callbacks.live import LiveCallback
from ..callbacks.publish import Publisher
from ..models.base import Quantity
from .archive import Archive
from .compose import check_analysis
from .replay_order import check_speed, interleaved, merged, paced, timed
from .session import Session, active, uid_of
from .store.places import inside_only


class ReplayError(ValueError):
    """A run cannot be replayed as asked."""


@dataclass(frozen=True)
class Replayed:
    """What a replay gave.

    Parameters
    ----------
    uid : str or None
        The new derived run.
    analysis, parent : str
        Name of the analysis and uid of the raw run.
    result : dict of str to Quantity
    error : BaseException or None
    callback : LiveCallback
    """

    uid: str | None
    analysis: str
    parent: str
    result: dict[str, Quantity]
    error: BaseException | None
    callback: LiveCallback

    def __getitem__(self, key: str) -> Any:
        """Return the value of one quantity."""
        return self.result[key].value


def replay(
    run: Any,
    name: str,
    *,
    session: Session | Archive | None = None,
    source: str = "catalogue",
    check: bool = True,
    **settings: Any,
) -> Replayed:
    """Run an analysis over a stored run again.

    Parameters
    ----------
    run : str, int or catalogue entry
        Uid or its beginning, scan id, ``"last"``, or ``catalog[...]``.
    name : str
        Of the analysis, such as ``"ptychography"``.
    session : Session or Archive, optional
        The one opened last by default.
    source : {"catalogue", "journal"}
        Where the documents come from.
    check : bool
        Raise what the analysis raised.
    **settings
        Change the settings that the analysis had when it ran before (or its defaults).

    Returns
    -------
    Replayed

    Raises
    ------
    ReplayError
        If there is no session, no such run, or the run has no frames.
    """
    (done,) = replay_all(
        [run], name, session=session, source=source, check=check, settings=settings
    )
    return done


def replay_all(
    runs: Sequence[Any],
    name: str,
    *,
    session: Session | Archive | None = None,
    source: str = "catalogue",
    speed: float = math.inf,
    check: bool = True,
    settings: Mapping[str, Any] | None = None,
) -> list[Replayed]:
    """Run an analysis over several stored runs again, their documents merged by time.

    Each run has its own analysis and its own new derived run.

    Parameters
    ----------
    runs : sequence of str, int or catalogue entry
        See `replay`.
    speed : float
        1 takes the time that the runs took, 10 a tenth, inf as long as the analysis takes.
    settings : mapping, optional
        As the keywords of `replay`. The others are as there.

    Returns
    -------
    list of Replayed
        In the order of `runs`.
    """
    if source not in {"catalogue", "journal"}:
        raise ReplayError(f"a replay is from 'catalogue' or 'journal', got {source!r}")
    check_speed(speed)
    archive = _archive(session)
    found = [archive.find(run) if isinstance(run, str | int) else run for run in runs]
    uids = list(dict.fromkeys(uid_of(run) for run in found))
    feeds = {uid: _Feed(archive, uid, name, dict(settings or {})) for uid in uids}
    for uid, doc_name, doc in stored_documents(archive, uids, source=source, speed=speed):
        feeds[uid](doc_name, doc)
    for feed in feeds.values():
        feed.finish()
    archive.wait()
    return [feeds[uid].replayed(check=check) for uid in uids]


def stored_documents(
    archive: Archive,
    uids: Sequence[str],
    *,
    source: str = "catalogue",
    speed: float = math.inf,
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (uid of the run, name, document) of stored runs, merged by time, at a speed.

    From the journal the documents are those that were recorded, in their order. From the catalogue
    they come as `store.documents.documents_of` gives them, and with the frames among the events
    (see `replay_order.interleaved`) where their times matter: at a finite speed, of several runs.

    Raises
    ------
    OutsideError
        At a file outside the archive's storage.
    """
    runs = {}
    for uid in uids:
        documents = inside_only(archive.documents(uid, source=source), archive.readable)
        mixed = source == "catalogue" and (math.isfinite(speed) or len(uids) > 1)
        runs[uid] = interleaved(documents) if mixed else timed(documents)
    return paced(merged(runs), speed)


class _Feed:
    """One run's way into a new analysis, built from its start."""

    def __init__(self, archive: Archive, uid: str, name: str, settings: dict[str, Any]) -> None:
        self._archive, self._uid, self._name = archive, uid, name
        before = archive.analyses(uid).get(name)
        table = dict(before.metadata["start"]["parameters"]) if before is not None else {}
        self._table = table | settings
        self._replay_of = None if before is None else uid_of(before)
        self._build = check_analysis(name, self._table)
        self._callback: LiveCallback | None = None

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        if name == "start":
            self._callback = self._build(doc, lambda: self._publisher(doc))
        elif self._callback is not None:
            self._callback(name, doc)

    def _publisher(self, start: Mapping[str, Any]) -> Publisher:
        return self._archive.publisher(
            analysis=self._name, parent=start, parameters=self._table, replay_of=self._replay_of
        )

    def finish(self) -> None:
        callback = self._callback
        if callback is not None and not callback.finished and callback.error is None:
            # a run that was cut off: what there is, counts
            callback("stop", {"run_start": self._uid})

    def replayed(self, *, check: bool) -> Replayed:
        callback = self._callback
        if callback is not None and check and callback.error is not None:
            raise callback.error
        if callback is None or callback.publisher is None:
            raise ReplayError(f"run {self._uid} has no frames that {self._name!r} could take")
        uid = callback.publisher.uid
        return Replayed(uid, self._name, self._uid, callback.result_, callback.error, callback)


def _archive(session: Session | Archive | None) -> Archive:
    if isinstance(session, Archive):
        return session
    chosen = session if session is not None else active()
    if chosen is None:
        raise ReplayError("no session is open: flyback.open(...) one, or give session=")
    return chosen.archive
