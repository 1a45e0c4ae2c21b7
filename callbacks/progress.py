"""A progress bar for every run: frames on disk, time left, dose so far."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, TextIO

from tqdm import tqdm

from .frames import FRAMES


class Progress:
    """Draw one tqdm bar a run from its documents.

    Parameters
    ----------
    file : text stream, optional
        Where to draw; standard error by default.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file if file is not None else sys.stderr
        self._bar: tqdm[Any] | None = None
        self._dose: float | None = None
        self._frame_resources: set[str] = set()
        self._run: str | None = None

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take in one document."""
        if name == "start" and self._bar is None and doc.get("num_points"):
            self._run = doc["uid"]
            self._dose = doc.get("dose_e_per_a2")
            self._frame_resources.clear()
            self._bar = tqdm(
                total=int(doc["num_points"]),
                desc=f"{doc.get('plan_name', 'run')} {doc.get('scan_id', '')}".strip(),
                unit="frame",
                unit_scale=True,
                file=self._file,
                dynamic_ncols=True,
                mininterval=0.2,
            )
        elif self._bar is None:
            return
        elif name == "stream_resource" and doc["data_key"].endswith(FRAMES):
            self._frame_resources.add(doc["uid"])
        elif name == "stream_datum" and doc["stream_resource"] in self._frame_resources:
            self._advance(doc["indices"]["stop"] - doc["indices"]["start"])
        elif name == "stop" and doc["run_start"] == self._run:
            self._bar.close()
            self._bar = None

    def _advance(self, frames: int) -> None:
        bar = self._bar
        if bar is None:
            return
        if self._dose is not None and bar.total:
            done = min((bar.n + frames) / bar.total, 1.0)
            bar.set_postfix_str(f"{self._dose * done:.3g} of {self._dose:.3g} e/Å²", refresh=False)
        bar.update(frames)
