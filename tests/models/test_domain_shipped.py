"""The networks that come with flyback: whole, small, and as good as their cards say."""

import numpy as np
import pytest

from flyback.models.domains.classifier import Classifier, find
from flyback.models.domains.simulation import Ranges, labelled_patterns

NAMES = ("PbTiO3", "boracite")
BEYOND = Ranges(thickness_nm=(24.0, 28.0), tilt_mrad=(1.0, 2.0), dose_e_per_pattern=(8e3, 1e4))
WITHIN = Ranges(thickness_nm=(12.0, 20.0), tilt_mrad=(0.0, 1.0), dose_e_per_pattern=(8e3, 1e4))


@pytest.mark.parametrize("name", NAMES)
def test_it_opens_and_its_card_says_what_it_is(name):
    classifier = Classifier(find(name))
    card = classifier.card
    assert card.sha256 == classifier.sha256
    assert classifier.path.stat().st_size < 1_000_000
    assert card.input_shape == (64, 64)
    assert card.angular_sampling_mrad == 0.5
    assert card.threshold >= 0.5
    assert set(card.classes) == {"+x", "-x", "+y", "-y", "c"}
    assert card.directions_deg == {"+x": 0, "+y": 90, "-x": 180, "-y": 270}
    for words in (card.training_data, card.accuracy, card.licence, card.remake):
        assert words
    assert f"flyback.models.domains.shipped {name}" in card.remake
    for unseen in ("thickness 26-36 nm", "tilt 1.5-3 mrad", "dose 300-1000 e", "as foreign"):
        assert unseen in card.accuracy
    assert "boracite" not in name or "are a model" in card.training_data


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "ranges", "least", "wrong"),
    [("PbTiO3", BEYOND, 0.97, 0.02), ("boracite", WITHIN, 0.5, 0.02)],
)
def test_it_names_patterns_that_it_has_not_seen(name, ranges, least, wrong):
    made = labelled_patterns(name, 300, seed=77, ranges=ranges)
    classifier = Classifier(find(name))
    classes = list(classifier.card.classes)
    truth = np.array([classes.index(str(made["classes"][k])) for k in made["label"]])
    probability = classifier(made["patterns"].astype(np.float32))
    sure = probability.max(axis=1) >= classifier.card.threshold
    right = probability.argmax(axis=1) == truth
    assert np.mean(sure & right) > least
    assert np.mean(~right[sure]) < wrong


@pytest.mark.heavy
def test_it_can_be_made_again(tmp_path):
    pytest.importorskip("torch", reason="the extra 'train'")
    pytest.importorskip("onnx", reason="the extra 'train'")
    from flyback.models.domains.shipped import make

    rows = make("PbTiO3", tmp_path, patterns=300, seed=5).splitlines()
    assert len(rows) == 8
    accuracy = float(rows[0].split("|")[2])
    assert accuracy > 0.85
    assert Classifier(tmp_path / "PbTiO3.onnx").card.sha256
