"""What every trajectory of the beam has: positions, units, extent, and a way into a document."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np

MAX_POINTS = 2**31
INLINE_POINTS = 4096

Units = Literal["nm", "px"]


class TrajectoryError(ValueError):
    """A trajectory that cannot be made; the message is one sentence with the reason."""


def _pair(value: Any, name: str) -> tuple[float, float]:
    try:
        numbers = np.asarray(value, dtype=float).ravel()
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.size not in (1, 2) or not np.isfinite(numbers).all():
        raise TrajectoryError(f"{name} must be one or two finite numbers, not {value!r}.")
    return float(numbers[0]), float(numbers[-1])


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """A path of the beam.

    Parameters
    ----------
    center : (y, x) float, in `units`
    units : "nm" or "px"
        "px" means object pixels of unknown scale.
    """

    type: ClassVar[str] = ""
    scan_order: ClassVar[str] = "free"
    dimensional: ClassVar[tuple[str, ...]] = ("center",)

    center: Any = (0.0, 0.0)
    units: Units = "nm"

    def __post_init__(self) -> None:
        if self.units not in ("nm", "px"):
            raise TrajectoryError(f"units must be 'nm' or 'px', not {self.units!r}.")
        object.__setattr__(self, "center", _pair(self.center, "center"))

    @property
    def n_points(self) -> int:
        """Number of positions."""
        return len(self.positions)

    @property
    def grid_shape(self) -> tuple[int, int] | None:
        """(ny, nx) where the positions lie on a grid."""
        return None

    @property
    def pass_index(self) -> np.ndarray | None:
        """(n,) int64, the pass of each position, where there are several."""
        return None

    @property
    def nominal_step(self) -> float | None:
        """Distance between neighbours, in `units`."""
        return getattr(self, "step", None)

    @property
    def area(self) -> float:
        """Area that the positions stand for, in `units` squared."""
        step = self.nominal_step
        return self.n_points * step**2 if step else math.nan

    @cached_property
    def positions(self) -> np.ndarray:
        """(n, 2) float64, yx, in `units`, in the order of the visits."""
        positions = self._relative() + np.asarray(self.center)
        positions.setflags(write=False)
        return positions

    def _relative(self) -> np.ndarray:
        """Positions round the origin; each kind has its own."""
        raise TypeError(f"{type(self).__name__} is no kind of trajectory")

    def _listed(self) -> np.ndarray:
        return self.positions

    def __len__(self) -> int:
        return self.n_points

    @property
    def extent(self) -> list[list[float]]:
        """[[y0, x0], [y1, x1]], the bounding box in `units`."""
        return [self.positions.min(axis=0).tolist(), self.positions.max(axis=0).tolist()]

    def to_dict(self, *, inline: bool = True) -> dict[str, Any]:
        """Describe the trajectory in JSON-able values, for `from_dict` and the start document.

        Parameters
        ----------
        inline : bool
            False leaves out more than 4096 listed positions; their SHA-256 stands for them.
        """
        grid = self.grid_shape
        out: dict[str, Any] = {"type": self.type, "units": self.units}
        for item in fields(self):
            if item.name != "units":
                value = getattr(self, item.name)
                suffix = f"_{self.units}" if item.name in self.dimensional else ""
                out[item.name + suffix] = list(value) if isinstance(value, tuple) else value
        out |= {
            "n_points": self.n_points,
            "extent": self.extent,
            "grid_shape": None if grid is None else list(grid),
            "step": self.nominal_step,
            "scan_order": self.scan_order,
        }
        listed = f"listed_{self.units}"
        if listed in out:
            if inline or self.n_points <= INLINE_POINTS:
                out[listed] = self._listed().tolist()
            else:
                out[listed] = None
            out["sha256"] = hashlib.sha256(self.positions.tobytes()).hexdigest()
        return out


def counted(value: Any, name: str) -> int:
    """Return a whole number of at least 1, or raise TrajectoryError."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise TrajectoryError(f"{name} must be a whole number of at least 1, not {value!r}.")
    return int(value)


@dataclass(frozen=True, kw_only=True)
class Field(Trajectory):
    """A square or oblong field covered with a given step."""

    dimensional: ClassVar[tuple[str, ...]] = ("center", "fov", "step")

    fov: Any
    step: float

    def __post_init__(self) -> None:
        super().__post_init__()
        fov = _pair(self.fov, "fov")
        try:
            step = float(self.step)
        except (TypeError, ValueError):
            raise TrajectoryError(f"step must be a number, not {self.step!r}.") from None
        if not math.isfinite(step) or step <= 0:
            raise TrajectoryError(f"step must be positive and finite, not {step:g} {self.units}.")
        if min(fov) <= 0:
            raise TrajectoryError(f"fov must be positive, not {min(fov):g} {self.units}.")
        if step > min(fov) * (1 + 1e-9):
            raise TrajectoryError(
                f"the step of {step:g} {self.units} is larger than the field of view of "
                f"{min(fov):g} {self.units}; make the step smaller or the field larger."
            )
        if fov[0] / step * (fov[1] / step) > MAX_POINTS:
            raise TrajectoryError(
                f"{fov[0]:g} x {fov[1]:g} {self.units} in steps of {step:g} {self.units} is more "
                "than 2^31 points; make the step larger or the field smaller."
            )
        object.__setattr__(self, "fov", fov)
        object.__setattr__(self, "step", step)

    def lattice(self) -> tuple[int, int]:
        """Return (ny, nx) of a raster that covers the field."""
        ny, nx = (max(1, round(side / self.step)) for side in self.fov)
        return ny, nx

    def _grid(self) -> np.ndarray:
        ny, nx = self.lattice()
        y = (np.arange(ny) - (ny - 1) / 2) * self.step
        x = (np.arange(nx) - (nx - 1) / 2) * self.step
        return np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1)


@dataclass(frozen=True, kw_only=True)
class Disc(Field):
    """A round field whose diameter is `fov`.

    Parameters
    ----------
    passes : int
        How often the field is covered; together the passes are as dense as one pass would be.
        What was visited in several passes shows how the specimen drifts; one spiral does not.
    """

    passes: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "passes", counted(self.passes, "passes"))
        if self.fov[0] != self.fov[1]:
            raise TrajectoryError("a spiral fills a disc; give one fov, its diameter.")

    @property
    def area(self) -> float:
        """Area of the disc, in `units` squared."""
        return math.pi / 4 * self.fov[0] ** 2
