"""Which patterns to label next."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flyback.models.domains.sampling import STRATEGIES, choose, diverse, margin, wall_proximity

SIDE = 20


@pytest.fixture
def stripes():
    """Two domains, wall at x = 9.5; features that tell them, with some noise."""
    positions = np.stack(np.mgrid[:SIDE, :SIDE], axis=-1).reshape(-1, 2).astype(float)
    right = 1 / (1 + np.exp(-2 * (positions[:, 1] - 9.5)))
    features = np.stack([right, *np.random.default_rng(0).normal(0, 0.1, (3, SIDE**2))], axis=1)
    return positions, np.stack([1 - right, right], axis=1), features


def test_walls_are_found_on_a_made_map(stripes):
    positions, probability, _ = stripes
    near = wall_proximity(positions, probability)
    across = np.abs(positions[:, 1] - 9.5)
    assert near[across < 1].min() > 0.5
    assert near[across > 4].max() < 0.01


def test_walls_are_found_on_a_spiral_and_not_across_a_gap():
    turn = np.arange(600)
    radius, angle = np.sqrt(turn), turn * 2.39996
    spiral = radius[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    right = (spiral[:, 1] > 0).astype(float)
    near = wall_proximity(spiral, np.stack([1 - right, right], axis=1))
    away = np.abs(spiral[:, 1])
    assert near[away > 4].max() == 0
    assert near[away < 0.5].mean() > 0.9
    spiral[:, 1] += 20 * right
    assert wall_proximity(spiral, np.stack([1 - right, right], axis=1)).max() == 0


def test_neighbours_on_a_line_and_frames_without_a_position():
    line = np.stack([np.zeros(10), np.arange(10.0)], axis=1)
    line[0] = np.nan
    right = (np.arange(10) > 5).astype(float)
    near = wall_proximity(line, np.stack([1 - right, right], axis=1))
    np.testing.assert_array_equal(np.flatnonzero(near), [5, 6])
    assert not wall_proximity(line[:1], np.ones((1, 2)) / 2).any()


@pytest.mark.parametrize("strategy", ["walls", "uncertainty"])
def test_the_chosen_lie_at_the_wall(stripes, strategy):
    positions, probability, features = stripes
    chosen = choose(
        strategy, features, np.zeros(SIDE**2, bool), 6, probability=probability,
        positions=positions, seed=3,
    )  # fmt: skip
    assert np.abs(positions[chosen, 1] - 9.5).max() < 2


def test_before_any_label_every_kind_of_pattern_is_asked_about():
    kind = np.repeat(np.arange(5), [960, 10, 10, 10, 10])
    features = np.eye(5)[kind] + np.random.default_rng(1).normal(0, 0.01, (1000, 5))
    for strategy in ("diverse", "uncertainty", "walls"):
        chosen = choose(
            strategy, features, np.zeros(1000, bool), 5, positions=np.zeros((1000, 2)), seed=2
        )
        assert len(set(kind[chosen])) == 5
    rare = choose("random", features, np.zeros(1000, bool), 5, seed=2)
    assert len(set(kind[rare])) < 5


def test_chosen_patterns_differ_from_the_labelled():
    features = np.repeat(np.eye(3), 50, axis=0)
    labelled = np.zeros(150, bool)
    labelled[0] = True  # of the first kind
    chosen = choose("diverse", features, labelled, 2, seed=0)
    assert set(chosen // 50) == {1, 2}


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(list(STRATEGIES)),
    st.integers(1, 40),
    st.integers(0, 30),
    st.integers(0, 10_000),
    st.booleans(),
)
def test_only_open_patterns_each_once_and_the_same_again(strategy, n, known, seed, asked_before):
    rng = np.random.default_rng(seed)
    features, positions = rng.normal(size=(40, 4)), rng.normal(size=(40, 2))
    labelled, skipped = np.zeros(40, bool), rng.random(40) < 0.1
    labelled[rng.permutation(40)[:known]] = True
    probability = rng.dirichlet(np.ones(3), 40) if asked_before else None
    given_ = {"probability": probability, "positions": positions, "skipped": skipped, "seed": seed}
    chosen = choose(strategy, features, labelled, n, **given_)
    may = ~labelled & ~skipped
    assert len(chosen) == min(n, may.sum()) == len(set(chosen.tolist()))
    assert may[chosen].all()
    np.testing.assert_array_equal(chosen, choose(strategy, features, labelled, n, **given_))


def test_a_strategy_of_ones_own():
    def darkest(pool, n, rng):
        return diverse(pool, -pool.features[:, 0].clip(max=0), n, rng, share=0)

    features = np.arange(-50.0, 50)[:, None]
    assert choose(darkest, features, np.zeros(100, bool), 2).max() < 16

    for wrong in ([0, 0], [-1], [100], [3], [0.5], []):
        labelled = np.arange(100) == 3
        with pytest.raises(ValueError, match="must choose 1 to 2 different patterns"):
            choose(lambda pool, n, rng, wrong=wrong: np.array(wrong), features, labelled, 2)


def test_margin():
    np.testing.assert_allclose(margin(np.array([[0.5, 0.5, 0], [1, 0, 0]])), [0, 1])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"strategy": "wals"}, "no strategy 'wals'.*known: random, diverse"),
        ({"n": 0}, "n must be 1 or more"),
        ({"features": np.full((9, 2), np.nan)}, "features must be finite"),
        ({"labelled": np.zeros(8, bool)}, "labelled must be 9 booleans"),
        ({"skipped": np.zeros(9)}, "skipped must be 9 booleans"),
        ({"probability": np.zeros((9, 1))}, "probability must be"),
        ({"positions": np.zeros((9, 3))}, "positions must be"),
        ({"strategy": "walls"}, "needs positions"),
    ],
)
def test_bad_input(change, sentence):
    arguments = {"strategy": "random", "features": np.zeros((9, 2)), "n": 1,
                 "labelled": np.zeros(9, bool)} | change  # fmt: skip
    with pytest.raises(ValueError, match=sentence):
        choose(**arguments)
