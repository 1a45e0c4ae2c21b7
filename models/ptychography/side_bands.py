"""From the canvas to a phase: transform, project on the overlap function, weigh, go back.

Everything is done for a few super-pixels at a time, so that the memory of a refresh depends
little on how large the canvas is.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.fft

from .bright_field import MIN_LIGHT, BrightField
from .kernels import normalise, project
from .optics import Optics
from .scan_canvas import ScanCanvas

_CHUNK_BYTES = 96e6
_CHUNK = 8
_WEAKEST = 0.02
_BAND = 1e-6
_RINGS = 40
_LEAST = 1e-4


@dataclass(frozen=True, eq=False)
class Projection:
    """The data's projection on the overlap function, for every spatial frequency.

    Parameters
    ----------
    shape : (H, W)
        Of the transform.
    window : (y, x)
        Size of the canvas in it.
    numerator : (H, W // 2 + 1) complex64
        ``sum_K w conj(G) F``.
    power, total : (H, W // 2 + 1) float32
        ``sum_K w |G|^2`` and ``sum_K w |F|^2``.
    depth : int
        Super-pixels in the disk.
    scale : float
        Radians of phase per unit of ``numerator / power``.
    """

    shape: tuple[int, int]
    window: tuple[int, int]
    numerator: np.ndarray
    power: np.ndarray
    total: np.ndarray
    depth: int
    scale: float

    @property
    def band(self) -> np.ndarray:
        """Return where phase is transferred at all, (H, W // 2 + 1) bool."""
        return self.power > _BAND * max(float(self.power.max(initial=0)), 1e-30)

    @property
    def error(self) -> float:
        """Return the share of the data's power in the band that no weak phase explains."""
        band = self.band
        explained = (np.abs(self.numerator[band]) ** 2 / self.power[band]).sum(dtype=np.float64)
        return float(1 - explained / max(float(self.total[band].sum(dtype=np.float64)), 1e-30))

    def phase(self, eps: float | None, *, whitened: bool) -> np.ndarray:
        """Return the phase, (y, x) float32, rad, mean-free.

        Parameters
        ----------
        eps : float or None
            Regularisation relative to the strongest transfer; None takes it from the data.
        whitened : bool
            Divide by the root of the transfer only, so that noise is white.
        """
        band, top = self.band, max(float(self.power.max(initial=0)), 1e-30)
        damped = self.power + (self._damping(band, top) if eps is None else eps * top)
        below = np.sqrt(damped * top) if whitened else damped
        phi = np.zeros(self.numerator.shape, np.complex64)
        phi[band] = -1j * self.numerator[band] / below[band]
        picture = np.asarray(scipy.fft.irfft2(phi, s=self.shape))
        picture = picture[: self.window[0], : self.window[1]] * self.scale
        return (picture - picture.mean()).astype(np.float32)

    def _damping(self, band: np.ndarray, top: float) -> np.ndarray:
        """Return noise over signal in rings of spatial frequency, (H, W // 2 + 1) float32.

        What of the data no phase explains is noise, equal in all K directions; what is explained
        beyond one such share is signal.
        """
        height, width = self.shape
        radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
        ring = np.minimum((radius * 2 * _RINGS).astype(int), 2 * _RINGS)
        index = ring[band]
        explained = np.abs(self.numerator[band]) ** 2 / self.power[band]
        n, power, signal, total = (
            np.bincount(index, values, minlength=2 * _RINGS + 1)
            for values in (np.ones(len(index)), self.power[band], explained, self.total[band])
        )
        noise = (total - signal) / np.maximum(n * max(self.depth - 1, 1), 1)
        strength = np.maximum(signal - n * noise, 0.02 * n * noise) / np.maximum(power, 1e-30)
        ratio = noise / np.maximum(strength, 1e-30)
        return np.maximum(ratio[ring], _LEAST * top).astype(np.float32)


class Projector:
    """Projects canvases on the overlap function, and remembers it while the optics stay.

    Parameters
    ----------
    workers : int
        Threads.
    max_bytes : float
        Of overlap function to be remembered; a larger one is computed anew each time.
    """

    def __init__(self, workers: int, max_bytes: float) -> None:
        self.workers = workers
        self.max_bytes = max_bytes
        self._known: Any = None
        self._overlap: list[np.ndarray] = []

    def __call__(self, canvas: ScanCanvas, field: BrightField, optics: Optics) -> Projection:
        """Return the projection of what a canvas holds."""
        values, weight, _ = canvas.touched
        height, width = weight.shape
        shape = (
            scipy.fft.next_fast_len(height, real=True) or height,
            scipy.fft.next_fast_len(width, real=True) or width,
        )
        half = (shape[0], shape[1] // 2 + 1)
        light = field.light(optics)
        lit = light > MIN_LIGHT * field.size**2
        mean = values.sum(axis=(0, 1), dtype=np.float64) / float(weight.sum(dtype=np.float64))
        w = lit / np.maximum(mean / max(float(mean.max()), 1e-30), _WEAKEST)
        mean32, w32 = mean.astype(np.float32), w.astype(np.float32)
        q = frequencies(shape, canvas.step)
        numerator = np.zeros(half, np.complex64)
        power, total = np.zeros((2, *half), np.float32)
        for number, part in enumerate(chunks(len(mean), shape)):
            data = np.zeros((*shape, len(mean[part])), np.float32)
            self._normalise(values[:, :, part], weight, mean32[part], data)
            spectrum = np.asarray(
                scipy.fft.rfft2(data, axes=(0, 1), workers=self.workers, overwrite_x=True)
            )
            del data
            overlap = self._overlap_of(number, part, field, optics, q, shape)
            self.over_rows(
                half[0],
                lambda s, p=part, g=overlap, f=spectrum: project(
                    f[s], g[s], w32[p], numerator[s], power[s], total[s]
                ),
            )
        spread = transfer_of_spreading(canvas.offsets, shape)
        if spread is not None:
            numerator *= np.conj(spread)
            power *= np.abs(spread) ** 2
        scale = float(light[lit].sum()) / max(float(mean[lit].sum()), 1e-30)
        return Projection(shape, (height, width), numerator, power, total, int(lit.sum()), scale)

    def _normalise(
        self, values: np.ndarray, weight: np.ndarray, mean: np.ndarray, data: np.ndarray
    ) -> None:
        width = weight.shape[1]
        self.over_rows(
            len(weight), lambda s: normalise(values[s], weight[s], mean, data[s, :width])
        )

    def _overlap_of(
        self,
        number: int,
        part: slice,
        field: BrightField,
        optics: Optics,
        q: np.ndarray,
        shape: tuple[int, int],
    ) -> np.ndarray:
        known = (id(field), shape, optics)
        if self._known != known:
            self._known, self._overlap = known, []
        if number < len(self._overlap):
            return self._overlap[number]
        overlap = field.overlap_function(optics, q, part, self.over_rows)
        bytes_each = overlap.nbytes / max(overlap.shape[2], 1)
        if number == len(self._overlap) and bytes_each * len(field.keep) <= self.max_bytes:
            self._overlap.append(overlap)
        return overlap

    def over_rows(self, n: int, work: Callable[[slice], None]) -> None:
        """Spread work on n rows over the threads."""
        if self.workers == 1 or n < 8:
            work(slice(0, n))
            return
        cuts = np.linspace(0, n, 4 * self.workers + 1).astype(int).tolist()
        parts = [slice(a, b) for a, b in pairwise(cuts) if b > a]
        with ThreadPoolExecutor(self.workers) as pool:
            list(pool.map(work, parts))


def frequencies(shape: tuple[int, int], step_m: float) -> np.ndarray:
    """Return the spatial frequencies (H, W // 2 + 1, 2) of a real transform, 1/m, yx."""
    q = np.empty((shape[0], shape[1] // 2 + 1, 2))
    q[..., 0] = np.fft.fftfreq(shape[0], step_m)[:, None]
    q[..., 1] = np.fft.rfftfreq(shape[1], step_m)[None]
    return q


def chunks(depth: int, shape: tuple[int, int]) -> list[slice]:
    """Cut the super-pixels so that data and spectrum of a part take little memory."""
    count = int(_CHUNK_BYTES / (8.0 * shape[0] * shape[1]))
    size = max(_CHUNK, count // _CHUNK * _CHUNK)
    return [slice(a, min(a + size, depth)) for a in range(0, depth, size)]


def transfer_of_spreading(offsets: np.ndarray, shape: tuple[int, int]) -> np.ndarray | None:
    """Return what bilinear weights leave of each spatial frequency.

    Parameters
    ----------
    offsets : (16, 16) int
        How many frames lie how many sixteenths after a canvas pixel.
    shape : (H, W)

    Returns
    -------
    (H, W // 2 + 1) complex64, or None where all frames lie on canvas pixels
    """
    share = offsets / max(int(offsets.sum()), 1)
    if share[0, 0] == 1 or not offsets.any():
        return None
    f = (np.arange(16) / 16)[:, None]
    y, x = (
        (1 - f) * np.exp(2j * np.pi * q * f) + f * np.exp(2j * np.pi * q * (f - 1))
        for q in (np.fft.fftfreq(shape[0])[None], np.fft.rfftfreq(shape[1])[None])
    )
    return np.asarray(y.T @ share @ x, np.complex64)


def refresh_bytes(shape: tuple[int, int], depth: int) -> float:
    """Return what a refresh needs besides the canvas and a remembered overlap function.

    Parameters
    ----------
    shape : (H, W)
        Of the canvas.
    depth : int
        Super-pixels.
    """
    part = chunks(depth, shape)[0]
    # data, its spectrum and G (complex) of a chunk; frequencies and sums; the phase
    return float(shape[0] * shape[1]) * (12 * (part.stop - part.start) + 64)
