"""Direct (single-side-band) ptychography at arbitrary positions, on a canvas that grows live.

The bright field of each frame is binned to K super-pixels and spread with bilinear weights over a
canvas V[y, x, K] at the probe's position; that is all that happens per frame. An image is one
transform over (y, x) and one projection on the overlap function,

    phi(Q) = -i sum_K w conj(G_Q) F_Q / (sum_K w |G_Q|^2 + eps max),     w = 1 / mean counts,

after Rodenburg, McCallum & Nellist, Ultramicroscopy 48, 304 (1993), and Strauch et al., Microsc.
Microanal. 27, 1078 (2021). Rotation, aberrations and aperture live in G alone: they can be changed
at any time, without the frames. Two canvases add.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Self

import numpy as np
import scipy.fft

from ..base import Batch, Quantity
from ..corrections import check_frames, corrected, tables
from ..experiment import Experiment, MissingMetadata
from .bright_field import BrightField
from .geometry import batch_positions
from .kernels import normalise, project, splat
from .results import shared_result

_GROWTH = 1.25


class SingleSideband:
    """Reconstruct the phase of a thin object from in-focus electron data.

    Parameters
    ----------
    experiment : Experiment
        Needs wavelength, angular sampling, semi-convergence angle and the scan's step.
    eps : float
        Regularisation, relative to the strongest transfer; larger is smoother.
    bins_across : int or None
        Super-pixels across the bright-field disk; None chooses 16, or 8 on a large canvas.
    aberrations : mapping or None
        As `probe.chi` takes them; the experiment's defocus is added.
    centre_px : (y, x) or None, detector pixels
        Where the optic axis meets the detector; None is ``[h // 2, w // 2]``.
    workers : int
        Threads of a refresh.

    Raises
    ------
    MissingMetadata
        When a needed quantity is unknown.
    ValueError
        When a setting is out of range.
    """

    def __init__(
        self,
        experiment: Experiment,
        *,
        eps: float = 1e-2,
        bins_across: int | None = None,
        aberrations: Mapping[str, float] | None = None,
        centre_px: tuple[float, float] | None = None,
        workers: int = 2,
    ) -> None:
        if not 0 < eps < 1:
            raise ValueError(f"eps must lie between 0 and 1, got {eps}")
        if experiment.units != "m":
            raise MissingMetadata("positions in metres", "a scan in nm: the scale must be known")
        for name in ("wavelength_m", "angular_sampling_rad", "semi_convergence_angle_rad"):
            experiment.need(name)
        self.experiment = experiment
        self.eps = eps
        self.step_m = _canvas_step(experiment)
        self.bins_across = bins_across or _bins(experiment, self.step_m)
        self.workers = max(1, workers)
        self._aberrations = dict(aberrations or {})
        self._centre = centre_px
        self._rotation = experiment.scan_rotation_rad
        self._shape: tuple[int, int] | None = None
        self._field: BrightField | None = None
        anchor = (0.0, 0.0) if experiment.extent is None else experiment.extent[0]
        self._anchor = np.array(anchor)
        self._origin = np.zeros(2, np.int64)
        self._canvas = np.zeros((0, 0, 0), np.float32)
        self._weight = np.zeros((0, 0), np.float32)
        self._positions: list[np.ndarray] = []
        self._index: list[np.ndarray] = []
        self._clipped = 0
        self._overlap: tuple[Any, np.ndarray] | None = None

    def partial_fit(self, batch: Batch) -> Self:
        """Take in the next frames.

        Parameters
        ----------
        batch : Batch
            With ``positions_m``.

        Raises
        ------
        ValueError
            When frames or positions do not fit, or the bright field is not on the detector.
        """
        if len(batch) == 0:
            return self
        self._shape = check_frames(batch, self._shape)
        positions = batch_positions(batch, "m")
        frames = corrected(batch)
        if frames.dtype.kind == "f" and not np.all(np.isfinite(frames)):
            raise ValueError("frames hold NaN or infinity; mask those pixels as bad_pixels")
        field = self._field
        if field is None:
            good = tables(batch.corrections, self._shape)[2]
            field = BrightField.of(
                self.experiment, self._shape, good, self.bins_across, self._centre
            )
            self._field = field
        pixels = (positions - self._anchor) / self.step_m
        self._make_room(pixels.min(axis=0), pixels.max(axis=0))
        splat(
            frames,
            *field.corner,
            field.size,
            np.array(field.box, np.int64),
            field.keep,
            pixels - self._origin,
            self._canvas,
            self._weight,
        )
        self._positions.append(positions.copy())
        self._index.append(np.array(batch.scan_index, np.int64))
        if batch.frames.dtype.kind in "ui":
            ceiling = np.iinfo(batch.frames.dtype).max
            self._clipped += int((batch.frames.max(axis=(1, 2)) == ceiling).sum())
        return self

    def merge(self, other: Self) -> Self:
        """Take in what `other` has learnt from other frames.

        Raises
        ------
        ValueError
            When the two were set up differently.
        """
        if other._field is None:
            return self
        if self._field is None:
            self._field, self._shape = other._field, other._shape
        same = (
            self._shape == other._shape
            and self.step_m == other.step_m
            and np.array_equal(self._field.keep, other._field.keep)
            and np.array_equal(self._anchor, other._anchor)
        )
        if not same:
            raise ValueError("canvases of different frames, steps or bright fields do not add")
        low, high = other._bounds()
        self._make_room(low.astype(float), high.astype(float))
        ours = tuple(
            slice(a, b) for a, b in zip(low - self._origin, high - self._origin, strict=True)
        )
        theirs = tuple(
            slice(a, b) for a, b in zip(low - other._origin, high - other._origin, strict=True)
        )
        self._canvas[ours] += other._canvas[theirs]
        self._weight[ours] += other._weight[theirs]
        self._positions += other._positions
        self._index += other._index
        self._clipped += other._clipped
        return self

    def set_optics(
        self,
        *,
        scan_rotation_rad: float | None = None,
        aberrations: Mapping[str, float] | None = None,
        eps: float | None = None,
    ) -> Self:
        """Change what lives in G alone; the next `result_` shows it.

        Parameters
        ----------
        scan_rotation_rad : float or None, rad
        aberrations : mapping or None
            As `probe.chi` takes them; the experiment's defocus is added.
        eps : float or None
        """
        if scan_rotation_rad is not None:
            self._rotation = scan_rotation_rad
        if aberrations is not None:
            self._aberrations = dict(aberrations)
        if eps is not None:
            if not 0 < eps < 1:
                raise ValueError(f"eps must lie between 0 and 1, got {eps}")
            self.eps = eps
        return self

    @property
    def n_frames(self) -> int:
        """How many frames have been taken in."""
        return sum(len(index) for index in self._index)

    def phase(self) -> tuple[np.ndarray, float]:
        """Reconstruct.

        Returns
        -------
        phase : (H, W) float32, rad
            On the canvas, mean-free; positive where atoms are.
        fourier_error : float
            Share of the power of the data in the transferred band that a weak phase object does
            not explain, ``1 - sum |sum_K w conj(G) F|^2 / (sum_K w |G|^2 sum_K w |F|^2)``.
        """
        field = self._field
        if field is None:
            raise ValueError("there are no frames to reconstruct; call partial_fit first")
        low, high = self._bounds()
        window = tuple(
            slice(a, b) for a, b in zip(low - self._origin, high - self._origin, strict=True)
        )
        canvas, weight = self._canvas[window], self._weight[window]
        shape = tuple(scipy.fft.next_fast_len(int(n), real=True) for n in weight.shape)
        mean = canvas.sum(axis=(0, 1), dtype=np.float64) / max(float(weight.sum(dtype=float)), 1e-9)
        data = np.zeros((*shape, len(mean)), np.float32)
        rows = self._rows(len(weight))
        mean32 = mean.astype(np.float32)
        self._each(
            lambda s: normalise(canvas[s], weight[s], mean32, data[s, : weight.shape[1]]), rows
        )
        spectrum = scipy.fft.rfft2(data, axes=(0, 1), workers=self.workers)
        overlap = self._overlap_function(field, shape)
        w = (1 / np.maximum(mean / max(mean.max(), 1e-30), 0.02)).astype(np.float32)
        numerator = np.empty(spectrum.shape[:2], np.complex64)
        power = np.empty(spectrum.shape[:2], np.float32)
        self._each(
            lambda s: project(spectrum[s], overlap[s], w, numerator[s], power[s]),
            self._rows(len(spectrum)),
        )
        top = float(power.max())
        phi = np.where(power > 0, -1j * numerator / (power + self.eps * top + 1e-30), 0)
        phase = scipy.fft.irfft2(phi.astype(np.complex64), s=shape)
        phase = phase[: weight.shape[0], : weight.shape[1]] * (field.norm / max(mean.sum(), 1e-30))
        return (phase - phase.mean()).astype(np.float32), 0.0

    @property
    def result_(self) -> dict[str, Quantity]:
        """What is known so far; the keys of `results.shared_result`, without a probe."""
        if self._field is None:
            return {}
        phase, error = self.phase()
        index = np.concatenate(self._index)
        order = np.argsort(index, kind="stable")
        return shared_result(
            np.exp(1j * phase).astype(np.complex64),
            phase,
            np.full(2, self.step_m),
            None,
            np.concatenate(self._positions)[order],
            index[order],
            self._anchor + self._bounds()[0] * self.step_m,
            "m",
            "single_sideband",
            error,
            self._reasons(phase),
        )

    def _reasons(self, phase: np.ndarray) -> list[str]:
        reasons = []
        experiment = self.experiment
        limit = experiment.need("wavelength_m") / (
            4 * experiment.need("semi_convergence_angle_rad")
        )
        if self.step_m > 1.05 * limit:
            reasons.append(
                f"undersampled: the step of {self.step_m * 1e9:.3g} nm is more than"
                f" wavelength / (4 semi-convergence angle) = {limit * 1e9:.3g} nm"
            )
        if self.n_frames < 64:
            reasons.append(f"too few frames: {self.n_frames}, at least 64 are wanted")
        if self._clipped:
            reasons.append(
                f"clipped: {self._clipped} of {self.n_frames} frames reach the top of their"
                " number format"
            )
        if float(np.abs(phase).max(initial=0)) > 1:
            reasons.append("not a weak phase: the phase exceeds 1 rad, use rpie")
        return reasons

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the canvas pixels that the positions touch, low and (exclusive) high."""
        joined = np.concatenate(self._positions)
        if len(self._positions) > 1:
            self._positions = [joined]
        pixels = np.floor((joined - self._anchor) / self.step_m * 16 + 0.5).astype(np.int64)
        return pixels.min(axis=0) >> 4, -((-pixels.max(axis=0)) >> 4) + 1

    def _make_room(self, low: np.ndarray, high: np.ndarray) -> None:
        """Enlarge the canvas so that it holds positions between low and high, in pixels."""
        field = self._field
        assert field is not None  # noqa: S101  (for the type checker)
        lo, hi = np.floor(low).astype(np.int64) - 1, np.ceil(high).astype(np.int64) + 3
        extent = self.experiment.extent
        old_shape = np.array(self._weight.shape)
        if self._weight.size:
            end = self._origin + old_shape
            if np.all(lo >= self._origin) and np.all(hi <= end):
                return
            spare = ((_GROWTH - 1) * old_shape).astype(np.int64)
            lo = np.where(lo < self._origin, lo - spare, self._origin)
            hi = np.where(hi > end, hi + spare, end)
        elif extent is not None:
            size = (np.array(extent[1]) - self._anchor) / self.step_m
            lo = np.minimum(lo, -1)
            hi = np.maximum(hi, np.ceil(size).astype(np.int64) + 3)
        shape = tuple(int(n) for n in hi - lo)
        canvas = np.zeros((*shape, len(field.keep)), np.float32)
        weight = np.zeros(shape, np.float32)
        if self._weight.size:
            y, x = self._origin - lo
            canvas[y : y + old_shape[0], x : x + old_shape[1]] = self._canvas
            weight[y : y + old_shape[0], x : x + old_shape[1]] = self._weight
        self._canvas, self._weight, self._origin = canvas, weight, lo

    def _overlap_function(self, field: BrightField, shape: tuple[int, ...]) -> np.ndarray:
        key = (shape, self._rotation, tuple(sorted(self._aberrations.items())))
        if self._overlap is None or self._overlap[0] != key:
            overlap = field.overlap_function(
                shape, self.step_m, self._rotation, self._aberrations, self._each, self._rows
            )
            self._overlap = (key, overlap)
        return self._overlap[1]

    def _rows(self, n: int) -> list[slice]:
        cuts = np.linspace(0, n, min(n, 4 * self.workers) + 1).astype(int)
        return [slice(int(a), int(b)) for a, b in pairwise(cuts)]

    def _each(self, work: Any, rows: list[slice]) -> None:
        if self.workers == 1:
            for part in rows:
                work(part)
        else:
            with ThreadPoolExecutor(self.workers) as pool:
                list(pool.map(work, rows))


def _canvas_step(experiment: Experiment) -> float:
    if experiment.step is not None:
        return experiment.step
    if experiment.extent is not None and experiment.n_points:
        (y0, x0), (y1, x1) = experiment.extent
        area = (y1 - y0) * (x1 - x0)
        if area > 0:
            return math.sqrt(area / experiment.n_points)
    return experiment.need("step")


def _bins(experiment: Experiment, step_m: float) -> int:
    """Choose the super-pixels so that the canvas stays within a few hundred megabytes."""
    if experiment.extent is None:
        return 16
    (y0, x0), (y1, x1) = experiment.extent
    pixels = (y1 - y0) * (x1 - x0) / step_m**2
    return 16 if pixels < 300**2 else 8
