"""What is promised of faults, tried: ``faults``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from .options import Json
from .reporting import Failure

app = typer.Typer()


@app.command()
def faults(
    seed: Annotated[int, typer.Option(help="Of the random points.")] = 0,
    n: Annotated[int, typer.Option(help="How many sessions are killed at random points.")] = 100,
    kind: Annotated[
        list[str] | None, typer.Option(help="Only this kind; may be given several times.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Kill sessions, fill disks, stop clocks: say what was announced and what was lost."""
    from ..faults.outcome import Outcome, lines_of, table_of
    from ..faults.table import try_faults

    found: list[Outcome] = []
    for outcome in try_faults(seed, n, kind or ()):
        found.append(outcome)
        mark = "ok  " if outcome.survived else "LOST" if outcome.lost else "FAIL"
        counts = f"{outcome.readable} of {outcome.announced} frames"
        typer.echo(f"{mark} {outcome.kind}: {outcome.what}: {counts}", err=True)
    table = table_of(found)
    for line in lines_of(table):
        typer.echo(line)
    if as_json:
        typer.echo(json.dumps(table))
    if table["survived"] < table["tried"]:
        raise Failure
