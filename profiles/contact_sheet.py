"""Patterns to be labelled, as a picture: a contact sheet, or blocks in a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

_COLUMNS = 6
_SHADES = " ░▒▓█"
_ROWS = 22


def save_sheet(
    path: Path,
    patterns: np.ndarray,
    titles: Sequence[str],
    *,
    positions: np.ndarray | None,
    chosen: np.ndarray,
    guess: np.ndarray | None,
) -> Path:
    """Draw patterns side by side, and below where in the scan they lie; return the path.

    Parameters
    ----------
    path : Path
        PNG.
    patterns : (m, h, w), counts
        Shown by their square root.
    titles : sequence of m str
    positions : (n, 2) float, yx, or None
        Of the whole scan.
    chosen : (m,) int
        Rows of the patterns in the scan.
    guess : (n,) int or None
        Class of every pattern, so far.
    """
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(patterns))
    rows = math.ceil(len(patterns) / columns)
    extra = 2 if positions is not None else 0
    figure = Figure(figsize=(1.9 * columns, 2.1 * (rows + extra)), layout="constrained", dpi=110)
    grid = figure.add_gridspec(rows + extra, columns)
    for k, (pattern, title) in enumerate(zip(patterns, titles, strict=True)):
        axes = figure.add_subplot(grid[divmod(k, columns)])
        axes.imshow(root(pattern), cmap="gray", interpolation="nearest")
        axes.set_title(title, fontsize=8)
        axes.set_axis_off()
    if positions is not None:
        axes = figure.add_subplot(grid[rows:, :])
        y, x = positions.T
        if guess is None:
            axes.scatter(x, y, color="0.8", s=6, lw=0)
        else:
            axes.scatter(x, y, c=guess, s=6, cmap="tab10", vmin=0, vmax=9, lw=0)
        for k, row in enumerate(chosen):
            if np.isfinite(positions[row]).all():
                axes.annotate(
                    str(k + 1),
                    (x[row], y[row]),
                    fontsize=9,
                    weight="bold",
                    ha="center",
                    va="center",
                    bbox={"boxstyle": "circle,pad=0.15", "fc": "white", "ec": "black", "lw": 0.6},
                )
        axes.set_aspect("equal")
        axes.invert_yaxis()
        axes.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def root(pattern: np.ndarray) -> np.ndarray:
    """Return the square root of a pattern (h, w) between 0 and 1, the brightest pixels cut."""
    value = np.sqrt(np.maximum(np.nan_to_num(np.asarray(pattern, np.float64)), 0))
    return np.minimum(value / max(float(np.percentile(value, 99.5)), 1e-12), 1)


def blocks(pattern: np.ndarray) -> str:
    """Return a pattern (h, w) as lines of block characters, two to a column."""
    value = root(pattern)
    factor = max(1, math.ceil(max(value.shape) / _ROWS))
    h, w = (side // factor for side in value.shape)
    coarse = value[: h * factor, : w * factor].reshape(h, factor, w, factor).mean(axis=(1, 3))
    coarse /= max(float(coarse.max()), 1e-12)
    level = np.minimum((coarse * len(_SHADES)).astype(int), len(_SHADES) - 1)
    return "\n".join("".join(_SHADES[v] * 2 for v in row).rstrip() for row in level)
