"""Powder lines from CIFs: against structure factors summed by hand, and known lines."""

import numpy as np
import pytest

from flyback.models.diffraction.lattice import (
    SETTINGS,
    Lattice,
    setting_of_metric,
    volume_a3,
)
from flyback.models.diffraction.powder import read_phase

CELLS = {
    "cubic": (4.0, 4.0, 4.0, 90, 90, 90),
    "tetragonal": (4.0, 4.0, 5.0, 90, 90, 90),
    "hexagonal": (4.0, 4.0, 5.0, 90, 90, 120),
    "rhombohedral": (4.0, 4.0, 4.0, 85, 85, 85),
    "orthorhombic": (4.0, 5.0, 6.0, 90, 90, 90),
    "monoclinic_a": (4.0, 5.0, 6.0, 100, 90, 90),
    "monoclinic_b": (4.0, 5.0, 6.0, 90, 100, 90),
    "monoclinic_c": (4.0, 5.0, 6.0, 90, 90, 100),
    "triclinic": (4.0, 5.0, 6.0, 80, 95, 105),
}
ROCK_SALT = """data_x
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_U_iso_or_equiv
Na1 Na 0 0 0 0.02
Cl1 Cl 0.5 0.5 0.5 0.01
"""


@pytest.fixture
def rock_salt(tmp_path):
    path = tmp_path / "NaCl.cif"
    path.write_text(ROCK_SALT)
    return path


def test_intensities_are_the_sum_over_all_atoms_of_the_cell(rock_salt):
    """Naive oracle: eight atoms, IT92 form factors, all planes of the sphere, no symmetry."""
    gemmi = pytest.importorskip("gemmi")
    phase = read_phase(rock_salt, q_max_per_a=6.0, weakest=1e-9)
    centres = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    expected = {}
    span = range(-7, 8)
    for plane in ((h, k, m) for h in span for k in span for m in span):
        square = sum(x * x for x in plane)
        s2 = square / (4 * 5.64**2)
        if not 0 < 4 * np.pi * np.sqrt(s2) <= 6.0:
            continue
        total = 0
        for element, at, u in (("Na", 0.0, 0.02), ("Cl", 0.5, 0.01)):
            f = gemmi.Element(element).it92.calculate_sf(s2) * np.exp(-8 * np.pi**2 * u * s2)
            total += f * np.exp(2j * np.pi * (centres + at) @ plane).sum()
        expected[square] = expected.get(square, 0) + abs(total) ** 2
    found = {int(sum(h * h)): i for h, i in zip(phase.hkl, phase.intensity, strict=True)}
    for square, intensity in expected.items():
        if intensity > 1e-6:
            assert found[square] == pytest.approx(intensity, rel=1e-4)
    assert phase.crystal_system == "cubic"
    assert tuple(phase.hkl[1]) == (2, 0, 0)
    assert phase.multiplicity[1] == 6


def test_lines_that_coincide_by_symmetry_are_one_and_the_others_stay_apart(rock_salt):
    phase = read_phase(rock_salt, q_max_per_a=6.5)
    forms = phase.lattice.forms(phase.hkl)[:, 0]
    assert len(set(forms.tolist())) == len(forms)
    assert phase.multiplicity[forms == 27].item() == 8 + 24  # 333 and 511
    tetragonal = Lattice("tetragonal").forms(np.array([[5, 0, 0], [3, 4, 0], [0, 0, 5]]))
    assert (tetragonal[0] == tetragonal[1]).all()
    assert (tetragonal[0] != tetragonal[2]).any()


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_lattice_gives_the_textbook_spacing_whatever_its_kind(setting):
    gemmi = pytest.importorskip("gemmi")
    cell, lattice = np.array(CELLS[setting], float), Lattice(setting)
    hkl = np.array([[1, 2, 3], [2, -1, 1], [0, 0, 4], [3, 0, -1]])
    expected = [2 * np.pi / gemmi.UnitCell(*cell).calculate_d(h.tolist()) for h in hkl]
    np.testing.assert_allclose(lattice.q_per_a(hkl, cell), expected, rtol=1e-12)
    assert volume_a3(cell) == pytest.approx(gemmi.UnitCell(*cell).volume)
    assert setting_of_metric(cell) == setting
    free = lattice.free_of(cell)
    np.testing.assert_allclose(lattice.cell_of(free, cell), cell)


def test_photons_near_an_edge_see_fewer_electrons(rock_salt):
    text = ROCK_SALT.replace("Na1 Na", "Pt1 Pt").replace("Cl1 Cl", "Pt2 Pt")
    rock_salt.write_text(text)
    far, edge = (read_phase(rock_salt, energy_kev=e) for e in (18.0, 11.565))
    assert edge.intensity[0] < 0.9 * far.intensity[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.replace("_cell_length_b 5.64\n", ""), "holds no unit cell"),
        (lambda t: t.split("loop_")[0], "holds no atom sites"),
        (lambda t: "\x00\x01 not a cif", "is no CIF"),
        (lambda t: t.replace("5.64", "0.0"), "holds no unit cell"),
        (lambda t: "", "holds no atom sites"),
    ],
)
def test_what_is_not_a_structure_is_refused_in_one_sentence(rock_salt, change, said):
    rock_salt.write_text(change(ROCK_SALT))
    with pytest.raises(ValueError, match=said) as caught:
        read_phase(rock_salt)
    assert "\n" not in str(caught.value)
    assert "NaCl.cif" in str(caught.value)


def test_a_missing_file_and_too_short_a_range_are_named(rock_salt):
    with pytest.raises(ValueError, match="no CIF at"):
        read_phase(rock_salt.with_name("none.cif"))
    with pytest.raises(ValueError, match="has no line up to"):
        read_phase(rock_salt, q_max_per_a=0.5)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("Pt", {(1, 1, 1): 2.774, (2, 0, 0): 3.203}),
        ("LiPt", {(0, 0, 1): 1.487, (1, 0, 0): 2.660, (1, 0, 1): 3.047}),
        ("Li2Pt", {(1, 0, 0): 1.733, (1, 0, 1): 2.929, (1, 1, 0): 3.002}),
        ("Al", {(1, 1, 1): 2.687}),
        ("Cu", {(1, 1, 1): 3.010}),
    ],
)
def test_the_strongest_lines_of_the_cell_are_where_they_are_known_to_be(name, lines, data_folder):
    path = data_folder / "structures" / f"{name}.cif"
    phase = read_phase(path, energy_kev=18.0)
    found = {tuple(h): q for h, q in zip(phase.hkl.tolist(), phase.q_per_a, strict=True)}
    for plane, q in lines.items():
        assert found[plane] == pytest.approx(q, abs=6e-4)


@pytest.mark.data
def test_a_file_without_its_symmetry_gives_the_same_lines(data_folder):
    """`literature/` holds P1 exports of the same crystals."""
    path = data_folder / "structures" / "literature" / "LiPt.cif"
    plain, symmetric = (read_phase(p) for p in (path, data_folder / "structures" / "LiPt.cif"))
    assert plain.lattice.setting == symmetric.lattice.setting == "hexagonal"
    assert plain.crystal_system == symmetric.crystal_system == "hexagonal"
    np.testing.assert_array_equal(plain.multiplicity, symmetric.multiplicity)
    np.testing.assert_allclose(plain.q_per_a, symmetric.q_per_a, rtol=1e-6)
