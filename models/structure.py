"""A crystal structure from a CIF, as gemmi reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def read_structure(cif_path: str | Path) -> Any:
    """Read the first structure of a CIF.

    Parameters
    ----------
    cif_path : path

    Returns
    -------
    gemmi.SmallStructure

    Raises
    ------
    ValueError
        When there is no such file, or it holds no cell or no atom sites.
    """
    import gemmi  # heavy, and only what works with crystals needs it

    path = Path(cif_path)
    if not path.is_file():
        raise ValueError(f"no CIF at {path}; give the path of an existing file")
    structure = gemmi.read_small_structure(str(path))
    if not structure.sites:
        raise ValueError(f"{path} holds no atom sites; give a CIF with an _atom_site loop")
    if not structure.cell.is_crystal():
        raise ValueError(
            f"{path} holds no unit cell; give a CIF with _cell_length_a and the others"
        )
    return structure
