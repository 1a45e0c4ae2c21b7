"""Pictures of scans that are denser in places than elsewhere."""

import numpy as np
import pytest

from flyback.models.experiment import Experiment
from flyback.models.scan_image import MOST_NEAREST_PX, nearest


def experiment(extent=((0.0, 0.0), (10.0, 20.0))):
    trajectory = {"type": "adaptive", "units": "px", "n_points": 9, "step": 5.0}
    if extent is not None:
        trajectory["extent"] = [list(corner) for corner in extent]
    return Experiment.from_metadata({"trajectory": trajectory})


def test_each_pixel_is_as_its_nearest_frame():
    positions = np.array([[2.0, 3.0], [np.nan, 1.0], [8.0, 15.0]])
    image = nearest(experiment(), positions, 0.5)
    assert image is not None
    picture = image(np.array([1.0, 5.0, np.nan]))
    assert picture.shape == (21, 41)
    y, x = (np.arange(n) * 0.5 for n in picture.shape)
    away = [np.hypot(y[:, None] - p[0], x - p[1]) for p in positions[[0, 2]]]
    clear = np.abs(away[0] - away[1]) > 1e-9
    np.testing.assert_array_equal(np.isnan(picture)[clear], (away[0] > away[1])[clear])
    assert set(picture[np.isfinite(picture)]) == {1.0}
    assert image.pixel == pytest.approx(0.5)
    assert image.origin == pytest.approx(0)


def test_a_huge_field_gets_larger_pixels_and_nothing_gives_nothing():
    image = nearest(experiment(((0, 0), (1e5, 1e5))), np.ones((3, 2)), 0.5)
    assert image is not None
    assert 0.9 * MOST_NEAREST_PX < image.frame.size < 1.1 * MOST_NEAREST_PX
    assert nearest(experiment(None), np.ones((3, 2)), 0.5) is None
    assert nearest(experiment(), np.full((3, 2), np.nan), 0.5) is None
