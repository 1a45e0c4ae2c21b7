"""What a microscope may do to a pattern without changing what it shows, for training.

Each pattern of a batch is thinned to a lower dose, turned, scaled, moved, blurred, given another
gain, a background and dead pixels, in the order in which a column and a camera would do it. A
mirror or a quarter turn is not among them: it makes another class of the pattern.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit


@dataclass(frozen=True)
class Augmentation:
    """How far patterns may be changed; each is drawn for each pattern anew.

    Parameters
    ----------
    shift_px : float
        Standard deviation of the shift (descan, a beam that is not centred).
    rotation_deg, scale : float
        Largest turn, and largest relative change of the camera's length.
    least_dose : float
        Least share of the counts that is kept, by binomial thinning; drawn log-uniformly.
    background : float
        Largest share of the counts in a flat and in a broad round background, together.
    blur : float
        Largest share of a pixel's counts that goes to either neighbour along an axis.
    gain : float
        Standard deviation of the pixels' gain; a gradient across the camera is up to twice that.
    dead : float
        Largest share of pixels that give nothing.
    mixed : float
        Share of patterns taken astride a wall: an incoherent sum with another class.
    """

    shift_px: float = 1.0
    rotation_deg: float = 3.0
    scale: float = 0.03
    least_dose: float = 0.05
    background: float = 0.1
    blur: float = 0.15
    gain: float = 0.03
    dead: float = 0.003
    mixed: float = 0.15

    def __call__(
        self, patterns: np.ndarray, weights: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return changed patterns and their classes' weights.

        Parameters
        ----------
        patterns : (n, h, w) int32, counts
        weights : (n, k) float32
            Share of each class in each pattern; rows sum to 1.
        rng : numpy Generator

        Returns
        -------
        patterns : (n, h, w) float32, counts
        weights : (n, k) float32
        """
        n, h, w = patterns.shape
        partner = rng.permutation(n)
        part = np.where(rng.random(n) < self.mixed, rng.random(n), 0.0)
        kept = self.least_dose ** rng.random(n)
        total = np.maximum(patterns.sum(axis=(1, 2), dtype=np.float64), 1.0)
        # two patterns of one dose, each thinned: counting statistics stay those of one exposure
        own, other = kept * (1 - part), kept * part * total / total[partner]
        thinned = rng.binomial(patterns, own[:, None, None])
        mixed = np.flatnonzero(part)
        thinned[mixed] += rng.binomial(
            patterns[partner[mixed]], np.minimum(other[mixed], 1.0)[:, None, None]
        )
        angle = np.deg2rad(self.rotation_deg) * rng.uniform(-1, 1, n)
        scale = 1 + self.scale * rng.uniform(-1, 1, n)
        cosine, sine = np.cos(angle) / scale, np.sin(angle) / scale
        matrix = np.stack([cosine, sine, -sine, cosine], axis=1).reshape(n, 2, 2)
        shift = self.shift_px * rng.normal(size=(n, 2))
        blur = self.blur * rng.random(n)
        seen = np.empty((n, h, w), np.float32)
        _place(thinned.astype(np.float32), matrix, shift, blur, seen)
        seen *= self._gain(n, h, w, rng)
        seen += rng.poisson(self._background(thinned.sum(axis=(1, 2)), h, w, rng))
        seen[rng.random((n, h, w)) < self.dead * rng.random(n)[:, None, None]] = 0
        soft = (1 - part)[:, None] * weights + part[:, None] * weights[partner]
        return seen, soft.astype(np.float32)

    def _gain(self, n: int, h: int, w: int, rng: np.random.Generator) -> np.ndarray:
        y, x = np.linspace(-1, 1, h)[:, None], np.linspace(-1, 1, w)
        slope = self.gain * rng.uniform(-2, 2, (2, n, 1, 1))
        own = self.gain * rng.standard_normal((n, h, w), dtype=np.float32)
        return (1 + slope[0] * y + slope[1] * x + own).astype(np.float32).clip(0)

    def _background(
        self, counts: np.ndarray, h: int, w: int, rng: np.random.Generator
    ) -> np.ndarray:
        y, x = np.arange(h)[:, None] - h // 2, np.arange(w) - w // 2
        width = rng.uniform(0.1, 0.5, (len(counts), 1, 1)) * min(h, w)
        broad = 1 / (1 + (y**2 + x**2) / width**2)  # a Lorentzian, as inelastic scattering has
        broad /= broad.sum(axis=(1, 2), keepdims=True)
        flat = rng.random((len(counts), 1, 1))
        share = (self.background * rng.random(len(counts)) * counts)[:, None, None]
        return share * (flat / (h * w) + (1 - flat) * broad)


@njit(nogil=True, cache=True)
def _place(patterns, matrix, shift, blur, out):
    """Turn and scale about the zero frequency, move (bilinearly), and blur."""
    n, h, w = patterns.shape
    moved = np.empty((h, w), np.float32)
    for f in range(n):
        for y in range(h):
            for x in range(w):
                v = y - h // 2 - shift[f, 0]
                u = x - w // 2 - shift[f, 1]
                sy = matrix[f, 0, 0] * v + matrix[f, 0, 1] * u + h // 2
                sx = matrix[f, 1, 0] * v + matrix[f, 1, 1] * u + w // 2
                moved[y, x] = _between(patterns[f], sy, sx)
        _blur(moved, np.float32(blur[f]), out[f])


@njit(nogil=True, cache=True)
def _between(pattern, y, x):
    h, w = pattern.shape
    iy, ix = int(np.floor(y)), int(np.floor(x))
    value = 0.0
    for b in range(iy, iy + 2):
        for a in range(ix, ix + 2):
            if 0 <= b < h and 0 <= a < w:
                value += (1 - abs(y - b)) * (1 - abs(x - a)) * pattern[b, a]
    return value


@njit(nogil=True, cache=True)
def _blur(pattern, share, out):
    h, w = pattern.shape
    rows = np.empty((h, w), np.float32)
    for y in range(h):
        for x in range(w):
            sides = pattern[y, max(x - 1, 0)] + pattern[y, min(x + 1, w - 1)]
            rows[y, x] = (1 - 2 * share) * pattern[y, x] + share * sides
    for y in range(h):
        for x in range(w):
            sides = rows[max(y - 1, 0), x] + rows[min(y + 1, h - 1), x]
            out[y, x] = (1 - 2 * share) * rows[y, x] + share * sides
