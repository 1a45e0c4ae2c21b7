"""A picture that grows under the beam: one strip of what was known after each part of a scan."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..models.base import Quantity
from .live import LiveCallback
from .plots import draw_image, placement, scanned_box


class GrowthStrip:
    """Watch one live analysis and keep one of its images after each part of the scan.

    Parameters
    ----------
    key : str
        The image, such as ``"object_phase"``.
    fractions : sequence of float
        Parts of the scan, ascending, 1 the whole.
    """

    def __init__(self, key: str, fractions: Sequence[float] = (0.1, 0.35, 0.65, 1.0)) -> None:
        self.key = key
        self.fractions = tuple(fractions)
        self.kept: list[dict[str, Quantity]] = []

    def __call__(self, callback: LiveCallback) -> None:
        """Keep the image, if the next part of the scan is done."""
        total = callback.start.get("num_points")
        due = len(self.kept)
        if not total or due >= len(self.fractions):
            return
        last = self.fractions[due] >= 1
        if callback.finished if last else callback.frames >= self.fractions[due] * total:
            result = callback.result_
            if self.key in result:
                self.kept.append(
                    {key: replace(q, value=copy(q.value)) for key, q in result.items()}
                )

    def save(self, path: Path) -> Path | None:
        """Draw the strip to a PNG file; return its path, or None where nothing was kept."""
        from matplotlib.figure import Figure

        if not self.kept:
            return None
        whole = self.kept[-1]
        view = scanned_box(whole, placement(self.key, whole))
        count = len(self.kept)
        figure = Figure(figsize=(2.9 * count, 2.9), dpi=110, layout="constrained")
        panels = np.atleast_1d(figure.subplots(1, count))
        for axes, result in zip(panels, self.kept, strict=True):
            draw_image(axes, self.key, result, view)
            axes.set_title(f"after {int(result['n_frames'].value)} frames", fontsize=9)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
        return path
