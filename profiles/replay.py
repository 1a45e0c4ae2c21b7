"""Replay: a stored run enters the analysis again, with other settings if wanted.

The run's documents come from the catalogue or from the journal and enter where they entered live;
the result becomes a new derived run with `replay_of`. Direct models give the same bits as live,
iterative ones after `converge` too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..callbacks.live import LiveCallback
from ..callbacks.publish import Publisher
from ..models.base import Quantity
from .archive import Archive
from .compose import check_analysis
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
    if source not in {"catalogue", "journal"}:
        raise ReplayError(f"a replay is from 'catalogue' or 'journal', got {source!r}")
    archive = _archive(session)
    uid = uid_of(archive.find(run) if isinstance(run, str | int) else run)
    before = archive.analyses(uid).get(name)
    table = dict(before.metadata["start"]["parameters"]) if before is not None else {}
    table.update(settings)
    replay_of = None if before is None else uid_of(before)
    callback = _feed(archive, uid, name, table, replay_of, source)
    if callback is None or callback.publisher is None:
        raise ReplayError(f"run {uid} has no frames that {name!r} could take")
    archive.wait()
    if check and callback.error is not None:
        raise callback.error
    return Replayed(callback.publisher.uid, name, uid, callback.result_, callback.error, callback)


def _feed(
    archive: Archive,
    uid: str,
    name: str,
    table: dict[str, Any],
    replay_of: str | None,
    source: str,
) -> LiveCallback | None:
    """Feed a stored run's documents to an analysis built from its start."""
    build = check_analysis(name, table)
    callback: LiveCallback | None = None
    for doc_name, doc in inside_only(archive.documents(uid, source=source), archive.readable):
        if doc_name == "start":

            def publisher(start: Mapping[str, Any] = doc) -> Publisher:
                return archive.publisher(
                    analysis=name, parent=start, parameters=table, replay_of=replay_of
                )

            callback = build(doc, publisher)
        elif callback is not None:
            callback(doc_name, doc)
    if callback is not None and not callback.finished and callback.error is None:
        callback("stop", {"run_start": uid})  # a run that was cut off: what there is, counts
    return callback


def _archive(session: Session | Archive | None) -> Archive:
    if isinstance(session, Archive):
        return session
    chosen = session if session is not None else active()
    if chosen is None:
        raise ReplayError("no session is open: flyback.open(...) one, or give session=")
    return chosen.archive
