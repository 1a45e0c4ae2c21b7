"""Sums of patterns and spectra: the chunk law, NaN, and what does not fit."""

import numpy as np
import pytest

from flyback.models.base import Batch
from flyback.models.experiment import Experiment
from flyback.models.pattern_sums import PatternSums
from flyback.tests.models import chunk_law

GRID = Experiment.from_metadata(
    {"trajectory": {"units": "px", "step": 1.0, "grid_shape": [4, 5], "scan_order": "raster"}}
)


def batch(shape, dtype="f4"):
    frames = np.random.default_rng(1).poisson(9, (20, *shape)).astype(dtype)
    return Batch(frames, np.arange(20))


@pytest.mark.parametrize(
    ("dims", "shape", "dtype"),
    [(("bin",), (50,), "f4"), (("bin",), (50,), "i4"), (("element", "channel"), (3, 40), "u2")],
)
def test_the_chunk_law(dims, shape, dtype):
    data = batch(shape, dtype)
    whole = chunk_law.check(lambda: PatternSums(GRID, dims), data, relative=1e-12)
    np.testing.assert_allclose(whole["mean"], data.frames.mean(axis=0, dtype=float))
    sums = data.frames.reshape(20, -1).sum(axis=1, dtype=float)
    np.testing.assert_allclose(whole["sum"], sums)
    np.testing.assert_allclose(whole["sum_image"], sums.reshape(4, 5))
    assert whole["flags"] == []


def test_nan_is_left_out_and_flagged():
    data = batch((10,))
    data.frames[3, 4] = np.nan
    data.frames[:, 7] = np.inf
    data.frames[5, 0] = -1
    result = PatternSums(GRID).partial_fit(data).result_
    assert np.isfinite(result["sum"].value).all()
    assert np.isnan(result["mean"].value[7])
    assert np.isfinite(result["mean"].value[4])
    assert len(result["flags"].value) == 2


def test_one_pattern_has_no_picture():
    one = Batch(np.ones((1, 10), "f4"), np.arange(1))
    assert "sum_image" not in PatternSums(Experiment()).partial_fit(one).result_
    assert PatternSums(Experiment()).result_ == {}


def test_what_does_not_fit():
    model = PatternSums(GRID).partial_fit(batch((10,)))
    with pytest.raises(ValueError, match="changed shape"):
        model.partial_fit(batch((11,)))
    with pytest.raises(ValueError, match=r"\(n, bin\)"):
        model.partial_fit(batch((3, 10)))
    with pytest.raises(ValueError, match="do not add"):
        model.merge(PatternSums(GRID).partial_fit(batch((11,))))
