"""Naming the domains of one scan from a few labels of it."""

import numpy as np
import pytest

from flyback.models.domains.few_labels import FewLabels, fit_logistic
from flyback.models.domains.pattern_features import central_disk, even_and_odd, pattern_features
from flyback.models.domains.patterns import Conditions, simulate_patterns
from flyback.models.domains.sampling import choose
from flyback.models.domains.specimen import Lamella

VARIANTS = ("+x", "-x", "+y", "-y", "+z")


@pytest.fixture(scope="module")
def scan():
    specimen = Lamella(
        variants=VARIANTS, width_nm=6.0, normal_deg=45.0, thickness_nm=22.0, bend_mrad_per_nm=0.04
    )
    along = (np.arange(24) - 11.5) * 1.25
    positions = np.stack(np.meshgrid(along, along, indexing="ij"), axis=-1).reshape(-1, 2)
    local, truth = specimen.at(positions), specimen.truth(positions)
    conditions = Conditions(
        thickness_nm=local.thickness_nm, tilt_mrad=local.tilt_mrad, dose_e_per_pattern=3e3
    )
    return simulate_patterns("PbTiO3", local.fractions, conditions, seed=1), positions, truth


def test_twenty_five_labels_name_nearly_all(scan):
    patterns, positions, truth = scan
    model = FewLabels(pattern_features(patterns), truth.classes)
    for turn in range(5):
        chosen = choose(
            "walls", model.features, model.labelled, 5, probability=model.probability_,
            positions=positions, seed=turn,
        )  # fmt: skip
        model.partial_fit(chosen, truth.label[chosen].astype(int))
    probability = model.probability_
    np.testing.assert_allclose(probability.sum(axis=1), 1)
    assert np.mean(probability.argmax(axis=1) == truth.label) > 0.85
    sure = probability.max(axis=1) > 0.8
    assert np.mean(probability.argmax(axis=1)[sure] == truth.label[sure]) > 0.95


def test_how_labels_were_batched_makes_no_difference(scan):
    patterns, _, truth = scan
    features = pattern_features(patterns, components=6)
    rows = np.random.default_rng(0).permutation(len(features))[:40]
    label = truth.label[rows].astype(int)
    whole = FewLabels(features, truth.classes).partial_fit(rows, label)
    parts = FewLabels(features, truth.classes)
    for k in range(0, 40, 7):
        parts.partial_fit(rows[k : k + 7], label[k : k + 7])
        assert parts.probability_ is not None
    np.testing.assert_array_equal(parts.probability_, whole.probability_)
    assert whole.cross_validated() == parts.cross_validated()
    assert 0.5 < whole.cross_validated() <= 1


def test_a_label_can_be_changed_and_taken_back(scan):
    features = pattern_features(scan[0], components=4)
    model = FewLabels(features, ("a", "b", "c"))
    assert model.probability_ is None
    assert np.isnan(model.cross_validated())
    model.partial_fit(np.array([3]), np.array([1]))
    np.testing.assert_array_equal(model.probability_[:, 1], 1)  # all that is known
    model.partial_fit(np.array([3, 5]), np.array([0, 2]))
    np.testing.assert_array_equal(model.label_[[3, 5]], [0, 2])
    assert not model.probability_[:, 1].any()
    model.partial_fit(np.array([3, 5]), np.array([-1, -1]))
    assert model.probability_ is None


def test_the_fit_is_where_the_loss_is_least():
    rng = np.random.default_rng(2)
    features, label = rng.normal(size=(60, 3)), rng.integers(0, 3, 60)

    def loss(weights):
        logits = features @ weights[:-1] + weights[-1]
        chance = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        penalty = 0.1 * (weights[:-1] ** 2).sum() + 0.001 * (weights[-1] ** 2).sum()
        return -chance[np.arange(60), label].sum() + 0.5 * penalty

    present, weights = fit_logistic(features, label, 0.1)
    assert present.tolist() == [0, 1, 2]
    for _ in range(20):
        assert loss(weights) <= loss(weights + rng.normal(0, 1e-2, weights.shape))


def test_features_follow_the_disk_and_not_the_dose():
    y, x = np.mgrid[-32:32, -32:32]
    rates = [400.0 * (np.hypot(y - s, x + s) < 4) + 90.0 * (np.hypot(y - s, x + s - 12) < 4)
             for s in (0, 3)]  # fmt: skip
    frames = np.array(rates, np.float32)
    row, column = central_disk(frames)
    np.testing.assert_allclose(row, [0, 3], atol=0.3)
    np.testing.assert_allclose(column, [0, -3], atol=0.3)
    here, there = even_and_odd(frames)
    assert np.linalg.norm(here - there) < 0.15 * np.linalg.norm(here)
    np.testing.assert_allclose(even_and_odd(7 * frames), even_and_odd(frames), rtol=1e-5, atol=1e-4)


def test_the_odd_part_changes_sign_with_the_pattern_upside_down():
    pattern = np.random.default_rng(0).poisson(5, (1, 32, 32)).astype(float)
    pattern[0, 12:20, 12:20] = 400
    turned = np.zeros_like(pattern)
    turned[0, 1:, 1:] = pattern[0, :0:-1, :0:-1]  # about [16, 16]
    pattern[0, 0], pattern[0, :, 0] = 0, 0
    one, other = even_and_odd(pattern)[0], even_and_odd(turned)[0]
    half = len(one) // 2
    np.testing.assert_allclose(one[:half], other[:half], atol=0.02)
    np.testing.assert_allclose(one[half:], -other[half:], atol=0.02)


def test_dark_and_broken_patterns_get_the_mean():
    patterns = np.random.default_rng(0).poisson(3, (30, 16, 24)).astype(np.float32)
    patterns[4], patterns[5, 0, 0] = 0, np.nan
    features = pattern_features(patterns, components=8)
    assert features.shape == (30, 8)
    assert not features[4:6].any()
    assert np.isfinite(features).all()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: pattern_features(np.zeros((5, 4, 64))), "8 x 8 pixels or more"),
        (lambda: pattern_features(np.zeros((5, 16, 16))), "got 0 of 5"),
        (lambda: pattern_features(np.ones((5, 16, 16)), components=0), "between 1 and 1024"),
        (lambda: FewLabels(np.zeros(5), ("a", "b")), r"\(n, d\)"),
        (lambda: FewLabels(np.zeros((5, 2)), ("a", "a")), "two or more different"),
        (lambda: FewLabels(np.zeros((5, 2)), ("a", "b"), ridge=0), "ridge must be positive"),
    ],
)
def test_bad_input(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


@pytest.mark.parametrize(
    ("rows", "label", "sentence"),
    [
        ([9], [0], "rows must lie between 0 and 8"),
        ([0], [2], r"between 0 and 1 \(a, b\)"),
        ([0, 1], [0], "one label a row"),
        ([0.5], [0], "must be integers"),
    ],
)
def test_labels_that_there_are_not(rows, label, sentence):
    model = FewLabels(np.zeros((9, 2)), ("a", "b"))
    with pytest.raises(ValueError, match=sentence):
        model.partial_fit(np.array(rows), np.array(label))
