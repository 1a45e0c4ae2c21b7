"""The bright-field disk as super-pixels, and the overlap function of its side bands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from ..experiment import Experiment
from .geometry import turn
from .kernels import overlap_function
from .probe import aperture

_OVERSAMPLING = 4.0


@dataclass(frozen=True, eq=False)
class BrightField:
    """Super-pixels that tile the bright-field disk.

    Parameters
    ----------
    experiment : Experiment
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
    norm : float
        Intensity of the aperture over the kept super-pixels, in detector pixels.
    """

    experiment: Experiment
    centre: np.ndarray
    corner: tuple[int, int]
    box: tuple[int, int]
    size: int
    keep: np.ndarray
    good: np.ndarray
    norm: float

    @classmethod
    def of(
        cls,
        experiment: Experiment,
        shape: tuple[int, int],
        good: np.ndarray,
        bins_across: int,
        centre_px: tuple[float, float] | None,
    ) -> Self:
        """Tile the disk of an experiment on a detector of `shape`.

        Raises
        ------
        ValueError
            When the disk is not wholly on the detector.
        """
        sampling = np.array(experiment.need("angular_sampling_rad"))
        radius = experiment.need("semi_convergence_angle_rad") / sampling
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
            count = min(int(np.ceil(2 * (r + 1) / size)), n // size)
            box.append(count)
            corner.append(int(np.clip(round(c + 0.5 - count * size / 2), 0, n - count * size)))
        ny, nx = box
        window = (
            slice(corner[0], corner[0] + ny * size),
            slice(corner[1], corner[1] + nx * size),
        )
        y, x = (
            (np.arange(n)[s] - c) * d
            for n, s, c, d in zip(shape, window, centre, sampling, strict=True)
        )
        disk = np.abs(
            aperture(
                y[:, None],
                x[None],
                experiment.need("semi_convergence_angle_rad"),
                (float(sampling[0]), float(sampling[1])),
                experiment.need("wavelength_m"),
                {},
            )
        )
        disk2 = (disk**2 * good[window]).reshape(ny, size, nx, size).swapaxes(1, 2)
        light = disk2.sum(axis=(2, 3)).ravel()
        keep = np.flatnonzero(light > 0.02 * size**2)
        tiles = good[window].reshape(ny, size, nx, size).swapaxes(1, 2).reshape(-1, size, size)
        return cls(
            experiment,
            centre,
            (corner[0], corner[1]),
            (ny, nx),
            size,
            keep,
            np.ascontiguousarray(tiles[keep]),
            float(light[keep].sum()),
        )

    def overlap_function(
        self,
        shape: tuple[int, ...],
        step_m: float,
        rotation_rad: float,
        aberrations: Mapping[str, float],
        over_rows: Callable[[int, Callable[[slice], None]], None],
    ) -> np.ndarray:
        """Return G on the half plane of a real transform.

        Parameters
        ----------
        shape : (H, W)
            Canvas.
        step_m : float, m
            Canvas pixel.
        rotation_rad : float, rad
            Scan rotation.
        aberrations : mapping
            As `probe.chi` takes them; the experiment's defocus is added.
        over_rows : callable
            Given a number of rows and work on a slice of them, gets it done.

        Returns
        -------
        (H, W // 2 + 1, K) complex64, or float32 where there are no aberrations
        """
        experiment = self.experiment
        wavelength = experiment.need("wavelength_m")
        sampling = np.array(experiment.need("angular_sampling_rad"))
        alpha = experiment.need("semi_convergence_angle_rad")
        table, origin = self._table(aberrations)
        qy = np.fft.fftfreq(shape[0], step_m)[:, None]
        qx = np.fft.rfftfreq(shape[1], step_m)[None]
        q = np.stack(np.broadcast_arrays(qy, qx), axis=-1) * wavelength
        beyond = np.hypot(q[..., 0], q[..., 1]) >= 2 * alpha
        shifts = turn(q, rotation_rad) / sampling
        shifts[beyond] = np.nan
        shifts[0, 0] = np.nan
        first = np.stack(np.unravel_index(self.keep, self.box), axis=1) * self.size
        centres = first + np.array(self.corner) - self.centre
        out = np.empty((*shifts.shape[:2], len(self.keep)), table.dtype)

        def fill(part: slice) -> None:
            overlap_function(
                table,
                origin,
                _OVERSAMPLING,
                centres,
                self.size,
                self.good,
                shifts[part],
                out[part],
            )

        over_rows(len(shifts), fill)
        return out

    def _table(self, aberrations: Mapping[str, float]) -> tuple[np.ndarray, np.ndarray]:
        """Return the aperture, finely sampled with a border of zeros, and where its axis is."""
        experiment = self.experiment
        sampling = np.array(experiment.need("angular_sampling_rad"))
        alpha = experiment.need("semi_convergence_angle_rad")
        half = np.ceil((alpha / sampling + 2) * _OVERSAMPLING).astype(int)
        y, x = (
            np.arange(-n, n + 1) / _OVERSAMPLING * d for n, d in zip(half, sampling, strict=True)
        )
        known = dict(aberrations)
        known["C10"] = known.get("C10", 0.0) - experiment.defocus_m
        table = aperture(
            y[:, None],
            x[None],
            alpha,
            (float(sampling[0]), float(sampling[1])),
            experiment.need("wavelength_m"),
            known,
        )
        if not any(value for name, value in known.items() if name.startswith("C")):
            return np.real(table).astype(np.float32), half.astype(float)
        return table.astype(np.complex64), half.astype(float)
