"""The command line: ``flyback demo | play | replay | ls | show | plugins | doctor | ...``.

Bad input ends with one sentence on standard error and exit status 2, a failure with 1.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any

import typer

from .profiles.command_line import faults, learning, measuring, stored, upkeep
from .profiles.command_line.reporting import Failure

app = typer.Typer(
    help="Acquisition and analysis in one stream.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for room in (measuring, stored, learning, upkeep, faults):
    app.add_typer(room.app)


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
