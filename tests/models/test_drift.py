import numpy as np
import pytest
import scipy.ndimage

from flyback.models.drift import Drift, correct_positions, find_drift
from flyback.models.trajectories import Archimedean, Multipass
from flyback.tests.models.scenes import atoms

RNG = np.random.default_rng(0)
STEP_A = 0.3  # a pixel of the scene
PICTURE = scipy.ndimage.gaussian_filter(atoms((220, 220), 1.0), 1.0)


def scan(path, rate_a_s, seconds, noise=0.02, bend=0.0):
    """Values of a drifting picture; positions and displacement in pixels."""
    t = np.linspace(0, seconds, path.n_points)
    direction = np.array([0.6, -0.8])
    moved = direction * (rate_a_s / STEP_A) * (t[:, None] + bend * np.sin(6 * t / seconds)[:, None])
    positions = path.positions
    values = scipy.ndimage.map_coordinates(PICTURE, (positions + moved + 110).T, order=3)
    values = values + RNG.normal(0, noise * PICTURE.max(), len(values))
    return values, positions, t, moved - moved.mean(axis=0)


@pytest.mark.parametrize("rate_a_s", [0.0, 0.5, 1.0, 2.0])
def test_interleaved_passes(rate_a_s):
    path = Multipass(fov=64.0, step=1.0, passes=9, order="interleaved", skip=3, units="px")
    values, positions, t, moved = scan(path, rate_a_s, 2.0)
    found = find_drift(values, positions, t, path.pass_index, blur_px=1.5, units="px")
    assert np.sqrt(((found(t) - moved) ** 2).mean()) * STEP_A < 0.15
    rate, sigma = found.rate
    np.testing.assert_allclose(
        rate * STEP_A, np.array([0.6, -0.8]) * rate_a_s, atol=0.06 + 0.05 * rate_a_s
    )
    assert 0 < sigma < 0.5
    assert found.to_metadata()["drift_px_s"] == rate.tolist()
    better = correct_positions(positions, t, found)
    still = positions + moved
    assert np.abs(better - still).mean() < max(0.4, 0.3 * np.abs(moved).mean())


def test_drift_that_is_not_even():
    path = Multipass(fov=64.0, step=1.0, passes=16, order="interleaved", skip=4, units="px")
    values, positions, t, moved = scan(path, 1.0, 2.0, bend=0.2)
    found = find_drift(values, positions, t, path.pass_index, blur_px=2, units="px")
    assert np.sqrt(((found(t) - moved) ** 2).mean()) * STEP_A < 0.2


@pytest.mark.parametrize("rate_a_s", [0.0, 1.0, 2.0])
def test_a_spiral_that_is_followed_twice(rate_a_s):
    path = Archimedean(fov=60.0, step=1.2, units="px")

    class Twice:
        n_points = 2 * path.n_points
        positions = np.concatenate([path.positions, path.positions[::-1]])

    values, positions, t, moved = scan(Twice, rate_a_s, 2.0)
    found = find_drift(values, positions, t, 8, pixel=1.0, blur_px=1.2, units="px")
    assert np.sqrt(((found(t) - moved) ** 2).mean()) * STEP_A < 0.2


def test_one_group_and_lines_beyond_it():
    drift = Drift(np.array([1.0, 2.0]), np.array([[0.0, 0.0], [1.0, 2.0]]), np.ones(2))
    np.testing.assert_allclose(drift(np.array([0.0, 1.5, 3.0]))[:, 1], [-2, 1, 4])
    alone = Drift(np.array([1.0]), np.array([[3.0, 4.0]]), np.ones(1))
    assert alone(np.arange(3.0)).tolist() == [[3, 4]] * 3
    assert alone.rate[1] == np.inf


def test_bad_scans_are_named():
    n = 100
    v, p, t = np.ones(n), RNG.uniform(0, 9, (n, 2)), np.arange(n, dtype=float)
    with pytest.raises(ValueError, match="at least 64 frames"):
        find_drift(v[:20], p[:20], t[:20], 2)
    with pytest.raises(ValueError, match=r"must be \(n,\), \(n, 2\)"):
        find_drift(v, p[:5], t, 2)
    with pytest.raises(ValueError, match="group must lie"):
        find_drift(v, p, t, 90)
    with pytest.raises(ValueError, match="group must be"):
        find_drift(v, p, t, np.ones(3, int))
    with pytest.raises(ValueError, match="different positions"):
        find_drift(v, np.ones((n, 2)), t, 2)
    with pytest.raises(ValueError, match="blur_px"):
        find_drift(v, p, t, 2, blur_px=-1)
    with pytest.raises(ValueError, match="in 2 groups"):
        find_drift(v * np.nan, p, t, 2)
    flat = find_drift(v, p, t, 2)
    assert np.all(flat.displacement == 0)
    with pytest.raises(ValueError, match="positions must be"):
        correct_positions(p, t[:3], flat)
