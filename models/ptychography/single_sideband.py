"""Direct (single-side-band) ptychography at arbitrary positions, on a canvas that grows live.

The bright field of each frame is binned to K super-pixels and spread with bilinear weights over a
canvas V[y, x, K] at the probe's position; that is all that happens per frame. An image is one
transform over (y, x) and one projection on the overlap function,

    phi(Q) = -i sum_K w conj(G_Q) F_Q / (sum_K w |G_Q|^2 + noise / signal),  w = 1 / mean counts,

after Rodenburg, McCallum & Nellist, Ultramicroscopy 48, 304 (1993), and Strauch et al., Microsc.
Microanal. 27, 1078 (2021). Rotation, transposition, aberrations and aperture live in G alone: they
can be changed at any time, without the frames. Two canvases add.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from ..base import Batch, Quantity
from ..corrections import check_frames, corrected, tables
from ..experiment import Experiment, MissingMetadata
from .bright_field import BrightField
from .canvas_size import bytes_a_pixel, canvas_step, choose_bins
from .geometry import batch_positions
from .icom import icom_phase
from .optics import Optics
from .parallax import parallax
from .pattern_check import PatternCheck
from .results import shared_result
from .scan_canvas import ScanCanvas
from .side_bands import Projection, Projector
from .visits import noise_reasons, visit_reasons

MIN_FRAMES = 64
WEIGHTINGS = ("single_sideband", "optimal")
ALSO = ("icom", "parallax")


class SingleSideband:
    """Reconstruct the phase of a thin object from in-focus electron data.

    Parameters
    ----------
    experiment : Experiment
        Needs wavelength, angular sampling, semi-convergence angle and the scan's step.
    eps : float or None
        Regularisation, relative to the strongest transfer; larger is smoother. None takes it,
        ring by ring of spatial frequency, from the noise that the data themselves show.
    weighting : {"single_sideband", "optimal"}
        "single_sideband" divides by the transfer: the phase, in rad, to scale. "optimal" divides
        by its root, which leaves white noise and the best signal to noise; weakly transferred
        frequencies are then too weak (optimum bright field: Ooe, Seki, Ikuhara & Shibata,
        Ultramicroscopy 220, 113133 (2021)).
    bins_across : int or None
        Super-pixels across the bright-field disk; None chooses 16, or fewer on a large canvas.
    aberrations : mapping or None
        As `probe.chi` takes them; the experiment's defocus is added.
    centre_px : (y, x) or None, detector pixels
        Where the optic axis meets the detector; None is ``[h // 2, w // 2]``.
    also : sequence of {"icom", "parallax"}
        What else to make of the canvas: ``icom_phase`` and ``parallax`` of the result.
    canvas_memory_gb : float
        What canvas and refresh may take, as `canvas_size.canvas_memory_bytes` counts.
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
        eps: float | None = None,
        weighting: str = "single_sideband",
        bins_across: int | None = None,
        aberrations: Mapping[str, float] | None = None,
        centre_px: tuple[float, float] | None = None,
        also: Sequence[str] = (),
        canvas_memory_gb: float = 2.0,
        workers: int = 2,
    ) -> None:
        if experiment.units != "m":
            raise MissingMetadata("positions in metres", "a scan in nm: the scale must be known")
        if bins_across is not None and not 2 <= bins_across <= 64:
            raise ValueError(f"bins_across must lie between 2 and 64, got {bins_across}")
        if isinstance(also, str) or set(also) - set(ALSO):
            raise ValueError(f"also must be a list of {', '.join(ALSO)}, got {also!r}")
        if not 0 < canvas_memory_gb < 1e6:
            raise ValueError(f"canvas_memory_gb must be positive, got {canvas_memory_gb}")
        self.experiment = experiment
        self._field: BrightField | None = None
        self._canvas: ScanCanvas | None = None
        self._aberrations: dict[str, float] = {}
        self.optics = Optics.of(experiment, {})
        self.eps: float | None = None
        self.weighting = ""
        self._set(experiment, aberrations or {}, eps, weighting)
        self.also = tuple(also)
        self.memory_bytes = canvas_memory_gb * 1e9
        self.step_m = canvas_step(experiment)
        self.bins_across = bins_across or choose_bins(experiment, self.step_m, self.memory_bytes)
        self.centre_px = centre_px
        self._projector = Projector(max(1, workers), 0.0)
        self._pattern = PatternCheck()
        self._shape: tuple[int, int] | None = None
        self._positions: list[np.ndarray] = []
        self._index: list[np.ndarray] = []
        self._clipped = 0
        self._missing = 0
        self._far = 0

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
        frames, index = corrected(batch), np.array(batch.scan_index, np.int64)
        good = tables(batch.corrections, self._shape)[2]
        if self._field is None or self._canvas is None:
            self._field = BrightField.of(
                self.optics, self._shape, good, self.bins_across, self.centre_px
            )
            self._canvas = self._new_canvas(self._field)
        use = self._usable(frames, positions)
        if not use.all():
            frames, positions, index = frames[use], positions[use], index[use]
            if not len(index):
                return self
        field = self._field
        self._clipped += self._canvas.add(
            frames, field.corner, field.size, field.box, field.keep, positions
        )
        self._pattern.add(frames, index, good)
        self._positions.append(positions.copy())
        self._index.append(index)
        return self

    def _new_canvas(self, field: BrightField) -> ScanCanvas:
        depth = len(field.keep)
        share = 4 * (depth + 1) / bytes_a_pixel(depth)
        extent = self.experiment.extent
        return ScanCanvas(depth, self.step_m, extent, share * self.memory_bytes)

    def _usable(self, frames: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Return which frames (n,) can be used; count the others."""
        assert self._canvas is not None  # noqa: S101  (for the type checker)
        use = np.ones(len(frames), bool)
        if frames.dtype.kind == "f":
            use = np.isfinite(frames).all(axis=(1, 2))
        self._missing += int((~use).sum())
        near = self._canvas.near(positions)
        self._far += int((use & ~near).sum())
        return use & near

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
            self._canvas = self._new_canvas(other._field)
        same = self._shape == other._shape and self._field.same_tiles(other._field)
        if not same:
            raise ValueError("canvases of different frames or bright fields do not add")
        self._canvas.merge(other._canvas)
        self._pattern.merge(other._pattern)
        self._positions += other._positions
        self._index += other._index
        self._clipped += other._clipped
        self._missing += other._missing
        self._far += other._far
        return self

    def set_optics(
        self,
        *,
        scan_rotation_rad: float | None = None,
        transposed: bool | None = None,
        semi_convergence_angle_rad: float | None = None,
        aberrations: Mapping[str, float] | None = None,
        eps: float | str | None = None,
        weighting: str | None = None,
    ) -> Self:
        """Change what lives in G alone; the next `result_` shows it. None leaves a thing as it is.

        Parameters
        ----------
        scan_rotation_rad : float or None, rad
        transposed : bool or None
        semi_convergence_angle_rad : float or None, rad
            As far as the super-pixels gathered so far hold such a disk.
        aberrations : mapping or None
            As `probe.chi` takes them, to third order; the experiment's defocus is added.
        eps : float, "auto" or None
            "auto" takes it from the data, as None does when the model is made.
        weighting : {"single_sideband", "optimal"} or None

        Raises
        ------
        ValueError
            When a value is out of range or the disk would not be held; nothing is changed then.
        """
        given: dict[str, Any] = {
            "scan_rotation_rad": scan_rotation_rad,
            "transposed": transposed,
            "semi_convergence_angle_rad": semi_convergence_angle_rad,
        }
        changes = {name: value for name, value in given.items() if value is not None}
        self._set(
            replace(self.experiment, **changes) if changes else self.experiment,
            self._aberrations if aberrations is None else aberrations,
            self.eps if eps is None else None if eps == "auto" else eps,
            self.weighting if weighting is None else weighting,
        )
        return self

    def _set(
        self,
        experiment: Experiment,
        aberrations: Mapping[str, float],
        eps: float | str | None,
        weighting: str,
    ) -> None:
        if eps is not None and not (not isinstance(eps, str) and 0 < eps < 1):
            raise ValueError(f"eps must lie between 0 and 1, got {eps}")
        if weighting not in WEIGHTINGS:
            raise ValueError(f"weighting must be one of {', '.join(WEIGHTINGS)}, got {weighting!r}")
        angle = experiment.need("semi_convergence_angle_rad")
        if not 0 < angle < 0.5:
            raise ValueError(f"semi_convergence_angle_rad must lie between 0 and 0.5, got {angle}")
        optics = Optics.of(experiment, aberrations)
        if self._field is not None and angle != self.optics.semi_convergence_angle_rad:
            self._field.check_holds(optics)
        self.experiment, self.optics = experiment, optics
        self._aberrations, self.eps, self.weighting = dict(aberrations), eps, weighting

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
        projection = self.projection()
        phase = projection.phase(self.eps, whitened=self.weighting == "optimal")
        return phase, projection.error

    def projection(self) -> Projection:
        """Return the data's projection on the overlap function, the step before `phase`.

        Raises
        ------
        ValueError
            When there are no frames.
        """
        canvas, field = self.gathered()
        shape = canvas.touched[1].shape
        used = float(shape[0] * shape[1]) * bytes_a_pixel(canvas.depth)
        self._projector.max_bytes = max(self.memory_bytes - used, 0.0)
        return self._projector(canvas, field, self.optics)

    def over_rows(self, n: int, work: Callable[[slice], None]) -> None:
        """Spread work on n rows over the model's threads."""
        self._projector.over_rows(n, work)

    def gathered(self) -> tuple[ScanCanvas, BrightField]:
        """Return the canvas and its super-pixels.

        Raises
        ------
        ValueError
            When there are no frames.
        """
        if self._canvas is None or self._field is None or not self._index:
            raise ValueError("there are no frames to reconstruct; call partial_fit first")
        return self._canvas, self._field

    @property
    def result_(self) -> dict[str, Quantity]:
        """What is known so far; the keys of `results.shared_result`, without a probe."""
        if not self._index:
            return {}
        canvas, field = self.gathered()
        phase, error = self.phase()
        index, positions = np.concatenate(self._index), np.concatenate(self._positions)
        self._index, self._positions = [index], [positions]
        order = np.argsort(index, kind="stable")
        result = shared_result(
            np.exp(1j * phase).astype(np.complex64),
            phase,
            np.full(2, self.step_m),
            None,
            positions[order],
            index[order],
            canvas.touched[2],
            "m",
            "single_sideband",
            error,
            self._reasons(phase, index, field) + noise_reasons(error, len(field.keep)),
        )
        if "icom" in self.also:
            picture = icom_phase(canvas, field, self.optics)
            result["icom_phase"] = Quantity(picture, "rad", ("y", "x"))
        if "parallax" in self.also:
            picture = parallax(canvas, field, self.optics)
            result["parallax"] = Quantity(picture, "", ("y", "x"))
        return result

    def _reasons(self, phase: np.ndarray, index: np.ndarray, field: BrightField) -> list[str]:
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
        if self._missing:
            reasons.append(
                f"not finite: {self._missing} frames hold NaN or infinity and are left out; give"
                " those pixels as bad_pixels"
            )
        if self._far:
            reasons.append(
                f"positions: {self._far} frames lie far outside the scan's extent and are left out"
            )
        reasons += visit_reasons(index, self._positions[0], self.experiment.passes)
        reasons += self._pattern.reasons(self.optics, field.centre)
        if self.weighting == "single_sideband" and float(np.abs(phase).max(initial=0)) > 1:
            reasons.append("not a weak phase: the phase exceeds 1 rad, use rpie")
        return reasons
