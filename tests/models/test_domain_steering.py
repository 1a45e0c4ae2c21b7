"""Where to measure next: walls are bisected, and gaps are not forgotten."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import KDTree

from flyback.models.domains.steering import next_positions

FIELD = np.array([[0.0, 0.0], [50.0, 50.0]])


def domain(places):
    """Two domains beside a bent wall, and a third above a straight one."""
    y, x = np.asarray(places).T
    return np.where(y - 0.3 * x > 22, 2, (x + 3 * np.sin(y / 8) > 20).astype(int))


def certain(places, classes=3):
    return np.eye(classes)[domain(places)]


def lattice(step):
    line = np.arange(step / 2, 50, step)
    return np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)


def wall_error(places, probability):
    """Misassigned area over the walls' length: how far off they are in the mean."""
    fine = lattice(0.2)
    guess = probability.argmax(axis=1)[KDTree(places).query(fine)[1]]
    truth = domain(fine).reshape(250, 250)
    length = 0.2 * np.hypot(*(np.count_nonzero(np.diff(truth, axis=k)) for k in (0, 1)))
    return np.mean(guess != truth.ravel()) * 2500 / length


def test_half_the_dose_places_walls_as_well_as_a_raster():
    places = lattice(4.0)
    probability = certain(places)
    for number in range(4):
        new, _ = next_positions(places, probability, FIELD, 42, min_distance=0.3, seed=number)
        places = np.concatenate([places, new])
        probability = np.concatenate([probability, certain(new)])
    raster = lattice(2.0)
    assert len(places) <= len(raster) / 2
    assert wall_error(places, probability) < wall_error(raster, certain(raster))


def test_what_it_says_is_unknown_is_about_what_is():
    for step in (2.0, 4.0):
        places = lattice(step)
        _, error = next_positions(places, certain(places), FIELD, 1, min_distance=0.3)
        # a wall anywhere between neighbours: their distance over the square root of 12
        assert step * 0.28 < error < step * 1.42 * 0.3


def test_one_domain_leaves_only_gaps():
    places = np.delete(lattice(4.0), [80, 81, 92, 93], axis=0)
    probability = np.tile([1.0, 0.0], (len(places), 1))
    new, error = next_positions(places, probability, FIELD, 1, min_distance=0.5)
    assert error == 0
    hole = lattice(4.0)[[80, 81, 92, 93]].mean(axis=0)
    np.testing.assert_allclose(new[0], hole, atol=1e-6)
    # no gap is left where all are smaller than the probe
    assert len(next_positions(places, probability, FIELD, 9, min_distance=10)[0]) == 0


def test_a_doubtful_frame_is_surrounded():
    places = lattice(4.0)
    probability = np.tile([1.0, 0.0], (len(places), 1))
    probability[77] = [0.5, 0.5]
    new, _ = next_positions(places, probability, FIELD, 4, min_distance=0.3, explore=0.0)
    assert np.all(np.linalg.norm(new - places[77], axis=1) < 3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 60), st.floats(0.2, 3.0), st.floats(0, 1))
def test_positions_are_new_apart_and_inside(seed, n_points, closest, explore):
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, 50, (80, 2))
    probability = certain(places)
    args = (places, probability, FIELD, n_points)
    new, error = next_positions(*args, min_distance=closest, explore=explore, seed=seed)
    again, _ = next_positions(*args, min_distance=closest, explore=explore, seed=seed)
    assert np.array_equal(new, again)
    assert len(new) <= n_points
    assert error >= 0
    if len(new):
        assert np.all((new >= FIELD[0]) & (new <= FIELD[1]))
        assert KDTree(places).query(new)[0].min() > 0
    if len(new) > 1:
        assert KDTree(new).query(new, k=2)[0][:, 1].min() >= closest - 1e-9


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"positions": np.zeros((5, 3))}, r"positions must be \(n, 2\)"),
        ({"probability": np.ones((3, 2))}, r"probability \(n, k\)"),
        ({"min_distance": 0.0}, "min_distance must be positive"),
        ({"explore": 2.0}, "explore must lie between 0 and 1"),
        ({"positions": np.zeros((144, 2)) + np.arange(144)[:, None]}, "do not lie on one line"),
        ({"positions": np.zeros((2, 2)), "probability": np.ones((2, 2))}, "at least 4 frames"),
    ],
)
def test_bad_input_is_said(change, sentence):
    places = lattice(4.0)
    known = {"positions": places, "probability": certain(places), "min_distance": 0.5} | change
    with pytest.raises(ValueError, match=sentence):
        next_positions(
            known["positions"],
            known["probability"],
            FIELD,
            3,
            min_distance=known["min_distance"],
            explore=known.get("explore", 0.1),
        )
