"""Networks and their labels: ``train``, ``label``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .options import Directory, Json, Uid

app = typer.Typer()


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
    from ..training import run_train

    found = run_train(what, labelled, out, seed=seed, axes=axes, say=typer.echo)
    typer.echo(
        f"{found['model']}: balanced accuracy {found['accuracy']:.4f} of held-out patterns,"
        f" calibration error {found['calibration_error']:.4f}, {found['seconds']:.0f} s"
    )
    if as_json:
        typer.echo(json.dumps(found))


@app.command()
def label(
    uid: Uid,
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
    from ..labelling import run_label

    found = run_label(
        uid, classes=classes.split(","), strategy=strategy, labels=labels, a_round=a_round,
        answers=answers, out=out, seed=seed, directory=directory, say=typer.echo,
    )  # fmt: skip
    typer.echo(f"{found['labelled']} labels: {found['labels']}\nmap: {found['map']}")
    for picture in found["pictures"]:
        typer.echo(f"picture: {picture}")
    if as_json:
        typer.echo(json.dumps(found))
