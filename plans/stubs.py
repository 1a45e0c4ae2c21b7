"""Pieces of plans: a run that knows its uid, the fly scan of a camera along a path of the beam."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.utils import MsgGenerator, RunEngineControlException, short_uid

_FLUSH_PERIOD_S = 0.05


def in_run(start: Mapping[str, Any], body: Callable[[str], MsgGenerator[Any]]) -> MsgGenerator[str]:
    """Open a run, do what is to be done in it, and close it as it ended.

    As bluesky's `run_wrapper`, but what is done knows the run's uid.

    Parameters
    ----------
    start : mapping
        Of the start document.
    body : callable (uid) -> generator of Msg

    Returns
    -------
    uid : str
    """
    uid: str = yield from bps.open_run(dict(start))
    yield from bpp.contingency_wrapper(
        body(uid), except_plan=_closed_as_failed, else_plan=bps.close_run
    )
    return uid


def _closed_as_failed(error: BaseException) -> MsgGenerator[None]:
    if isinstance(error, RunEngineControlException):
        status = getattr(error, "exit_status", "abort")
        yield from bps.close_run(exit_status=status)
    else:
        yield from bps.close_run(exit_status="fail", reason=str(error))


def open_beam(scan_coils: Any) -> MsgGenerator[None]:
    """Let the beam through where the coils have a blanker.

    Parameters
    ----------
    scan_coils : ScanCoils
    """
    blanker = getattr(scan_coils, "blanker", None)
    if blanker is not None:
        yield from bps.mv(blanker, "open")


def blank_beam(scan_coils: Any) -> MsgGenerator[None]:
    """Blank the beam where the coils have a blanker.

    Parameters
    ----------
    scan_coils : ScanCoils
    """
    blanker = getattr(scan_coils, "blanker", None)
    if blanker is not None:
        yield from bps.mv(blanker, "closed")


def fly(
    detectors: Sequence[Any],
    scan_coils: Any,
    trajectory: Mapping[str, Any],
    *,
    dwell_ms: float,
    declare: bool = True,
    flush_period_s: float = _FLUSH_PERIOD_S,
) -> MsgGenerator[None]:
    """Follow a path once, inside an open run, with staged devices.

    The cameras share the stream `primary`; the coils have a stream of their own name. A pause
    holds the beam and resumes at the next point: nothing is played again across `kickoff`.

    Parameters
    ----------
    detectors : sequence of PixelDetector
    scan_coils : ScanCoils
    trajectory : mapping
        As of `Trajectory.to_dict`.
    dwell_ms : float, ms
    declare : bool
        False when the run's streams were declared by an earlier call.
    flush_period_s : float, s
        Documents are made so often.
    """
    n_frames = int(trajectory["n_points"])
    task = {"n_frames": n_frames, "exposure_s": dwell_ms * 1e-3, "trigger": "external"}
    group = short_uid("prepare")
    for detector in detectors:
        yield from bps.prepare(detector, task, group=group, wait=False)
    path = {"trajectory": trajectory, "dwell_ms": dwell_ms}
    yield from bps.prepare(scan_coils, path, group=group, wait=False)
    yield from bps.wait(group=group)
    if declare:
        yield from bps.declare_stream(*detectors, name="primary", collect=True)
        yield from bps.declare_stream(scan_coils, name=scan_coils.name, collect=True)

    def collect() -> MsgGenerator[None]:
        yield from bps.collect(scan_coils, name=scan_coils.name, return_payload=False)
        yield from bps.collect(*detectors, name="primary", return_payload=False)

    def go() -> MsgGenerator[None]:
        yield from open_beam(scan_coils)
        # cameras first: they must wait for the coils, not the coils for them
        yield from bps.kickoff_all(*detectors, wait=True)
        yield from bps.kickoff_all(scan_coils, wait=True)
        completing = short_uid("complete")
        statuses: list[Any] = []
        for device in (*detectors, scan_coils):
            status = yield from bps.complete(device, group=completing, wait=False)
            statuses += [status]
        finished = False
        while not finished:
            waited = yield from bps.wait(
                group=completing, timeout=flush_period_s, error_on_timeout=False
            )
            finished = all(status.done for status in statuses)
            yield from collect()
            if waited and not finished:
                # a pause makes the RunEngine forget the group, but not the statuses
                yield from bps.sleep(flush_period_s)

    def tidy() -> MsgGenerator[None]:
        yield from blank_beam(scan_coils)
        for device in (scan_coils, *detectors):
            yield from bps.stop(device)
        # what came after the last look is on disk and belongs to the run
        yield from collect()

    yield from bpp.rewindable_wrapper(bpp.finalize_wrapper(go(), tidy), False)
