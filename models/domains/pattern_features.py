"""Features of the patterns of one scan, found without labels.

Each pattern is centred on its central disk, summed onto a coarse grid and put to one dose; a square
root makes its counting noise even. What tells one sense of the polarisation from the other is the
difference of a disk and its Friedel mate, so the odd part p(k) - p(-k) about the centre is kept
beside the even one. Of these the principal components over the scan are taken.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg

GRID = 32
DOSE = 1e4
COMPONENTS = 24
FEWEST_PX = 8
_BLOCK = 256
_MOST = 4096
_WINDOW, _STEPS = 9 / 64, 3


def pattern_features(
    patterns: np.ndarray, *, components: int = COMPONENTS, seed: int = 0
) -> np.ndarray:
    """Return the principal components of the even and the odd parts of patterns.

    Parameters
    ----------
    patterns : (n, h, w) any real dtype, counts
        Of one scan; zero frequency near ``[h // 2, w // 2]``. A pattern that is not finite or has
        no counts gets the features of the mean pattern, zeros.
    components : int
        At most so many features.
    seed : int
        Of the 4096 patterns that the components are found from where there are more.

    Returns
    -------
    (n, d) float64, d <= components
        Largest variance first. The variance of the first is 1, the others keep their ratio to it.

    Raises
    ------
    ValueError
        When there are fewer than two patterns with counts, or too small ones.
    """
    if patterns.ndim != 3 or min(patterns.shape[1:]) < FEWEST_PX:
        raise ValueError(
            f"patterns must be (n, h, w) of {FEWEST_PX} x {FEWEST_PX} pixels or more, got shape"
            f" {patterns.shape}"
        )
    if not 1 <= components <= 1024:
        raise ValueError(f"components must lie between 1 and 1024, got {components}")
    blocks = [even_and_odd(patterns[i : i + _BLOCK]) for i in range(0, len(patterns), _BLOCK)]
    parts = np.concatenate(blocks) if blocks else np.zeros((0, 1), np.float32)
    says = np.isfinite(parts).all(axis=1)
    if says.sum() < 2:
        raise ValueError(
            f"two patterns with finite counts are needed, got {says.sum()} of {len(parts)};"
            " check the camera"
        )
    parts -= parts[says].mean(axis=0)
    parts[~says] = 0
    looked_at = np.flatnonzero(says)
    if len(looked_at) > _MOST:
        looked_at = np.sort(np.random.default_rng(seed).choice(looked_at, _MOST, replace=False))
    some = parts[looked_at]
    size = parts.shape[1]
    covariance = (some.T @ some).astype(np.float64) / len(some)
    count = min(components, size)
    variance, axes = scipy.linalg.eigh(covariance, subset_by_index=(size - count, size - 1))
    largest = max(float(variance[-1]), 1e-12)
    return (parts @ axes[:, ::-1].astype(np.float32)).astype(np.float64) / np.sqrt(largest)


def even_and_odd(patterns: np.ndarray) -> np.ndarray:
    """Return the even and the odd part of patterns about their centres.

    Parameters
    ----------
    patterns : (n, h, w) any real dtype, counts

    Returns
    -------
    (n, 2 m) float32
        Half of the grid's pixels of each part, the even part first; NaN where a pattern is not
        finite or has no counts.
    """
    n, h, w = patterns.shape
    frames = np.maximum(patterns.astype(np.float32), 0)
    total = frames.sum(axis=(1, 2), dtype=np.float64)
    says = np.isfinite(total) & (total > 0)
    frames[~says] = 0
    centre_y, centre_x = central_disk(frames)
    # an even number of points about the centre, so that the mate of a point is a point
    grid_y, grid_x = (2 * (min(GRID, side) // 2) for side in (h, w))
    on_grid = _hats(h, grid_y, centre_y) @ frames @ _hats(w, grid_x, centre_x).transpose(0, 2, 1)
    counts = on_grid.sum(axis=(1, 2), keepdims=True)
    root = np.sqrt(on_grid * (DOSE / np.maximum(counts, 1e-6)))
    mate = root[:, ::-1, ::-1]
    half = grid_y * grid_x // 2
    parts = [(part * 0.5).reshape(n, -1)[:, :half] for part in (root + mate, root - mate)]
    both = np.concatenate(parts, axis=1)
    both[~says | (counts[:, 0, 0] <= 0)] = np.nan
    return both


def central_disk(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where the central disk is, y (n,) and x (n,), pixels from ``[h // 2, w // 2]``.

    A mean shift: the centre of mass within a round window that follows it.

    Parameters
    ----------
    frames : (n, h, w) float32, counts, not below zero
    """
    _, h, w = frames.shape
    reach_y, reach_x = (max(2, round(_WINDOW * side)) for side in (h, w))
    rows, columns = (np.arange(-r, r + 1, dtype=np.float32) for r in (reach_y, reach_x))
    box = frames[
        :, h // 2 - reach_y : h // 2 + reach_y + 1, w // 2 - reach_x : w // 2 + reach_x + 1
    ]
    y, x = np.zeros((2, len(frames)), np.float32)
    for _ in range(_STEPS):
        window_y = np.maximum(1 - ((rows - y[:, None]) / (0.6 * reach_y)) ** 2, 0)
        window_x = np.maximum(1 - ((columns - x[:, None]) / (0.6 * reach_x)) ** 2, 0)
        along_y = np.einsum("nyx,nx->ny", box, window_x) * window_y
        along_x = np.einsum("nyx,ny->nx", box, window_y) * window_x
        y = along_y @ rows / np.maximum(along_y.sum(axis=1), 1e-6)
        x = along_x @ columns / np.maximum(along_x.sum(axis=1), 1e-6)
    return y, x


def _hats(side: int, grid: int, centre: np.ndarray) -> np.ndarray:
    """Return the weights (n, grid, side) with which pixels add to points about each centre."""
    step = side / grid
    pixels = np.arange(side, dtype=np.float32) - side // 2
    points = (np.arange(grid, dtype=np.float32) - (grid - 1) / 2) * step
    place = points[None, :, None] + centre[:, None, None]
    return np.maximum(1 - np.abs(pixels - place) / max(step, 1.0), 0).astype(np.float32)
