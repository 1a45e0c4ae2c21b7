"""Crystal structures that come with flyback: the phases of the Pt | Li cell and its windows."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

STRUCTURES = Path(__file__).parent / "structures"


def known_phases() -> list[str]:
    """Return the names of the structures that come with flyback."""
    return sorted(path.stem for path in STRUCTURES.glob("*.cif"))


def find_cif(name: str | Path) -> Path:
    """Return the CIF of a name, or the path itself.

    Parameters
    ----------
    name : str or path
        Of a structure that comes with flyback, such as ``"Li2Pt"``, or the path of a CIF.

    Raises
    ------
    ValueError
        When there is neither.
    """
    path = Path(name)
    if path.suffix.lower() == ".cif" or path.is_file():
        if not path.is_file():
            raise ValueError(f"no CIF at {path}; give the path of an existing file")
        return path
    known = known_phases()
    if str(name) not in known:
        near = get_close_matches(str(name), known, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"there is no structure {str(name)!r}{hint} (known: {', '.join(known)}); give one of"
            " these or the path of a .cif file"
        )
    return STRUCTURES / f"{name}.cif"
