"""What ``flyback replay`` and ``flyback run`` do."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bluesky.utils import FailedStatus

from ..callbacks.metadata import METADATA_KEYS
from .archive import Archive
from .cluster import replay_on
from .registry import SettingError, unknown
from .replay import replay_all
from .report import Report, RunLog
from .saving import check_target, save_results
from .schema import read_profile
from .session import Session
from .session import open as open_session

FREE_METADATA = ("sample", "operator", "proposal", "comment", "facility")


def run_replay(
    uid: str,
    name: str,
    *,
    settings: Mapping[str, Any],
    source: str = "catalogue",
    speed: float = math.inf,
    on: str | None = None,
    save: Path | None = None,
    directory: str | os.PathLike[str] | None = None,
) -> Report:
    """Replay one or several stored runs, joined by commas, through one analysis (see `replay`).

    A key may be written ``NAME.key`` or bare.
    """
    report = Report()
    if save is not None:
        check_target(save)
    own = {key.removeprefix(f"{name}."): value for key, value in settings.items()}
    with Archive(directory) as archive:
        runs = [one.strip() for one in uid.split(",") if one.strip()]
        if save is not None and len(runs) != 1:
            raise ValueError("--save writes the results of one run; replay the runs one by one")
        if on is not None:
            if math.isfinite(speed):
                raise ValueError("--speed is for this process; leave it out with --on")
            done = replay_on(runs, name, on=on, archive=archive, source=source, settings=own)
        else:
            done = replay_all(
                runs, name, session=archive, source=source, speed=speed, check=False, settings=own
            )
        report.add_analyses([one.callback for one in done])
        if save is not None:
            save_results(save, [one.callback for one in done])
        report.runs = [_stored_line(archive.find(one.parent)) for one in done]
        for one in done:
            path = archive.layout.pictures / f"{one.parent[:8]}-{name}-replay.png"
            picture = _picture(path, one.callback, name)
            report.pictures += [picture] if picture is not None else []
    return report.close()


def _picture(path: Path, callback: Any, name: str) -> Path | None:
    from ..callbacks.plots import save_picture

    if callback.error is not None:
        return None
    return save_picture(path, callback.final, f"replay: {name}, {callback.frames} frames")


def _stored_line(run: Any) -> dict[str, Any]:
    start = run.metadata["start"]
    stop = run.metadata.get("stop") or {}
    return {
        "uid": start["uid"],
        "plan": start.get("plan_name", ""),
        "frames": start.get("num_points", 0),
        "exit_status": stop.get("exit_status", "fail"),
    }


def run_plan(
    profile: str,
    plan: str,
    *,
    settings: Mapping[str, Any],
    save: Path | None = None,
    directory: str | os.PathLike[str] | None = None,
) -> Report:
    """Run one plan of a profile.

    A dotted key is a setting of an analysis; a bare key an argument of the plan, else metadata.
    The plan's detectors are all the profile's cameras unless ``detectors=NAME[,NAME]`` says
    otherwise; other devices are found by the names of the plan's parameters.

    Raises
    ------
    SettingError
        For a key that is neither.
    """
    report = Report()
    if save is not None:
        check_target(save)
    dotted = {key: value for key, value in settings.items() if "." in key}
    bare = {key: value for key, value in settings.items() if "." not in key}
    chosen = read_profile(profile).with_settings(dotted)
    with open_session(chosen, directory) as session:
        function = getattr(session.plans, plan, None)
        if function is None:
            raise SettingError(unknown(f"plan in {chosen.name!r}", plan, list(vars(session.plans))))
        arguments, metadata = _plan_arguments(function, plan, bare, session)
        execute(session, function(**arguments), report, metadata=metadata, save=save)
    return report.close()


def execute(
    session: Session,
    plan: Any,
    report: Report,
    *,
    metadata: Mapping[str, Any] | None = None,
    save: Path | None = None,
) -> list[Any]:
    """Run a plan in a session, wait for everything, and put what came of it into a report.

    Returns
    -------
    list of LiveCallback
        What the analyses came to.

    Raises
    ------
    Exception
        What refused the plan before a run was opened. What ends a run later is the report's
        `error`.
    """
    log = RunLog()
    token = session.RE.subscribe(log)
    failure: BaseException | None = None
    try:
        session.RE(plan, **dict(metadata or {}))
    except Exception as error:
        failure = error
    finally:
        session.RE.unsubscribe(token)
    callbacks = session.join(check=False)
    report.runs += log.runs
    report.add_analyses(callbacks)
    report.warnings += session.archive.problems
    report.pictures += [p for p in session.pictures.saved if p not in report.pictures]
    if save is not None:
        save_results(save, callbacks)
    if failure is not None:
        cause = failure.__cause__ if isinstance(failure, FailedStatus) else None
        if not log.runs:
            raise cause or failure  # refused before a run was opened
        report.error = str(cause or failure)
    return callbacks


def check_metadata(settings: Mapping[str, Any]) -> None:
    """Refuse metadata keys that nothing reads.

    Raises
    ------
    SettingError
        For an unknown key; the message lists the known ones.
    """
    known = [*METADATA_KEYS, *FREE_METADATA]
    for key in settings:
        if key not in known:
            raise SettingError(unknown("metadata key", key, known))


def _plan_arguments(
    function: Callable[..., Any], plan: str, bare: Mapping[str, Any], session: Session
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divide bare settings into arguments of the plan and metadata, and find the devices."""
    parameters = inspect.signature(function).parameters
    arguments: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    for key, value in bare.items():
        (arguments if key in parameters else metadata)[key] = value
    try:
        check_metadata(metadata)
    except SettingError as error:
        raise SettingError(f"{error}; the plan {plan!r} takes {', '.join(parameters)}") from None
    cameras = {name: d for name, d in session.devices.items() if hasattr(d, "ring")}
    for name, parameter in parameters.items():
        if name == "detectors":
            wanted = arguments.get(name, list(cameras))
            wanted = [wanted] if isinstance(wanted, str) else wanted
            arguments[name] = [_camera(cameras, str(each)) for each in wanted]
        elif name in session.devices and name not in arguments:
            arguments[name] = session.devices[name]
        elif parameter.default is parameter.empty and name not in arguments:
            raise SettingError(f"the plan {plan!r} needs {name}: --set {name}=...")
    return arguments, metadata


def _camera(cameras: Mapping[str, Any], name: str) -> Any:
    if name not in cameras:
        raise SettingError(unknown("camera", name, list(cameras)))
    return cameras[name]
