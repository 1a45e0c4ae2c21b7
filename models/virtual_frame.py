"""What virtual images find out about the instrument: the disk, rotation and transposition.

Found from all frames when a result is asked for, so that batching cannot change it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from .base import Corrections, Quantity
from .calibration_disk import fit_disk
from .calibration_frame import MAX_CURL, ScanFrame, find_scan_frame
from .corrections import tables
from .experiment import Experiment
from .scan_image import ScanImage
from .virtual_kernels import add_counts, add_numbers

_SCALE = 1024.0
_PATTERNS = 64
_EXACT_DEG, _NEAR_DEG = 0.5, 5.0


class MeanPattern:
    """The mean of some frames, chosen by their scan index: the same whatever the order.

    Parameters
    ----------
    shape : (h, w)
    n_points : int or None
        Of the scan; 64 to 127 frames are taken, every 32nd where it is unknown.
    """

    def __init__(self, shape: tuple[int, int], n_points: int | None) -> None:
        self.stride = 32 if n_points is None else max(1, n_points // _PATTERNS)
        self.total = np.zeros(shape, np.int64)
        self.n = 0
        self.scale = 1.0

    def add(self, frames: np.ndarray, scan_index: np.ndarray) -> None:
        """Take in frames (n, h, w) with their indices (n,)."""
        use = scan_index % self.stride == 0
        chosen = int(np.count_nonzero(use))
        if not chosen:
            return
        self.n += chosen
        if frames.dtype.kind == "f":
            self.scale = _SCALE
            add_numbers(frames, use, _SCALE, self.total)
        else:
            add_counts(frames, use, self.total)

    def merge(self, other: Self) -> None:
        """Add what `other` has seen."""
        self.total += other.total
        self.n += other.n
        self.scale = max(self.scale, other.scale)

    def disk(self, corrections: Corrections) -> dict[str, Quantity]:
        """Return ``disk_centre_px``, ``disk_radius_px`` and ``ellipticity``; NaN for no disk."""
        centre, radius, ratio = (math.nan, math.nan), math.nan, math.nan
        dark, gain, good = tables(corrections, self.total.shape)
        try:
            mean = (self.total / (self.scale * max(1, self.n)) - dark) * gain
            disk = fit_disk(mean, good)
            centre, radius, ratio = disk.centre_px, disk.radius_px, disk.ellipticity
        except ValueError:
            pass
        return {
            "disk_centre_px": Quantity(np.array(centre), "px", ("yx",)),
            "disk_radius_px": Quantity(radius, "px"),
            "ellipticity": Quantity(ratio, ""),
        }


@dataclass(frozen=True)
class Frame:
    """Rotation (rad) and transposition to be used, and what to say about them.

    ``sigma_rad`` is the standard error of a rotation that was found, 0 of one that was stated.
    """

    rotation_rad: float
    transposed: bool
    flags: tuple[str, ...] = ()
    sigma_rad: float = 0.0

    def quantities(self) -> dict[str, Quantity]:
        """Return ``scan_rotation_deg`` and ``transposed``."""
        return {
            "scan_rotation_deg": Quantity(math.degrees(self.rotation_rad), "deg"),
            "transposed": Quantity(self.transposed, ""),
        }


def frame_of(
    experiment: Experiment,
    image: ScanImage,
    deflection: np.ndarray,
    dark_field: np.ndarray | None,
) -> Frame:
    """Return the scan's frame as stated, else as found.

    Parameters
    ----------
    experiment : Experiment
        A stated rotation is obeyed; then nothing said of transposition means none.
    image : ScanImage
    deflection : (n, 2) float64
        In the detector's frame, the same unit along both axes.
    dark_field : (n,) float64 or None
    """
    stated = experiment.scan_rotation_stated
    known = Frame(experiment.scan_rotation_rad, bool(experiment.transposed))
    if stated and experiment.transposed is not None:
        return known
    fields = image(deflection[:, 0]), image(deflection[:, 1])
    dark = None if dark_field is None else image(dark_field)
    try:
        if stated:
            return _doubted(known, fields)
        found = find_scan_frame(*fields, dark, transposed=experiment.transposed)
    except ValueError as error:
        if stated:
            return known
        return Frame(0.0, known.transposed, (f"scan rotation unknown, taken as 0: {error}",))
    if found.curl >= MAX_CURL:
        words = f"scan rotation unknown, taken as 0: {found.curl:.0%} of the deflection is curl"
        return Frame(0.0, known.transposed, (words,))
    degrees = found.scan_rotation_deg
    # most that state no rotation have none
    none = 0 < abs(degrees) <= min(max(_EXACT_DEG, 2 * found.sigma_deg), _NEAR_DEG)
    rotation = 0.0 if none else math.radians(degrees)
    sigma = math.radians(found.sigma_deg)
    return Frame(rotation, found.transposed, tuple(_said(found, none)), sigma)


def _said(found: ScanFrame, none: bool) -> list[str]:
    words = [
        f"estimated: scan_rotation_deg {found.scan_rotation_deg:.1f} +- {found.sigma_deg:.1f}"
        f"{' and so taken as 0' if none else ''}, transposed {str(found.transposed).lower()},"
        f" from the curl of the centre of mass; its sign from {found.sign_by}"
    ]
    if found.sign_by == "nothing":
        words.append("the sign of idpc is not known: the rotation may be 180 degrees off")
    return words


def _doubted(known: Frame, fields: tuple[np.ndarray, np.ndarray]) -> Frame:
    """Obey a stated rotation, but say where the frames speak clearly against it."""
    degrees = math.degrees(known.rotation_rad)
    here = find_scan_frame(*fields, transposed=False, rotation_deg=degrees)
    best = find_scan_frame(*fields)
    if here.curl > 0.4 and best.curl < 0.15:
        words = (
            f"the stated scan_rotation_deg {degrees:.1f} leaves {here.curl:.0%} of the deflection"
            f" curl; {best.scan_rotation_deg % 180:.1f} (or 180 more) with transposed"
            f" {str(best.transposed).lower()} would leave {best.curl:.0%}"
        )
        return Frame(known.rotation_rad, known.transposed, (words,))
    return known
