"""Scans of the beam over a specimen: each is one run.

The annotations here are objects, not strings: bluesky-queueserver reads them to turn the names
of devices into devices, so this module does not postpone their evaluation.
"""

from collections.abc import Sequence
from typing import Any, Literal, Optional

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Flyable, Readable
from bluesky.utils import MsgGenerator

from ..models.exposure import dose, revisit_interval
from ..models.physics import electrons_per_dwell
from ..models.trajectories import (
    Archimedean,
    Fermat,
    Multipass,
    Points,
    Random,
    Raster,
    Serpentine,
    Trajectory,
)
from .preprocessors import beam_blanked_finally_wrapper
from .stubs import fly


def raster(
    detectors: Sequence[Readable],
    scan_coils: Flyable,
    *,
    fov_nm: float = 10.0,
    step_nm: float = 0.2,
    dwell_ms: float = 1.0,
    center_nm: tuple[float, float] = (0.0, 0.0),
    md: Optional[dict] = None,  # noqa: UP045  the queue server knows this spelling
) -> MsgGenerator[str]:
    """Scan line by line, each from left to right.

    Parameters
    ----------
    detectors : PixelDetector or sequence of them
    scan_coils : ScanCoils
    fov_nm : float, nm
        Side of the square field; there are fov / step points a side.
    step_nm : float, nm
    dwell_ms : float, ms
    center_nm : (y, x), nm
    md : dict, optional
        More metadata.

    Returns
    -------
    uid : str
    """
    path = Raster(fov=fov_nm, step=step_nm, center=center_nm)
    return (yield from _scan("raster", detectors, scan_coils, path, dwell_ms, md))


def serpentine(
    detectors: Sequence[Readable],
    scan_coils: Flyable,
    *,
    fov_nm: float = 10.0,
    step_nm: float = 0.2,
    dwell_ms: float = 1.0,
    center_nm: tuple[float, float] = (0.0, 0.0),
    md: Optional[dict] = None,  # noqa: UP045
) -> MsgGenerator[str]:
    """Scan line by line, every other line backwards.

    Parameters and return value as of `raster`.
    """
    path = Serpentine(fov=fov_nm, step=step_nm, center=center_nm)
    return (yield from _scan("serpentine", detectors, scan_coils, path, dwell_ms, md))


def spiral(
    detectors: Sequence[Readable],
    scan_coils: Flyable,
    *,
    kind: Literal["archimedean", "fermat"] = "archimedean",
    fov_nm: float = 10.0,
    step_nm: float = 0.2,
    passes: int = 1,
    dwell_ms: float = 1.0,
    center_nm: tuple[float, float] = (0.0, 0.0),
    md: Optional[dict] = None,  # noqa: UP045
) -> MsgGenerator[str]:
    """Scan a disc from its centre outwards, once or in several passes.

    Parameters
    ----------
    kind : "archimedean" or "fermat"
        Archimedean: constant velocity along one line. Fermat: the most even dose, with jumps.
    fov_nm : float, nm
        Diameter of the disc. The others are as of `raster`.
    passes : int
        How often the disc is covered, each time that much sparser. The passes show the drift of
        the specimen, which one spiral alone does not.

    Returns
    -------
    uid : str
    """
    kinds = {"archimedean": Archimedean, "fermat": Fermat}
    if kind not in kinds:
        raise ValueError(f"a spiral is 'archimedean' or 'fermat', not {kind!r}.")
    path = kinds[kind](fov=fov_nm, step=step_nm, center=center_nm, passes=passes)
    return (yield from _scan("spiral", detectors, scan_coils, path, dwell_ms, md))


def multipass(
    detectors: Sequence[Readable],
    scan_coils: Flyable,
    *,
    passes: int = 4,
    order: Literal["sequential", "interleaved"] = "interleaved",
    skip: Optional[int] = None,  # noqa: UP045
    fov_nm: float = 10.0,
    step_nm: float = 0.2,
    dwell_ms: float = 1.0,
    center_nm: tuple[float, float] = (0.0, 0.0),
    md: Optional[dict] = None,  # noqa: UP045
) -> MsgGenerator[str]:
    """Scan a raster's points in several passes, each point once.

    Parameters
    ----------
    passes : int
        Number of passes.
    order : "sequential" or "interleaved"
        Sequential: each pass takes every `passes`-th point of the lines. Interleaved: each pass
        takes every `skip`-th point in y and in x.
    skip : int, optional
        For the interleaved order; at least the square root of `passes`, which is the default.
        The others are as of `raster`.

    Returns
    -------
    uid : str
    """
    path = Multipass(
        fov=fov_nm, step=step_nm, center=center_nm, passes=passes, order=order, skip=skip
    )
    return (yield from _scan("multipass", detectors, scan_coils, path, dwell_ms, md))


def random(
    detectors: Sequence[Readable],
    scan_coils: Flyable,
    *,
    fov_nm: float = 10.0,
    step_nm: float = 0.2,
    dwell_ms: float = 1.0,
    center_nm: tuple[float, float] = (0.0, 0.0),
    seed: int = 0,
    md: Optional[dict] = None,  # noqa: UP045
) -> MsgGenerator[str]:
    """Scan random places, as many as a raster of this step has points.

    Parameters
    ----------
    seed : int
        The same seed gives the same places. The others are as of `raster`.

    Returns
    -------
    uid : str
    """
    path = Random(fov=fov_nm, step=step_nm, center=center_nm, seed=seed)
    return (yield from _scan("random", detectors, scan_coils, path, dwell_ms, md))


def points(
    detectors: Sequence[Readable],
    scan_coils: Flyable,
    positions: Optional[list[list[float]]] = None,  # noqa: UP045
    *,
    units: Literal["nm", "px"] = "nm",
    dwell_ms: Optional[float] = None,  # noqa: UP045
    md: Optional[dict] = None,  # noqa: UP045
) -> MsgGenerator[str]:
    """Scan listed places in their order.

    Parameters
    ----------
    positions : list of [y, x], in `units`, optional
        Without them the coils' own are taken: those of a recording that is played.
    units : "nm" or "px"
    dwell_ms : float, ms, optional
        The coils' own where it is left out. The others are as of `raster`.

    Returns
    -------
    uid : str
    """
    if dwell_ms is None:
        dwell = getattr(scan_coils, "dwell_ms", None)
        dwell_ms = 1.0 if dwell is None else float(dwell.get())
    if positions is None:
        path = getattr(scan_coils, "trajectory", None)
        if path is None:
            raise ValueError(f"{_name(scan_coils)} has no positions of its own; list them.")
    else:
        path = Points(listed=positions, units=units)
    return (yield from _scan("points", detectors, scan_coils, path, dwell_ms, md))


def _name(device: Any) -> str:
    return repr(device) if isinstance(device, str) else getattr(device, "name", repr(device))


def checked(
    detectors: Any, coils: Any, path: Trajectory, dwell_ms: float
) -> tuple[list[Any], Trajectory]:
    """Refuse, in one sentence and before a run opens, what cannot be scanned.

    Returns
    -------
    detectors : list
    path : Trajectory
    """
    listed = list(detectors) if isinstance(detectors, (list, tuple, set)) else [detectors]
    if not listed:
        raise ValueError("a scan needs at least one detector.")
    for device in listed:
        if not (isinstance(device, Readable) and isinstance(device, Flyable)):
            raise TypeError(f"{_name(device)} is not a detector that can fly; name a camera.")
    if not (hasattr(coils, "kickoff") and hasattr(coils, "check")):
        raise TypeError(f"{_name(coils)} are not scan coils.")
    if not (isinstance(dwell_ms, (int, float)) and dwell_ms > 0):
        raise ValueError(f"dwell_ms must be a positive number of milliseconds, not {dwell_ms!r}.")
    return listed, coils.check(path)


def electrons_per_point(scan_coils: Any, dwell_ms: float) -> float | None:
    """Return the electrons of one point of a scan, or None where the column does not say.

    Parameters
    ----------
    scan_coils : ScanCoils
    dwell_ms : float, ms
    """
    settings = _settings(scan_coils)
    current_pa = settings.get("beam_current_pa")
    if current_pa:
        return electrons_per_dwell(current_pa, dwell_ms * 1e-3)
    return settings.get("dose_e_per_pattern")


def _settings(scan_coils: Any) -> dict[str, Any]:
    column = getattr(scan_coils, "column", None)
    return column.metadata() if column is not None else {}


def _exposure(scan_coils: Any, path: Trajectory, dwell_ms: float) -> dict[str, Any]:
    """Return what the start document says about the dose and about revisits."""
    settings = _settings(scan_coils)
    # the disc that a defocused probe lights, or at least the step
    spread = 2e-3 * abs(settings.get("defocus_nm", 0.0))
    spread *= settings.get("semi_convergence_angle_mrad", 0.0)
    footprint = max(path.nominal_step or 0.0, spread) or 1.0
    out: dict[str, Any] = {
        "dose_e_per_a2": None,
        "dose_max_e_per_a2": None,
        "revisit_interval_s": revisit_interval(
            path.positions, dwell_ms * 1e-3, footprint / 2 * (1 - 1e-6)
        ),
    }
    electrons = electrons_per_point(scan_coils, dwell_ms)
    if electrons and path.units == "nm":
        mean, largest = dose(path.positions, path.area, electrons, footprint)
        out |= {
            "dose_e_per_a2": mean,
            "dose_max_e_per_a2": largest,
            "dose_e_per_pattern": electrons,
        }
    return out


def _scan(
    plan_name: str,
    detectors: Any,
    scan_coils: Any,
    path: Trajectory,
    dwell_ms: float,
    md: dict | None,
) -> MsgGenerator[str]:
    devices, path = checked(detectors, scan_coils, path, dwell_ms)
    trajectory = path.to_dict()
    start = {
        "plan_name": plan_name,
        "detectors": [device.name for device in devices],
        "motors": [scan_coils.name],
        "num_points": path.n_points,
        "dwell_ms": dwell_ms,
        "trajectory": path.to_dict(inline=False),
        "plan_args": {
            "detectors": [repr(device) for device in devices],
            "scan_coils": repr(scan_coils),
            "dwell_ms": dwell_ms,
            **{
                name: value
                for name, value in path.to_dict(inline=False).items()
                if name.endswith(f"_{path.units}") or name in ("passes", "order", "skip", "seed")
            },
        },
        "hints": {
            "dimensions": [
                [[f"{scan_coils.name}_commanded"], scan_coils.name],
            ]
        },
        **({"shape": list(path.grid_shape)} if path.grid_shape else {}),
        **_exposure(scan_coils, path, dwell_ms),
        **(md or {}),
    }

    @bpp.stage_decorator([*devices, scan_coils])
    @bpp.run_decorator(md=start)
    def inner() -> MsgGenerator[None]:
        yield from fly(devices, scan_coils, trajectory, dwell_ms=dwell_ms)

    blanker = getattr(scan_coils, "blanker", None)
    plan: Any = inner()
    if blanker is not None:
        plan = beam_blanked_finally_wrapper(plan, blanker)
    yield from bps.null()
    return (yield from plan)
