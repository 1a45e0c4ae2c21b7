"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
Uid = Annotated[str, typer.Argument(help="Uid (or its beginning), scan id, or 'last'.")]
