import numpy as np
import pytest

from flyback.models.domains import classifier as module
from flyback.models.domains.card import Card, CardError, card_path, sha256_of
from flyback.models.domains.classifier import Classifier, NetworkError, find

from .small_network import CLASSES, INT, SIDE, frames_of, weights_of_sides, write_network


@pytest.fixture
def network(tmp_path):
    return write_network(tmp_path / "small.onnx")


def test_it_names_domains(network):
    classifier = Classifier(network, threads=1)
    truth = np.arange(300) % 4
    said = classifier(frames_of(truth))
    assert said.shape == (300, 4)
    assert said.dtype == np.float32
    np.testing.assert_array_equal(said.argmax(axis=1), truth)
    np.testing.assert_allclose(said.sum(axis=1), 1, atol=1e-5)
    assert classifier.card.classes == CLASSES
    assert classifier.provider in ("CPUExecutionProvider", "CUDAExecutionProvider")
    assert classifier(np.zeros((0, SIDE, SIDE), np.float32)).shape == (0, 4)


def spoilt():
    weights = weights_of_sides()
    weights[7, 1] = np.nan
    return weights


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"card": Card(CLASSES, (12, 12))}, "its card says"),
        ({"shape": (3, SIDE, SIDE)}, "any n"),
        ({"opset": 99}, "has opset 99"),
        ({"opset": 7}, "has opset 7"),
        ({"softmax": False}, "put a softmax at its end"),
        ({"weights": spoilt()}, "not finite in 'weights'"),
        ({"weights": weights_of_sides()[:, :3]}, "its card names 4 classes"),
        ({"kind": INT}, "must take float32"),
    ],
)
def test_an_unusable_network_is_told_before_the_first_frame(tmp_path, changes, says):
    with pytest.raises(NetworkError, match=says) as told:
        Classifier(write_network(tmp_path / "small.onnx", **changes))
    assert "\n" not in str(told.value)


def test_what_is_no_network(tmp_path, network):
    for data in (b"", b"no network at all", network.read_bytes()[:-40]):
        broken = tmp_path / "broken.onnx"
        broken.write_bytes(data)
        card_path(broken).write_text(card_path(network).read_text())
        with pytest.raises(NetworkError, match=r"broken\.onnx"):
            Classifier(broken)


def test_a_network_needs_its_own_card(network):
    card = Card(CLASSES, (SIDE, SIDE), sha256=sha256_of(network))
    card_path(network).write_text(card.to_toml())
    Classifier(network)
    card_path(network).write_text(card.to_toml().replace(card.sha256, "0" * 64))
    with pytest.raises(CardError, match="sha256 differs"):
        Classifier(network)
    card_path(network).unlink()
    with pytest.raises(CardError, match="has no card"):
        Classifier(network)


def test_names_are_looked_for_in_the_folders(tmp_path, monkeypatch):
    with pytest.raises(NetworkError, match=r"no network 'nowhere' \(known: .*\)"):
        find("nowhere")
    with pytest.raises(NetworkError, match="there is no network"):
        find(tmp_path / "missing.onnx")
    network = write_network(tmp_path / "mine.onnx")
    monkeypatch.setattr(module, "WEIGHTS", tmp_path)
    assert find("mine") == network
    assert find(tmp_path / "mine") == network  # the suffix may be left out


def test_threads_are_bounded(network):
    with pytest.raises(NetworkError, match="threads must lie between 1 and"):
        Classifier(network, threads=0)
