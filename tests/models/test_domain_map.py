import numpy as np
import pytest

from flyback.models.base import Batch, Corrections
from flyback.models.domains.card import Card
from flyback.models.domains.classifier import Classifier
from flyback.models.domains.domain_map import DomainMap
from flyback.models.domains.frame_kernels import bin_frames, donors_of
from flyback.models.experiment import Experiment
from flyback.models.trajectories import Archimedean, Raster
from flyback.tests.models.chunk_law import check

from .small_network import CLASSES, SIDE, frames_of, write_network

STEP = 1e-9


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return Classifier(write_network(tmp_path_factory.mktemp("net") / "small.onnx"), threads=1)


def scan(path, *, counts=100, factor=1, seed=1, corrections=None):
    """Frames of two domains with a wall at x = 0.3 nm of the middle, 180 degrees."""
    at = path.positions
    middle = at[:, 1].mean() + 0.3
    domain = (at[:, 1] > middle).astype(int)
    frames = frames_of(domain, counts=counts, seed=seed, factor=factor)
    batch = Batch(
        frames, np.arange(len(at)), {"positions_m": at * 1e-9}, corrections or Corrections()
    )
    return batch, domain, Experiment.from_metadata({"trajectory": path.to_dict()})


@pytest.mark.parametrize(
    "path", [Raster(fov=12, step=1), Archimedean(fov=12, step=1)], ids=["raster", "spiral"]
)
def test_domains_and_their_wall_on_any_trajectory(classifier, path):
    batch, domain, experiment = scan(path)
    result = DomainMap(experiment, classifier).partial_fit(batch).result_
    np.testing.assert_array_equal(result["domain"].value, domain)
    assert result["domain_probability"].value.shape == (len(domain), 4)
    assert result["classes"].value == list(CLASSES)
    assert result["unknown_fraction"].value == 0
    near = np.abs(batch.coordinates["positions_m"][:, 1] - path.positions[:, 1].mean() * 1e-9)
    assert not result["wall"].value[near > 3e-9].any()
    assert 0.05 < result["wall"].value.mean() < 0.5
    points = result["wall_points_m"].value
    assert np.all(np.abs(points[:, 1] - path.positions[:, 1].mean() * 1e-9) < 1.3e-9)
    assert set(result["wall_point_kind"].value) == {0}
    area = np.pi * 6**2 if isinstance(path, Archimedean) else 11**2
    length = 12 if isinstance(path, Archimedean) else 11
    assert result["wall_density_per_m"].value == pytest.approx(length / area * 1e9, rel=0.25)
    image = result["domain_image"].value
    assert set(np.unique(image[np.isfinite(image)])) == {0, 1}
    assert result["image_pixel_m"].value == pytest.approx([STEP, STEP])


def test_the_chunk_law_holds(classifier):
    batch, _, experiment = scan(Raster(fov=8, step=1))
    check(lambda: DomainMap(experiment, classifier), batch, relative=1e-6)


def test_larger_frames_are_binned_and_corrected(classifier):
    path = Raster(fov=8, step=1)
    dark = np.full((2 * SIDE, 2 * SIDE), 3, np.float32)
    bad = np.zeros((2 * SIDE, 2 * SIDE), bool)
    bad[3, 4] = bad[20, 30] = True
    batch, domain, experiment = scan(path, factor=2, counts=300)
    frames = batch.frames + np.uint16(3)
    frames[:, bad] = 60_000
    spoilt = Batch(frames, batch.scan_index, batch.coordinates, Corrections(dark, None, bad))
    result = DomainMap(experiment, classifier).partial_fit(spoilt).result_
    np.testing.assert_array_equal(result["domain"].value, domain)
    assert result["domain_probability"].value.max(axis=1).min() > 0.99


def test_frames_that_say_nothing_are_unknown(classifier):
    batch, domain, experiment = scan(Raster(fov=8, step=1))
    frames = batch.frames.astype(np.float32)
    frames[3] = 0
    frames[5, 2, 2] = np.nan
    frames[7] = 0.4  # no side is brighter
    batch = Batch(frames, batch.scan_index, batch.coordinates)
    result = DomainMap(experiment, classifier).partial_fit(batch).result_
    assert result["domain"].value[[3, 5, 7]].tolist() == [-1, -1, -1]
    assert np.isnan(result["domain_probability"].value[[3, 5]]).all()
    assert result["unknown_fraction"].value == pytest.approx(3 / len(domain))
    flags = " ".join(result["flags"].value)
    for words in ("1 of 64 frames are not finite", "1 of 64 frames are dark", "no class has"):
        assert words in flags
    assert not np.isnan(result["domain_image"].value).any()
    sure = DomainMap(experiment, classifier, threshold=0.0).partial_fit(batch).result_
    assert sure["domain"].value[7] >= 0


def test_frames_that_do_not_fit(classifier):
    model = DomainMap(Experiment(), classifier)
    with pytest.raises(ValueError, match=r"takes frames of 16 x 16 .* got 24 x 24"):
        model.partial_fit(Batch(np.ones((2, 24, 24), np.uint16), np.arange(2)))
    with pytest.raises(ValueError, match="threshold must lie between"):
        DomainMap(Experiment(), classifier, threshold=2)


def test_another_camera_length_is_told(tmp_path):
    card = Card(CLASSES, (SIDE, SIDE), angular_sampling_mrad=0.5)
    classifier = Classifier(write_network(tmp_path / "small.onnx", card=card))
    batch = Batch(np.ones((2, SIDE, SIDE), np.uint16), np.arange(2))
    DomainMap(Experiment(angular_sampling_rad=(5.2e-4, 5.2e-4)), classifier).partial_fit(batch)
    other = DomainMap(Experiment(angular_sampling_rad=(1e-3, 1e-3)), classifier)
    with pytest.raises(ValueError, match=r"takes 0\.5 mrad a pixel, these frames have 1"):
        other.partial_fit(batch)


def test_without_positions_there_are_classes_but_no_walls(classifier):
    frames = frames_of(np.arange(8) % 4)
    result = DomainMap(Experiment(), classifier).partial_fit(Batch(frames, np.arange(8))).result_
    assert result["domain"].value.tolist() == [0, 1, 2, 3] * 2
    assert not result["wall"].value.any()
    assert "domain_image" not in result
    assert any("no positions" in flag for flag in result["flags"].value)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("factor", [1, 3])
def test_binning_agrees_with_a_plain_restatement(dtype, factor):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 200, (5, 6 * factor, 4 * factor)).astype(dtype)
    dark = rng.random(frames.shape[1:]).astype(np.float32)
    gain = 1 + 0.1 * rng.random(frames.shape[1:]).astype(np.float32)
    good = rng.random(frames.shape[1:]) > 0.05
    out = np.empty((5, 6, 4), np.float32)
    bin_frames(frames, factor, dark, gain, *donors_of(good), True, out)
    fixed = (frames - dark) * gain
    for y, x in np.argwhere(~good):
        box = np.s_[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
        fixed[:, y, x] = ((frames - dark) * gain)[:, box[0], box[1]][:, good[box]].mean(axis=1)
    wanted = fixed.reshape(5, 6, factor, 4, factor).sum(axis=(2, 4))
    np.testing.assert_allclose(out, wanted, rtol=1e-5)
