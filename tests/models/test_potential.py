import numpy as np
import pytest

from flyback.models import physics
from flyback.models.potential import mean_inner_potential_v, projected_phase

PEROVSKITE = """data_perovskite
_space_group_name_H-M_alt 'P m -3 m'
_cell_length_a 3.905
_cell_length_b 3.905
_cell_length_c 3.905
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_U_iso_or_equiv
Sr Sr 0.5 0.5 0.5 0.006
Ti Ti 0 0 0 0.004
O O 0.5 0 0 0.007
"""
A = 3.905e-10


@pytest.fixture
def cif(tmp_path):
    path = tmp_path / "perovskite.cif"
    path.write_text(PEROVSKITE)
    return path


def test_the_mean_is_the_mean_inner_potential(cif):
    volts = mean_inner_potential_v(cif)
    assert 15 < volts < 30  # neutral free atoms overstate the measured 15 to 20 V
    phase = projected_phase(cif, (40, 40), A / 40, 1e-8, 200)
    expected = physics.interaction_parameter(200) * 1e-8 * volts
    assert phase.mean() == pytest.approx(expected, rel=1e-5)
    assert phase.dtype == np.float32


def test_it_repeats_with_the_lattice_and_shifts_with_the_origin(cif):
    phase = projected_phase(cif, (80, 80), A / 40, 1e-8, 200)
    np.testing.assert_allclose(phase[:40], phase[40:], atol=2e-5)
    moved = projected_phase(cif, (80, 80), A / 40, 1e-8, 200, origin_m=(A / 40 * 7, 0))
    np.testing.assert_allclose(moved[:60], phase[7:67], atol=2e-5)


def test_atoms_are_positive_and_where_the_cif_says(cif):
    phase = projected_phase(cif, (40, 40), A / 40, 1e-8, 200)
    assert phase.min() > -1e-3
    # strontium, titanium over oxygen, oxygen alone, the gap between
    assert min(phase[20, 20], phase[0, 0]) > 2 * phase[0, 20] > 10 * phase[10, 10]
    assert phase[20, 20] == phase[15:26, 15:26].max()


def test_the_zone_has_its_symmetry(cif):
    phase = projected_phase(cif, (40, 40), A / 40, 1e-8, 200)
    np.testing.assert_allclose(phase, phase.T, atol=2e-5)
    np.testing.assert_allclose(phase[1:], phase[:0:-1], atol=2e-5)
    quarter = projected_phase(cif, (40, 40), A / 40, 1e-8, 200, rotation_rad=np.pi / 2)
    np.testing.assert_allclose(quarter[1:, 1:], phase[1:, 1:], atol=2e-5)


def test_rotation_turns_x_towards_y(cif):
    rows = projected_phase(cif, (60, 60), A / 40, 1e-8, 200, zone_axis=(1, 1, 0))
    turned = projected_phase(
        cif, (60, 60), A / 40, 1e-8, 200, zone_axis=(1, 1, 0), rotation_rad=np.pi / 2
    )
    # what lay along +x now lies along +y, what lay along +y along -x: mirror-symmetric here
    np.testing.assert_allclose(turned, rows.T, atol=2e-5)
    assert np.abs(rows - rows.T).max() > 0.1


def test_another_zone_keeps_the_mean(cif):
    # along [1 1 0] the picture repeats after a * sqrt(2) / 2 or a: average over many cells
    phase = projected_phase(cif, (400, 400), A / 13.7, 1e-8, 200, zone_axis=(1, 1, 0))
    expected = physics.interaction_parameter(200) * 1e-8 * mean_inner_potential_v(cif)
    assert phase.mean() == pytest.approx(expected, rel=2e-2)


def test_anisotropic_pixels_and_linear_thickness(cif):
    wide = projected_phase(cif, (40, 20), (A / 40, A / 20), 1e-8, 200)
    assert wide.shape == (40, 20)
    twice = projected_phase(cif, (40, 20), (A / 40, A / 20), 2e-8, 200)
    np.testing.assert_allclose(twice, 2 * wide, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pixel_m": 0.3}, "pixel_m must lie"),
        ({"thickness_m": 10}, "thickness_m must lie"),
        ({"zone_axis": (0, 0, 0)}, "zone_axis"),
    ],
)
def test_bad_input_is_named(cif, change, words):
    arguments = {"shape": (8, 8), "pixel_m": 1e-11, "thickness_m": 1e-9, "energy_kev": 200}
    with pytest.raises(ValueError, match=words):
        projected_phase(cif, **(arguments | change))


def test_a_file_without_atoms(tmp_path):
    with pytest.raises(ValueError, match="no CIF at"):
        projected_phase(tmp_path / "none.cif", (8, 8), 1e-11, 1e-9, 200)
    (tmp_path / "empty.cif").write_text("data_empty\n_cell_length_a 4\n")
    with pytest.raises(ValueError, match="holds no atom sites"):
        projected_phase(tmp_path / "empty.cif", (8, 8), 1e-11, 1e-9, 200)
