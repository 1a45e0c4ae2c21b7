"""The installation and the archive: ``doctor``, ``ingest``, ``verify``, ..."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .options import Directory, Json, Uid
from .reporting import Failure

app = typer.Typer()


@app.command("plugins")
def plugins_(directory: Directory = None, as_json: Json = False) -> None:
    """List what is installed, without importing it."""
    from ..registry import GROUPS, plugins

    found = {group: plugins(group) for group in GROUPS}
    if as_json:
        table = {
            group: [
                {"name": p.name, "value": p.value, "distribution": p.distribution}
                for p in members.values()
            ]
            for group, members in found.items()
        }
        typer.echo(json.dumps(table))
        return
    for group, members in found.items():
        typer.echo(group)
        for plugin in members.values():
            typer.echo(f"  {plugin.name:24} {plugin.distribution:12} {plugin.value}")


@app.command()
def doctor(directory: Directory = None, as_json: Json = False) -> None:
    """Check the store, the readers, the threading and the versions; say what to do."""
    from ..doctor import examine

    findings = examine(directory)
    if as_json:
        typer.echo(json.dumps({"checks": [f.to_dict() for f in findings]}))
    else:
        for finding in findings:
            typer.echo(finding.line())
    if not all(finding.ok for finding in findings):
        raise Failure


@app.command()
def ingest(
    streams: Annotated[
        list[Path], typer.Argument(help=".json[.gz], .jsonl[.gz], .msgpack, .journal")
    ],
    directory: Directory = None,
    as_json: Json = False,
) -> None:
    """Take in runs that were recorded elsewhere; a second time adds nothing."""
    from ..upkeep.ingest import ingest as take_in

    report = take_in(streams, directory)
    for line in report.lines():
        typer.echo(line)
    if as_json:
        typer.echo(json.dumps(report.to_dict()))
    if report.problems:
        raise Failure


@app.command()
def verify(uid: Uid, directory: Directory = None, as_json: Json = False) -> None:
    """Check a run's journal and files, and its analyses', by their checksums."""
    from ..upkeep.verify import verify as check_run

    checks = check_run(uid, directory)
    for check in checks:
        typer.echo(check.line())
    if as_json:
        typer.echo(json.dumps({"checks": [check.to_dict() for check in checks]}))
    if not all(check.ok for check in checks):
        raise Failure


@app.command()
def export(
    uid: Uid,
    to: Annotated[Path, typer.Option("--to", help="A new .h5 or .nxs file.")],
    directory: Directory = None,
) -> None:
    """Write a run, its frames and its analyses to one NeXus file."""
    from ..upkeep.export import export as write_out

    typer.echo(f"wrote {write_out(uid, to, directory)}")


@app.command()
def gc(
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove temporary files and orphaned results.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --delete: raw data too.")] = False,
    journals: Annotated[
        bool, typer.Option("--journals", help="Count journals of runs that are stored whole.")
    ] = False,
    directory: Directory = None,
    as_json: Json = False,
) -> None:
    """List what no run refers to; remove it only if told to."""
    from ..upkeep.clearing import clear

    if yes and not delete:
        raise ValueError("--yes says that raw data may go too; it needs --delete")
    found = clear(directory, delete=delete, yes=yes, journals=journals)
    for one in found:
        typer.echo(one.line())
    rest = sum(one.bytes for one in found if not one.removed)
    gone = sum(one.bytes for one in found if one.removed)
    typer.echo(f"{len(found)} found, {gone / 1e6:.3f} MB removed, {rest / 1e6:.3f} MB left")
    if as_json:
        typer.echo(json.dumps({"found": [one.to_dict() for one in found]}))
    if any(one.why_not for one in found):
        raise Failure
