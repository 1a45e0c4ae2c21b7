"""What a command prints of what it did."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ..report import Report


class Failure(Exception):  # noqa: N818  an ended command, already reported
    """The command did its work, and something in it failed."""


def report_all(report: Report, as_json: bool, lines: list[str]) -> None:
    """Print what a command did; raise `Failure` where something in it failed."""
    for line in lines:
        typer.echo(line)
    if report.error is not None:
        typer.echo(f"flyback: {' '.join(report.error.split())}", err=True)
    for analysis in report.analyses:
        if analysis["error"]:
            typer.echo(f"the analysis {analysis['name']} failed: {analysis['error']}", err=True)
    for warning in report.warnings:
        typer.echo(f"note: {warning}", err=True)
    for picture in report.pictures:
        typer.echo(f"picture: {picture}")
    if as_json:
        typer.echo(json.dumps(report.to_dict()))
    if report.failed:
        raise Failure


def run_lines(report: Report) -> list[str]:
    """Return a line for each run and each of its analyses."""
    return [
        f"run {run['uid'][:8]}  {run['plan']}  {run['frames']} frames  {run['exit_status']}"
        for run in report.runs
    ] + [
        f"  {a['name']} {a['uid'][:8]} of {a['parent'][:8]}  {a['exit_status']}"
        for a in report.analyses
    ]
