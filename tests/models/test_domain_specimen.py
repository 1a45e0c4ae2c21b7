"""A lamella of stripes: what lies where."""

import numpy as np
import pytest

from flyback.models.domains.specimen import Lamella, probe_radius_nm

RNG = np.random.default_rng(8)
PLACES = RNG.uniform(-100, 100, (500, 2))


@pytest.mark.parametrize("variants", [("+x",), ("+x", "-x"), ("+x", "+y", "-x", "-y", "+z", "-z")])
@pytest.mark.parametrize("probe_nm", [0.0, 2.0, 30.0])
def test_shares_sum_to_one_and_the_greatest_is_the_truth(variants, probe_nm):
    lamella = Lamella(variants=variants, width_nm=14.0, normal_deg=33.0, offset_nm=3.0)
    local, truth = lamella.at(PLACES, probe_nm), lamella.truth(PLACES)
    np.testing.assert_allclose(sum(local.fractions.values()), 1, atol=1e-12)
    assert all((share >= 0).all() for share in local.fractions.values())
    if probe_nm > 5:
        return
    shares = {}
    for name, share in local.fractions.items():
        kind = "c" if name[1] == "z" else name
        shares[kind] = shares.get(kind, 0) + share
    table = np.array([shares[kind] for kind in truth.classes])
    far = truth.wall_distance_nm > 0.1
    np.testing.assert_array_equal(table.argmax(axis=0)[far], truth.label[far])


def test_at_a_wall_there_is_half_of_each_and_far_away_one():
    lamella = Lamella(variants=("+x", "-x"), width_nm=20.0, normal_deg=0.0, wall_nm=1.0)
    x = np.array([0.0, 10.0, 20.0, 21.0, -1.0])
    shares = lamella.at(np.stack([0 * x + 7, x], 1)).fractions["+x"]
    tail = 0.5 * (1 - np.tanh(1.0))
    np.testing.assert_allclose(shares, [0.5, 1, 0.5, tail, tail], atol=1e-6)
    np.testing.assert_allclose(
        lamella.truth(np.stack([0 * x, x], 1)).wall_distance_nm, [0, 10, 0, 1, 1], atol=1e-9
    )


def test_a_wider_probe_sees_the_wall_from_further():
    lamella = Lamella(variants=("+x", "+y"), width_nm=50.0, normal_deg=0.0)
    place = np.array([[0.0, 2.0]])
    near, wide = (lamella.at(place, probe).fractions["+y"][0] for probe in (0.0, 4.0))
    assert near < 0.01 < 0.2 < wide < 0.5


def test_both_senses_along_the_beam_are_one_class_without_a_wall():
    lamella = Lamella(variants=("+z", "-z", "+x"), width_nm=10.0, normal_deg=0.0)
    truth = lamella.truth(np.array([[0.0, 5.0], [0.0, 15.0], [0.0, 25.0], [0.0, 10.0]]))
    assert truth.classes == ("c", "+x")
    np.testing.assert_array_equal(truth.label, [0, 0, 1, 0])
    np.testing.assert_allclose(truth.wall_distance_nm, [5, 5, 5, 10])
    alone = Lamella(variants=("+z", "-z")).truth(PLACES)
    assert np.isinf(alone.wall_distance_nm).all()


def test_walls_are_on_the_side_that_the_angle_says():
    lamella = Lamella(variants=("+x", "-x"), width_nm=10.0, normal_deg=90.0)
    truth = lamella.truth(np.array([[5.0, 0.0], [5.0, 99.0], [-5.0, 0.0], [15.0, 0.0]]))
    np.testing.assert_array_equal(truth.label, [0, 0, 1, 1])


def test_a_wedge_and_a_bend():
    lamella = Lamella(
        thickness_nm=10.0, wedge=(0.0, 0.5), tilt_mrad=(0.1, -0.2), bend_mrad_per_nm=0.01
    )
    local = lamella.at(np.array([[3.0, 0.0], [0.0, 4.0], [0.0, -40.0]]))
    np.testing.assert_allclose(local.thickness_nm, [10, 12, 0])
    np.testing.assert_allclose(local.tilt_mrad, [[0.1, -0.2], [0.1, -0.16], [0.1, -0.6]])
    across = Lamella(bend_mrad_per_nm=0.01, bend_deg=90.0).at(np.array([[5.0, 7.0]]))
    np.testing.assert_allclose(across.tilt_mrad, [[0.05, 0.0]], atol=1e-12)
    thickness, tilt = lamella.limits(20.0)
    assert thickness == pytest.approx(15)
    assert tilt == pytest.approx(np.hypot(0.1, 0.3))


def test_the_probe_grows_with_defocus_and_shrinks_with_the_aperture():
    focused = probe_radius_nm(1.5, 1.97e-3)
    assert 0.2 < focused < 0.6
    assert probe_radius_nm(1.5, 1.97e-3, -2000) > 3 * focused
    assert probe_radius_nm(3.0, 1.97e-3) == pytest.approx(focused / 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"material": "quartz"}, "material must be one of"),
        ({"variants": ()}, "variants must name at least one"),
        ({"variants": ("left",)}, "variant must be one of"),
        ({"width_nm": 0.0}, "width_nm must lie between"),
        ({"wall_nm": 30.0}, "wall_nm must not exceed half"),
        ({"thickness_nm": np.nan}, "thickness_nm must lie between"),
    ],
)
def test_bad_input_is_named(change, words):
    with pytest.raises(ValueError, match=words):
        Lamella(**change)


def test_positions_must_be_finite():
    with pytest.raises(ValueError, match="positions_nm must be finite"):
        Lamella().at(np.array([[0.0, np.nan]]))
