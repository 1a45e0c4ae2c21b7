"""Where the beam goes: positions as (n, 2) arrays, made from a few numbers that fit in a document.

A trajectory is a frozen set of parameters; its positions are derived late. Positions are yx, in
nanometres or in object pixels of unknown scale, around `center`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np

from .trajectory import Disc, Field, Trajectory, TrajectoryError, counted

__all__ = [
    "KINDS",
    "Archimedean",
    "Fermat",
    "Multipass",
    "Points",
    "Random",
    "Raster",
    "Serpentine",
    "Trajectory",
    "TrajectoryError",
    "from_dict",
]

_GOLDEN_ANGLE = math.pi * (3.0 - math.sqrt(5.0))


@dataclass(frozen=True, kw_only=True)
class Raster(Field):
    """Lines from left to right, top to bottom; round(fov / step) points a side."""

    type: ClassVar[str] = "raster"
    scan_order: ClassVar[str] = "raster"

    @property
    def n_points(self) -> int:
        """Number of positions."""
        return math.prod(self.lattice())

    @property
    def grid_shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return self.lattice()

    def _relative(self) -> np.ndarray:
        return self._grid().reshape(-1, 2)


@dataclass(frozen=True, kw_only=True)
class Serpentine(Raster):
    """A raster whose odd lines run backwards, without a flyback."""

    type: ClassVar[str] = "serpentine"
    scan_order: ClassVar[str] = "serpentine"

    def _relative(self) -> np.ndarray:
        grid = self._grid()
        grid[1::2] = grid[1::2, ::-1].copy()
        return grid.reshape(-1, 2)


@dataclass(frozen=True, kw_only=True)
class Multipass(Raster):
    """A raster's points in several passes, each point visited once in all.

    Parameters
    ----------
    passes : int
        Number of passes.
    order : "sequential" or "interleaved"
        Sequential: a pass takes every `passes`-th point along the lines and starts one point
        further than the pass before. Interleaved: a pass takes every `skip`-th point in y and
        in x, so that its picture is evenly sampled; there are ``skip**2`` sub-lattices, dealt
        out over the passes.
    skip : int
        Stride of the interleaved sub-lattices.
    """

    type: ClassVar[str] = "multipass"
    scan_order: ClassVar[str] = "multipass"

    passes: int = 4
    order: Literal["sequential", "interleaved"] = "sequential"
    skip: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        passes = counted(self.passes, "passes")
        if self.order not in ("sequential", "interleaved"):
            raise TrajectoryError(
                f"order must be 'sequential' or 'interleaved', not {self.order!r}."
            )
        skip = self.skip
        if self.order == "interleaved":
            skip = math.ceil(math.sqrt(passes)) if skip is None else counted(skip, "skip")
            if passes > skip**2:
                raise TrajectoryError(
                    f"{passes} interleaved passes need a skip of at least "
                    f"{math.ceil(math.sqrt(passes))}, not {skip}."
                )
        elif skip is not None:
            raise TrajectoryError("skip belongs to the interleaved order; leave it out here.")
        if passes > self.n_points:
            raise TrajectoryError(f"{passes} passes are more than the {self.n_points} points.")
        object.__setattr__(self, "skip", skip)

    @cached_property
    def pass_index(self) -> np.ndarray:
        """(n,) int64, the pass of each position, in the order of the visits."""
        return np.sort(self._pass_of_lattice(), kind="stable")

    def _pass_of_lattice(self) -> np.ndarray:
        ny, nx = self.lattice()
        iy, ix = (axis.ravel() for axis in np.mgrid[:ny, :nx])
        if self.order == "sequential":
            return (iy + ix) % self.passes
        skip = self.skip or 1
        # a stride that shares no factor with skip**2 keeps successive passes far apart
        cells = (iy % skip) * skip + ix % skip
        stride = next(k for k in range(skip + 1, 2 * skip * skip + 2) if math.gcd(k, skip**2) == 1)
        visit = np.argsort(np.arange(skip**2) * stride % skip**2)
        return visit[cells] * self.passes // skip**2

    def _relative(self) -> np.ndarray:
        order = np.argsort(self._pass_of_lattice(), kind="stable")
        return self._grid().reshape(-1, 2)[order]


@dataclass(frozen=True, kw_only=True)
class Archimedean(Disc):
    """A spiral from the centre with constant linear velocity: steps and turns `step` apart.

    Each of several passes is a spiral of its own, its turns `passes` steps apart and turned by
    its share of a circle.
    """

    type: ClassVar[str] = "archimedean"

    @cached_property
    def pass_index(self) -> np.ndarray | None:
        """(n,) int64, the pass of each position, where there are several."""
        arms = self._arms()
        return None if self.passes == 1 else np.repeat(np.arange(len(arms)), list(map(len, arms)))

    def _arms(self) -> list[np.ndarray]:
        radius = self.fov[0] / 2
        a = self.step * self.passes / (2 * math.pi)
        end = radius / a
        length = a / 2 * (end * math.hypot(1, end) + math.asinh(end))
        arc = np.arange(0.0, length, self.step) / a
        theta = np.sqrt(2 * arc)
        for _ in range(30):  # Newton on the arc length; the start is exact far from the centre
            root = np.hypot(1, theta)
            change = ((theta * root + np.arcsinh(theta)) / 2 - arc) / root
            theta -= change
            if np.abs(change).max(initial=0) < 1e-12 * end:
                break
        turned = 2 * math.pi * np.arange(self.passes) / self.passes
        arms = [
            a * theta[:, None] * np.stack([np.sin(theta + angle), np.cos(theta + angle)], axis=1)
            for angle in turned
        ]
        # the centre is visited once
        return [arm[k > 0 :] for k, arm in enumerate(arms)]

    def _relative(self) -> np.ndarray:
        return np.concatenate(self._arms())


@dataclass(frozen=True, kw_only=True)
class Fermat(Disc):
    """Vogel's spiral: each point turned by the golden angle; one point on each `step` squared.

    Of several passes each takes every `passes`-th point.
    """

    type: ClassVar[str] = "fermat"

    @cached_property
    def pass_index(self) -> np.ndarray | None:
        """(n,) int64, the pass of each position, where there are several."""
        return None if self.passes == 1 else np.sort(np.arange(self._count()) % self.passes)

    def _count(self) -> int:
        return max(1, math.floor(math.pi * (self.fov[0] / 2 / self.step) ** 2))

    def _relative(self) -> np.ndarray:
        n = self._count()
        k = np.arange(n)
        k = k[np.argsort(k % self.passes, kind="stable")].astype(float)
        r, angle = self.step * np.sqrt(k / math.pi), k * _GOLDEN_ANGLE
        return r[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)


@dataclass(frozen=True, kw_only=True)
class Random(Field):
    """As many uniformly random points as a raster of the same step would have."""

    type: ClassVar[str] = "random"

    seed: int = 0

    def _relative(self) -> np.ndarray:
        rng = np.random.default_rng(self.seed)
        return (rng.random((math.prod(self.lattice()), 2)) - 0.5) * np.asarray(self.fov)


@dataclass(frozen=True, kw_only=True, eq=False)
class Points(Trajectory):
    """Positions as listed.

    Parameters
    ----------
    listed : (n, 2) array-like, yx, in `units`
        Relative to `center`.
    """

    type: ClassVar[str] = "points"
    dimensional: ClassVar[tuple[str, ...]] = ("center", "listed")

    listed: Any

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.listed is None:
            raise TrajectoryError(
                "the listed positions were too many for the document; read them from the coils' "
                "stream of that run."
            )
        try:
            listed = np.array(self.listed, dtype=float)
        except (TypeError, ValueError):
            raise TrajectoryError(
                "positions must be an array of numbers of shape (n, 2)."
            ) from None
        if listed.size == 0:
            raise TrajectoryError("a trajectory needs at least one point.")
        if listed.ndim != 2 or listed.shape[1] != 2:
            raise TrajectoryError(f"positions must have shape (n, 2), not {listed.shape}.")
        if not np.isfinite(listed).all():
            raise TrajectoryError("a position is NaN or infinite.")
        listed.setflags(write=False)
        object.__setattr__(self, "listed", listed)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Points)
            and (self.center, self.units) == (other.center, other.units)
            and np.array_equal(self.listed, other.listed)
        )

    def __hash__(self) -> int:
        return hash((self.center, self.units, self.listed.tobytes()))

    @property
    def n_points(self) -> int:
        """Number of positions."""
        return len(self.listed)

    def _relative(self) -> np.ndarray:
        return self.listed

    def _listed(self) -> np.ndarray:
        return self.listed


KINDS: dict[str, type[Trajectory]] = {
    kind.type: kind for kind in (Raster, Serpentine, Archimedean, Fermat, Multipass, Random, Points)
}


def from_dict(document: Mapping[str, Any]) -> Trajectory:
    """Make the trajectory that `Trajectory.to_dict` described.

    Raises
    ------
    TrajectoryError
        When the kind is unknown or its parameters are not complete.
    """
    kind = KINDS.get(str(document.get("type")))
    if kind is None:
        raise TrajectoryError(
            f"unknown trajectory {document.get('type')!r}; known are {', '.join(KINDS)}."
        )
    units = document.get("units", "nm")
    values: dict[str, Any] = {"units": units}
    for item in fields(kind):
        suffix = f"_{units}" if item.name in kind.dimensional else ""
        if item.name + suffix in document:
            values[item.name] = document[item.name + suffix]
    try:
        made = kind(**values)
    except TypeError:
        raise TrajectoryError(f"the parameters of this {kind.type} are not complete.") from None
    return made
