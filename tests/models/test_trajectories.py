"""Trajectories: counts, bounds, steps, order and their way into a document and back."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flyback.models.trajectories import (
    KINDS,
    Archimedean,
    Fermat,
    Multipass,
    Points,
    Random,
    Raster,
    Serpentine,
    TrajectoryError,
    from_dict,
)

steps = st.floats(0.05, 2.0)
counts = st.integers(1, 25)
units = st.sampled_from(["nm", "px"])
centers = st.tuples(st.floats(-50, 50), st.floats(-50, 50))
small = settings(max_examples=40, deadline=None)


@small
@given(steps, counts, counts, centers, units)
def test_a_raster_is_a_centred_grid_in_reading_order(step, ny, nx, center, unit):
    path = Raster(fov=(ny * step, nx * step), step=step, center=center, units=unit)
    assert path.grid_shape == (ny, nx)
    assert path.n_points == len(path.positions) == ny * nx
    grid = path.positions.reshape(ny, nx, 2)
    np.testing.assert_allclose(path.positions.mean(axis=0), center, atol=1e-9 * 50 + 1e-9)
    np.testing.assert_allclose(np.diff(grid[..., 1], axis=1), step, atol=1e-9)
    np.testing.assert_allclose(np.diff(grid[..., 0], axis=0), step, atol=1e-9)
    assert np.ptp(grid[..., 0], axis=1).max() == 0


@small
@given(steps, counts, counts)
def test_a_serpentine_visits_the_raster_without_a_jump(step, ny, nx):
    raster = Raster(fov=(ny * step, nx * step), step=step)
    path = Serpentine(fov=(ny * step, nx * step), step=step)
    assert _sorted(path.positions) == _sorted(raster.positions)
    if path.n_points > 1:
        moved = np.hypot(*np.diff(path.positions, axis=0).T)
        np.testing.assert_allclose(moved, step, rtol=1e-9)


@small
@given(steps, counts, counts, st.integers(1, 9), st.booleans())
def test_every_raster_point_is_visited_once_in_multipass(step, ny, nx, passes, interleaved):
    passes = min(passes, ny * nx)
    order = "interleaved" if interleaved else "sequential"
    raster = Raster(fov=(ny * step, nx * step), step=step)
    path = Multipass(fov=(ny * step, nx * step), step=step, passes=passes, order=order)
    assert _sorted(path.positions) == _sorted(raster.positions)
    assert (np.diff(path.pass_index) >= 0).all()
    assert path.pass_index.max() < passes


@pytest.mark.parametrize("kind", [Archimedean, Fermat])
@pytest.mark.parametrize("passes", [2, 3, 5])
def test_each_pass_of_a_spiral_covers_the_disc(kind, passes):
    once = kind(fov=20, step=0.5)
    path = kind(fov=20, step=0.5, passes=passes)
    assert path.n_points == pytest.approx(once.n_points, rel=0.03)
    assert (np.diff(path.pass_index) >= 0).all()
    radius = np.hypot(*path.positions.T)
    assert radius.max() <= 10 + 1e-9
    for number in range(passes):
        own = radius[path.pass_index == number]
        assert len(own) == pytest.approx(path.n_points / passes, rel=0.1)
        # as many points in the inner half of the area as in the outer
        assert np.median(own) == pytest.approx(10 / math.sqrt(2), rel=0.08)
    assert once.pass_index is None
    assert from_dict(json.loads(json.dumps(path.to_dict()))) == path
    if kind is Fermat:
        assert _sorted(path.positions) == _sorted(once.positions)


def test_an_interleaved_pass_is_a_coarser_raster():
    path = Multipass(fov=8, step=1, passes=4, order="interleaved")
    for number in range(4):
        of_pass = path.positions[path.pass_index == number]
        y, x = np.unique(of_pass[:, 0]), np.unique(of_pass[:, 1])
        assert len(of_pass) == len(y) * len(x) == 16
        np.testing.assert_allclose(np.diff(y), 2)
        np.testing.assert_allclose(np.diff(x), 2)


@small
@given(st.floats(0.1, 0.5), st.floats(4, 20))
def test_an_archimedean_spiral_has_constant_velocity(step, fov):
    path = Archimedean(fov=fov, step=step)
    moved = np.hypot(*np.diff(path.positions, axis=0).T)
    far = np.hypot(*path.positions[1:].T) > 2 * step
    # a chord is a little shorter than the arc, and less so further out
    assert (moved[far] > 0.97 * step).all()
    assert (moved <= step * (1 + 1e-6)).all()
    assert np.hypot(*path.positions.T).max() <= fov / 2 * (1 + 1e-9)
    assert path.n_points * step**2 == pytest.approx(path.area, rel=0.1)


@small
@given(st.floats(0.1, 1.0), st.floats(4, 20))
def test_a_fermat_spiral_has_one_point_on_each_step_squared(step, fov):
    path = Fermat(fov=fov, step=step)
    assert path.n_points * step**2 == pytest.approx(path.area, rel=0.1)
    assert np.hypot(*path.positions.T).max() <= fov / 2
    from scipy.spatial import cKDTree

    if path.n_points > 3:
        nearest = cKDTree(path.positions).query(path.positions, 2)[0][:, 1]
        assert nearest.min() > 0.5 * step


def test_random_points_stay_inside_and_repeat_with_the_seed():
    path = Random(fov=(3, 5), step=0.5, seed=4, center=(1, 2))
    assert path.n_points == 60
    assert (np.abs(path.positions - [1, 2]) <= [1.5, 2.5]).all()
    assert np.array_equal(
        path.positions, Random(fov=(3, 5), step=0.5, seed=4, center=(1, 2)).positions
    )
    assert not np.array_equal(path.positions, Random(fov=(3, 5), step=0.5, seed=5).positions)


@small
@given(steps, st.integers(2, 12), centers, units, st.sampled_from(sorted(KINDS)))
def test_every_trajectory_goes_through_json_and_back(step, n, center, unit, kind):
    common = {"center": center, "units": unit}
    if kind == "points":
        path = Points(listed=[[0.5, step], [n, 2.0]], **common)
    else:
        path = KINDS[kind](fov=n * step, step=step, **common)
    document = json.loads(json.dumps(path.to_dict(), allow_nan=False))
    again = from_dict(document)
    assert again == path
    assert np.array_equal(again.positions, path.positions)
    assert document["n_points"] == path.n_points
    np.testing.assert_allclose(document["extent"][0], path.positions.min(axis=0))
    np.testing.assert_allclose(document["extent"][1], path.positions.max(axis=0))
    assert document["units"] == unit


def test_many_listed_points_stay_out_of_the_document_but_are_named():
    listed = np.arange(10_000).reshape(-1, 2) * 1.0
    path = Points(listed=listed)
    short = path.to_dict(inline=False)
    assert short["listed_nm"] is None
    assert short["sha256"] == path.to_dict()["sha256"]
    with pytest.raises(TrajectoryError, match="coils' stream"):
        from_dict(short)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Points(listed=[]), "at least one point"),
        (lambda: Points(listed=[[1.0, math.nan]]), "NaN"),
        (lambda: Points(listed=[1.0, 2.0]), r"shape \(n, 2\)"),
        (lambda: Points(listed="abc"), "array of numbers"),
        (lambda: Raster(fov=10, step=-0.1), "must be positive"),
        (lambda: Raster(fov=10, step=math.nan), "must be positive"),
        (lambda: Raster(fov=math.nan, step=1), "finite numbers"),
        (lambda: Raster(fov=0, step=1), "fov must be positive"),
        (lambda: Raster(fov=1, step=2), "larger than the field of view"),
        (lambda: Raster(fov=1e6, step=1e-3), r"2\^31 points"),
        (lambda: Raster(fov=10, step=1, units="m"), "'nm' or 'px'"),
        (lambda: Raster(fov=10, step=1, center="left"), "center"),
        (lambda: Archimedean(fov=(3, 4), step=1), "its diameter"),
        (lambda: Multipass(fov=4, step=1, passes=0), "whole number"),
        (lambda: Multipass(fov=4, step=1, passes=17), "more than the 16 points"),
        (lambda: Multipass(fov=4, step=1, passes=5, order="interleaved", skip=2), "at least 3"),
        (lambda: Multipass(fov=4, step=1, skip=2), "interleaved"),
        (lambda: Multipass(fov=4, step=1, order="up"), "'sequential' or 'interleaved'"),
        (lambda: from_dict({"type": "lissajous"}), "known are raster"),
        (lambda: from_dict({"type": "raster", "fov_nm": 3}), "not complete"),
    ],
)
def test_what_cannot_be_scanned_is_said_in_one_sentence(make, sentence):
    with pytest.raises(TrajectoryError, match=sentence) as caught:
        make()
    assert "\n" not in str(caught.value)


def _sorted(positions):
    return sorted(map(tuple, np.round(positions, 9)))
