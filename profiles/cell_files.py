"""What ``flyback convert`` does: a cell log in the Battery Data Format."""

from __future__ import annotations

from pathlib import Path

from ..devices.cell_log import read_cell_log, write_bdf


def run_convert(file: Path, to: Path) -> str:
    """Write a cell log in the Battery Data Format and return what was done, a line each.

    Parameters
    ----------
    file : Path
        `.mpt`, `.bdf.csv`, or with the extra `cells` `.mpr` and `.ndax`.
    to : Path
        Ends in ``.bdf.csv``.

    Raises
    ------
    CellLogError
        When the log cannot be read, or the target not be written.
    """
    log = read_cell_log(file)
    target = write_bdf(log, to)
    return "\n".join([f"{target}: {len(log)} samples", *(f"note: {note}" for note in log.notes)])
