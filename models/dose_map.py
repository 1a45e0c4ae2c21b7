"""Where the electrons went: the dose on the specimen as the scan goes on."""

from __future__ import annotations

from typing import Self

import numpy as np

from .base import Batch, Quantity
from .experiment import Experiment, MissingMetadata
from .exposure import dose_map


class DoseMap:
    """The local dose, the probe taken as a Gaussian of its diffraction- and defocus-limited width.

    The map is made from all positions when it is asked for, so that batching cannot change it.

    Parameters
    ----------
    experiment : Experiment
        Needs `dose_e_per_pattern`, positions in metres, and a step, or wavelength and
        semi-convergence angle, for the width of the probe.

    Raises
    ------
    MissingMetadata
        When a needed quantity is unknown.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.electrons = float(experiment.need("dose_e_per_pattern"))
        if experiment.units != "m":
            raise MissingMetadata("positions in metres", "a scan in nm: the scale must be known")
        self.probe_m = probe_width_m(experiment)
        self._index: list[np.ndarray] = []
        self._positions: list[np.ndarray] = []

    def partial_fit(self, batch: Batch) -> Self:
        """Take in where the next frames were taken; a frame without a position is left out.

        Raises
        ------
        ValueError
            When the batch has no positions in metres.
        """
        if "positions_m" not in batch.coordinates:
            raise ValueError("a dose map needs positions_m, and this run has none")
        positions = np.asarray(batch.coordinates["positions_m"], float)
        known = np.isfinite(positions).all(axis=1)
        self._positions.append(positions[known])
        self._index.append(np.asarray(batch.scan_index)[known])
        return self

    def merge(self, other: Self) -> Self:
        """Take in the positions that `other` has seen."""
        self._positions += other._positions
        self._index += other._index
        return self

    @property
    def result_(self) -> dict[str, Quantity]:
        """`dose_e_per_a2` (y, x) with its grid, `max_e_per_a2`, `n_frames`."""
        positions = np.concatenate(self._positions) if self._positions else np.empty((0, 2))
        result = {"n_frames": Quantity(len(positions))}
        if not len(positions):
            return result
        positions = positions[np.argsort(np.concatenate(self._index), kind="stable")]
        local, (y, x, pixel) = dose_map(
            positions * 1e9, self.electrons, self.probe_m * 1e9 / 3, self.probe_m * 1e9
        )
        return result | {
            "dose_e_per_a2": Quantity(local.astype(np.float32), "e/Å²", ("y", "x")),
            "max_e_per_a2": Quantity(float(local.max()), "e/Å²"),
            "image_pixel_m": Quantity(np.full(2, pixel * 1e-9), "m", ("yx",)),
            "image_origin_m": Quantity(np.array([y, x]) * 1e-9, "m", ("yx",)),
        }


def probe_width_m(experiment: Experiment) -> float:
    """Return the full width at half maximum of the probe.

    In focus 0.51 wavelength / angle (the Airy disk's), in defocus the diameter of the geometric
    disk, added in quadrature; where the optics are unknown, the scan's step.

    Raises
    ------
    MissingMetadata
        When neither is known.
    """
    angle, wavelength = experiment.semi_convergence_angle_rad, experiment.wavelength_m
    if angle and wavelength:
        return float(np.hypot(0.51 * wavelength / angle, 2 * angle * experiment.defocus_m))
    return float(experiment.need("step"))
