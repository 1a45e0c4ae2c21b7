import importlib.metadata
import sys
import types

import numpy as np
import pytest
from matplotlib.figure import Figure

from flyback.callbacks.domains import domains, opened
from flyback.callbacks.plots import draw, images
from flyback.models.base import Batch
from flyback.models.domains import classifier
from flyback.models.domains.classifier import NetworkError
from flyback.models.trajectories import Raster
from flyback.tests.models.small_network import frames_of, write_network


@pytest.fixture
def network(tmp_path):
    return write_network(tmp_path / "small.onnx")


def unpublished():
    raise AssertionError


def built(network, **settings):
    path = Raster(fov=8, step=1)
    start = {"uid": "u", "time": 0.0, "trajectory": path.to_dict()}
    callback = domains(start, unpublished, model=str(network), **settings)
    truth = (path.positions[:, 1] > path.positions[:, 1].mean()).astype(int)
    truth[:8] = 2
    frames = frames_of(truth)
    frames[-1] = 0
    batch = Batch(frames, np.arange(len(truth)), {"positions_m": path.positions * 1e-9})
    callback.rehearse(batch)
    return callback._build(batch).partial_fit(batch).result_


def test_the_picture_names_its_domains(network):
    result = built(network)
    assert next(iter(images(result))) == "domain_image"
    figure = Figure(figsize=(9, 3))
    assert draw(figure, result, "a scan")
    axes = figure.axes[0]
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["unknown", "+x", "-x", "+y"]
    assert axes.get_title() == "domains"
    assert any("nm" in text.get_text() for text in axes.texts)  # the scale bar
    figure.canvas.draw()


def test_a_network_is_opened_once_until_it_changes(network):
    first = opened(str(network))
    assert opened(str(network)) is first
    write_network(network, weights=first_weights())
    assert opened(str(network)) is not first


def first_weights():
    return np.random.default_rng(0).normal(size=(256, 4)).astype(np.float32) * 0.01


def test_a_package_offers_networks_by_name(network, monkeypatch):
    module = types.ModuleType("my_networks")
    module.__file__ = str(network.parent / "__init__.py")
    monkeypatch.setitem(sys.modules, "my_networks", module)
    entry = importlib.metadata.EntryPoint("mine", "my_networks", classifier.GROUP)
    monkeypatch.setattr(classifier, "entry_points", lambda group: [entry])
    assert opened("small").path == network
    broken = importlib.metadata.EntryPoint("bad", "no_such_module", classifier.GROUP)
    monkeypatch.setattr(classifier, "entry_points", lambda group: [broken])
    with pytest.raises(NetworkError, match=r"the networks 'bad' .* cannot be imported"):
        opened("small")
