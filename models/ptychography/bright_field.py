"""The bright-field disk as super-pixels, and the overlap function of its side bands."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy.ndimage

from .optics import Optics
from .overlap_kernels import overlap_function

MIN_LIGHT = 0.02
_HELD = 0.97
_MAX_OVERSAMPLING = 4.0
_TABLE = 96.0


@dataclass(frozen=True, eq=False)
class BrightField:
    """Super-pixels that tile the bright-field disk.

    Parameters
    ----------
    centre : (2,) float64, detector pixels
        Where the optic axis meets the detector.
    corner : (y, x) int
        Corner of the box of super-pixels on the detector.
    box : (ny, nx) int
        Super-pixels of the box.
    size : int
        Detector pixels along a super-pixel.
    keep : (K,) int64
        Flat indices of those in the disk.
    good : (K, size, size) bool
        Detector pixels to be believed.
    """

    centre: np.ndarray
    corner: tuple[int, int]
    box: tuple[int, int]
    size: int
    keep: np.ndarray
    good: np.ndarray

    @classmethod
    def of(
        cls,
        optics: Optics,
        shape: tuple[int, int],
        good: np.ndarray,
        bins_across: int,
        centre_px: tuple[float, float] | None,
    ) -> Self:
        """Tile the disk on a detector of `shape`.

        Raises
        ------
        ValueError
            When the disk is not wholly on the detector.
        """
        sampling = np.array(optics.angular_sampling_rad)
        radius = optics.semi_convergence_angle_rad / sampling
        centre = np.array(centre_px or (shape[0] // 2, shape[1] // 2), float)
        if np.any(centre - radius < -0.5) or np.any(centre + radius > np.array(shape) - 0.5):
            raise ValueError(
                f"the bright-field disk of radius {radius[0]:.1f} x {radius[1]:.1f} px round"
                f" {centre.tolist()} leaves the detector of {shape[0]} x {shape[1]} px; check"
                " semi_convergence_angle_mrad, angular_sampling_mrad and the centre"
            )
        size = max(1, round(2 * float(radius.min()) / bins_across))
        box, corner = [], []
        for n, c, r in zip(shape, centre, radius, strict=True):
            count = max(1, min(int(np.ceil(2 * (r + 1) / size)), n // size))
            box.append(count)
            corner.append(int(np.clip(round(c + 0.5 - count * size / 2), 0, n - count * size)))
        ny, nx = box
        window = (
            slice(corner[0], corner[0] + ny * size),
            slice(corner[1], corner[1] + nx * size),
        )
        tiles = good[window].reshape(ny, size, nx, size).swapaxes(1, 2).reshape(-1, size, size)
        whole = cls(
            centre, (corner[0], corner[1]), (ny, nx), size, np.arange(ny * nx), tiles.copy()
        )
        keep = np.flatnonzero(whole.light(optics) > MIN_LIGHT * size**2)
        if not len(keep):
            raise ValueError("no good pixel is left in the bright-field disk; check bad_pixels")
        return cls(centre, whole.corner, whole.box, size, keep, np.ascontiguousarray(tiles[keep]))

    def same_tiles(self, other: Self) -> bool:
        """Return whether the vectors of two canvases mean the same."""
        return (
            self.corner == other.corner
            and self.box == other.box
            and self.size == other.size
            and np.array_equal(self.keep, other.keep)
        )

    def pixels_px(self) -> tuple[np.ndarray, np.ndarray]:
        """Return y (K, size, 1) and x (K, 1, size) of the pixels, px from the optic axis."""
        first = np.stack(np.unravel_index(self.keep, self.box), axis=1) * self.size
        y, x = (first + np.array(self.corner) - self.centre).T
        inner = np.arange(self.size)
        return (y[:, None] + inner)[:, :, None], (x[:, None] + inner)[:, None, :]

    def angles_rad(self, optics: Optics) -> np.ndarray:
        """Return the middle of each super-pixel (K, 2), rad from the optic axis."""
        y, x = self.pixels_px()
        middles = np.stack([y.mean(axis=(1, 2)), x.mean(axis=(1, 2))], axis=1)
        return middles * np.array(optics.angular_sampling_rad)

    def light(self, optics: Optics) -> np.ndarray:
        """Return the aperture's intensity summed over the good pixels, (K,) float64."""
        (y, x), (dy, dx) = self.pixels_px(), optics.angular_sampling_rad
        return (optics.amplitude(y * dy, x * dx) ** 2 * self.good).sum(axis=(1, 2))

    def check_holds(self, optics: Optics) -> None:
        """Make sure that the super-pixels hold the disk of these optics.

        Raises
        ------
        ValueError
            When more than a few per cent of the disk lie elsewhere.
        """
        # bad pixels are no fault of the aperture: compare with the tiles as if all were good
        (y, x), (dy, dx) = self.pixels_px(), optics.angular_sampling_rad
        held = float((optics.amplitude(y * dy, x * dx) ** 2).sum())
        area = math.pi * optics.semi_convergence_angle_rad**2 / (dy * dx)
        if held < _HELD * area:
            raise ValueError(
                f"a disk of {optics.semi_convergence_angle_rad * 1e3:.4g} mrad does not fit: the"
                f" super-pixels gathered so far hold {held / area:.0%} of it; start again with"
                " that semi_convergence_angle_mrad"
            )

    def overlap_function(
        self,
        optics: Optics,
        q_per_m: np.ndarray,
        part: slice,
        over_rows: Callable[[int, Callable[[slice], None]], None],
        max_cells: int = 12,
    ) -> np.ndarray:
        """Return G for some super-pixels.

        Parameters
        ----------
        optics : Optics
        q_per_m : (Y, X, 2) float64, 1/m
            Spatial frequencies in the scan's frame.
        part : slice of K
        over_rows : callable
            Given a number of rows and work on a slice of them, gets it done.
        max_cells : int
            Into how many cells along a side a super-pixel is cut at most, where the phase swings.

        Returns
        -------
        (Y, X, part of K) complex64, or float32 where there are no aberrations
        """
        sampling = np.array(optics.angular_sampling_rad)
        radius = optics.semi_convergence_angle_rad / sampling
        beyond = np.hypot(*np.moveaxis(q_per_m, -1, 0)) * optics.wavelength_m
        lost = (beyond >= 2 * optics.semi_convergence_angle_rad) | (beyond == 0)
        # a table of some hundred samples across is fine enough however large the disk is
        fine = float(np.clip(_TABLE / radius.max(), 1.0, _MAX_OVERSAMPLING))
        shifts = np.where(lost[..., None], np.nan, optics.shifts_px(q_per_m)) * fine
        n = self._cells(optics, max_cells)
        table, origin = _table(optics, radius, self.size / n, fine)
        cells, light = self._cell_light(optics, n, part)
        phase = optics.cycles(cells[..., 0] * sampling[0], cells[..., 1] * sampling[1])
        reach = (self.size / math.sqrt(2) + self.size / n + 1) / float(radius.min())
        depth = 2 if optics.aberrations else 1
        out = np.empty((*shifts.shape[:2], len(cells), depth), np.float32)
        arguments = (
            table,
            origin,
            radius * fine,
            cells * fine,
            light.astype(np.float32),
            phase.astype(np.float32),
            reach,
            np.ascontiguousarray(cells.mean(axis=1)) * fine,
        )
        over_rows(len(shifts), lambda s: overlap_function(*arguments, shifts[s], out[s]))
        return out.view(np.complex64)[..., 0] if depth == 2 else out[..., 0]

    def _cells(self, optics: Optics, most: int) -> int:
        """Choose into how many cells along a side a super-pixel is cut.

        So many that the phase between a cell's ray and its side band, at half the aperture,
        changes by less than half a cycle over it.
        """
        if not optics.aberrations:
            return min(self.size, 2)
        sampling = optics.angular_sampling_rad
        # the phase of a ray against its side band bends by the second difference of chi
        t = np.linspace(-1, 1, 33) * optics.semi_convergence_angle_rad
        cycles = optics.cycles(t[:, None], t[None])
        inside = np.hypot(t[:, None], t[None])[1:-1, 1:-1] <= optics.semi_convergence_angle_rad
        bend = max(
            float(np.abs(np.diff(cycles, 2, axis=0)[:, 1:-1][inside]).max()),
            float(np.abs(np.diff(cycles, 2, axis=1)[1:-1][inside]).max()),
        )
        curvature = bend / (t[1] - t[0]) ** 2
        swing = curvature * optics.semi_convergence_angle_rad * self.size * max(sampling) / 2
        return min(max(math.ceil(2 * swing), 2), self.size, most)

    def _cell_light(self, optics: Optics, n: int, part: slice) -> tuple[np.ndarray, np.ndarray]:
        """Return the middles (k, n n, 2), px from the axis, and the light (k, n n) of cells."""
        y, x = (axis[part] for axis in self.pixels_px())
        dy, dx = optics.angular_sampling_rad
        amplitude = optics.amplitude(y * dy, x * dx) * self.good[part]
        # a pixel that lies in two cells is shared between them
        edges, k = np.linspace(0, self.size, n + 1), np.arange(self.size)
        shares = np.clip(
            np.minimum(k[None] + 1, edges[1:, None]) - np.maximum(k[None], edges[:-1, None]), 0, 1
        )
        light = np.einsum("kyx,ay,bx->kab", amplitude, shares, shares).reshape(len(y), n * n)
        middle = (edges[1:] + edges[:-1]) / 2 - 0.5
        cells = np.stack(
            np.broadcast_arrays(
                (y[:, 0, 0][:, None] + middle)[:, :, None],
                (x[:, 0, 0][:, None] + middle)[:, None, :],
            ),
            axis=-1,
        )
        return np.ascontiguousarray(cells.reshape(len(y), n * n, 2)), light


def _table(
    optics: Optics, radius: np.ndarray, cell_px: float, fine: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return amplitude averaged over a cell and phase, finely sampled, and where its axis is."""
    sampling = np.array(optics.angular_sampling_rad)
    half = np.ceil((radius + cell_px + 2) * fine).astype(int)
    y, x = (np.arange(-n, n + 1) / fine * d for n, d in zip(half, sampling, strict=True))
    amplitude = optics.amplitude(y[:, None], x[None])
    width = max(1, round(cell_px * fine))
    kernel = np.ones(width + 1 - width % 2)
    if width % 2 == 0:  # an even width is centred with halves at its ends
        kernel[[0, -1]] = 0.5
    kernel /= kernel.sum()
    for axis in (0, 1):
        amplitude = np.asarray(
            scipy.ndimage.convolve1d(amplitude, kernel, axis=axis, mode="constant")
        )
    table = np.stack([amplitude, optics.cycles(y[:, None], x[None])], axis=-1)
    table[amplitude < 1e-6, 0] = 0
    return table.astype(np.float32), half.astype(float)
