"""``flyback ipython PROFILE``: an IPython session with everything at hand."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from .report import Report, RunLog
from .session import Session
from .session import open as open_session

BANNER = """flyback: profile {profile}, archive {directory}
  devices   {devices}
  plans     {plans}
  analyses  {analyses}      live.NAME.KEY_ is the newest result, session.join() raises its errors
"""


def banner(session: Session) -> str:
    """Return what the session says at its start."""
    return BANNER.format(
        profile=session.profile.name,
        directory=session.archive.layout.root,
        devices=" ".join(session.devices),
        plans=" ".join(vars(session.plans)),
        analyses=" ".join(session.offloads) or "none",
    )


def register_magics(shell: Any, session: Session) -> None:
    """Give an IPython shell bluesky's ``%mov %movr %ct %wa`` over this session's devices."""
    from bluesky.magics import BlueskyMagics

    BlueskyMagics.RE = session.RE
    shell.register_magics(BlueskyMagics)


def start(
    profile: str, directory: str | os.PathLike[str] | Path | None, command: str | None = None
) -> Report:
    """Open a session and an IPython shell over it; close the session at the end.

    Parameters
    ----------
    profile : str
    directory : path, optional
    command : str, optional
        Run this in place of the prompt, and leave.

    Returns
    -------
    Report
        The runs that were made.
    """
    report, log = Report(), RunLog()
    from IPython.terminal.embed import InteractiveShellEmbed

    with open_session(profile, directory) as session:
        session.RE.subscribe(log)
        report.runs = log.runs
        names = session.namespace()
        shell = InteractiveShellEmbed(user_ns=names, banner1=banner(session))
        register_magics(shell, session)
        _use_display(shell)
        if command is None:
            shell()
            return report.close()
        outcome = shell.run_cell(command)
        sys.stdout.flush()
        outcome.raise_error()
    return report.close()


def _use_display(shell: Any) -> None:
    """Let windows live beside the prompt, where there is a display."""
    import matplotlib as mpl

    if str(mpl.rcParams["backend"]).lower() == "qtagg":
        shell.enable_gui("qt")
