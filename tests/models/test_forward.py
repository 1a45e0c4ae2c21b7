import numpy as np
import pytest
import scipy.ndimage

from flyback.models.ptychography.forward import partially_coherent, simulate_frames
from flyback.models.ptychography.probe import aberrated_probe
from flyback.tests import naive


@pytest.fixture(scope="module")
def probe():
    return aberrated_probe((32, 32), 2.5e-12, (2e-3, 2e-3), 0.02, 2e-9)


@pytest.fixture(scope="module")
def obj():
    rng = np.random.default_rng(0)
    phase = scipy.ndimage.gaussian_filter(rng.normal(size=(80, 72)), 2)
    return np.exp(1j * phase).astype(np.complex64)


@pytest.fixture(scope="module")
def positions():
    return np.random.default_rng(1).uniform(18, 54, (200, 2))


def expected(obj, probe, positions, **settings):
    out = np.empty((len(positions), 32, 32), np.float32)
    return simulate_frames(obj, probe, positions, 1e4, noise=False, out=out, **settings)


def test_it_agrees_with_the_oracle(obj, probe, positions):
    modes = partially_coherent(probe, 0.8, 3)
    for light in (probe, modes):
        ours = expected(obj, light, positions[:20])
        theirs = naive.expected_frames(obj, light, positions[:20], 1e4)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5 * theirs.max())


def test_a_frame_is_the_same_however_the_scan_is_cut(obj, probe, positions):
    whole = simulate_frames(obj, probe, positions, 1e4, seed=5)
    assert whole.dtype == np.uint16
    parts = [
        simulate_frames(obj, probe, positions[a:b], 1e4, seed=5, first_index=a)
        for a, b in ((0, 1), (1, 77), (77, 200))
    ]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    np.testing.assert_array_equal(
        whole, simulate_frames(obj, probe, positions, 1e4, seed=5, workers=3)
    )
    assert np.any(whole != simulate_frames(obj, probe, positions, 1e4, seed=6))


@pytest.mark.parametrize("dose", [30, 3e3, 3e5])
def test_counts_are_poisson(obj, probe, dose):
    same = np.full((400, 2), 36.3)
    counts = simulate_frames(obj, probe, same, dose).astype(float)
    mean = simulate_frames(
        obj, probe, same[:1], dose, noise=False, out=np.empty((1, 32, 32), np.float32)
    )[0]
    bright = mean > 0.02
    chi2 = ((counts - mean)[:, bright] ** 2 / mean[bright]).mean()
    assert chi2 == pytest.approx(1, abs=0.03)
    assert counts.mean(axis=0)[bright].sum() == pytest.approx(mean[bright].sum(), rel=2e-2)
    z = (counts.mean(axis=0) - mean)[bright] / np.sqrt(mean[bright] / len(same))
    assert np.abs(z).max() < 6


def test_poisson_numbers_have_the_right_distribution():
    from flyback.models.ptychography.forward_kernels import poisson

    scipy_stats = pytest.importorskip("scipy.stats")
    state = np.array([7], np.uint64)
    for mean in (0.05, 1.0, 11.9, 12.1, 300.0):
        draws = np.array([poisson(mean, state) for _ in range(20000)])
        assert draws.mean() == pytest.approx(mean, abs=5 * np.sqrt(mean / len(draws)))
        k = np.arange(int(mean - 4 * mean**0.5), int(mean + 4 * mean**0.5) + 2)
        k = k[k >= 0]
        measured = np.array([(draws <= v).mean() for v in k])
        assert np.abs(measured - scipy_stats.poisson.cdf(k, mean)).max() < 0.015


def test_descan_moves_the_pattern(obj, probe, positions):
    still = expected(obj, probe, positions[:3])
    moved = expected(obj, probe, positions[:3], descan_px=np.tile([3.0, -2.0], (3, 1)))
    np.testing.assert_allclose(moved, np.roll(still, (3, -2), (1, 2)), atol=1e-4 * still.max())


def test_a_full_pixel_clips(obj, probe, positions):
    frames = simulate_frames(obj, probe, positions[:2], 1e9)
    assert frames.max() == 65535
    assert (frames == 65535).sum() > 50


def test_a_source_of_finite_size_blurs_the_light(probe):
    modes = partially_coherent(probe, 1.0, 49)
    light = (np.abs(modes) ** 2).sum(axis=0)
    sharp = np.abs(probe.astype(complex)) ** 2
    blurred = scipy.ndimage.gaussian_filter(sharp, 1.0, mode="wrap", truncate=8)
    assert light.sum() == pytest.approx(sharp.sum(), rel=5e-3)
    np.testing.assert_allclose(light, blurred, atol=0.03 * blurred.max())
    weights = (np.abs(modes) ** 2).sum(axis=(1, 2))
    assert np.all(np.diff(weights) <= 1e-6)
    gram = modes.reshape(49, -1).conj() @ modes.reshape(49, -1).T
    assert np.abs(gram - np.diag(np.diag(gram))).max() < 1e-5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"positions_px": np.array([[5.0, 40]])}, "leaves the object of 80 x 72"),
        ({"positions_px": np.array([[np.nan, 40]])}, "positions_px must be finite"),
        ({"positions_px": np.zeros(3)}, "positions_px must be"),
        ({"obj": np.ones(4)}, "obj must be"),
        ({"dose_e_per_frame": -1}, "dose_e_per_frame must be at least 0"),
        ({"out": np.zeros((2, 32, 32), np.uint16)}, "out must be"),
        ({"descan_px": np.zeros((2, 2))}, "descan_px must be"),
    ],
)
def test_bad_input_is_named(obj, probe, change, words):
    arguments = {
        "obj": obj,
        "probe": probe,
        "positions_px": np.array([[30.0, 30]]),
        "dose_e_per_frame": 10,
    }
    with pytest.raises(ValueError, match=words):
        simulate_frames(**(arguments | change))


def test_bad_sources_are_named(probe):
    with pytest.raises(ValueError, match="source_sigma_px"):
        partially_coherent(probe, -1)
    with pytest.raises(ValueError, match="modes must be at least 1"):
        partially_coherent(probe, 1, 0)
