"""The image that a powder throws on an area detector: rings, window, background, grains."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from .blunting import box_cumulants
from .geometry import Geometry
from .pattern_axis import Axis
from .powder import PowderPhase

_POINTS = 8192
_REACH = 6.0
_SECTORS, _RADII = 720, 48


class PowderImage:
    """Expected counts of images of a powder.

    Parameters
    ----------
    geometry : Geometry
        In q.
    phases : sequence of PowderPhase
    windows : sequence of (PowderPhase, float)
        What stands in the beam besides, with its volume relative to that of the film.
    width_per_a : float, 1/angstrom
        Standard deviation of the instrument's lines.
    size_a : float, angstrom
        Of the crystallites; widens all lines alike.
    strain : float
        Relative spread of the lattice; widens lines in proportion to q.
    background : float
        Relative to the strongest line of the first phase, where q is zero.
    grains : float
        Relative scatter of the intensity along a ring, as of a finite number of grains.
    seed : int
        Where the grains lie.

    Raises
    ------
    ValueError
        For a geometry that is not in q, or a number out of its range.
    """

    def __init__(
        self,
        geometry: Geometry,
        phases: Sequence[PowderPhase],
        *,
        windows: Sequence[tuple[PowderPhase, float]] = (),
        width_per_a: float = 0.004,
        size_a: float = 500.0,
        strain: float = 5e-4,
        background: float = 0.01,
        grains: float = 0.0,
        seed: int = 0,
    ) -> None:
        if geometry.unit != "q_per_a":
            raise ValueError(f"a powder image needs a geometry in q, got {geometry.unit}")
        for name, value in (
            ("width_per_a", width_per_a),
            ("size_a", size_a),
            ("strain", strain),
            ("background", background),
            ("grains", grains),
        ):
            if not 0 <= value < math.inf or (name in ("width_per_a", "size_a") and value == 0):
                raise ValueError(f"{name} must not be negative, got {value!r}")
        self.geometry, self.phases = geometry, list(phases)
        self.windows = list(windows)
        low, high = float(geometry.radial.min()), float(geometry.radial.max())
        self.q_per_a = np.linspace(max(low, 1e-3), high, _POINTS)
        self._widths = (width_per_a, 0.9 * 2 * np.pi / size_a / 2.355, strain)
        self._lorentz = Axis(self.q_per_a, geometry.wavelength_a)
        self._places = list(self._averaged_over_pixels())
        self._share = (geometry.solid_angle * geometry.polarisation * ~geometry.mask).astype(
            np.float32
        )
        self._texture = self._grains(grains, seed)
        self._unit = 1.0
        first = self._lines(self.phases[0], 1.0, 1.0) if self.phases else np.ones(1)
        self._unit = float(first.max()) or 1.0
        steady = background * np.exp(-self.q_per_a / 2.0)
        for phase, volume in self.windows:
            steady = steady + self._lines(phase, volume, 1.0)
        self._steady = steady

    def pattern(self, state: Mapping[str, tuple[float, float]]) -> np.ndarray:
        """Return the intensity over `q_per_a`, 1 where the first phase alone has its maximum.

        Parameters
        ----------
        state : mapping of phase name to (volume, scale)
            Volume of the phase; lengths of its cell relative to the CIF's.
        """
        total = self._steady.copy()
        for phase in self.phases:
            volume, scale = state.get(phase.name, (0.0, 1.0))
            if volume > 0:
                total += self._lines(phase, volume, scale)
        return total

    def expected(self, state: Mapping[str, tuple[float, float]]) -> np.ndarray:
        """Return the expected image (h, w) float32 of unit exposure; see `pattern`."""
        pattern = self.pattern(state).astype(np.float32)
        rise = np.diff(pattern)
        image = np.zeros(self.geometry.shape, np.float32)
        for left, part, weight in self._places:
            image += weight * (pattern[left] + part * rise[left])
        image *= self._share
        return image if self._texture is None else image * self._texture

    def _averaged_over_pixels(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield places in the pattern, and their weights, that stand for a pixel's area.

        Three points that have the first five moments of what a pixel's two sides make of its
        place in the pattern, as in the quadrature of Gauss.
        """
        variance, fourth = box_cumulants(*self.geometry.extents())
        away2 = 3 * variance + fourth / np.maximum(variance, 1e-300)
        weight = variance / np.maximum(2 * away2, 1e-300)
        step = self.q_per_a[1] - self.q_per_a[0]
        for side, share in ((0, 1 - 2 * weight), (-1, weight), (1, weight)):
            place = (self.geometry.radial + side * np.sqrt(away2) - self.q_per_a[0]) / step
            left = np.clip(np.floor(place), 0, _POINTS - 2).astype(np.int32)
            part = np.clip(place - left, 0, 1).astype(np.float32)
            yield left, part, share.astype(np.float32)

    def _lines(self, phase: PowderPhase, volume: float, scale: float) -> np.ndarray:
        cell = np.concatenate([np.asarray(phase.cell[:3]) * scale, phase.cell[3:]])
        q = phase.q_at(cell)
        cell_volume = phase.volume_a3 * scale**3
        area = volume * phase.intensity / cell_volume**2 * self._lorentz.strength(q)
        instrument, size, strain = self._widths
        sigma = np.sqrt(instrument**2 + size**2 + (strain * q) ** 2)
        total = np.zeros(_POINTS)
        for place, width, height in zip(q, sigma, area, strict=True):
            lo = int(np.searchsorted(self.q_per_a, place - _REACH * width))
            hi = int(np.searchsorted(self.q_per_a, place + _REACH * width))
            if hi > lo:
                away = (self.q_per_a[lo:hi] - place) / width
                total[lo:hi] += height / (width * math.sqrt(2 * np.pi)) * np.exp(-0.5 * away**2)
        return total / self._unit

    def _grains(self, scatter: float, seed: int) -> np.ndarray | None:
        """Return what the grains make of the rings, (h, w) of mean one.

        A grain gives a spot as broad as its line: across a line the intensity hardly changes.
        """
        if not scatter:
            return None
        rng = np.random.default_rng(seed)
        shape = 1 / scatter**2
        field = rng.gamma(shape, 1 / shape, (_RADII, _SECTORS)).astype(np.float32)
        y, x = np.indices(self.geometry.shape)
        center = np.unravel_index(np.argmin(self.geometry.radial), self.geometry.shape)
        angle = np.arctan2(y - center[0], x - center[1])
        sector = ((angle / (2 * np.pi) + 0.5) * _SECTORS).astype(int) % _SECTORS
        span = self.q_per_a[-1] - self.q_per_a[0]
        radius = (self.geometry.radial - self.q_per_a[0]) / span * (_RADII - 1)
        inner = np.clip(radius.astype(int), 0, _RADII - 2)
        part = np.clip(radius - inner, 0, 1).astype(np.float32)
        return (1 - part) * field[inner, sector] + part * field[inner + 1, sector]
