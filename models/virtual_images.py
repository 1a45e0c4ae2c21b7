"""Virtual detectors, centre of mass and iDPC: the simplest live result of 4D-STEM.

Every number belongs to one frame and is computed from it alone; pictures are made from those
numbers when a result is asked for. Batching therefore cannot change anything, bit for bit.
"""

from __future__ import annotations

from typing import Self

import numpy as np

from .base import Batch, Corrections, Quantity
from .corrections import check_frames, tables
from .experiment import Experiment
from .ptychography.geometry import into_scan
from .scan_image import ScanImage, integrate_gradient, place
from .virtual_detectors import (
    Detectors,
    check_detectors,
    default_detectors,
    disk_radius_px,
    masks,
    runs_of,
    scale_of,
)
from .virtual_frame import Frame, MeanPattern, frame_of
from .virtual_kernels import Survey

ESTIMATE_FRAMES = 64
_DTYPES = (np.uint8, np.uint16, np.uint32, np.int32, np.float32)


class VirtualImages:
    """Bright field, dark field, any ring or mask, centre of mass, iDPC and dose, in one pass.

    Parameters
    ----------
    experiment : Experiment
        What is unknown is done without: rings then are in pixels, the disk is estimated from the
        mean of the first 64 frames (a flag says so), iDPC is not to scale.
    detectors : mapping or None
        Name to (inner, outer) radius, in mrad where the angular sampling is known and else in
        pixels, or to a mask (h, w). None is ``bf``, the disk, and ``adf``, from 1.1 times its
        radius to the detector's edge.
    centre_px : (y, x) or None, detector pixels
        Centre of the rings; None is ``[h // 2, w // 2]``.
    com_outer : float or None
        Radius within which the centre of mass is taken, in the rings' unit; None is the whole
        detector.

    Raises
    ------
    ValueError
        When a detector is not one.
    """

    def __init__(
        self,
        experiment: Experiment,
        *,
        detectors: Detectors | None = None,
        centre_px: tuple[float, float] | None = None,
        com_outer: float | None = None,
    ) -> None:
        if detectors is not None:
            check_detectors(detectors)
        if com_outer is not None and not com_outer > 0:
            raise ValueError(f"com_outer must be positive, got {com_outer}")
        self.experiment = experiment
        self._detectors = detectors
        self._centre = centre_px
        self._com_outer = com_outer
        self._shape: tuple[int, int] | None = None
        self._pending: list[Batch] = []
        self._names: list[str] = []
        self._runs = np.zeros((0, 4), np.uint64)
        self._estimated: float | None = None
        self._rows: list[dict[str, np.ndarray]] = []
        self._with_dark = False
        self._prepared: tuple[Corrections, Survey] | None = None
        self._mean: MeanPattern | None = None

    @property
    def n_frames(self) -> int:
        """How many frames have been taken in."""
        return sum(len(b) for b in self._pending) + sum(len(r["index"]) for r in self._rows)

    def partial_fit(self, batch: Batch) -> Self:
        """Take in the next frames.

        Parameters
        ----------
        batch : Batch
            Frames of uint8, uint16, uint32, int32 or float32; ``positions_m`` or
            ``positions_px`` where the scan has no grid.

        Raises
        ------
        ValueError
            When frames do not fit or are of another type.
        """
        if len(batch) == 0:
            return self
        self._shape = check_frames(batch, self._shape)
        if batch.frames.dtype not in _DTYPES:
            raise ValueError(
                "frames must be uint8, uint16, uint32, int32 or float32, got"
                f" {batch.frames.dtype}; convert them"
            )
        if len(self._runs) == 0 and self._must_estimate():
            copy = Batch(
                batch.frames.copy(), batch.scan_index, batch.coordinates, batch.corrections
            )
            self._pending.append(copy)
            if self.n_frames >= ESTIMATE_FRAMES:
                self._flush()
            return self
        if len(self._runs) == 0:
            self._define(batch)
        self._survey(batch)
        return self

    def merge(self, other: Self) -> Self:
        """Take in what `other` has learnt from other frames.

        Raises
        ------
        ValueError
            When the two have different detectors.
        """
        for batch in other._pending:
            self.partial_fit(batch)
        if not other._rows:
            return self
        if len(self._runs) == 0:
            self._shape, self._names = other._shape, other._names
            self._runs = other._runs
            self._estimated = other._estimated
            pending, self._pending = self._pending, []
            for batch in pending:
                self._survey(batch)
        if not (np.array_equal(self._runs, other._runs) and self._names == other._names):
            raise ValueError("images of different detectors do not add; give detectors explicitly")
        self._rows += other._rows
        if other._mean is not None and other._prepared is not None:
            self._prepared = self._prepared or other._prepared
            if self._mean is None:
                self._mean = MeanPattern(other._mean.total.shape, self.experiment.n_points)
            self._mean.merge(other._mean)
        self._with_dark |= other._with_dark
        return self

    @property
    def result_(self) -> dict[str, Quantity]:
        """What is known so far.

        Returns
        -------
        dict of Quantity
            One picture (y, x) a detector and ``idpc``, NaN where no frame was; ``sum``,
            ``com_mrad`` (or ``com_px``) and ``scan_index`` a frame, in order of scan index;
            ``centre_px``, the mean centre of mass on the detector; ``image_pixel_m`` and
            ``image_origin_m`` (or ``_px``); ``scan_rotation_deg`` and ``transposed``, as stated
            or else as found; ``disk_centre_px``, ``disk_radius_px`` and ``ellipticity`` of the
            bright-field disk, NaN where there is none; ``flags``, what to be wary of.
        """
        if self._pending:  # fewer frames than an estimate wants: look, but decide nothing
            provisional = type(self)(
                self.experiment,
                detectors=self._detectors,
                centre_px=self._centre,
                com_outer=self._com_outer,
            )
            provisional._shape, provisional._pending = self._shape, list(self._pending)  # noqa: SLF001
            provisional._flush()  # noqa: SLF001
            return provisional.result_
        if not self._rows:
            return {}
        rows = self._sorted()
        shape = self._shape
        assert shape is not None  # noqa: S101  (for the type checker)
        flags = self._flags(rows)
        index = rows["index"]
        result = {
            "sum": Quantity(rows["sums"][:, self._names.index("sum")], "counts", ("frame",)),
            "scan_index": Quantity(index, "", ("frame",)),
        }
        com_px, centre = _centre_of_mass(rows["sums"][:, 0], rows["moments"])
        result["centre_px"] = Quantity(centre, "px", ("yx",))
        if self._mean is not None and self._prepared is not None:
            result |= self._mean.disk(self._prepared[0])
        sampling = self.experiment.angular_sampling_rad
        if sampling is None:
            result["com_px"] = Quantity(com_px, "px", ("frame", "yx"))
        else:
            com_mrad = com_px * np.array(sampling) * 1e3
            result["com_mrad"] = Quantity(com_mrad, "mrad", ("frame", "yx"))
        image = place(self.experiment, index, rows.get("positions"))
        if image is None:
            flags.append("no picture: the run has neither a grid nor positions")
        else:
            self._pictures(result, image, rows["sums"], com_px, flags)
        result["flags"] = Quantity(flags, "", ("flag",))
        return result

    def signals(self) -> dict[str, np.ndarray]:
        """Return what each detector has counted a frame (n,), in order of scan index."""
        sums = self._sorted()["sums"] if self._rows else np.zeros((0, len(self._names)))
        return {name: sums[:, column] for column, name in enumerate(self._names)}

    def scan_frame(self) -> Frame | None:
        """Return rotation and transposition, stated or found; None where there is no picture."""
        if not self._rows:
            return None
        rows = self._sorted()
        image = place(self.experiment, rows["index"], rows.get("positions"))
        com_px, _ = _centre_of_mass(rows["sums"][:, 0], rows["moments"])
        return None if image is None else self._frame(image, rows["sums"], com_px)[0]

    def _frame(
        self, image: ScanImage, sums: np.ndarray, com_px: np.ndarray
    ) -> tuple[Frame, np.ndarray, str]:
        deflection, units = self._deflection(com_px, image.pixel)
        dark = sums[:, self._names.index("adf")] if "adf" in self._names else None
        return frame_of(self.experiment, image, deflection, dark), deflection, units

    def _pictures(
        self,
        result: dict[str, Quantity],
        image: ScanImage,
        sums: np.ndarray,
        com_px: np.ndarray,
        flags: list[str],
    ) -> None:
        for column, name in enumerate(self._names):
            if name not in ("com", "sum"):
                result[name] = Quantity(image(sums[:, column]), "counts", ("y", "x"))
        frame, deflection, units = self._frame(image, sums, com_px)
        flags += frame.flags
        result |= frame.quantities()
        gradient = into_scan(deflection, frame.rotation_rad, frame.transposed)
        gradient = gradient * image.pixel if units else gradient
        if not units:
            flags.append("idpc is not to scale: wavelength, angular sampling or step is unknown")
        gy, gx = image(gradient[:, 0]), image(gradient[:, 1])
        if image.left_out:
            flags.append(
                f"positions: {image.left_out} of {len(com_px)} frames have none or lie far from all"
                " others, and are left out of the pictures; correct the positions"
            )
        missing = int(np.isnan(gy).sum())
        if missing and self.experiment.grid_shape is not None:
            # outside a spiral's disc nothing is missing
            flags.append(f"missing: {missing} of {gy.size} pixels of the picture have no frame")
        result["idpc"] = Quantity(integrate_gradient(gy, gx), units, ("y", "x"))
        result[f"image_pixel_{image.units}"] = Quantity(image.pixel, image.units, ("yx",))
        result[f"image_origin_{image.units}"] = Quantity(image.origin, image.units, ("yx",))

    def _must_estimate(self) -> bool:
        return self._detectors is None and scale_of(self.experiment)[1] is None

    def _flush(self) -> None:
        pending, self._pending = self._pending, []
        self._define(pending[0], pending)
        for batch in pending:
            self._survey(batch)

    def _define(self, batch: Batch, pending: list[Batch] | None = None) -> None:
        """Fix the detectors' masks and runs."""
        shape = self._shape
        assert shape is not None  # noqa: S101  (for the type checker)
        good = tables(batch.corrections, shape)[2]
        sampling, angle = scale_of(self.experiment)
        centre = self._centre or (shape[0] // 2, shape[1] // 2)
        detectors = self._detectors
        if detectors is None:
            if angle is None:
                frames = np.concatenate([b.frames for b in pending or [batch]])[:ESTIMATE_FRAMES]
                whole = frames[np.isfinite(frames).all(axis=(1, 2), where=good)]
                mean = whole.mean(axis=0) if len(whole) else np.zeros(shape)
                self._estimated = disk_radius_px(np.where(good, mean, 0))
                angle = self._estimated * float(np.sqrt(sampling[0] * sampling[1]))
            detectors = default_detectors(shape, angle, sampling)
        lists = {"sum": np.ones(shape, bool), **masks(detectors, shape, centre, sampling)}
        if self._com_outer is not None:
            com = masks({"com": (0.0, self._com_outer)}, shape, centre, sampling)
            lists = {**com, **lists}
        for name, mask in lists.items():
            if not np.any(mask & good):
                raise ValueError(f"the detector {name!r} holds bad pixels only")
        self._names = list(lists)
        self._runs = runs_of(list(lists.values()))

    def _survey(self, batch: Batch) -> None:
        shape = self._shape
        assert shape is not None  # noqa: S101  (for the type checker)
        if self._prepared is None or self._prepared[0] is not batch.corrections:
            dark, gain, good = tables(batch.corrections, shape)
            correct = batch.corrections.dark is not None or batch.corrections.gain is not None
            self._prepared = batch.corrections, Survey.of(self._runs, good, dark, gain, correct)
        frames = np.ascontiguousarray(batch.frames)
        sums, moments = self._prepared[1](frames)
        ceiling = np.iinfo(frames.dtype).max if frames.dtype.kind in "ui" else np.inf
        rows = {
            "index": np.array(batch.scan_index, np.int64),
            "sums": sums,
            "moments": moments,
            "saturated": moments[:, 3] >= ceiling,
            "negative": moments[:, 2] < 0,
        }
        name = f"positions_{self.experiment.units}"
        if name in batch.coordinates:
            rows["positions"] = np.array(batch.coordinates[name], np.float64)
        self._rows.append(rows)
        if self._mean is None:
            self._mean = MeanPattern(shape, self.experiment.n_points)
        self._mean.add(frames, rows["index"])
        self._with_dark |= batch.corrections.dark is not None

    def _sorted(self) -> dict[str, np.ndarray]:
        """Join what is known of each frame, in order of scan index."""
        names = set.intersection(*(set(rows) for rows in self._rows))
        joined = {name: np.concatenate([rows[name] for rows in self._rows]) for name in names}
        order = np.argsort(joined["index"], kind="stable")
        joined = {name: values[order] for name, values in joined.items()}
        self._rows = [joined]
        return joined

    def _deflection(self, com_px: np.ndarray, pixel: np.ndarray) -> tuple[np.ndarray, str]:
        """Return the phase's gradient (n, 2) per unit of position, and the phase's unit.

        In the detector's frame, and to an unknown scale where the unit is empty.
        """
        experiment = self.experiment
        shape = self._shape
        assert shape is not None  # noqa: S101  (for the type checker)
        if experiment.units == "px":  # an object pixel is wavelength / (N sampling)
            return 2 * np.pi * com_px / np.array(shape), "rad"
        sampling, wavelength = experiment.angular_sampling_rad, experiment.wavelength_m
        if sampling is None:
            return com_px, ""
        if wavelength is None or np.isnan(pixel).any():
            return com_px * np.array(sampling), ""
        return 2 * np.pi / wavelength * com_px * np.array(sampling), "rad"

    def _flags(self, rows: dict[str, np.ndarray]) -> list[str]:
        flags = []
        n = len(rows["index"])
        if self._estimated is not None:
            flags.append(
                f"estimated: the disk's radius of {self._estimated:.1f} px is from the mean of the"
                f" first {min(n, ESTIMATE_FRAMES)} frames; give semi_convergence_angle_mrad and"
                " angular_sampling_mrad"
            )
        counts = rows["sums"][:, 0]
        for what, bad in (
            ("not finite", ~np.isfinite(counts)),
            ("dark or empty", counts <= 0),
            ("saturated", rows["saturated"]),
            ("with negative counts", rows["negative"]),
        ):
            if bad.any():
                flags.append(f"{int(bad.sum())} of {n} frames are {what}")
        return flags


def _centre_of_mass(total: np.ndarray, moments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the deflection (n, 2) from the mean, and the mean on the detector, px."""
    with np.errstate(invalid="ignore", divide="ignore"):
        com = np.where(total[:, None] > 0, moments[:, :2] / total[:, None], np.nan)
    lit = np.isfinite(com).all(axis=1)
    centre = com[lit].mean(axis=0) if lit.any() else np.full(2, np.nan)
    return com - centre, centre
