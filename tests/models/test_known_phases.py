"""The structures that come with flyback have the lines that the field knows of them."""

import numpy as np
import pytest

from flyback.models.diffraction.known_phases import find_cif, known_phases
from flyback.models.diffraction.powder import read_phase

# strongest useful lines, 1/angstrom: literature, see the notes in each CIF
LINES = {
    "Pt": (2.774, 3.203),
    "LiPt": (1.487, 2.660, 3.047),
    "Li2Pt": (1.733, 2.929, 3.002),
    "Al": (2.687,),
    "Cu": (3.010,),
}


@pytest.mark.parametrize("name", LINES)
def test_strong_lines_are_where_they_should_be(name):
    phase = read_phase(find_cif(name))
    strong = phase.q_per_a[phase.intensity > 0.05 * phase.intensity.max()]
    for line in LINES[name]:
        assert np.abs(strong - line).min() < 1.5e-3


@pytest.mark.parametrize("name", known_phases())
def test_every_structure_can_be_read(name):
    phase = read_phase(find_cif(name))
    assert phase.name == name
    assert len(phase.q_per_a) > 5


@pytest.mark.data
@pytest.mark.parametrize("name", known_phases())
def test_they_agree_with_the_reference_structures(data_folder, name):
    ours, theirs = (
        read_phase(find_cif(name)),
        read_phase(data_folder / "structures" / f"{name}.cif"),
    )
    np.testing.assert_allclose(ours.q_per_a, theirs.q_per_a, rtol=1e-4)
    np.testing.assert_allclose(ours.intensity, theirs.intensity, rtol=0.25)  # other thermal factors


def test_a_path_is_taken_as_it_is_and_an_unknown_name_is_refused(tmp_path):
    path = tmp_path / "mine.cif"
    path.write_text("data_x", encoding="utf-8")
    assert find_cif(path) == path
    with pytest.raises(ValueError, match="did you mean 'Li2Pt'"):
        find_cif("Li2Pd")
    with pytest.raises(ValueError, match="no CIF at"):
        find_cif(tmp_path / "gone.cif")
