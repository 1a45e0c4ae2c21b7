import numpy as np
import pytest

from flyback.models.calibration_disk import fit_disk

RNG = np.random.default_rng(0)


def pattern(centre, radius, ratio=1.0, axis_deg=0.0, shape=(96, 100), counts=50.0, floor=1.0):
    """An elliptical disk, each pixel averaged over 8 x 8 places in it."""
    n = 8
    y, x = (
        (np.arange(size * n) + 0.5) / n - 0.5 - c for size, c in zip(shape, centre, strict=True)
    )
    t = np.radians(axis_deg)
    along = x[None] * np.cos(t) + y[:, None] * np.sin(t)
    across = y[:, None] * np.cos(t) - x[None] * np.sin(t)
    root = np.sqrt(ratio)
    inside = np.hypot(along / (radius * root), across * root / radius) < 1
    inside = inside.reshape(shape[0], n, shape[1], n).mean(axis=(1, 3))
    return RNG.poisson(floor + counts * inside).astype(float)


@pytest.mark.parametrize(
    ("centre", "radius"),
    [((48.0, 50.0), 20.0), ((47.3, 50.8), 20.4), ((30.6, 66.2), 14.7), ((48, 50), 6.3)],
)
def test_a_round_disk(centre, radius):
    disk = fit_disk(pattern(centre, radius))
    np.testing.assert_allclose(disk.centre_px, centre, atol=0.1)
    assert disk.radius_px == pytest.approx(radius, abs=0.1)
    assert disk.ellipticity == pytest.approx(1, abs=0.03)
    assert 0 < disk.centre_sigma_px < 0.1


@pytest.mark.parametrize(("ratio", "axis"), [(1.05, 20), (1.15, 100), (1.3, 160)])
def test_an_ellipse(ratio, axis):
    disk = fit_disk(pattern((48.4, 49.1), 22.0, ratio, axis))
    assert disk.ellipticity == pytest.approx(ratio, abs=0.02)
    assert (disk.major_axis_deg - axis + 90) % 180 - 90 == pytest.approx(0, abs=6)
    assert disk.radius_px == pytest.approx(22, abs=0.15)


def test_a_cut_disk():
    disk = fit_disk(pattern((12.2, 50.4), 25.0))
    np.testing.assert_allclose(disk.centre_px, (12.2, 50.4), atol=0.5)
    assert disk.radius_px == pytest.approx(25, abs=0.4)


def test_few_counts_and_hot_pixels():
    counts = pattern((47.3, 50.8), 20.4, counts=4, floor=0.1)
    counts[10, 10], counts[50, 52] = 5000, 9000
    disk = fit_disk(counts)
    np.testing.assert_allclose(disk.centre_px, (47.3, 50.8), atol=0.3)
    assert disk.radius_px == pytest.approx(20.4, abs=0.3)


def test_bad_pixels_and_structure_inside():
    y, x = np.indices((96, 100))
    counts = pattern((47.3, 50.8), 20.4, counts=400)
    counts *= 1 + 0.2 * np.sin(x / 3) * np.sin(y / 4)
    counts[:, 40] = np.nan
    disk = fit_disk(counts, np.isfinite(counts))
    np.testing.assert_allclose(disk.centre_px, (47.3, 50.8), atol=0.3)


def test_the_cameras_scale():
    disk = fit_disk(pattern((48, 50), 20.0, 1.1, 0))
    sampling = disk.angular_sampling_mrad(21)
    np.testing.assert_allclose(sampling, (21 / 20 * 1.1**0.5, 21 / 20 / 1.1**0.5), rtol=0.01)
    metadata = disk.to_metadata(21)
    assert metadata["angular_sampling_mrad"] == list(sampling)
    assert 0 < metadata["angular_sampling_sigma_mrad"] < 0.02
    assert "angular_sampling_mrad" not in disk.to_metadata()
    with pytest.raises(ValueError, match="semi_convergence_angle_mrad must lie"):
        disk.angular_sampling_mrad(-1)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (np.ones((64, 64)), "flat"),
        (np.full((64, 64), np.nan), "no finite"),
        (np.ones((3, 3)), "at least 8 x 8"),
        (np.ones(20), "must be"),
    ],
)
def test_what_is_no_disk(bad, words):
    with pytest.raises(ValueError, match=words):
        fit_disk(bad)
    with pytest.raises(ValueError, match="good must be"):
        fit_disk(np.ones((16, 16)), np.ones((2, 2)))
