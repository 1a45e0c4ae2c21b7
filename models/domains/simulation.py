"""Labelled patterns to learn from and to be judged by, with every quantity drawn from a range.

Ranges are what a held-out set is made of: train on thicknesses to 30 nm and ask for 30 to 40.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from .crystal import ALONG_BEAM, IN_PLANE
from .patterns import Conditions, simulate_patterns

CLASSES = (*IN_PLANE, "c")


@dataclass(frozen=True)
class Ranges:
    """From where to where each quantity is drawn, evenly; the dose evenly in its logarithm.

    Parameters
    ----------
    thickness_nm : (low, high), nm
    tilt_mrad : (low, high), mrad
        Size of the tilt; its direction is any. Directions are spread evenly over that ring.
    dose_e_per_pattern : (low, high)
    semi_convergence_angle_mrad, angular_sampling_mrad : (low, high), mrad
    rotation_deg : (low, high), deg
    descan_px : (low, high), px
        Along each axis.
    blur_px : (low, high), px
    background_fraction : (low, high)
    walls : float
        Share of the patterns that are taken across a wall.
    minority : (low, high)
        Share of the lesser domain in those.
    energy_kev : float, keV
    """

    thickness_nm: tuple[float, float] = (8.0, 36.0)
    tilt_mrad: tuple[float, float] = (0.0, 2.0)
    dose_e_per_pattern: tuple[float, float] = (5e3, 3e4)
    semi_convergence_angle_mrad: tuple[float, float] = (1.5, 1.5)
    angular_sampling_mrad: tuple[float, float] = (0.5, 0.5)
    rotation_deg: tuple[float, float] = (0.0, 0.0)
    descan_px: tuple[float, float] = (0.0, 0.0)
    blur_px: tuple[float, float] = (0.0, 0.0)
    background_fraction: tuple[float, float] = (0.0, 0.0)
    walls: float = 0.0
    minority: tuple[float, float] = (0.05, 0.45)
    energy_kev: float = 300.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple) and not (len(value) == 2 and value[0] <= value[1]):
                raise ValueError(
                    f"{field.name} must be two numbers, the lower first, got {value};"
                    " give (low, high)"
                )
        if not 0 <= self.walls <= 1:
            raise ValueError(f"walls must lie between 0 and 1, got {self.walls:g}")
        if not 0 <= self.minority[0] <= self.minority[1] <= 0.5:
            raise ValueError(f"minority must lie between 0 and 0.5, got {self.minority}")
        if self.dose_e_per_pattern[0] <= 0:
            raise ValueError(
                f"dose_e_per_pattern must be more than 0, got {self.dose_e_per_pattern}"
            )


def labelled_patterns(
    material: str,
    n: int,
    seed: int = 0,
    ranges: Ranges | None = None,
    *,
    pixels: int = 64,
) -> dict[str, Any]:
    """Return patterns with their class and the conditions they were taken under.

    The same seed gives the same patterns, and more of them begin with those of fewer.

    Parameters
    ----------
    material : str
        PbTiO3, BaTiO3 or boracite.
    n : int
    seed : int
    ranges : Ranges or None
        None takes the defaults.
    pixels : int
        Side of a pattern.

    Returns
    -------
    dict of arrays, ready for ``numpy.savez_compressed(path, **...)``
        ``patterns`` (n, pixels, pixels) uint16; ``label`` (n,) int8, the class of the greater
        part; ``classes`` (5,) str: +x -x +y -y c; ``second_label`` (n,) int8 and
        ``second_fraction`` (n,) float32, the other side of a wall (-1 and 0 without one);
        ``thickness_nm``, ``dose_e_per_pattern``, ``rotation_deg``, ``blur_px``,
        ``background_fraction``, ``semi_convergence_angle_mrad``, ``angular_sampling_mrad``
        (n,), ``tilt_mrad`` and ``descan_px`` (n, 2) float32, yx; ``energy_kev``. Of the two
        optical angles one whose range is a single number is a scalar.

    Raises
    ------
    ValueError
        When `n` is negative or a quantity is out of range.
    """
    if n < 0:
        raise ValueError(f"n must be at least 0, got {n}")
    r = ranges or Ranges()
    draw = _Draws(seed, n)
    label = draw.integers(len(CLASSES))
    second = (label + 1 + draw.integers(len(CLASSES) - 1)) % len(CLASSES)
    second[draw.uniform((0, 1)) >= r.walls] = -1
    share = np.where(second >= 0, draw.uniform(r.minority), 0.0)
    low, high = r.tilt_mrad
    size = np.sqrt(draw.uniform((low**2, high**2)))
    azimuth = draw.uniform((0, 2 * np.pi))
    columns: dict[str, Any] = {
        "thickness_nm": draw.uniform(r.thickness_nm),
        "tilt_mrad": np.stack([size * np.sin(azimuth), size * np.cos(azimuth)], 1),
        "dose_e_per_pattern": np.exp(draw.uniform(tuple(np.log(r.dose_e_per_pattern)))),
        "rotation_deg": draw.uniform(r.rotation_deg),
        "descan_px": np.stack([draw.uniform(r.descan_px), draw.uniform(r.descan_px)], 1),
        "blur_px": draw.uniform(r.blur_px),
        "background_fraction": draw.uniform(r.background_fraction),
        "semi_convergence_angle_mrad": draw.uniform(r.semi_convergence_angle_mrad),
        "angular_sampling_mrad": draw.uniform(r.angular_sampling_mrad),
    }
    patterns = simulate_patterns(
        material,
        _fractions(label, second, share, draw.integers(2)),
        Conditions(energy_kev=r.energy_kev, **columns),
        pixels=pixels,
        seed=seed,
    )
    for name in ("semi_convergence_angle_mrad", "angular_sampling_mrad"):
        if len(set(getattr(r, name))) == 1:
            columns[name] = np.float64(getattr(r, name)[0])
    return {
        "patterns": patterns,
        "label": label.astype(np.int8),
        "classes": np.array(CLASSES),
        "second_label": second.astype(np.int8),
        "second_fraction": share.astype(np.float32),
        "energy_kev": np.float64(r.energy_kev),
        **{
            name: column if column.ndim == 0 else column.astype(np.float32)
            for name, column in columns.items()
        },
    }


def _fractions(
    label: np.ndarray, second: np.ndarray, share: np.ndarray, sense: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the share of each variant; domains along the beam have either sense."""
    fractions = {}
    for k, name in enumerate(CLASSES):
        part = np.where(label == k, 1 - share, 0.0) + np.where(second == k, share, 0.0)
        if name in IN_PLANE:
            fractions[name] = part
        else:
            for which, variant in enumerate(ALONG_BEAM):
                fractions[variant] = np.where(sense == which, part, 0.0)
    return fractions


class _Draws:
    """Random columns, each from its own generator, so that a longer column begins as a shorter."""

    def __init__(self, seed: int, n: int) -> None:
        self.seed, self.n, self.drawn = seed, n, 0

    def _next(self) -> np.random.Generator:
        self.drawn += 1
        return np.random.default_rng([self.seed, self.drawn])

    def uniform(self, limits: tuple[float, ...]) -> np.ndarray:
        return self._next().uniform(limits[0], limits[1], self.n)

    def integers(self, below: int) -> np.ndarray:
        return self._next().integers(0, below, self.n)
