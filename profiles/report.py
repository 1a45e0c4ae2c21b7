"""What a command did: runs, analyses, pictures, warnings; for people and as one JSON object."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..callbacks.frames import FRAMES
from ..callbacks.live import LiveCallback


class RunLog:
    """Listen to the RunEngine and keep a line for each run."""

    def __init__(self) -> None:
        self.runs: list[dict[str, Any]] = []
        self._by_uid: dict[str, dict[str, Any]] = {}
        self._frames: dict[str, dict[str, Any]] = {}

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take in one document."""
        if name == "start":
            run = {
                "uid": doc["uid"],
                "plan": doc.get("plan_name", ""),
                "frames": 0,
                "exit_status": "fail",
            }
            self.runs.append(run)
            self._by_uid[doc["uid"]] = run
        elif name == "stream_resource" and doc["data_key"].endswith(FRAMES):
            self._frames[doc["uid"]] = self._by_uid[doc["run_start"]]
        elif name == "stream_datum" and doc["stream_resource"] in self._frames:
            rows = doc["indices"]
            self._frames[doc["stream_resource"]]["frames"] += rows["stop"] - rows["start"]
        elif name == "stop":
            run = self._by_uid[doc["run_start"]]
            run["exit_status"] = doc["exit_status"]
            if doc.get("reason"):
                run["reason"] = doc["reason"]


@dataclass
class Report:
    """What a command has to say at its end.

    Parameters
    ----------
    runs, analyses : list of dict
        As in the JSON object.
    pictures : list of Path
    warnings : list of str
    extra : dict
        Further keys of the JSON object.
    error : str or None
        What ended a run.
    """

    runs: list[dict[str, Any]] = field(default_factory=list)
    analyses: list[dict[str, Any]] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    begun: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    def add_analyses(self, callbacks: Iterable[LiveCallback]) -> None:
        """Add what live analyses or replays came to."""
        for callback in callbacks:
            if callback.publisher is None:
                continue
            error = callback.error
            self.analyses.append(
                {
                    "uid": callback.publisher.uid,
                    "name": callback.publisher.start["analysis"],
                    "parent": callback.start["uid"],
                    "exit_status": "success" if error is None else "fail",
                    "error": None if error is None else f"{type(error).__name__}: {error}",
                }
            )
            self._add_flags(callback)

    def _add_flags(self, callback: LiveCallback) -> None:
        """Turn what a result says against itself into warnings."""
        name = callback.publisher.start["analysis"]  # type: ignore[union-attr]
        for key in ("flags", "trust_reasons"):
            quantity = callback.final.get(key)
            for reason in [] if quantity is None else quantity.value:
                self.warnings.append(f"{name}: {reason}")

    def close(self) -> Report:
        """Stop the clock."""
        self.seconds = round(time.monotonic() - self.begun, 3)
        return self

    @property
    def failed(self) -> bool:
        """Whether a run or an analysis did not succeed."""
        entries = [*self.runs, *self.analyses]
        return self.error is not None or any(x["exit_status"] != "success" for x in entries)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of the outside interface."""
        return {
            "runs": self.runs,
            "analyses": self.analyses,
            "pictures": [str(path) for path in self.pictures],
            "warnings": self.warnings,
            "seconds": self.seconds,
            **self.extra,
        }
