"""CIFs are read or refused in a sentence."""

import pytest

from flyback.models.structure import read_structure

CELL = "\n".join(
    f"_cell_{name} {value}"
    for name, value in {
        "length_a": 3.92,
        "length_b": 3.92,
        "length_c": 3.92,
        "angle_alpha": 90,
        "angle_beta": 90,
        "angle_gamma": 90,
    }.items()
)
SITES = """loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Pt 0 0 0
"""


def written(folder, *parts):
    path = folder / "a.cif"
    path.write_text("\n".join(("data_a", *parts)) + "\n", encoding="utf-8")
    return path


def test_the_cell_and_the_sites_are_read(tmp_path):
    structure = read_structure(written(tmp_path, CELL, SITES))
    assert structure.cell.a == 3.92
    assert [site.element.name for site in structure.sites] == ["Pt"]


@pytest.mark.parametrize(
    ("parts", "words"), [((CELL,), "no atom sites"), ((SITES,), "no unit cell")]
)
def test_what_is_missing_is_named(tmp_path, parts, words):
    with pytest.raises(ValueError, match=words):
        read_structure(written(tmp_path, *parts))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no CIF at .*gone\.cif"):
        read_structure(tmp_path / "gone.cif")


def test_the_block_with_the_structure_is_found_and_what_is_no_cif_is_said(tmp_path):
    path = written(tmp_path, CELL, "data_b", CELL, SITES)
    assert len(read_structure(path).sites) == 1
    path.write_text("\x00 nothing of the kind")
    with pytest.raises(ValueError, match="is no CIF") as caught:
        read_structure(path)
    assert "\n" not in str(caught.value)
