"""The command line: ``flyback demo | play | replay | ls | show | plugins | doctor | ...``.

Bad input ends with one sentence on standard error and exit status 2, a failure with 1.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from .profiles.report import Report

app = typer.Typer(
    help="Acquisition and analysis in one stream.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Directory = Annotated[
    Path | None,
    typer.Option("--directory", envvar="FLYBACK_DIRECTORY", help="Where the store is."),
]
Json = Annotated[bool, typer.Option("--json", help="Last line of output: one JSON object.")]
Setting = Annotated[
    list[str] | None,
    typer.Option("--set", help="NAME.key=value sets an analysis, key=value metadata."),
]
Save = Annotated[Path | None, typer.Option("--save", help="Write every result to this .npz.")]


class Failure(Exception):  # noqa: N818  an ended command, already reported
    """The command did its work, and something in it failed."""


def _print(text: str) -> None:
    typer.echo(text)


def _report(report: Report, as_json: bool, lines: list[str]) -> None:
    """Print what a command did; raise `Failure` where something failed."""
    for line in lines:
        _print(line)
    if report.error is not None:
        typer.echo(f"flyback: {' '.join(report.error.split())}", err=True)
    for analysis in report.analyses:
        if analysis["error"]:
            typer.echo(f"the analysis {analysis['name']} failed: {analysis['error']}", err=True)
    for warning in report.warnings:
        typer.echo(f"note: {warning}", err=True)
    for picture in report.pictures:
        _print(f"picture: {picture}")
    if as_json:
        _print(json.dumps(report.to_dict()))
    if report.failed:
        raise Failure


def _run_lines(report: Report) -> list[str]:
    return [
        f"run {run['uid'][:8]}  {run['plan']}  {run['frames']} frames  {run['exit_status']}"
        for run in report.runs
    ] + [
        f"  {a['name']} {a['uid'][:8]} of {a['parent'][:8]}  {a['exit_status']}"
        for a in report.analyses
    ]


@app.command()
def demo(
    what: Annotated[str, typer.Argument(help="Which demonstration.")] = "microscope",
    directory: Directory = None,
    as_json: Json = False,
) -> None:
    """Scan a simulated crystal, reconstruct it live, store it, replay it."""
    from .profiles.demo import run_demo

    report = run_demo(what, directory, say=_print)
    _report(report, as_json, _run_lines(report))


@app.command()
def play(
    file: Annotated[
        Path,
        typer.Argument(help="HDF5, CXI, .npz, patterns, images; or a folder or zip of a series."),
    ],
    analysis: Annotated[
        list[str] | None,
        typer.Option("--analysis", help="NAME[,NAME], also several times; else virtual_images."),
    ] = None,
    profile: Annotated[
        str, typer.Option("--profile", help="Whose analyses' settings.")
    ] = "recorded",
    settings: Setting = None,
    rate: Annotated[str | None, typer.Option("--rate", help="Frames per second, or max.")] = None,
    cell: Annotated[
        Path | None, typer.Option("--cell", help="A cell's log, joined by time.")
    ] = None,
    save: Save = None,
    directory: Directory = None,
    as_json: Json = False,
) -> None:
    """Play a recorded file as if it were being acquired now."""
    from .profiles.play import run_play
    from .profiles.settings import parse_settings

    given = ",".join(["virtual_images"] if analysis is None else analysis).split(",")
    names = list(dict.fromkeys(name.strip() for name in given if name.strip()))
    report = run_play(
        file,
        names,
        profile=profile,
        settings=parse_settings(settings or []),
        rate=rate,
        save=save,
        directory=directory,
        cell=cell,
    )
    _report(report, as_json, _run_lines(report))


@app.command()
def replay(
    uid: Annotated[str, typer.Argument(help="Uid (or its beginning), scan id, or 'last'.")],
    name: Annotated[str, typer.Argument(help="Of the analysis.")],
    settings: Setting = None,
    source: Annotated[str, typer.Option("--from", help="catalogue or journal")] = "catalogue",
    save: Save = None,
    directory: Directory = None,
    as_json: Json = False,
) -> None:
    """Analyse a stored run again, with other settings if wanted."""
    from .profiles.commands import run_replay
    from .profiles.settings import parse_settings

    report = run_replay(
        uid,
        name,
        settings=parse_settings(settings or []),
        source=source,
        save=save,
        directory=directory,
    )
    _report(report, as_json, _run_lines(report))


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
    from .profiles.commands import run_plan
    from .profiles.settings import parse_settings

    report = run_plan(
        profile, plan, settings=parse_settings(settings or []), save=save, directory=directory
    )
    _report(report, as_json, _run_lines(report))


@app.command()
def ls(
    directory: Directory = None,
    number: Annotated[int, typer.Option("--number", "-n", help="How many runs.", min=1)] = 20,
    as_json: Json = False,
) -> None:
    """List the newest runs and their analyses."""
    from .profiles.listing import list_runs, render_runs

    rows = list_runs(directory, number)
    _print(json.dumps({"runs": rows}) if as_json else render_runs(rows))


@app.command()
def show(
    uid: Annotated[str, typer.Argument(help="Uid (or its beginning), scan id, or 'last'.")],
    directory: Directory = None,
    as_json: Json = False,
) -> None:
    """Show one run: metadata, streams, analyses and their results."""
    from .profiles.listing import render_run, show_run

    found = show_run(directory, uid)
    _print(json.dumps(found) if as_json else render_run(found))


@app.command("plugins")
def plugins_(directory: Directory = None, as_json: Json = False) -> None:
    """List what is installed, without importing it."""
    from .profiles.registry import GROUPS, plugins

    found = {group: plugins(group) for group in GROUPS}
    if as_json:
        table = {
            group: [
                {"name": p.name, "value": p.value, "distribution": p.distribution}
                for p in members.values()
            ]
            for group, members in found.items()
        }
        _print(json.dumps(table))
        return
    for group, members in found.items():
        _print(group)
        for plugin in members.values():
            _print(f"  {plugin.name:24} {plugin.distribution:12} {plugin.value}")


@app.command()
def doctor(directory: Directory = None, as_json: Json = False) -> None:
    """Check the store, the readers, the threading and the versions; say what to do."""
    from .profiles.doctor import examine

    findings = examine(directory)
    if as_json:
        _print(json.dumps({"checks": [f.to_dict() for f in findings]}))
    else:
        for finding in findings:
            _print(finding.line())
    if not all(finding.ok for finding in findings):
        raise Failure


@app.command()
def train(
    what: Annotated[str, typer.Argument(help="Only domains, so far.")],
    labelled: Annotated[
        Path, typer.Option("--labelled", help=".npz with patterns, label and classes.")
    ],
    out: Annotated[Path | None, typer.Option("--out", help="MODEL.onnx to write.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same weights.", min=0)] = 0,
    axes: Annotated[
        str, typer.Option("--axes", help="How +x, +y lie on the detector; auto or none.")
    ] = "auto",
    as_json: Json = False,
) -> None:
    """Train a network on labelled patterns; needs the extra train."""
    from .profiles.training import run_train

    found = run_train(what, labelled, out, seed=seed, axes=axes, say=_print)
    _print(
        f"{found['model']}: balanced accuracy {found['accuracy']:.4f} of held-out patterns,"
        f" calibration error {found['calibration_error']:.4f}, {found['seconds']:.0f} s"
    )
    if as_json:
        _print(json.dumps(found))


@app.command()
def label(
    uid: Annotated[str, typer.Argument(help="Uid (or its beginning), scan id, or 'last'.")],
    classes: Annotated[str, typer.Option("--classes", help="NAME,NAME,...")] = "+x,-x,+y,-y,c",
    strategy: Annotated[
        str, typer.Option("--strategy", help="walls, uncertainty, diverse, random, or a plugin.")
    ] = "walls",
    labels: Annotated[int, typer.Option("--labels", help="Stop at so many.")] = 40,
    a_round: Annotated[int, typer.Option("--round", help="Labels between two fits.")] = 6,
    answers: Annotated[
        Path | None, typer.Option("--answers", help=".npz or .csv: scan_index, label.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="LABELS.npz; goes on if there.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same choice.", min=0)] = 0,
    directory: Directory = None,
    as_json: Json = False,
) -> None:
    """Label few patterns of a stored run, chosen near walls, and map its domains."""
    from .profiles.labelling import run_label

    found = run_label(
        uid, classes=classes.split(","), strategy=strategy, labels=labels, a_round=a_round,
        answers=answers, out=out, seed=seed, directory=directory, say=_print,
    )  # fmt: skip
    _print(f"{found['labelled']} labels: {found['labels']}\nmap: {found['map']}")
    for picture in found["pictures"]:
        _print(f"picture: {picture}")
    if as_json:
        _print(json.dumps(found))


@app.command()
def recover(directory: Directory = None, as_json: Json = False) -> None:
    """Feed the catalogue what only the journals hold, after a crash."""
    from .profiles.listing import recover_runs

    text, found = recover_runs(directory)
    _print(json.dumps(found) if as_json else text)
    if found["problems"]:
        raise Failure


@app.command()
def convert(file: Path, to: Annotated[Path, typer.Option("--to", help="X.bdf.csv")]) -> None:
    """Write a cell log (.mpr, .mpt, .ndax, .bdf.csv) in the Battery Data Format."""
    from .profiles.cell_files import run_convert

    _print(run_convert(file, to))


@app.command()
def ipython(
    profile: Annotated[str, typer.Argument(help="A profile, or a .toml file.")] = "sim_microscope",
    directory: Directory = None,
    command: Annotated[str | None, typer.Option("-c", help="Run this and leave.")] = None,
    as_json: Json = False,
) -> None:
    """Open IPython with RE, catalog, the devices, the plans and the live analyses."""
    from .profiles.shell import start

    _report(start(profile, directory, command), as_json, [])


def _bad_input() -> tuple[type[BaseException], ...]:
    """Return what counts as bad input. Imported late: an error has time."""
    from .profiles.archive import ArchiveError
    from .profiles.registry import PluginError, SettingError
    from .profiles.schema import ProfileError
    from .profiles.store.runs import RunNotFoundError

    return (
        ArchiveError,
        PluginError,
        SettingError,
        ProfileError,
        RunNotFoundError,
        ValueError,
        FileNotFoundError,
    )


def _sentence(error: BaseException) -> str:
    usage = getattr(error, "format_message", None)  # typer's own errors about the command line
    text = usage() if callable(usage) else str(error)
    return " ".join(str(text).split()) or type(error).__name__


def _guarded(call: Callable[[], Any]) -> int:
    """Run a command and return its exit status."""
    try:
        call()
    except Failure:
        return 1
    except typer.Exit as ended:
        return ended.exit_code
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  nobody reads any more
        return 1
    except Exception as error:  # every error is one sentence
        if type(error).__name__ == "NoArgsIsHelpError":
            typer.echo(error.format_message())  # type: ignore[attr-defined]
            return 2
        if os.environ.get("FLYBACK_DEBUG"):
            raise
        typer.echo(f"flyback: {_sentence(error)}", err=True)
        bad_input = isinstance(error, _bad_input()) or hasattr(error, "format_message")
        return 2 if bad_input else 1
    return 0


def _end_on_request() -> None:
    """Make a request to terminate an exception, on whose way out the beam is blanked."""

    def end(signum: int, frame: object) -> None:
        sys.exit(128 + signum)

    with suppress(ValueError):  # not in the main thread: whoever runs it there decides
        signal.signal(signal.SIGTERM, end)


@wraps(app)
def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    _end_on_request()
    if not os.environ.get("FLYBACK_DEBUG"):
        for library in ("bluesky", "ophyd"):  # their tracebacks; ours is one sentence
            logging.getLogger(library).addHandler(logging.NullHandler())
    sys.exit(_guarded(lambda: app(arguments, standalone_mode=False)))


if __name__ == "__main__":
    main()
