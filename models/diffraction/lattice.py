"""Unit cells by crystal system: which of a, b, c, alpha, beta, gamma are free, and where lines lie.

A line's position is ``q = 2 pi sqrt(form . metric)``: `form` holds the integers of the line (for a
cubic cell h^2 + k^2 + l^2), `metric` as many numbers of the reciprocal cell as are free. Lines with
the same form stay together whatever the cell does; lines that only happen to lie at the same place
have different forms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

_A, _B, _C = (1, 0, 0, 0, 0, 0), (0, 1, 0, 0, 0, 0), (0, 0, 1, 0, 0, 0)
_AL, _BE, _GA = (0, 0, 0, 1, 0, 0), (0, 0, 0, 0, 1, 0), (0, 0, 0, 0, 0, 1)
_AB, _ABC, _ANGLES = (1, 1, 0, 0, 0, 0), (1, 1, 1, 0, 0, 0), (0, 0, 0, 1, 1, 1)
_TIES: Mapping[str, Mapping[str, tuple[int, ...]]] = MappingProxyType(
    {
        "cubic": {"a": _ABC},
        "tetragonal": {"a": _AB, "c": _C},
        "hexagonal": {"a": _AB, "c": _C},
        "rhombohedral": {"a": _ABC, "alpha": _ANGLES},
        "orthorhombic": {"a": _A, "b": _B, "c": _C},
        "monoclinic_a": {"a": _A, "b": _B, "c": _C, "alpha": _AL},
        "monoclinic_b": {"a": _A, "b": _B, "c": _C, "beta": _BE},
        "monoclinic_c": {"a": _A, "b": _B, "c": _C, "gamma": _GA},
        "triclinic": {"a": _A, "b": _B, "c": _C, "alpha": _AL, "beta": _BE, "gamma": _GA},
    }
)
_PICKED: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "cubic": (0,),
        "tetragonal": (0, 2),
        "hexagonal": (0, 2),
        "rhombohedral": (0, 3),
        "orthorhombic": (0, 1, 2),
        "monoclinic_a": (0, 1, 2, 3),
        "monoclinic_b": (0, 1, 2, 4),
        "monoclinic_c": (0, 1, 2, 5),
        "triclinic": (0, 1, 2, 3, 4, 5),
    }
)
SETTINGS = tuple(_TIES)
_SAME_LENGTH, _SAME_ANGLE_DEG = 2e-4, 0.01


@dataclass(frozen=True, eq=False)
class Lattice:
    """A kind of unit cell.

    Parameters
    ----------
    setting : str
        One of `SETTINGS`; a trigonal cell on hexagonal axes is "hexagonal".

    Attributes
    ----------
    free : tuple of str
        The parameters that may change, such as ("a", "c").
    tie : (6, free) float
        ``cell[i]`` follows ``free[j]`` where it is 1.

    Raises
    ------
    ValueError
        When the setting is unknown.
    """

    setting: str

    def __post_init__(self) -> None:
        if self.setting not in _TIES:
            raise ValueError(f"setting must be one of {', '.join(SETTINGS)}, got {self.setting!r}")

    @property
    def free(self) -> tuple[str, ...]:
        """Names of the free parameters."""
        return tuple(_TIES[self.setting])

    @cached_property
    def tie(self) -> np.ndarray:
        """Which of the six parameters follow which free one, (6, free)."""
        return np.array(list(_TIES[self.setting].values()), float).T

    @cached_property
    def tied(self) -> np.ndarray:
        """Which of the six parameters follow a free one, (6,) bool."""
        return np.asarray(self.tie.any(axis=1))

    @cached_property
    def picked(self) -> list[int]:
        """Which of a*^2, b*^2, c*^2, 2 b*c*, 2 a*c*, 2 a*b* `metric` holds."""
        return list(_PICKED[self.setting])

    def free_of(self, cell: np.ndarray) -> np.ndarray:
        """Return the free parameters of a cell, (free,); of tied ones the mean."""
        known = np.asarray(cell, float)
        return np.array([known[tied].mean() for tied in self.tie.T > 0])

    def cell_of(self, free: np.ndarray, like: np.ndarray) -> np.ndarray:
        """Return the cell (6,) with these free parameters; the others are `like`'s."""
        return np.where(self.tied, self.tie @ np.asarray(free, float), np.asarray(like, float))

    def forms(self, hkl: np.ndarray) -> np.ndarray:
        """Return the integers of lines, (n, free), by which they stay together.

        Parameters
        ----------
        hkl : (n, 3) int
        """
        h, k, m = np.asarray(hkl, np.int64).T
        columns = {
            "cubic": (h * h + k * k + m * m,),
            "tetragonal": (h * h + k * k, m * m),
            "hexagonal": (h * h + h * k + k * k, m * m),
            "rhombohedral": (h * h + k * k + m * m, h * k + k * m + m * h),
            "orthorhombic": (h * h, k * k, m * m),
            "monoclinic_a": (h * h, k * k, m * m, k * m),
            "monoclinic_b": (h * h, k * k, m * m, h * m),
            "monoclinic_c": (h * h, k * k, m * m, h * k),
            "triclinic": (h * h, k * k, m * m, k * m, h * m, h * k),
        }
        return np.stack(columns[self.setting], axis=1)

    def metric(self, cell: np.ndarray) -> np.ndarray:
        """Return the numbers of the reciprocal cell that go with `forms`, (free,), 1/angstrom^2."""
        g = reciprocal_metric(cell)
        full = np.array([g[0, 0], g[1, 1], g[2, 2], 2 * g[1, 2], 2 * g[0, 2], 2 * g[0, 1]])
        return full[self.picked]

    def q_per_a(self, hkl: np.ndarray, cell: np.ndarray) -> np.ndarray:
        """Return where lines lie, (n,), 1/angstrom, for a cell (6,) in angstrom and degrees."""
        return q_of(self.forms(hkl), self.metric(cell))


def q_of(forms: np.ndarray, metric: np.ndarray) -> np.ndarray:
    """Return where lines lie, (n,), 1/angstrom, by `Lattice.forms` and `Lattice.metric`."""
    return 2 * np.pi * np.sqrt(np.maximum(forms @ metric, 0.0))


def reciprocal_metric(cell: np.ndarray) -> np.ndarray:
    """Return the metric tensor of the reciprocal cell, (3, 3), 1/angstrom^2.

    Raises
    ------
    ValueError
        When no cell has these angles.
    """
    a, b, c, *angles = np.asarray(cell, float).tolist()
    # exactly zero of right angles
    x, y, z = (0.0 if each == 90.0 else math.cos(math.radians(each)) for each in angles)
    volume2 = _unit_volume2(x, y, z)
    if not volume2 > 0:
        raise ValueError(f"no cell has the angles {', '.join(f'{each:g}' for each in angles)} deg")
    ab, ac, bc = (x * y - z) / (a * b), (x * z - y) / (a * c), (y * z - x) / (b * c)
    aa, bb, cc = (1 - x * x) / (a * a), (1 - y * y) / (b * b), (1 - z * z) / (c * c)
    return np.array([[aa, ab, ac], [ab, bb, bc], [ac, bc, cc]]) / volume2


def volume_a3(cell: np.ndarray) -> float:
    """Return the volume of a cell (6,), angstrom^3."""
    return float(volumes_a3(cell))


def volumes_a3(cells: np.ndarray) -> np.ndarray:
    """Return the volumes of many cells (..., 6), angstrom^3; NaN of cells that hold NaN."""
    cells = np.asarray(cells, float)
    x, y, z = np.moveaxis(np.cos(np.deg2rad(cells[..., 3:])), -1, 0)
    product = cells[..., :3].prod(axis=-1)
    return product * np.sqrt(_unit_volume2(x, y, z))


def _unit_volume2(x: Any, y: Any, z: Any) -> Any:
    """Return the square of the volume of a cell with axes of length 1, by its angles' cosines."""
    return 1 - x * x - y * y - z * z + 2 * x * y * z


def setting_of_metric(cell: np.ndarray) -> str:
    """Return the setting that a cell's lengths and angles allow.

    For files that say P1, which mostly means that their symmetry was not written. The axes are not
    turned: a cell with b = c and another a is "orthorhombic".
    """
    a, b, c, alpha, beta, gamma = np.asarray(cell, float)

    def same(x: float, y: float) -> bool:
        return abs(x - y) <= _SAME_LENGTH * max(x, y)

    def right(angle: float, to: float = 90.0) -> bool:
        return abs(angle - to) <= _SAME_ANGLE_DEG

    oblique = [not right(angle) for angle in (alpha, beta, gamma)]
    if not any(oblique):
        if same(a, b):
            return "cubic" if same(b, c) else "tetragonal"
        return "orthorhombic"
    if oblique == [False, False, True] and right(gamma, 120.0) and same(a, b):
        return "hexagonal"
    if same(a, b) and same(b, c) and right(alpha, beta) and right(beta, gamma):
        return "rhombohedral"
    if sum(oblique) == 1:
        return "monoclinic_" + "abc"[oblique.index(True)]
    return "triclinic"
