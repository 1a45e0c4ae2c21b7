"""Lines of a pattern without any crystal: found, fitted one by one, and followed by frame."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import gaussian_filter1d, uniform_filter1d

from .fit_kernels import fit_pattern
from .profile_kernels import SHAPE

FWHM = 2 * np.sqrt(2 * np.log(2.0))
_SCALES_BINS = (1.0, 2.0, 4.0, 8.0, 16.0)
_LOCAL = 12.0
_MOST_WAITING = 64
_CUBIC_TIE = np.zeros((1, 6, 6))
_CUBIC_TIE[0, :3, 0] = 1.0
_LAYOUT = (
    np.array([0, 1]),
    np.array([0, 1 + SHAPE]),
    _CUBIC_TIE,
    np.array([[1.0, 1.0, 1.0, 90.0, 90.0, 90.0]]),
    np.zeros((1, 6), np.int64),
)
_LINE = (np.array([[1.0, 0, 0, 0, 0, 0]]), np.ones(1), *np.zeros((3, 1)))
_FREE = np.array([0, 1, 3])


@dataclass(frozen=True)
class Line:
    """A line of one pattern; places and widths in the axis' units.

    Parameters
    ----------
    at, at_sigma : float
    width, width_sigma : float
        Full width at half maximum.
    area, area_sigma : float
    """

    at: float
    at_sigma: float
    width: float
    width_sigma: float
    area: float
    area_sigma: float


def smooth_background(intensity: np.ndarray, widest_bins: int) -> np.ndarray:
    """Return what lies under the lines: peaks clipped away, widest first.

    C. G. Ryan et al., Nucl. Instrum. Methods B 34, 396 (1988), on the logarithm of the logarithm
    of the square root, so that strong lines do not leave shoulders.

    Parameters
    ----------
    intensity : (m,) float
    widest_bins : int
        Half of the widest that is taken for a line.
    """
    shift = max(0.0, -float(np.min(intensity)))
    level = np.log(np.log(np.sqrt(intensity + shift + 1) + 1) + 1)
    level = uniform_filter1d(level, 5)
    reach = min(max(int(widest_bins), 1), (len(level) - 1) // 2)
    for p in np.unique(np.geomspace(reach, 1, 24).astype(int))[::-1].tolist():
        middle = (level[: -2 * p] + level[2 * p :]) / 2
        level[p:-p] = np.minimum(level[p:-p], middle)
    return (np.exp(np.exp(level) - 1) - 1) ** 2 - 1 - shift


def find_lines(
    intensity: np.ndarray, weight: np.ndarray, *, least: float = 6.0, most: int = 60
) -> list[tuple[int, float, float]]:
    """Return the lines of a pattern as (bin, width in bins, evidence in sigmas), strongest first.

    Gaussians of several widths are laid over the pattern; each line counts once, with the width
    that fits it best.

    Parameters
    ----------
    intensity, weight : (m,) float64
        `weight` is one over sigma.
    least : float, sigmas
    most : int
    """
    background = smooth_background(intensity, max(16, len(intensity) // 40))
    signal = (intensity - background) * weight
    # clipping follows the lower edge of the noise; bins without lines say by how much
    quiet = signal[(weight > 0) & (signal < np.median(signal) + 2)]
    signal = np.where(weight > 0, signal - (np.median(quiet) if len(quiet) else 0.0), 0.0)
    scores = []
    for scale in _SCALES_BINS:
        norm = np.sqrt(2 * scale * np.sqrt(np.pi))
        scores.append(gaussian_filter1d(signal, scale, truncate=3) * norm)
    best = np.max(scores, axis=0)
    which = np.argmax(scores, axis=0)
    peak = (best[1:-1] >= best[:-2]) & (best[1:-1] > best[2:]) & (best[1:-1] > least)
    places = np.flatnonzero(peak) + 1
    taken: list[tuple[int, float, float]] = []
    for at in places[np.argsort(-best[places], kind="stable")].tolist():
        width = FWHM * _SCALES_BINS[int(which[at])]
        if all(abs(at - other) > 0.6 * max(width, theirs) for other, theirs, _ in taken):
            taken.append((at, width, float(best[at])))
        if len(taken) == most:
            break
    return taken


def fit_line(
    x: np.ndarray, intensity: np.ndarray, weight: np.ndarray, at: float, width: float
) -> Line | None:
    """Fit a pseudo-Voigt on a straight background near a place, or None where there is no line.

    Parameters
    ----------
    x : (m,) float64
        Ascending, above zero.
    intensity, weight : (m,) float64
    at, width : float
        Where to look, and how wide.
    """
    lo, hi = np.searchsorted(x, [at - 3.5 * width, at + 3.5 * width])
    if hi - lo < 6:
        return None
    q, y, w = (np.ascontiguousarray(a[lo:hi], float) for a in (x, intensity, weight))
    bin_width = float(q[-1] - q[0]) / (len(q) - 1)
    theta = np.array([2 * np.pi / at, width**2, 0.0, 0.4, 0.0])
    spread = np.array([2 * width / at * theta[0], 4 * width**2, 1.0, 0.3, 1.0])
    lower = np.array([2 * np.pi / (at + 1.5 * width), (0.5 * bin_width) ** 2, 0.0, 0.0, 0.0])
    upper = np.array([2 * np.pi / (at - 1.5 * width), (5 * width) ** 2, 0.0, 1.0, 0.0])
    level = np.stack([np.ones_like(q), 2 * (q - q[0]) / (q[-1] - q[0]) - 1])
    found = fit_pattern(
        y, w, theta, _FREE, (theta.copy(), 1 / spread**2), (lower, upper), q, _LINE, _LAYOUT,
        np.array([2]), level, 0.02, 25,
    )  # fmt: skip
    at_theta, amounts, covariance = found[0], found[1], found[3]
    scatter = max(1.0, float(np.sqrt(found[2] / max(len(q) - 6, 1))))
    sigma = np.sqrt(np.diag(covariance)) * scatter
    if not amounts[0] > 0 or not np.isfinite(sigma[[0, 3, 4]]).all():
        return None
    place, fwhm = 2 * np.pi / at_theta[0], float(np.sqrt(at_theta[1]))
    return Line(
        at=float(place),
        at_sigma=float(place * sigma[3] / at_theta[0]),
        width=fwhm,
        width_sigma=float(sigma[4] / (2 * fwhm)),
        area=float(amounts[0]),
        area_sigma=float(sigma[0]),
    )


@dataclass
class _Track:
    at: float
    width: float
    first: int
    rows: dict[int, Line] = field(default_factory=dict)
    total: float = 0.0


class PeakTracks:
    """Lines followed from frame to frame, by nearness alone.

    Patterns wait until somebody asks for the table (or many wait): what follows from a frame at
    once, such as a rule, does not wait for lines.

    Parameters
    ----------
    most : int
        Lines that are reported: those with the largest sum of area over all frames.
    """

    def __init__(self, most: int = 12) -> None:
        self.most = most
        self.n_frames = 0
        self._tracks: list[_Track] = []
        self._waiting: deque[tuple[int, np.ndarray, np.ndarray, np.ndarray]] = deque()

    def add(self, x: np.ndarray, intensity: np.ndarray, weight: np.ndarray) -> None:
        """Take in one pattern.

        Parameters
        ----------
        x : (m,) float64
            The axis as it was measured.
        intensity, weight : (m,) float64
        """
        # copies: what is given may lie in memory that a later frame overwrites
        self._waiting.append((self.n_frames, x, np.array(intensity), np.array(weight)))
        self.n_frames += 1
        self._follow_but(_MOST_WAITING)

    def _follow_but(self, n: int) -> None:
        """Follow the patterns that wait, except for the last `n`."""
        while len(self._waiting) > n:
            self._follow(*self._waiting.popleft())

    def _follow(self, n: int, x: np.ndarray, intensity: np.ndarray, weight: np.ndarray) -> None:
        step = float(np.median(np.diff(x)))
        found = find_lines(intensity, weight, most=2 * self.most)
        fits = [
            fit_line(x, intensity, weight, float(x[at]), max(width, 3.0) * step)
            for at, width, _ in found
        ]
        lines = [f for f in fits if f is not None and f.area > 4 * f.area_sigma]
        free = set(range(len(self._tracks)))
        for line in sorted(lines, key=lambda each: -each.area):
            near = [
                (abs(self._tracks[t].at - line.at), t)
                for t in free
                if abs(self._tracks[t].at - line.at)
                < max(0.8 * max(line.width, self._tracks[t].width), 2 * step)
            ]
            if near:
                track = self._tracks[min(near)[1]]
                free.discard(min(near)[1])
            elif len(self._tracks) < 8 * self.most:
                track = _Track(line.at, line.width, n)
                self._tracks.append(track)
            else:
                continue
            track.at, track.width = line.at, line.width
            track.rows[n] = line
            track.total += line.area

    def table(self) -> dict[str, np.ndarray]:
        """Return places, widths and areas with their sigmas, each (n, lines), NaN where unseen."""
        self._follow_but(0)
        chosen = sorted(self._tracks, key=lambda t: -t.total)[: self.most]
        chosen.sort(key=lambda t: min(t.rows.items())[1].at)
        names = ("at", "at_sigma", "width", "width_sigma", "area", "area_sigma")
        out = {name: np.full((self.n_frames, len(chosen)), np.nan) for name in names}
        for column, track in enumerate(chosen):
            for row, line in track.rows.items():
                for name in names:
                    out[name][row, column] = getattr(line, name)
        return out


def _broad_mean(values: np.ndarray, sigma_bins: float) -> np.ndarray:
    """Return what a broad Gaussian leaves, by three boxes of its variance."""
    box = min(max(round(np.sqrt(4 * sigma_bins**2 + 1)), 1), len(values))
    for _ in range(3):
        values = uniform_filter1d(values, box)
    return values


def typical_width(x: np.ndarray, intensity: np.ndarray, weight: np.ndarray) -> float:
    """Return the median width of a pattern's strongest lines, six bins where none is seen."""
    step = float(np.median(np.diff(x)))
    widths = []
    for at, width, _ in find_lines(intensity, weight, most=12):
        line = fit_line(x, intensity, weight, float(x[at]), max(width, 3.0) * step)
        if line is not None and line.area > 5 * line.area_sigma:
            widths.append(line.width)
    return float(np.median(widths)) if widths else 6 * step


def unknown_lines(
    q: np.ndarray,
    residual: np.ndarray,
    explained: np.ndarray,
    width: float,
    *,
    noise: float = 1.0,
    rate: float = 1e-4,
    most: int = 8,
    misfit: float = 0.05,
) -> tuple[np.ndarray, np.ndarray]:
    """Return where a residual holds lines that no phase explains, and their evidence.

    Parameters
    ----------
    q : (m,) float64
    residual : (m,) float64, sigmas
    explained : (m,) float64, sigmas
        What phases gave there; `misfit` of it may be the profile's fault and is no line.
    width : float
        Full width at half maximum to look for, in units of `q`.
    noise : float
        Scatter of the residual.
    rate : float
        False lines a pattern, by S. O. Rice's formula for how often noise passes a level.
    most : int

    Returns
    -------
    at : (u,) float64
        Strongest first.
    evidence : (u,) float64, sigmas
    """
    scale = max(width / FWHM / (float(q[-1] - q[0]) / (len(q) - 1)), 0.8)
    norm = np.sqrt(2 * scale * np.sqrt(np.pi))
    # what is many lines wide is the background's
    local = residual - _broad_mean(residual, _LOCAL * scale)
    signal = gaussian_filter1d(local, scale, truncate=4) * norm
    doubt = gaussian_filter1d(misfit * np.abs(explained), scale, truncate=4) * norm
    z = signal / np.hypot(noise, doubt)
    level = np.sqrt(2 * np.log(max(len(q) / (2 * np.pi * np.sqrt(2) * scale * rate), 2.0)))
    peak = (z[1:-1] >= z[:-2]) & (z[1:-1] > z[2:]) & (z[1:-1] > level)
    places = np.flatnonzero(peak) + 1
    places = places[np.argsort(-z[places], kind="stable")][:most]
    return q[places], z[places]
