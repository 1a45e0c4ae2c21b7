"""A crystal structure from a CIF, as gemmi reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def read_structure(cif_path: str | Path) -> Any:
    """Read the first structure of a CIF that has both a cell and atom sites.

    Parameters
    ----------
    cif_path : path

    Returns
    -------
    gemmi.SmallStructure

    Raises
    ------
    ValueError
        When there is no such file, it is no CIF, or it holds no cell or no atom sites.
    """
    import gemmi  # heavy, and only what works with crystals needs it

    path = Path(cif_path)
    if not path.is_file():
        raise ValueError(f"no CIF at {path}; give the path of an existing file")
    try:
        blocks = list(gemmi.cif.read(str(path)))
    except (RuntimeError, ValueError, OSError) as why:
        raise ValueError(f"{path} is no CIF: {str(why).splitlines()[0]}") from None
    found = [gemmi.make_small_structure_from_block(block) for block in blocks]
    if not any(structure.sites for structure in found):
        raise ValueError(f"{path} holds no atom sites; give a CIF with an _atom_site loop")
    whole = [s for s in found if s.sites and s.cell.is_crystal() and s.cell.volume > 0]
    if not whole:
        raise ValueError(
            f"{path} holds no unit cell; give a CIF with _cell_length_a and the others"
        )
    return whole[0]
