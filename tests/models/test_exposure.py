"""Dose, revisits and jumps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flyback.models.exposure import dose, dose_map, jumps, revisit_interval
from flyback.models.trajectories import Fermat, Multipass, Points, Random, Raster


@settings(max_examples=20, deadline=None)
@given(st.floats(0.05, 0.5), st.integers(0, 1000))
def test_the_map_holds_every_electron(probe, seed):
    path = Random(fov=5, step=0.5, seed=seed)
    local, (_, _, pixel) = dose_map(path.positions, 100.0, 0.1, probe)
    assert local.sum() * (pixel * 10) ** 2 == pytest.approx(100.0 * path.n_points, rel=1e-2)


def test_a_raster_doses_evenly_and_random_points_do_not():
    raster, random = Raster(fov=10, step=0.2), Random(fov=10, step=0.2)
    mean, largest = dose(raster.positions, raster.area, 400.0, 0.2)
    assert mean == pytest.approx(400 / 4)  # 400 electrons on (2 angstrom)^2
    assert mean < largest < 1.3 * mean
    assert dose(random.positions, random.area, 400.0, 0.2)[1] > 2 * mean


def test_without_an_area_the_bounding_box_counts():
    path = Points(listed=[[0, 0], [10, 10]])
    assert dose(path.positions, path.area, 50.0, 0.1)[0] == pytest.approx(100 / (100 * 100))


def test_revisits():
    once = Raster(fov=4, step=1)
    assert revisit_interval(once.positions, 0.01, 0.4) is None
    twice = np.concatenate([once.positions, once.positions])
    assert revisit_interval(twice, 0.01, 0.4) == pytest.approx(16 * 0.01)
    # with a footprint as wide as the step, the next line is a revisit, and later in multipass
    line = revisit_interval(once.positions, 0.01, 1.01)
    passes = Multipass(fov=4, step=1, passes=4, order="interleaved").positions
    assert line is not None
    assert line < revisit_interval(passes, 0.01, 1.01)


def test_jumps():
    np.testing.assert_allclose(jumps(np.array([[0.0, 0], [3, 4], [3, 4]])), [5, 0])
    assert jumps(Fermat(fov=10, step=1).positions).max() < 10
