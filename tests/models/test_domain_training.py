import numpy as np
import pytest

from flyback.models.domains.augmentation import Augmentation
from flyback.models.domains.calibration import calibration_error, fit_temperature, threshold_for
from flyback.models.domains.symmetry import AXES, find_axes, operations

CLASSES = ["+x", "-x", "+y", "-y", "c"]
STILL = {"shift_px": 0, "rotation_deg": 0, "scale": 0, "least_dose": 1, "background": 0, "blur": 0}
STILL |= {"gain": 0, "dead": 0, "mixed": 0}


def crystal(n=40, side=32, seed=0, axes="x along rows", counts=3000):
    """Disks of a square lattice, one Friedel mate brighter than the other; tilts differ."""
    rng = np.random.default_rng(seed)
    x_axis, y_axis = (np.array(direction) for direction in AXES[axes])
    along = dict(zip(CLASSES, (x_axis, -x_axis, y_axis, -y_axis, (0, 0)), strict=True))
    y, x = np.mgrid[:side, :side] - side // 2
    patterns, label = [], []
    for k, name in enumerate(CLASSES):
        for _ in range(n):
            tilt = rng.normal(size=2) * 0.2
            pattern = np.zeros((side, side))
            for gy in (-1, 0, 1):
                for gx in (-1, 0, 1):
                    odd = 0.8 * (gy * along[name][0] + gx * along[name][1])
                    weight = np.exp(odd + 0.3 * (gy * tilt[0] + gx * tilt[1]))
                    weight *= 3 if gy == gx == 0 else 1
                    pattern += weight * (np.hypot(y - 8 * gy, x - 8 * gx) < 2.5)
            patterns.append(rng.poisson(counts * pattern / pattern.sum()))
            label.append(k)
    return np.array(patterns, np.uint16), np.array(label)


def test_augmentation_that_does_nothing_and_counting_statistics():
    patterns, _ = crystal(8)
    weights = np.eye(5, dtype=np.float32)[np.arange(40) % 5]
    same, soft = Augmentation(**STILL)(patterns.astype(np.int32), weights, np.random.default_rng(0))
    np.testing.assert_allclose(same, patterns, atol=1e-3)
    np.testing.assert_array_equal(soft, weights)
    flat = np.full((400, 32, 32), 50, np.int32)
    thin = Augmentation(**STILL | {"least_dose": 0.5})
    seen, _ = thin(flat, np.ones((400, 1), np.float32), np.random.default_rng(0))
    kept = seen.mean(axis=(1, 2)) / 50
    assert 0.49 < kept.min() < 0.52
    assert kept.max() > 0.97
    # thinning leaves 50 counts binomial, not smooth
    expected = 50 * kept * (1 - kept)
    np.testing.assert_allclose(seen.var(axis=(1, 2)), expected, rtol=0.3, atol=1)


def test_a_mixed_pattern_states_what_it_is_made_of():
    patterns, label = crystal(8)
    mixed = Augmentation(**STILL | {"mixed": 1})
    _, soft = mixed(
        patterns.astype(np.int32), np.eye(5, dtype=np.float32)[label], np.random.default_rng(0)
    )
    np.testing.assert_allclose(soft.sum(axis=1), 1, rtol=1e-6)
    assert np.mean(soft.max(axis=1) < 0.95) > 0.5


def test_augmentation_moves_what_it_says():
    spot = np.zeros((200, 32, 32), np.int32)
    spot[:, 16, 16] = 1000
    moved, _ = Augmentation(**STILL | {"shift_px": 2})(
        spot, np.ones((200, 1), np.float32), np.random.default_rng(1)
    )
    y = (moved.sum(axis=2) @ (np.arange(32) - 16)) / moved.sum(axis=(1, 2))
    assert np.std(y) == pytest.approx(2, rel=0.2)


@pytest.mark.parametrize("axes", list(AXES))
def test_the_axes_are_found_from_the_patterns(axes):
    patterns, label = crystal(axes=axes)
    assert find_axes(patterns, label, CLASSES) == axes
    for operation in operations(CLASSES, axes):
        turned, became = operation(patterns), np.array(operation.classes)[label]
        np.testing.assert_allclose(
            turned[became == 0].mean(axis=0), patterns[label == 0].mean(axis=0), atol=6
        )


def test_axes_that_cannot_be_known():
    patterns, label = crystal()
    assert find_axes(patterns, label, ["a", "b", "d", "e", "c"]) is None
    noise = np.random.default_rng(0).poisson(5, patterns.shape)
    assert find_axes(noise, label, CLASSES) is None
    assert len(operations(CLASSES, "x along rows")) == 8
    assert len(operations(CLASSES, "x along rows", square=False)) == 4
    with pytest.raises(ValueError, match="axes must be one of"):
        operations(CLASSES, "up")


def test_calibration():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 3)) * 2
    power = np.exp(logits)
    probability = power / power.sum(axis=1, keepdims=True)
    truth = (probability.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    assert fit_temperature(3 * logits, truth) == pytest.approx(3, rel=0.05)
    assert calibration_error(probability, truth) < 0.02
    overdone = probability**3 / (probability**3).sum(axis=1, keepdims=True)
    assert calibration_error(overdone, truth) > 0.1
    threshold = threshold_for(probability, truth, 0.05)
    believed = probability.max(axis=1) >= threshold
    wrong = np.mean(probability.argmax(axis=1)[believed] != truth[believed])
    assert 0.03 < wrong <= 0.05
    assert threshold_for(np.eye(3), np.arange(3), 0.01) == pytest.approx(1 / 3)
    assert threshold_for(np.eye(3), (np.arange(3) + 1) % 3, 0.01) == 1.0


@pytest.fixture(scope="module")
def training():
    pytest.importorskip("torch", reason="the extra 'train' is not installed")
    pytest.importorskip("onnx", reason="the extra 'train' is not installed")
    from flyback.models.domains import export, training

    return training, export


@pytest.fixture(scope="module")
def trained(training):
    patterns, label = crystal()
    labelled = training[0].Labelled(patterns, label, CLASSES)
    return training[0].train(labelled, training[0].Recipe(seed=3, passes=2)), labelled


def test_a_network_learns_and_knows_how_well(trained):
    result, labelled = trained
    assert result.accuracy > 0.95
    assert result.calibration_error < 0.05
    assert result.axes == "x along rows"
    assert result.learnt + result.held_out == len(labelled.label)
    assert sum(p.numel() for p in result.network.parameters()) * 4 < 1_000_000


def test_what_is_written_says_what_torch_says(training, trained, tmp_path):
    result, labelled = trained
    path = tmp_path / "net.onnx"
    classifier = training[1].export(
        result, CLASSES, path, labelled.patterns[:8], training_data="made", remake="this test"
    )
    assert path.stat().st_size < 1_000_000
    card = classifier.card
    assert card.classes == tuple(CLASSES)
    assert card.directions_deg == {"+x": 0.0, "-x": 180.0, "+y": 90.0, "-y": 270.0}
    for n in (1, 3, 70):  # any number of frames; export itself checks them against torch
        said = classifier(labelled.patterns[:n].astype(np.float32))
        np.testing.assert_allclose(said.sum(axis=1), 1, atol=1e-5)
    fresh, label = crystal(10, seed=9)
    said = classifier(np.roll(fresh, (1, -1), (1, 2)).astype(np.float32)).argmax(axis=1)
    assert np.mean(said == label) > 0.95


def test_the_same_seed_gives_the_same_weights(training, trained):
    result, labelled = trained
    import torch

    before = torch.get_num_threads(), torch.random.get_rng_state()
    again = training[0].train(labelled, training[0].Recipe(seed=3, passes=2))
    assert torch.get_num_threads() == before[0]
    assert torch.equal(torch.random.get_rng_state(), before[1])
    for one, other in zip(
        result.network.state_dict().values(), again.network.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other)


def test_groups_are_held_out_together(training):
    label = np.repeat([0, 1], 40)
    group = np.tile(np.arange(8), 10)
    parts = training[0].parted(label, group, np.random.default_rng(0))
    assert sorted(np.concatenate(parts)) == list(range(80))
    for k in (0, 1):
        sets = [set(group[part[label[part] == k]]) for part in parts]
        assert not (sets[0] & sets[1]) | (sets[0] & sets[2]) | (sets[1] & sets[2])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"patterns": np.ones((40, 8, 8))}, "h and w of 16 or more"),
        ({"patterns": np.full((200, 32, 32), np.nan)}, "finite counts"),
        ({"label": np.zeros(3, int)}, "label must be 200 integers"),
        ({"label": np.full(200, 7)}, "between 0 and 4"),
        ({"label": np.zeros(200, int)}, "fewer than 8 patterns"),
        ({"classes": ["a"] * 5}, "two or more different names"),
        ({"group": np.zeros(3)}, "group must be 200"),
    ],
)
def test_what_cannot_be_learnt_from(training, change, says):
    patterns, label = crystal()
    given = {"patterns": patterns, "label": label, "classes": CLASSES} | change
    with pytest.raises(ValueError, match=says):
        training[0].Labelled(**given)


def test_a_recipe_out_of_range(training):
    for bad in ({"passes": 0}, {"error_rate": 0.7}, {"seed": -1}):
        with pytest.raises(ValueError, match="must"):
            training[0].Recipe(**bad)
