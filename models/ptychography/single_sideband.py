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
from collections.abc import Callable, Mapping
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
from .kernels import normalise, project
from .results import shared_result
from .scan_canvas import ScanCanvas

MIN_FRAMES = 64
LARGE_CANVAS_PX = 300**2


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
        if experiment.units != "m":
            raise MissingMetadata("positions in metres", "a scan in nm: the scale must be known")
        for name in ("wavelength_m", "angular_sampling_rad", "semi_convergence_angle_rad"):
            experiment.need(name)
        if bins_across is not None and not 2 <= bins_across <= 64:
            raise ValueError(f"bins_across must lie between 2 and 64, got {bins_across}")
        self.experiment = experiment
        self.step_m = _canvas_step(experiment)
        self.bins_across = bins_across or _bins(experiment, self.step_m)
        self.workers = max(1, workers)
        self.centre_px = centre_px
        self.eps = 0.0
        self._aberrations: dict[str, float] = {}
        self._rotation = experiment.scan_rotation_rad
        self.set_optics(eps=eps, aberrations=aberrations)
        self._shape: tuple[int, int] | None = None
        self._field: BrightField | None = None
        self._canvas: ScanCanvas | None = None
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
        if self._field is None or self._canvas is None:
            good = tables(batch.corrections, self._shape)[2]
            self._field = BrightField.of(
                self.experiment, self._shape, good, self.bins_across, self.centre_px
            )
            extent = self.experiment.extent
            self._canvas = ScanCanvas(len(self._field.keep), self.step_m, extent)
        field = self._field
        self._clipped += int(
            self._canvas.add(frames, field.corner, field.size, field.box, field.keep, positions)
        )
        self._positions.append(positions.copy())
        self._index.append(np.array(batch.scan_index, np.int64))
        return self

    def merge(self, other: Self) -> Self:
        """Take in what `other` has learnt from other frames.

        Raises
        ------
        ValueError
            When the two were set up differently.
        """
        if other._canvas is None or other._field is None:
            return self
        if self._canvas is None or self._field is None:
            self._shape, self._field = other._shape, other._field
            extent = self.experiment.extent
            self._canvas = ScanCanvas(len(other._field.keep), self.step_m, extent)
        if self._shape != other._shape or not np.array_equal(self._field.keep, other._field.keep):
            raise ValueError("canvases of different frames or bright fields do not add")
        self._canvas.merge(other._canvas)
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

        Raises
        ------
        ValueError
            When `eps` is out of range.
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
            Share of the data's power in the transferred band that a weak phase object does not
            explain, ``1 - sum_Q |sum_K w conj(G) F|^2 / (sum_K w |G|^2) / sum_QK w |F|^2``; shot
            noise counts as unexplained.

        Raises
        ------
        ValueError
            When there are no frames.
        """
        if self._canvas is None or self._field is None:
            raise ValueError("there are no frames to reconstruct; call partial_fit first")
        values, weight, _ = self._canvas.touched
        height, width = weight.shape
        shape = (
            scipy.fft.next_fast_len(height, real=True) or height,
            scipy.fft.next_fast_len(width, real=True) or width,
        )
        mean = values.sum(axis=(0, 1), dtype=np.float64) / float(weight.sum(dtype=np.float64))
        mean32 = mean.astype(np.float32)
        data = np.zeros((*shape, len(mean)), np.float32)
        self._over_rows(height, lambda s: normalise(values[s], weight[s], mean32, data[s, :width]))
        spectrum = np.asarray(scipy.fft.rfft2(data, axes=(0, 1), workers=self.workers))
        overlap = self._overlap_function(self._field, shape)
        w = (1 / np.maximum(mean / max(mean.max(), 1e-30), 0.02)).astype(np.float32)
        numerator = np.empty(spectrum.shape[:2], np.complex64)
        power, total = (np.empty(spectrum.shape[:2], np.float32) for _ in range(2))
        self._over_rows(
            len(spectrum),
            lambda s: project(spectrum[s], overlap[s], w, numerator[s], power[s], total[s]),
        )
        top = max(float(power.max()), 1e-30)
        band = power > 1e-6 * top
        phi = np.where(band, -1j * numerator / (power + self.eps * top), 0)
        picture = np.asarray(scipy.fft.irfft2(phi, s=shape))[:height, :width]
        picture = picture * (self._field.norm / max(float(mean.sum()), 1e-30))
        explained = float((np.abs(numerator[band]) ** 2 / power[band]).sum(dtype=np.float64))
        error = 1 - explained / max(float(total[band].sum(dtype=np.float64)), 1e-30)
        return (picture - picture.mean()).astype(np.float32), error

    @property
    def result_(self) -> dict[str, Quantity]:
        """What is known so far; the keys of `results.shared_result`, without a probe."""
        if self._canvas is None:
            return {}
        phase, error = self.phase()
        index, positions = np.concatenate(self._index), np.concatenate(self._positions)
        self._index, self._positions = [index], [positions]
        order = np.argsort(index, kind="stable")
        return shared_result(
            np.exp(1j * phase).astype(np.complex64),
            phase,
            np.full(2, self.step_m),
            None,
            positions[order],
            index[order],
            self._canvas.touched[2],
            "m",
            "single_sideband",
            error,
            self._reasons(phase),
        )

    def _reasons(self, phase: np.ndarray) -> list[str]:
        reasons = []
        angle = self.experiment.need("semi_convergence_angle_rad")
        limit = self.experiment.need("wavelength_m") / (4 * angle)
        if self.step_m > 1.05 * limit:
            reasons.append(
                f"undersampled: the step of {self.step_m * 1e9:.3g} nm is more than"
                f" wavelength / (4 semi-convergence angle) = {limit * 1e9:.3g} nm"
            )
        if self.n_frames < MIN_FRAMES:
            reasons.append(f"too few frames: {self.n_frames}, at least {MIN_FRAMES} are wanted")
        if self._clipped:
            reasons.append(
                f"clipped: {self._clipped} of {self.n_frames} frames reach the top of their"
                " number format"
            )
        if float(np.abs(phase).max(initial=0)) > 1:
            reasons.append("not a weak phase: the phase exceeds 1 rad, use rpie")
        return reasons

    def _overlap_function(self, field: BrightField, shape: tuple[int, int]) -> np.ndarray:
        key = (shape, self._rotation, tuple(sorted(self._aberrations.items())))
        if self._overlap is None or self._overlap[0] != key:
            overlap = field.overlap_function(
                shape, self.step_m, self._rotation, self._aberrations, self._over_rows
            )
            self._overlap = (key, overlap)
        return self._overlap[1]

    def _over_rows(self, n: int, work: Callable[[slice], None]) -> None:
        """Spread work on n rows over the threads."""
        if self.workers == 1:
            work(slice(0, n))
            return
        cuts = np.linspace(0, n, 4 * self.workers + 1).astype(int).tolist()
        parts = [slice(a, b) for a, b in pairwise(cuts) if b > a]
        with ThreadPoolExecutor(self.workers) as pool:
            list(pool.map(work, parts))


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
    return 16 if (y1 - y0) * (x1 - x0) / step_m**2 < LARGE_CANVAS_PX else 8
