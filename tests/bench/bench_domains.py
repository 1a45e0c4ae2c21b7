"""Patterns per second: frames as the ring hands them over, binned, asked about, mapped."""

import time

import numpy as np
import pytest

from flyback.models.base import Batch
from flyback.models.domains.augmentation import Augmentation
from flyback.models.domains.classifier import Classifier
from flyback.models.domains.domain_map import DomainMap
from flyback.models.experiment import Experiment
from flyback.models.trajectories import Raster
from flyback.tests.bench.yardstick import record

pytest.importorskip("torch", reason="the extra 'train' is not installed")
pytest.importorskip("onnx", reason="the extra 'train' is not installed")

BATCH, FRAMES, LAUNCH = 512, 16_384, 64


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """The network as it is shipped, with no training: its speed does not depend on its weights."""
    from flyback.models.domains.export import export
    from flyback.models.domains.network import DomainNetwork
    from flyback.models.domains.training import Trained

    path = tmp_path_factory.mktemp("net") / "net.onnx"
    trained = Trained(DomainNetwork((64, 64), 5).eval(), 0.2, 0.01, 1, 1, 0, 0, "", 0, 0, 0)
    probe = np.random.default_rng(0).poisson(2, (8, 64, 64))
    export(trained, ["+x", "-x", "+y", "-y", "c"], path, probe, training_data="", remake="")
    return path


def bench_network_alone(benchmark, network):
    """64 frames of 64x64 on one core: at most 8 ms."""
    frames = np.random.default_rng(0).poisson(2, (LAUNCH, 64, 64)).astype(np.float32)
    classifier = Classifier(network, threads=1)
    benchmark.pedantic(classifier, (frames,), rounds=30, warmup_rounds=3)
    seconds = benchmark.stats["min"]
    record(benchmark, ms_a_launch_of_64=seconds * 1e3, patterns_per_s=LAUNCH / seconds)
    assert seconds < 8e-3


@pytest.mark.parametrize(("side", "threads"), [(128, 1), (128, 2), (64, 2)])
def bench_map(benchmark, network, side, threads):
    """uint16 frames in batches of 512 through `DomainMap`: 10 000 a second on two cores."""
    rng = np.random.default_rng(0)
    frames = rng.poisson(0.5, (BATCH, side, side)).astype(np.uint16)
    path = Raster(fov=128, step=1)
    experiment = Experiment.from_metadata({"trajectory": path.to_dict()})
    classifier = Classifier(network, threads=threads)
    at = path.positions * 1e-9

    def feed():
        model = DomainMap(experiment, classifier)
        for start in range(0, FRAMES, BATCH):
            rows = np.arange(start, start + BATCH)
            model.partial_fit(Batch(frames, rows, {"positions_m": at[rows]}))
        began = time.perf_counter()
        _ = model.result_
        return time.perf_counter() - began

    shown = benchmark.pedantic(feed, rounds=3, warmup_rounds=1)
    seconds = benchmark.stats["min"] - shown
    record(
        benchmark,
        side=side,
        threads=threads,
        patterns_per_s=FRAMES / seconds,
        result_ms=shown * 1e3,
    )


def bench_augmentation(benchmark):
    """Patterns of 64x64 a second that training draws."""
    rng = np.random.default_rng(0)
    patterns = rng.poisson(2, (256, 64, 64)).astype(np.int32)
    weights = np.ones((256, 1), np.float32)
    benchmark.pedantic(lambda: Augmentation()(patterns, weights, rng), rounds=5, warmup_rounds=1)
    record(benchmark, patterns_per_s=256 / benchmark.stats["min"])
