"""Iterative ptychography: rPIE and ePIE at arbitrary, sub-pixel positions, with probe modes.

While frames arrive, `partial_fit` runs a preview over the new frames and some recent ones.
`converge` forgets the preview, starts again from the stated seed, an empty object and the initial
probe, and sweeps over all frames in order of scan index: its answer does not depend on how the
frames were batched.

Positions fall into 4 x 4 classes of sub-pixel shift that share a shifted probe and one
least-squares update of it; whole-pixel positions cost a factor of four in error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
import scipy.fft

from ..base import Batch, Quantity
from ..corrections import check_frames, corrected, tables
from ..experiment import Experiment
from .geometry import Canvas, positions_in_pixels
from .kernels import sweep, to_amplitude
from .probe import initial_probe, more_modes
from .results import iterative_result

CLASSES = 4


class IterativePtychography:
    """Reconstruct object and probe by the ptychographic iterative engine.

    Parameters
    ----------
    experiment : Experiment
        Electrons: wavelength, angular sampling and semi-convergence angle (or a probe) are
        needed. X-rays with positions in pixels: nothing, though a probe helps much.
    method : {"rpie", "epie"}
    iterations : int
        Passes over all frames in `converge`.
    rpie_alpha : float or (first, last)
        Regularisation between 0 (fast, fits the noise) and 1 (ePIE); two numbers are the first
        and the last pass's, geometric in between.
    probe_modes : int
        1 to 4 mutually incoherent modes.
    update_probe : bool
    aberrations : mapping or None
        Of the initial probe, as `probe.chi` takes them.
    preview : bool
        Whether `partial_fit` sweeps at all.
    preview_recent : float
        How many earlier frames a preview sweeps over, as a fraction of the new ones.
    seed : int
        Seed of the order of the frames.

    Raises
    ------
    ValueError
        When a setting is out of range.
    """

    def __init__(
        self,
        experiment: Experiment,
        *,
        method: str = "rpie",
        iterations: int = 20,
        rpie_alpha: float | tuple[float, float] = (0.1, 1.0),
        probe_modes: int = 1,
        update_probe: bool = True,
        aberrations: Mapping[str, float] | None = None,
        preview: bool = True,
        preview_recent: float = 0.5,
        seed: int = 0,
    ) -> None:
        if method not in ("rpie", "epie"):
            raise ValueError(f'method must be "rpie" or "epie", got {method!r}')
        if not 1 <= iterations <= 100_000:
            raise ValueError(f"iterations must lie between 1 and 100000, got {iterations}")
        if not 1 <= probe_modes <= 4:
            raise ValueError(f"probe_modes must lie between 1 and 4, got {probe_modes}")
        alphas = tuple(np.broadcast_to(np.asarray(rpie_alpha, float), (2,)).tolist())
        if not all(0 < alpha <= 1 for alpha in alphas):
            raise ValueError(f"rpie_alpha must lie above 0 and up to 1, got {rpie_alpha}")
        self.experiment = experiment
        self.method = method
        self.iterations = iterations
        self.alphas = (1.0, 1.0) if method == "epie" else alphas
        self.probe_modes = probe_modes
        self.update_probe = update_probe
        self.aberrations = dict(aberrations or {})
        self.preview = preview
        self.preview_recent = preview_recent
        self.seed = seed
        self._shape: tuple[int, int] | None = None
        self._amplitudes: list[np.ndarray] = []
        self._positions: list[np.ndarray] = []
        self._given: list[np.ndarray] = []
        self._index: list[np.ndarray] = []
        self._clipped = 0
        self._pixel_m = np.full(2, np.nan)
        self._preview_rng = np.random.default_rng(seed)
        self.canvas_: Canvas | None = None
        self.obj_: np.ndarray | None = None
        self.probe_: np.ndarray | None = None
        self.errors_: list[float] = []
        self.converged_ = False

    @property
    def n_frames(self) -> int:
        """How many frames have been taken in."""
        return sum(len(index) for index in self._index)

    def partial_fit(self, batch: Batch) -> Self:
        """Take in the next frames and improve the preview with them.

        Parameters
        ----------
        batch : Batch
            With ``positions_m``, or ``positions_px`` where the scale is unknown.

        Raises
        ------
        MissingMetadata
            When a needed quantity is unknown.
        ValueError
            When frames or positions do not fit.
        """
        if len(batch) == 0:
            return self
        self._take(batch)
        self.converged_ = False
        if not self.preview:
            return self
        new = len(self._amplitudes[-1])
        recent = int(self.preview_recent * new)
        amplitudes, positions = self._amplitudes[-1], self._positions[-1]
        if recent and len(self._amplitudes) > 1:
            old_a, old_p = self._amplitudes[-2], self._positions[-2]
            rows = np.sort(self._preview_rng.permutation(len(old_a))[:recent])
            amplitudes = np.concatenate([old_a[rows], amplitudes])
            positions = np.concatenate([old_p[rows], positions])
        self._extend_canvas(positions)
        if self.probe_ is None:
            self.probe_ = self._first_probe(amplitudes)
        assert self.canvas_ is not None  # noqa: S101  (for the type checker)
        origin = self.canvas_.origin_px
        self._pass(amplitudes, positions - origin, self.alphas[0], self._preview_rng)
        return self

    def merge(self, other: Self) -> Self:
        """Take in the frames of `other`; the answer is the next `converge`'s.

        Raises
        ------
        ValueError
            When the frames of the two differ in shape.
        """
        if None not in (self._shape, other._shape) and self._shape != other._shape:
            raise ValueError(f"frames of {self._shape} do not join frames of {other._shape}")
        if other._shape is None:
            return self
        self._shape = other._shape
        for name in ("_amplitudes", "_positions", "_given", "_index"):
            getattr(self, name).extend(getattr(other, name))
        self._clipped += other._clipped
        self._pixel_m = other._pixel_m
        if self.obj_ is None:
            self.probe_ = other.probe_
        self._extend_canvas(np.concatenate(self._positions))
        self.converged_ = False
        return self

    def converge(self) -> Self:
        """Reconstruct from all frames, from the stated seed and an empty object.

        Raises
        ------
        ValueError
            When there are no frames.
        """
        if not self._index:
            raise ValueError("there are no frames to reconstruct; call partial_fit first")
        amplitudes, positions = self._sorted()
        canvas = self._canvas(positions)
        self.canvas_ = canvas
        self.obj_ = np.ones(canvas.shape, np.complex64)
        self.probe_ = self._first_probe(amplitudes)
        self.errors_ = []
        rng = np.random.default_rng(self.seed)
        for alpha in np.geomspace(self.alphas[0], self.alphas[1], self.iterations):
            self._pass(amplitudes, positions - canvas.origin_px, float(alpha), rng)
        self.converged_ = True
        return self

    @property
    def result_(self) -> dict[str, Quantity]:
        """What is known so far; see `results.iterative_result` for the keys."""
        if self.obj_ is None:
            return {}
        return iterative_result(self)

    @property
    def pixel_m(self) -> np.ndarray:
        """Size of an object pixel yx (2,) float64, m; NaN where unknown."""
        return self._pixel_m

    @property
    def clipped_frames(self) -> int:
        """How many frames reach the top of their integer format."""
        return self._clipped

    def frames_in_order(self) -> tuple[np.ndarray, np.ndarray]:
        """Return scan indices (n,) and the given positions (n, 2), in order of scan index."""
        index = np.concatenate(self._index)
        order = np.argsort(index, kind="stable")
        return index[order], np.concatenate(self._given)[order]

    # -- inside ------------------------------------------------------------------------------

    def _take(self, batch: Batch) -> None:
        shape = check_frames(batch, self._shape)
        positions, self._pixel_m = positions_in_pixels(batch, self.experiment, shape)
        frames = corrected(batch)
        if frames.dtype.kind == "f" and not np.all(np.isfinite(frames)):
            raise ValueError("frames hold NaN or infinity; mask those pixels as bad_pixels")
        good = tables(batch.corrections, shape)[2]
        amplitudes = np.empty(frames.shape, np.float32)
        to_amplitude(frames, good, amplitudes)
        if batch.frames.dtype.kind in "ui":
            ceiling = np.iinfo(batch.frames.dtype).max
            self._clipped += int((batch.frames.max(axis=(1, 2)) == ceiling).sum())
        self._shape = shape
        self._amplitudes.append(amplitudes)
        self._positions.append(positions)
        self._given.append(batch.coordinates[f"positions_{self.experiment.units}"].copy())
        self._index.append(np.array(batch.scan_index, np.int64))

    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """Join all frames in order of scan index, once."""
        index = np.concatenate(self._index)
        if len(self._index) > 1 or np.any(np.diff(index) < 0):
            order = np.argsort(index, kind="stable")
            self._index = [index[order]]
            for name in ("_amplitudes", "_positions", "_given"):
                setattr(self, name, [np.concatenate(getattr(self, name))[order]])
        return self._amplitudes[0], self._positions[0]

    def _canvas(self, positions: np.ndarray) -> Canvas:
        shape = self._shape
        assert shape is not None  # noqa: S101  (for the type checker)
        return Canvas.around(positions, shape)

    def _extend_canvas(self, positions: np.ndarray) -> None:
        """Make room for positions, keeping what has been reconstructed."""
        corners = [positions.min(axis=0), positions.max(axis=0)]
        shape = self._shape
        assert shape is not None  # noqa: S101  (for the type checker)
        old = self.canvas_
        if old is not None:
            low = old.origin_px + np.array([shape[0] // 2, shape[1] // 2]) + 2
            corners += [low, low + np.array(old.shape) - np.array(shape) - 4]
        new = Canvas.around(np.array(corners), shape)
        if old is not None and self.obj_ is not None:
            if new.shape == old.shape and np.all(new.origin_px == old.origin_px):
                return
            obj = np.ones(new.shape, np.complex64)
            y, x = (old.origin_px - new.origin_px).astype(int)
            obj[y : y + old.shape[0], x : x + old.shape[1]] = self.obj_
            self.obj_ = obj
        else:
            self.obj_ = np.ones(new.shape, np.complex64)
        self.canvas_ = new

    def _first_probe(self, amplitudes: np.ndarray) -> np.ndarray:
        shape = self._shape
        assert shape is not None  # noqa: S101  (for the type checker)
        intensity = np.maximum(amplitudes, 0) ** 2
        mean = scipy.fft.fftshift(intensity.mean(axis=0, dtype=np.float64))
        probe = initial_probe(self.experiment, shape, mean, self.aberrations)
        probe = more_modes(probe, self.probe_modes).astype(np.complex128)
        power = (np.abs(probe) ** 2).sum() * probe[0].size
        return (probe * np.sqrt(mean.sum() / power)).astype(np.complex64)

    def _pass(
        self,
        amplitudes: np.ndarray,
        positions: np.ndarray,
        alpha: float,
        rng: np.random.Generator,
    ) -> None:
        """Sweep once over frames; `positions` are pixels of the canvas."""
        assert self.obj_ is not None  # noqa: S101  (for the type checker)
        assert self.probe_ is not None  # noqa: S101
        half = np.array(self._shape) // 2
        quarter = np.floor(positions * CLASSES + 0.5).astype(np.int64)
        corners = quarter // CLASSES - half
        classes = (quarter[:, 0] % CLASSES) * CLASSES + quarter[:, 1] % CLASSES
        spectrum = scipy.fft.fft2(self.probe_)
        misfit = 0.0
        for shift in rng.permutation(CLASSES * CLASSES):
            members = np.flatnonzero(classes == shift)
            if len(members) == 0:
                continue
            ramp = _ramp(self.probe_.shape[1:], shift // CLASSES, shift % CLASSES)
            probe = scipy.fft.ifft2(spectrum * ramp)
            power = (np.abs(probe) ** 2).sum(axis=0)
            step = 1 / ((1 - alpha) * power + alpha * power.max())
            gradient = np.zeros_like(probe)
            density = np.zeros(probe.shape[1:], np.float32)
            misfit += sweep(
                self.obj_,
                probe,
                step.astype(np.float32),
                amplitudes,
                rng.permutation(members),
                corners,
                gradient,
                density,
            )
            if self.update_probe:
                gradient /= density.max()
                spectrum += scipy.fft.fft2(gradient) * ramp.conj()
        self.probe_ = _orthogonal(np.asarray(scipy.fft.ifft2(spectrum)))
        measured = float((np.maximum(amplitudes, 0) ** 2).sum(dtype=np.float64))
        self.errors_.append(float(misfit) / max(measured, 1e-30))


def _ramp(shape: tuple[int, ...], shift_y: int, shift_x: int) -> np.ndarray:
    fy, fx = (np.fft.fftfreq(size) for size in shape)
    along_y = np.exp(-2j * np.pi * fy * shift_y / CLASSES)
    along_x = np.exp(-2j * np.pi * fx * shift_x / CLASSES)
    return np.outer(along_y, along_x).astype(np.complex64)


def _orthogonal(probe: np.ndarray) -> np.ndarray:
    """Return the same mixed state with orthogonal modes, strongest first."""
    if len(probe) == 1:
        return probe
    flat = probe.reshape(len(probe), -1)
    _, vectors = np.linalg.eigh((flat.conj() @ flat.T).astype(np.complex128))
    return (vectors[:, ::-1].T @ flat).reshape(probe.shape).astype(np.complex64)
