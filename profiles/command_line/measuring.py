"""Measure, or play what was measured: ``demo``, ``play``, ``run``, ``ipython``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Directory, Json, Save, Setting
from .reporting import report_all, run_lines

app = typer.Typer()


@app.command()
def demo(
    what: Annotated[str, typer.Argument(help="Which demonstration.")] = "microscope",
    directory: Directory = None,
    as_json: Json = False,
) -> None:
    """Scan a simulated crystal, reconstruct it live, store it, replay it."""
    from ..demo import run_demo

    report = run_demo(what, directory, say=typer.echo)
    report_all(report, as_json, run_lines(report))


@app.command()
def play(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="PATTERN",
            help="HDF5, CXI, .npz, patterns, images; several or a glob (data/*.tif) are one "
            "series, as is a folder or zip.",
        ),
    ],
    analysis: Annotated[
        list[str] | None,
        typer.Option("--analysis", help="NAME[,NAME], also several times; else virtual_images."),
    ] = None,
    profile: Annotated[
        str, typer.Option("--profile", help="Whose analyses' settings.")
    ] = "recorded",
    settings: Setting = None,
    rate: Annotated[
        str | None, typer.Option("--rate", help="Frames per second, real or max.")
    ] = None,
    cell: Annotated[
        Path | None, typer.Option("--cell", help="A cell's log, joined by time.")
    ] = None,
    save: Save = None,
    directory: Directory = None,
    as_json: Json = False,
) -> None:
    """Play recorded files as if they were being acquired now."""
    from ..play import run_play
    from ..settings import parse_settings

    given = ",".join(["virtual_images"] if analysis is None else analysis).split(",")
    names = list(dict.fromkeys(name.strip() for name in given if name.strip()))
    report = run_play(
        files,
        names,
        profile=profile,
        settings=parse_settings(settings or []),
        rate=rate,
        save=save,
        directory=directory,
        cell=cell,
    )
    report_all(report, as_json, run_lines(report))


@app.command("run")
def run_(
    profile: Annotated[str, typer.Argument(help="A profile, or a .toml file.")],
    plan: Annotated[str, typer.Argument(help="One of its plans.")],
    settings: Setting = None,
    save: Save = None,
    directory: Directory = None,
    as_json: Json = False,
) -> None:
    """Run one plan of a profile; --set gives its arguments, metadata and analyses' settings."""
    from ..commands import run_plan
    from ..settings import parse_settings

    report = run_plan(
        profile, plan, settings=parse_settings(settings or []), save=save, directory=directory
    )
    report_all(report, as_json, run_lines(report))


@app.command()
def ipython(
    profile: Annotated[str, typer.Argument(help="A profile, or a .toml file.")] = "sim_microscope",
    directory: Directory = None,
    command: Annotated[str | None, typer.Option("-c", help="Run this and leave.")] = None,
    as_json: Json = False,
) -> None:
    """Open IPython with RE, catalog, the devices, the plans and the live analyses."""
    from ..shell import start

    report_all(start(profile, directory, command), as_json, [])
