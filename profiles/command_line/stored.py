"""Stored runs: ``replay``, ``ls``, ``show``, ``recover``, ``convert``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated

import typer

from .options import Directory, Json, Save, Setting, Uid
from .reporting import Failure, report_all, run_lines

app = typer.Typer()


@app.command()
def replay(
    uid: Annotated[
        str,
        typer.Argument(help="Uid (or its beginning), scan id, or 'last'; several with commas."),
    ],
    name: Annotated[str, typer.Argument(help="Of the analysis.")],
    settings: Setting = None,
    source: Annotated[str, typer.Option("--from", help="catalogue or journal")] = "catalogue",
    speed: Annotated[
        float, typer.Option("--speed", help="1: as fast as it was, 10: ten times, inf: at once.")
    ] = math.inf,
    on: Annotated[
        str | None, typer.Option("--on", help="'local', or tcp://HOST:8786 of a dask scheduler.")
    ] = None,
    save: Save = None,
    directory: Directory = None,
    as_json: Json = False,
) -> None:
    """Analyse a stored run again, with other settings if wanted."""
    from ..commands import run_replay
    from ..settings import parse_settings

    report = run_replay(
        uid,
        name,
        settings=parse_settings(settings or []),
        source=source,
        speed=speed,
        on=on,
        save=save,
        directory=directory,
    )
    report_all(report, as_json, run_lines(report))


@app.command()
def listen(
    uri: Annotated[str, typer.Argument(metavar="REDIS", help="redis://127.0.0.1:6379")],
    analysis: Annotated[list[str], typer.Option("--analysis", help="NAME, also several times.")],
    settings: Setting = None,
    runs: Annotated[int | None, typer.Option("--runs", help="End after so many.", min=1)] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Begin with the oldest run that the bus still holds.")
    ] = False,
    directory: Directory = None,
    as_json: Json = False,
) -> None:
    """Analyse the runs that another machine publishes on a bus (see docs/bus.md)."""
    from ..listening import run_listen
    from ..settings import parse_settings

    report = run_listen(
        uri,
        analysis,
        settings=parse_settings(settings or []),
        runs=runs,
        everything=everything,
        directory=directory,
        say=typer.echo,
    )
    report_all(report, as_json, run_lines(report))


@app.command()
def ls(
    directory: Directory = None,
    number: Annotated[int, typer.Option("--number", "-n", help="How many runs.", min=1)] = 20,
    as_json: Json = False,
) -> None:
    """List the newest runs and their analyses."""
    from ..listing import list_runs, render_runs

    rows = list_runs(directory, number)
    typer.echo(json.dumps({"runs": rows}) if as_json else render_runs(rows))


@app.command()
def show(
    uid: Uid,
    directory: Directory = None,
    as_json: Json = False,
) -> None:
    """Show one run: metadata, streams, analyses and their results."""
    from ..listing import render_run, show_run

    found = show_run(directory, uid)
    typer.echo(json.dumps(found) if as_json else render_run(found))


@app.command()
def recover(directory: Directory = None, as_json: Json = False) -> None:
    """Feed the catalogue what only the journals hold, after a crash."""
    from ..listing import recover_runs

    text, found = recover_runs(directory)
    typer.echo(json.dumps(found) if as_json else text)
    if found["problems"]:
        raise Failure


@app.command()
def convert(
    file: Path,
    to: Annotated[Path, typer.Option("--to", help="X.bdf.csv")],
    time_zone: Annotated[
        str | None, typer.Option("--time-zone", help="Of the cycler's clock; else UTC is assumed.")
    ] = None,
) -> None:
    """Write a cell log (.mpr, .mpt, .ndax, .bdf.csv) in the Battery Data Format."""
    from ..cell_files import run_convert

    typer.echo(run_convert(file, to, time_zone))
