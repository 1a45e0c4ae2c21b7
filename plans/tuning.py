"""Tune the instrument: a short scan, a fit that is handed in, and what was found put where asked.

A plan knows no analysis. `fit` is any callable that takes the run's uid and returns the keys of a
start document that it found, such as ``{"scan_rotation_deg": 31.2}``; it runs in a thread of its
own, so that the RunEngine stays awake. The profile, or a queue server's
startup file, binds it. The annotations here are objects, as in `scanning`.
"""

import asyncio
import math
from collections.abc import Callable, Mapping
from typing import Any, Optional

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Flyable, Readable
from bluesky.utils import Msg, MsgGenerator, make_decorator

from .scanning import raster, spiral


class TuningError(RuntimeError):
    """A fit gave nothing that could be used."""


def tune_rotation(
    detectors: list[Readable],
    scan_coils: Flyable,
    fit: Any = None,
    *,
    column: Optional[Readable] = None,  # noqa: UP045  the queue server knows this spelling
    fov_nm: float = 3.0,
    step_nm: float = 0.06,
    dwell_ms: float = 1.0,
    md: Optional[dict] = None,  # noqa: UP045
) -> MsgGenerator[dict]:
    """Find the rotation (and transposition) of the detector against the scan, from one raster.

    The run says ``scan_rotation_deg`` "auto", so that live analyses find it as well.

    Parameters
    ----------
    detectors : PixelDetector or sequence of them
    scan_coils : ScanCoils
    fit : callable (uid) -> mapping, optional
        Must find ``scan_rotation_deg``. Without it the scan is taken and only its uid returned.
    column : Column, optional
        Its signals of the same names as what was found are set.
    fov_nm, step_nm : float, nm
    dwell_ms : float, ms
    md : dict, optional

    Returns
    -------
    found : dict
        What the fit returned, and ``tuned_by``, the run's uid.

    Raises
    ------
    TuningError
        When the fit fails or does not find what it must; nothing is set then.
    """
    start = {"scan_rotation_deg": "auto", "transposed": "auto", **_start("rotation", md)}
    scan = raster(
        detectors, scan_coils, fov_nm=fov_nm, step_nm=step_nm, dwell_ms=dwell_ms, md=start
    )
    return (yield from _tuned(scan, fit, ("scan_rotation_deg",), column))


def tune_camera(
    detectors: list[Readable],
    scan_coils: Flyable,
    fit: Any = None,
    *,
    column: Optional[Readable] = None,  # noqa: UP045
    fov_nm: float = 3.0,
    step_nm: float = 0.3,
    dwell_ms: float = 1.0,
    md: Optional[dict] = None,  # noqa: UP045
) -> MsgGenerator[dict]:
    """Find mrad per detector pixel from the bright-field disk of one raster.

    Parameters
    ----------
    fit : callable (uid) -> mapping, optional
        Must find ``angular_sampling_mrad``. The others, the return value and what is raised are
        as of `tune_rotation`.
    """
    scan = raster(
        detectors,
        scan_coils,
        fov_nm=fov_nm,
        step_nm=step_nm,
        dwell_ms=dwell_ms,
        md=_start("camera", md),
    )
    return (yield from _tuned(scan, fit, ("angular_sampling_mrad",), column))


def tune_defocus(
    detectors: list[Readable],
    scan_coils: Flyable,
    fit: Any = None,
    *,
    column: Optional[Readable] = None,  # noqa: UP045
    fov_nm: float = 1.5,
    step_nm: float = 0.03,
    dwell_ms: float = 1.0,
    md: Optional[dict] = None,  # noqa: UP045
) -> MsgGenerator[dict]:
    """Find the defocus from one finely sampled raster.

    Parameters
    ----------
    fit : callable (uid) -> mapping, optional
        Must find ``defocus_nm``. The others, the return value and what is raised are as of
        `tune_rotation`.
    """
    scan = raster(
        detectors,
        scan_coils,
        fov_nm=fov_nm,
        step_nm=step_nm,
        dwell_ms=dwell_ms,
        md=_start("defocus", md),
    )
    return (yield from _tuned(scan, fit, ("defocus_nm",), column))


def tune_coils(
    detectors: list[Readable],
    scan_coils: Flyable,
    fit: Any = None,
    *,
    column: Optional[Readable] = None,  # noqa: UP045
    fov_nm: float = 4.0,
    step_nm: float = 0.2,
    dwell_ms: float = 1.0,
    md: Optional[dict] = None,  # noqa: UP045
) -> MsgGenerator[dict]:
    """Find the lag of the scan coils from one spiral.

    Parameters
    ----------
    fit : callable (uid) -> mapping, optional
        Must find ``coil_time_constant_ms``. The others, the return value and what is raised are
        as of `tune_rotation`.
    """
    scan = spiral(
        detectors,
        scan_coils,
        fov_nm=fov_nm,
        step_nm=step_nm,
        dwell_ms=dwell_ms,
        md=_start("coils", md),
    )
    return (yield from _tuned(scan, fit, ("coil_time_constant_ms",), column))


def found_into_start_wrapper(
    plan: MsgGenerator[Any], found: Mapping[str, Any] | Callable[[], Mapping[str, Any]]
) -> MsgGenerator[Any]:
    """Put what tuning found into each run's start document; what the plan states, wins.

    Parameters
    ----------
    plan : generator of Msg
    found : mapping, or callable () -> mapping
        As a tuning plan returned it; a callable is asked at each run.
    """

    def insert(msg: Msg) -> Msg:
        if msg.command == "open_run":
            known = found() if callable(found) else found
            return msg._replace(kwargs={**known, **msg.kwargs})
        return msg

    return (yield from bpp.msg_mutator(plan, insert))


found_into_start = make_decorator(found_into_start_wrapper)


def _start(what: str, md: Optional[dict]) -> dict[str, Any]:  # noqa: UP045
    return {"purpose": "tuning", "tuning": what, **(md or {})}


def _tuned(
    scan: MsgGenerator[str], fit: Any, wanted: tuple[str, ...], column: Any
) -> MsgGenerator[dict]:
    if fit is not None and not callable(fit):
        raise TypeError(f"fit must be a callable that takes a run's uid, not {fit!r}.")
    uid = yield from scan
    if fit is None:
        return {"tuned_by": uid}
    answer: list[Any] = []

    async def ask() -> None:
        try:
            answer.append(await asyncio.to_thread(fit, uid))
        except Exception as error:  # told in one sentence below, on the plan's side
            answer.append(error)

    yield from bps.wait_for([ask])
    found = _checked(answer[0], wanted)
    if column is not None:
        settings = [
            (getattr(column, key), _setting(value))
            for key, value in found.items()
            if key in getattr(column, "component_names", ())
        ]
        for signal, value in settings:
            yield from bps.abs_set(signal, value, wait=True)
    return {**found, "tuned_by": uid}


def _checked(answer: Any, wanted: tuple[str, ...]) -> dict[str, Any]:
    if isinstance(answer, Exception):
        raise TuningError(f"the fit failed: {answer}") from answer
    if not isinstance(answer, Mapping):
        raise TuningError(f"the fit must return a mapping of what it found, not {answer!r}.")
    for key in wanted:
        numbers = answer.get(key)
        values = numbers if isinstance(numbers, (list, tuple)) else [numbers]
        if not values or not all(
            isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v)
            for v in values
        ):
            raise TuningError(f"the fit did not find a finite {key}, but {numbers!r}.")
    return dict(answer)


def _setting(value: Any) -> Any:
    """Return the one number that a signal takes for a value along y and x."""
    if isinstance(value, (list, tuple)):
        return math.prod(value) ** (1 / len(value))
    return value
