"""The linear non-negative fit of spectra, against scipy, and its uncertainties against chance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls as scipy_nnls

from flyback.models.spectra.linear_fit import LinearFit


def peaks(channels=400, centres=(60, 150, 160, 300), width=8.0):
    at = np.arange(channels)
    lines = [np.exp(-0.5 * ((at - c) / width) ** 2) / width / np.sqrt(2 * np.pi) for c in centres]
    return np.stack([*lines, np.full(channels, 1 / channels)], axis=1)


def oracle(fit, frames):
    """Weighted non-negative least squares by scipy, a spectrum at a time, in float64."""
    root = np.sqrt(fit.weights)
    cut = frames[:, fit.first : fit.first + len(fit.weights)].astype(float)
    return np.array([scipy_nnls(fit.columns * root[:, None], row * root)[0] for row in cut])


@given(st.integers(0, 10_000), st.integers(1, 9), st.sampled_from(["<u2", "<u4", "<i4", "<f4"]))
@settings(max_examples=30, deadline=None)
def test_it_is_scipy_s(seed, k, dtype):
    rng = np.random.default_rng(seed)
    columns = rng.random((60, k)) * (rng.random((60, k)) < 0.4) + 1e-3
    frames = rng.poisson(np.maximum(rng.normal(size=(20, k)), 0) @ columns.T * 30).astype(dtype)
    fit = LinearFit(columns, frames.mean(axis=0) + 0.1)
    found = fit.fit(frames).coefficients
    assert (found >= 0).all()
    np.testing.assert_allclose(found, oracle(fit, frames), atol=1e-6 * (1 + found.max()))


def test_columns_that_cover_part_of_the_channels_and_channels_that_do_not_count():
    rng = np.random.default_rng(0)
    columns = peaks()
    frames = rng.poisson(columns @ [500, 300, 0, 900, 2000], (50, 400)).astype(np.uint16)
    padded = np.concatenate([np.full((50, 7), 999, np.uint16), frames], axis=1)
    use = np.ones(400, bool)
    use[200:260] = False
    padded[:, 7 + 200 : 7 + 260] = 60_000
    fit = LinearFit(columns, frames.mean(axis=0), first=7, use=use)
    found = fit.fit(padded)
    np.testing.assert_allclose(found.coefficients, oracle(fit, padded), atol=1e-5)
    assert np.median(found.chi2) == pytest.approx(1, abs=0.1)


def test_collinear_columns_and_columns_that_no_channel_sees_do_no_harm():
    columns = peaks()
    columns = np.concatenate([columns, columns[:, :1], np.zeros((400, 1))], axis=1)
    frames = np.random.default_rng(0).poisson(peaks() @ [500, 300, 20, 900, 2000], (20, 400))
    found = LinearFit(columns, frames.mean(axis=0)).fit(frames.astype("<i4")).coefficients
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert (found[:, -1] == 0).all()
    np.testing.assert_allclose(
        (found[:, 0] + found[:, 5]).mean(), 500, atol=5 * np.sqrt(500 / 20) * 1.5
    )


@pytest.mark.parametrize("counts", [3.0, 300.0])
def test_no_bias_and_sigma_as_chance_has_it(counts):
    """The estimate is linear in the counts: no bias at few counts, where 1/y weights have one."""
    rng = np.random.default_rng(1)
    columns = peaks()
    truth = np.array([5, 3, 4, 9, 20.0]) * counts
    frames = rng.poisson(columns @ truth, (4000, 400)).astype(np.uint16)
    fit = LinearFit(columns, frames.mean(axis=0), free=np.ones(5, bool))
    found = fit.fit(frames)
    pulls = (found.coefficients - truth) / np.sqrt(found.variance.mean(axis=0))
    assert np.abs(pulls.mean(axis=0)).max() < 4 / np.sqrt(4000)
    np.testing.assert_allclose(pulls.std(axis=0), 1, atol=0.05)
    assert found.chi2.mean() == pytest.approx(1, abs=0.05)


def test_an_absent_column_is_zero_with_a_sigma():
    frames = np.random.default_rng(2).poisson(peaks() @ [0, 300, 0, 900, 2000], (200, 400))
    found = LinearFit(peaks(), frames.mean(axis=0)).fit(frames.astype(np.uint16))
    assert 0.2 < (found.coefficients[:, 0] == 0).mean() < 0.8
    assert (found.variance > 0).all()
    dark = LinearFit(peaks(), frames.mean(axis=0)).fit(np.zeros((1, 400), np.uint16))
    assert (dark.coefficients == 0).all()
    assert (dark.variance > 0).all()


def test_batches_do_not_matter_to_the_bit():
    frames = np.random.default_rng(3).poisson(peaks() @ [5, 3, 0, 9, 20], (97, 400)).astype("<u2")
    fit = LinearFit(peaks(), frames.mean(axis=0))
    whole = fit.fit(frames)
    single = np.concatenate([fit.fit(frames[i : i + 1]).coefficients for i in range(97)])
    np.testing.assert_array_equal(whole.coefficients, single)
    halves = [fit.fit(frames[:41]), fit.fit(frames[41:])]
    for name in ("variance", "chi2"):
        joined = np.concatenate([getattr(half, name) for half in halves])
        np.testing.assert_array_equal(getattr(whole, name), joined)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_the_dtype_in_which_counts_are_kept_does_not_matter_to_the_bit(seed):
    shape = peaks() * np.random.default_rng(seed).uniform(0.5, 2, 400)[:, None]
    frames = np.random.default_rng(seed).poisson(shape @ [50, 30, 0, 90, 200], (5, 400))
    fit = LinearFit(shape, frames.mean(axis=0) + 0.1)
    as_bytes = fit.fit(frames.astype("u1"))
    for dtype in ("<u2", "<i4", "<f4", "<f8"):
        other = fit.fit(frames.astype(dtype))
        for name in ("coefficients", "variance", "chi2"):
            np.testing.assert_array_equal(getattr(other, name), getattr(as_bytes, name))


def test_nothing_to_fit_is_an_error():
    with pytest.raises(ValueError, match="at least one channel and one column"):
        LinearFit(peaks(), np.ones(400), use=np.zeros(400, bool))
