"""What ``flyback ls``, ``show`` and ``recover`` say."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from .archive import Archive
from .store.recovery import recover

Path = str | os.PathLike[str] | None
HIDDEN = {"uid", "time", "trajectory", "plan_args", "hints", "versions", "scan_id", "plan_name"}


def list_runs(directory: Path, number: int) -> list[dict[str, Any]]:
    """Return a row for each of the newest runs, the newest last."""
    with Archive(directory) as archive:
        runs = archive.newest(number)
        return [_row(archive, run) for run in runs]


def _row(archive: Archive, run: Any) -> dict[str, Any]:
    start = run.metadata["start"]
    stop = run.metadata.get("stop") or {}
    return {
        "uid": start["uid"],
        "scan_id": start.get("scan_id"),
        "time": start["time"],
        "plan": start.get("plan_name", ""),
        "points": start.get("num_points"),
        "sample": str(start.get("sample", "")),
        "exit_status": stop.get("exit_status", "incomplete"),
        "analyses": sorted(archive.analyses(start["uid"])),
    }


def render_runs(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a table."""
    if not rows:
        return "no runs yet: flyback demo makes some"
    head = (
        f"{'uid':8}  {'scan':>4}  {'time':16}  {'plan':12}  {'points':>7}  {'status':10}  analyses"
    )
    lines = [head]
    for row in rows:
        when = datetime.fromtimestamp(row["time"]).strftime("%Y-%m-%d %H:%M")
        lines.append(
            f"{row['uid'][:8]}  {row['scan_id'] or '':>4}  {when}  {row['plan'][:12]:12}  "
            f"{row['points'] or '':>7}  {row['exit_status']:10}  {', '.join(row['analyses'])}"
        )
    return "\n".join(lines)


def show_run(directory: Path, which: str) -> dict[str, Any]:
    """Return what is known of one run: metadata, streams, analyses and their scalars."""
    with Archive(directory) as archive:
        run = archive.find(which)
        start, stop = run.metadata["start"], run.metadata.get("stop") or {}
        return {
            "start": _plain(start),
            "stop": _plain(stop),
            "streams": {name: _shapes(run[name]) for name in _streams(run)},
            "analyses": {
                name: _analysis(derived) for name, derived in archive.analyses(start["uid"]).items()
            },
        }


def _analysis(derived: Any) -> dict[str, Any]:
    start, stop = derived.metadata["start"], derived.metadata.get("stop") or {}
    return {
        "uid": start["uid"],
        "exit_status": stop.get("exit_status", "incomplete"),
        "reason": stop.get("reason", ""),
        "parameters": _plain(start.get("parameters", {})),
        "versions": _plain(start.get("versions", {})),
        "streams": {name: _shapes(derived[name]) for name in _streams(derived)},
    }


def _streams(run: Any) -> list[str]:
    return [name for name in run if name != "streams"]


def _shapes(stream: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in stream:
        node = stream[key]
        shape = getattr(node, "shape", None)
        found[str(key)] = None if shape is None else [int(n) for n in shape]
    return found


def _plain(value: Any) -> Any:
    """Return nested mappings and sequences as plain dictionaries and lists."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def render_run(found: Mapping[str, Any]) -> str:
    """Return one run as text."""
    start, stop = found["start"], found["stop"]
    when = datetime.fromtimestamp(start["time"]).strftime("%Y-%m-%d %H:%M:%S")
    lines = [
        f"{start['uid']}  scan {start.get('scan_id', '-')}  {start.get('plan_name', '')}  {when}",
        f"  exit_status: {stop.get('exit_status', 'incomplete')} {stop.get('reason', '')}".rstrip(),
    ]
    lines += [f"  {key}: {value}" for key, value in start.items() if key not in HIDDEN]
    if "trajectory" in start:
        trajectory = start["trajectory"]
        lines.append(f"  trajectory: {trajectory.get('type')}, {trajectory.get('n_points')} points")
    for stream, shapes in found["streams"].items():
        lines.append(f"  stream {stream}")
        lines += [f"    {key}: {shape}" for key, shape in shapes.items()]
    for name, analysis in found["analyses"].items():
        lines.append(f"  analysis {name} {analysis['uid'][:8]}: {analysis['exit_status']}")
        lines += [f"    {key} = {value}" for key, value in analysis["parameters"].items()]
        for shapes in analysis["streams"].values():
            lines += [f"    {key}: {shape}" for key, shape in shapes.items() if shape]
    return "\n".join(lines)


def recover_runs(directory: Path) -> tuple[str, dict[str, Any]]:
    """Feed the catalogue what only the journals hold; return the story and the facts."""
    with Archive(directory) as archive:
        report = recover(archive.layout.journal, archive.catalog)
    facts = {
        "recovered": report.recovered,
        "ended": report.ended,
        "live": report.live,
        "released": [str(path) for path in report.released],
        "shortened": report.shortened,
        "in_flight": report.in_flight,
        "problems": report.problems,
    }
    return str(report), facts
