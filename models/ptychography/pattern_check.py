"""A look at the mean pattern: whether the disk is as large as was said, and what is dead."""

from __future__ import annotations

from typing import Self

import numpy as np

from ..calibration_disk import Disk, fit_disk
from .optics import Optics

EVERY = 64
_RADIUS_OFF = 0.06
_CENTRE_OFF = 0.1
_DEAD = 0.2
_LISTED = 8
_LINE_DEAD, _LINE_BRIGHT, _LINE_COUNTS = 1e-3, 0.02, 25.0


class PatternCheck:
    """The mean of every 64th frame by scan index, so that it does not depend on batches."""

    def __init__(self) -> None:
        self._total = np.zeros((0, 0))
        self._n = 0
        self._good = np.zeros((0, 0), bool)

    def add(self, frames: np.ndarray, scan_index: np.ndarray, good: np.ndarray) -> None:
        """Take in frames (n, h, w) whose scan index (n,) is a multiple of 64."""
        chosen = scan_index % EVERY == 0
        if not chosen.any():
            return
        total = frames[chosen].sum(axis=0, dtype=np.float64)
        self._total = self._total + total if self._n else total
        self._good = self._good & good if self._n else good.copy()
        self._n += int(chosen.sum())

    def merge(self, other: Self) -> None:
        """Add what `other` has seen."""
        if other._n:
            self._total = self._total + other._total if self._n else other._total.copy()
            self._good = self._good & other._good if self._n else other._good.copy()
            self._n += other._n

    def reasons(self, optics: Optics, centre_px: np.ndarray) -> list[str]:
        """Return what is wrong with the pattern, in words.

        Parameters
        ----------
        optics : Optics
        centre_px : (2,) float64
            Where the optic axis is taken to be.
        """
        if self._n and not self._total.any():
            return ["no counts: the frames looked at are empty; check the beam and the dark"]
        if self._n < 2:
            return []
        sampling = np.array(optics.angular_sampling_rad)
        angle = optics.semi_convergence_angle_rad
        dead = self._dead(optics, centre_px)
        reasons = dead_reasons(self._total, self._good)
        try:
            disk = fit_disk(self._total / self._n, self._good & ~dead)
        except ValueError:
            return reasons
        reasons += camera_length(disk, (float(sampling[0]), float(sampling[1])), angle)
        off = np.hypot(*((np.array(disk.centre_px) - centre_px) * sampling))
        if off > max(_CENTRE_OFF * angle, 4 * disk.centre_sigma_px * float(sampling.max())):
            y, x = disk.centre_px
            reasons.append(
                f"centre: the bright field lies round [{y:.1f}, {x:.1f}] px and is taken to lie"
                f" round [{centre_px[0]:.1f}, {centre_px[1]:.1f}]; give centre_px"
            )
        return reasons

    def _looked_at(self, optics: Optics, centre_px: np.ndarray) -> np.ndarray:
        """Return good pixels well inside the disk, (h, w) bool."""
        y, x = (
            (np.arange(n) - c) * d
            for n, c, d in zip(
                self._total.shape, centre_px, optics.angular_sampling_rad, strict=True
            )
        )
        inside = np.hypot(y[:, None], x[None]) < 0.85 * optics.semi_convergence_angle_rad
        return inside & self._good

    def _dead(self, optics: Optics, centre_px: np.ndarray) -> np.ndarray:
        """Return pixels that count next to nothing beside the rest of the disk, (h, w) bool."""
        inside = self._looked_at(optics, centre_px)
        level = float(np.median(self._total[inside])) if inside.any() else 0.0
        # so few counts that a good pixel may well have none tell nothing
        if level < 25:
            return np.zeros(self._total.shape, bool)
        return inside & (self._total < _DEAD * level)


def _angle(disk: Disk, sampling: np.ndarray) -> float:
    half = np.array([disk.half_height_px, disk.half_width_px]) * sampling
    return float(np.sqrt(half[0] * half[1]))


def camera_length(disk: Disk, sampling: tuple[float, float], angle: float) -> list[str]:
    """Return what is wrong with the disk's radius, in words.

    Parameters
    ----------
    disk : Disk
    sampling : (y, x), rad per detector pixel
    angle : float, rad
        The semi-convergence angle as stated.
    """
    found = _angle(disk, np.array(sampling))
    if abs(found / angle - 1) <= max(_RADIUS_OFF, 4 * disk.radius_sigma_px / disk.radius_px):
        return []
    return [
        f"camera length: the bright field has a radius of {found * 1e3:.3g} mrad, and the"
        f" semi-convergence angle is stated as {angle * 1e3:.3g} mrad; check"
        " semi_convergence_angle_mrad and angular_sampling_mrad"
    ]


def dead_reasons(total: np.ndarray, good: np.ndarray) -> list[str]:
    """Return which lines of the detector count nothing, in words.

    Parameters
    ----------
    total : (h, w) float64, counts
        Of many frames, zero frequency at ``[h // 2, w // 2]``.
    good : (h, w) bool
    """
    reasons = []
    for axis, name in ((0, "columns"), (1, "rows")):
        lines = dead_lines(total, good, axis)
        if lines:
            listed = ", ".join(map(str, lines[:_LISTED])) + (", ..." * (len(lines) > _LISTED))
            reasons.append(f"dead {name}: {listed} count nothing; give them as bad_pixels")
    return reasons


def dead_lines(total: np.ndarray, good: np.ndarray, axis: int) -> list[int]:
    """Return the lines, summed along axis, that count nothing between lines that do.

    Parameters
    ----------
    total : (h, w) float64, counts
    good : (h, w) bool
    axis : int
        0 for columns, 1 for rows.
    """
    alive = np.flatnonzero(good.any(axis=axis))
    light = (total * good).sum(axis=axis)[alive]
    bright = light > max(_LINE_COUNTS, _LINE_BRIGHT * float(light.max(initial=0.0)))
    dark = light < _LINE_DEAD * float(light.max(initial=0.0))
    # beside a run of dark lines there must be light on either side: far out nothing counts much
    out: list[int] = []
    edges = np.flatnonzero(np.diff(np.concatenate([[False], dark, [False]]).astype(int)))
    for first, end in edges.reshape(-1, 2).tolist():
        if first > 0 and end < len(dark) and bright[first - 1] and bright[end]:
            out += alive[first:end].tolist()
    return out
