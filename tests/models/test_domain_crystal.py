"""Cells of ferroelectrics: where the atoms are, and what they do to the wave."""

import numpy as np
import pytest

from flyback.models.domains.crystal import (
    MATERIALS,
    STRUCTURES,
    direction,
    polar_sense,
    read_cell,
    variants,
)
from flyback.models.physics import interaction_parameter
from flyback.models.potential import projected_phase

KEV = 300.0


def test_slices_add_up_to_the_projected_phase():
    path = STRUCTURES / "PbTiO3.cif"
    cell = read_cell(path)
    found = cell.slice_phases((21, 21), KEV, 3).sum(axis=0)
    expected = projected_phase(path, (21, 21), 3.895e-10 / 21, 4.171e-10, KEV)
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_the_polarization_points_from_negative_to_positive():
    # as published, lead titanate's oxygen has moved along +c, barium titanate's titanium has
    assert polar_sense(read_cell(STRUCTURES / "PbTiO3.cif")) == -1
    assert polar_sense(read_cell(STRUCTURES / "BaTiO3.cif")) == 1
    for material in ("PbTiO3", "BaTiO3"):
        for name, cell in variants(material).items():
            along = cell.positions @ direction(name)
            titanium = along[cell.elements.index("Ti")]
            oxygen = [z for z, kind in zip(along, cell.elements, strict=True) if kind == "O"]
            moves = np.array([z - np.rint(2 * z) / 2 for z in (titanium, *oxygen)])
            assert moves[0] > moves[1:].mean()


def test_boracite_is_the_cubic_frame_and_a_model():
    cells = variants("boracite")
    assert cells["+x"].elements.count("Cu") == 24
    assert "Mg" not in cells["+x"].elements
    assert cells["+x"].turned(2).is_like(cells["-x"])
    assert not cells["+x"].is_like(cells["-x"])
    metal = np.array(cells["+x"].elements) == "Cu"
    moved = cells["+x"].positions[metal] - cells["-x"].positions[metal]
    moved = (moved - np.rint(moved)) * cells["+x"].size_a
    np.testing.assert_allclose(moved, [[0, 0, 0.4]] * 24, atol=1e-9)


def test_an_unknown_material_is_named():
    with pytest.raises(ValueError, match="material must be one of PbTiO3, BaTiO3, boracite"):
        variants("steel")
    assert set(MATERIALS) == {path.stem for path in STRUCTURES.glob("*.cif")}


def test_the_interaction_parameter_is_in_the_phase():
    cell = variants("PbTiO3")["+z"]
    ratio = cell.slice_phases((16, 16), 80.0, 1) / cell.slice_phases((16, 16), 300.0, 1)
    np.testing.assert_allclose(ratio, interaction_parameter(80) / interaction_parameter(300))
