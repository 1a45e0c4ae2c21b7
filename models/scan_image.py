"""From one number a frame to a picture: on the scan's grid, or on a canvas round any positions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from scipy.spatial import KDTree

from .experiment import Experiment
from .ptychography.geometry import median_spacing

# a picture of more pixels than this, and than so many a frame, is empty for the most part
MOST_PX = 4_000_000
MOST_PX_A_FRAME = 16
MOST_NEAREST_PX = 250_000
_FAR = 2.0


@dataclass(frozen=True)
class ScanImage:
    """Where each frame lies in a picture, with bilinear weights.

    Parameters
    ----------
    shape : (ny, nx)
    target : (n, k) int64
        Flat pixel indices; -1 is outside.
    weight : (n, k) float64
    pixel : (2,) float64
        Distance of neighbouring pixels yx; NaN where unknown.
    origin : (2,) float64
        Position of pixel [0, 0]; NaN where unknown.
    units : {"m", "px"}
        Of `pixel` and `origin`.
    left_out : int
        How many frames have no position, or one too far from the others for a picture.
    """

    shape: tuple[int, int]
    target: np.ndarray
    weight: np.ndarray
    pixel: np.ndarray
    origin: np.ndarray
    units: str
    left_out: int = 0

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return the picture of one value a frame, (ny, nx) float64, NaN where nothing was seen.

        A frame whose value is not finite is left out.
        """
        use = (self.target >= 0) & np.isfinite(values)[:, None]
        target, weight = self.target[use], self.weight[use]
        size = self.shape[0] * self.shape[1]
        total = np.bincount(
            target, weight * np.broadcast_to(values[:, None], use.shape)[use], minlength=size
        )
        weights = np.bincount(target, weight, minlength=size)
        with np.errstate(invalid="ignore"):
            picture = np.where(weights > 1e-3, total / np.maximum(weights, 1e-12), np.nan)
        return picture.reshape(self.shape)


@dataclass(frozen=True)
class NearestImage:
    """Each pixel of a picture as its nearest frame, for positions that are dense in places only.

    Parameters
    ----------
    frame : (ny, nx) int64
        The nearest frame.
    pixel, origin, units
        As of `ScanImage`.
    """

    frame: np.ndarray
    pixel: np.ndarray
    origin: np.ndarray
    units: str

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return the picture (ny, nx) float64 of one value a frame."""
        return np.asarray(values, np.float64)[self.frame]


def nearest(experiment: Experiment, positions: np.ndarray, pixel: float) -> NearestImage | None:
    """Return a picture of the field in which each pixel is as its nearest frame.

    Parameters
    ----------
    experiment : Experiment
    positions : (n, 2) float64, yx
        In the experiment's units; one that is not finite is nearest to nothing.
    pixel : float
        Side of a pixel; larger where the field would have too many.

    Returns
    -------
    NearestImage or None
        None where no position or no extent of the field is known.
    """
    known = np.flatnonzero(np.isfinite(positions).all(axis=1))
    if not len(known) or experiment.extent is None:
        return None
    low, high = np.array(experiment.extent)
    pixel = max(pixel, float(np.sqrt(np.prod(high - low) / MOST_NEAREST_PX)))
    y, x = (np.arange(a, b + pixel / 2, pixel) for a, b in zip(low, high, strict=True))
    _, which = KDTree(positions[known]).query(np.stack(np.meshgrid(y, x, indexing="ij"), -1))
    return NearestImage(known[which], np.full(2, pixel), low, experiment.units)


def place(
    experiment: Experiment, scan_index: np.ndarray, positions: np.ndarray | None
) -> ScanImage | None:
    """Return where frames lie in the picture.

    Frames of a raster or a serpentine are placed by their scan index, those of another scan with
    a grid by their position, and all others on a canvas of the scan's step.

    Parameters
    ----------
    experiment : Experiment
    scan_index : (n,) int64
    positions : (n, 2) float64 or None
        In the experiment's units.

    Returns
    -------
    ScanImage or None
        None where there is neither a grid nor a position.
    """
    cells = experiment.grid_rows_columns(scan_index)
    grid = experiment.grid_shape
    if cells is not None and grid is not None:
        return _on_grid(experiment, *cells, grid)
    if positions is None:
        return None
    use: np.ndarray = np.asarray(np.isfinite(positions).all(axis=1))
    if not use.any():
        return None
    step = experiment.step or median_spacing(positions[use]) or 1.0
    if grid is not None and experiment.extent is not None:
        cell = np.rint((positions - np.array(experiment.extent[0])) / step)
        cell = np.where(use[:, None], np.clip(cell, -1, max(grid)), -1).astype(np.int64)
        return _on_grid(experiment, cell[:, 0], cell[:, 1], grid)
    corners = positions[use]
    if experiment.extent is not None:
        corners = np.concatenate([corners, np.array(experiment.extent)])
    low, high = corners.min(axis=0), corners.max(axis=0)
    largest = max(MOST_PX, MOST_PX_A_FRAME * len(positions))
    if np.prod((high - low) / step + 1) > largest:
        low, high = _without_blunders(positions[use])
        use &= np.all((positions >= low) & (positions <= high), axis=1)
        low, high = positions[use].min(axis=0), positions[use].max(axis=0)
        step *= max(1.0, float(np.sqrt(np.prod((high - low) / step + 1) / largest)))
    return _on_canvas(np.where(use[:, None], positions, low), use, low, high, step, experiment)


def _without_blunders(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners beyond which a position (n, 2) is far from nearly all others."""
    low, high = np.percentile(positions, (2, 98), axis=0)
    spread = _FAR * float((high - low).max())
    return low - spread, high + spread


def _on_grid(
    experiment: Experiment, rows: np.ndarray, columns: np.ndarray, grid: tuple[int, int]
) -> ScanImage:
    inside = (rows >= 0) & (rows < grid[0]) & (columns >= 0) & (columns < grid[1])
    target = np.where(inside, rows * grid[1] + columns, -1)
    origin = np.array(experiment.extent[0]) if experiment.extent else np.full(2, np.nan)
    step = np.nan if experiment.step is None else experiment.step
    return ScanImage(
        grid, target[:, None], np.ones((len(target), 1)), np.full(2, step), origin, experiment.units
    )


def _on_canvas(
    positions: np.ndarray,
    use: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    step: float,
    experiment: Experiment,
) -> ScanImage:
    shape = tuple(int(n) for n in np.ceil((high - low) / step - 1e-6).astype(int) + 1)
    pixels = (positions - low) / step
    whole = np.minimum(np.floor(pixels).astype(np.int64), np.array(shape) - 1)
    part = pixels - whole
    targets, weights = [], []
    for dy in (0, 1):
        for dx in (0, 1):
            y, x = whole[:, 0] + dy, whole[:, 1] + dx
            inside = use & (y < shape[0]) & (x < shape[1])
            targets.append(np.where(inside, y * shape[1] + x, -1))
            weights.append(np.abs(1 - dy - part[:, 0]) * np.abs(1 - dx - part[:, 1]))
    return ScanImage(
        (shape[0], shape[1]),
        np.stack(targets, axis=1),
        np.stack(weights, axis=1),
        np.full(2, step),
        low,
        experiment.units,
        int(np.count_nonzero(~use)),
    )


def integrate_gradient(gradient_y: np.ndarray, gradient_x: np.ndarray) -> np.ndarray:
    """Return the field whose gradient fits best, mean-free.

    Least squares in Fourier space (Lazic, Bosch & Lazar, Ultramicroscopy 160, 265 (2016)) on the
    field mirrored at its edges, so that opposite edges need not match.

    Parameters
    ----------
    gradient_y, gradient_x : (ny, nx) float64
        Per pixel; NaN counts as no gradient.

    Returns
    -------
    (ny, nx) float64
        NaN where both gradients are.
    """
    missing = np.isnan(gradient_y) | np.isnan(gradient_x)
    gy, gx = (np.where(missing, 0.0, g) for g in (gradient_y, gradient_x))
    gy = np.block([[gy, gy[:, ::-1]], [-gy[::-1], -gy[::-1, ::-1]]])
    gx = np.block([[gx, -gx[:, ::-1]], [gx[::-1], -gx[::-1, ::-1]]])
    qy = 2 * np.pi * scipy.fft.fftfreq(gy.shape[0])[:, None]
    qx = 2 * np.pi * scipy.fft.rfftfreq(gy.shape[1])[None]
    q2 = qy**2 + qx**2
    q2[0, 0] = 1
    spectrum = (
        -1j * (qy * np.asarray(scipy.fft.rfft2(gy)) + qx * np.asarray(scipy.fft.rfft2(gx))) / q2
    )
    spectrum[0, 0] = 0
    field = np.asarray(scipy.fft.irfft2(spectrum, s=gy.shape))[
        : missing.shape[0], : missing.shape[1]
    ]
    field = np.where(missing, np.nan, field)
    return field - np.nanmean(field) if not missing.all() else field
