import numpy as np
import pytest

from flyback.models.domains.walls import KINDS, find_walls, kind_of

CLASSES = ("+x", "-x", "+y", "c")
DIRECTIONS = {"+x": 0.0, "-x": 180.0, "+y": 90.0}
KIND = kind_of(CLASSES, DIRECTIONS)


def raster(ny=20, nx=24, step=2.0):
    return step * np.stack(np.mgrid[:ny, :nx], -1).reshape(-1, 2).astype(float)


def sharp(domain, k=4):
    return np.eye(k)[np.maximum(domain, 0)]


def test_kinds_of_walls():
    assert [KINDS[KIND[0, k]] for k in (1, 2, 3)] == ["180°", "90°", "other"]
    assert np.array_equal(KIND, KIND.T)


def test_a_straight_wall_on_a_raster():
    at = raster()
    domain = (at[:, 1] > 23).astype(int)  # between the columns at 22 and 24
    walls = find_walls(at, 2.0, domain, sharp(domain), KIND)
    assert walls.length == pytest.approx([38.0, 0, 0])
    assert walls.area == pytest.approx(38 * 46)
    np.testing.assert_allclose(walls.points[:, 1], 23, atol=1.001)
    assert set(walls.kind) == {KINDS.index("180°")}
    np.testing.assert_array_equal(walls.wall, np.isin(at[:, 1], (22, 24)))


def test_a_wall_is_found_between_positions():
    at = raster()
    for place in (22.4, 23.0, 23.7):  # a linear change of probability is met exactly
        share = np.clip(0.5 + (at[:, 1] - place) / 8, 0, 1)
        probability = np.stack([1 - share, share, 0 * share, 0 * share], 1)
        walls = find_walls(at, 2.0, probability.argmax(1), probability, KIND)
        np.testing.assert_allclose(walls.points[:, 1], place, atol=1e-9)


def test_a_circle_on_scattered_positions():
    rng = np.random.default_rng(3)
    at = rng.uniform(-50, 50, (12_000, 2))
    radius = np.hypot(*at.T)
    share = np.clip(0.5 + (30 - radius) / 6, 0, 1)
    probability = np.stack([1 - share, 0 * share, share, 0 * share], 1)
    walls = find_walls(at, 1.0, probability.argmax(1), probability, KIND)
    np.testing.assert_allclose(np.hypot(*walls.points.T), 30, atol=0.1)
    assert walls.length[KINDS.index("90°")] == pytest.approx(2 * np.pi * 30, rel=0.03)


def test_three_domains_meet():
    at = raster(21, 21, 1.0) - 10
    domain = np.where(at[:, 1] < 0, 0, np.where(at[:, 0] < 0, 1, 2))
    walls = find_walls(at, 1.0, domain, sharp(domain), KIND)
    assert walls.length.sum() == pytest.approx(30, abs=1.5)
    assert walls.length == pytest.approx([10, 20, 0], abs=1)


def test_unknown_frames_and_gaps_make_no_walls():
    at = raster()
    domain = (at[:, 1] > 23).astype(int)
    domain[np.isin(at[:, 1], (20, 22, 24, 26))] = -1  # wide enough to be a gap
    walls = find_walls(at, 2.0, domain, sharp(domain), KIND)
    assert not walls.wall.any()
    assert not len(walls.points)
    assert walls.area < 38 * 46


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_few_positions_and_a_line(n):
    at = np.stack([np.zeros(n), np.arange(n)], 1).astype(float)
    domain = np.arange(n) // 2 % 2
    walls = find_walls(at, 1.0, domain, sharp(domain), KIND)
    assert walls.area == 0
    assert len(walls.points) == max(0, (n - 1) // 2)


def test_nan_positions_are_nobodys_neighbours():
    at = raster()
    at[::7] = np.nan
    domain = np.nan_to_num(at[:, 1] > 23).astype(int)
    walls = find_walls(at, 2.0, domain, sharp(domain), KIND)
    assert np.isfinite(walls.points).all()
    assert not walls.wall[::7].any()


def test_where_positions_are_dense_at_the_wall_only_those_beside_it_are_at_it():
    coarse = raster(11, 13, 4.0)
    dense = np.stack(
        np.meshgrid(np.arange(-2, 43, 1.0), [22.4, 22.8, 23.2, 23.6], indexing="ij"), -1
    )
    at = np.concatenate([coarse, dense.reshape(-1, 2)])
    domain = (at[:, 1] > 23).astype(int)
    even = find_walls(at, 4.0, domain, sharp(domain), KIND)
    uneven = find_walls(at, 4.0, domain, sharp(domain), KIND, uneven=True)
    assert np.count_nonzero(even.wall[: len(coarse)]) > 10
    assert not uneven.wall[: len(coarse)].any()
    np.testing.assert_array_equal(uneven.wall, np.isin(at[:, 1], (22.8, 23.2)))
    np.testing.assert_allclose(uneven.points[:, 1], 23, atol=0.21)
