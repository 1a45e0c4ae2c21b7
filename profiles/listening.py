"""``flyback listen``: the documents of a bus into analyses on this machine.

Frames are read from the files that the documents name, in the archive's own folders or in those
of FLYBACK_READABLE; what is derived is journalled and stored in this machine's archive.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..callbacks.bus import listen
from ..callbacks.live import LiveCallback
from ..callbacks.record import RunIndex
from .archive import Archive
from .compose import make_analysis
from .report import Report
from .store.places import READABLE_VARIABLE, outside


def run_listen(
    uri: str,
    analyses: Sequence[str],
    *,
    settings: Mapping[str, Any],
    runs: int | None = None,
    everything: bool = False,
    directory: str | os.PathLike[str] | None = None,
    say: Callable[[str], Any] = lambda _: None,
    ended: threading.Event | None = None,
) -> Report:
    """Analyse the runs that are told of on a bus, until interrupted or `runs` are done.

    Raises
    ------
    BusError
        If the bus cannot be used.
    PluginError, SettingError
        For an unknown analysis or setting.
    """
    report, ended = Report(), ended or threading.Event()
    tables = _tables(analyses, settings)
    with Archive(directory) as archive:
        live = _Listeners(archive, tables, report, say)
        say(f"listening to {uri}")
        for name, doc in listen(uri, ended=ended, everything=everything):
            live(name, doc)
            if live.done == runs:
                break
        archive.wait()
    return report.close()


class _Listeners:
    """The analyses, and which runs they are at."""

    def __init__(
        self,
        archive: Archive,
        tables: Mapping[str, Mapping[str, Any]],
        report: Report,
        say: Callable[[str], Any],
    ) -> None:
        self.done = 0
        self._analyses = [make_analysis(n, t, archive.publisher, []) for n, t in tables.items()]
        self._readable, self._report, self._say = archive.readable, report, say
        self._index = RunIndex()
        self._open: set[str] = set()

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        if name == "start":
            # What other machines derive is not analysed again.
            if doc.get("purpose") == "analysis":
                return
            self._open.add(doc["uid"])
            self._say(f"run {doc['uid'][:8]} {doc.get('plan_name', '')}")
        runs = [run for run in self._index.of(name, doc) if run in self._open]
        if not runs:
            return
        if name in {"stream_resource", "resource"}:
            where = outside(doc, self._readable)
            if where is not None:
                self._refuse(runs[0], where)
                return
        for analysis in self._analyses:
            analysis(name, doc)
        if name == "stop":
            self._open.discard(runs[0])
            self._index.forget(runs[0])
            self.done += 1
            finished = [each for analysis in self._analyses for each in analysis.take()]
            self._report.add_analyses(finished)
            for callback in finished:
                self._say(_line(callback))

    def _refuse(self, run: str, where: str) -> None:
        """End the analyses of a run whose files may not be read."""
        text = f"{where} is outside the storage of this archive; allow it with {READABLE_VARIABLE}"
        self._report.warnings.append(f"run {run[:8]}: {text}")
        self._say(f"run {run[:8]}: {text}")
        self._open.discard(run)
        for analysis in self._analyses:
            analysis("stop", {"run_start": run, "exit_status": "abort"})
            analysis.take()
        self.done += 1


def _tables(analyses: Sequence[str], settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    tables: dict[str, dict[str, Any]] = {name: {} for name in analyses}
    for key, value in settings.items():
        name, _, setting = key.partition(".")
        if not setting or name not in tables:
            raise ValueError(f"--set takes NAME.key=value of {', '.join(tables)}, got {key!r}")
        tables[name][setting] = value
    return tables


def _line(callback: LiveCallback) -> str:
    if callback.publisher is None:
        return "no frames for an analysis"
    name = callback.publisher.start["analysis"]
    said = f"{callback.frames} frames" if callback.error is None else str(callback.error)
    return f"{name}: {said}, stored as {callback.publisher.uid[:8]}"
