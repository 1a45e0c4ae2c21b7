"""The loop closed: a plan asks a live analysis by name, through the documents."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from flyback.callbacks.live import Analysis, LiveCallback
from flyback.callbacks.offload import Offload
from flyback.models.base import Quantity
from flyback.models.physics import electrons_per_dwell
from flyback.plans.adaptive import follow
from flyback.plans.scanning import raster
from flyback.profiles.registry import PluginError
from flyback.profiles.steering import with_guides
from flyback.tests.microscope import close_engine, engine, microscope, no_threads_left

FIELD_NM, DWELL_MS = 4.0, 0.5


class Brightest:
    """Steers towards the brightest frame, by as many random steps as are wanted."""

    def __init__(self, gate=None):
        self.positions, self.light, self.gate = np.empty((0, 2)), np.empty(0), gate

    def partial_fit(self, batch):
        if self.gate is not None and len(self.light):
            assert self.gate.wait(30)
        self.positions = np.concatenate([self.positions, batch.coordinates["positions_m"]])
        self.light = np.concatenate([self.light, batch.frames.sum(axis=(1, 2))])
        return self

    def next_positions(self, n_points, *, seed=0):
        rng = np.random.default_rng([seed, len(self.light)])
        there = self.positions[self.light.argmax()]
        return there + rng.normal(0, 1e-10, (n_points, 2)), float(self.light.std()) * 1e-9

    @property
    def result_(self):
        return {"n_frames": Quantity(len(self.light))}


class Silent:
    """A publisher that keeps nothing."""

    def due(self):
        return False

    def finish(self, result):
        pass

    def fail(self, reason):
        pass


@pytest.fixture
def loop(tmp_path):
    """Run follow on a simulated microscope beside the analysis `guide`."""
    with no_threads_left():
        RE, documents = engine()
        offloads = []

        def run(build=lambda batch: Brightest(), applies=True, suggest="guide", gate=None, **more):
            scope = microscope(tmp_path)
            analysis = Analysis(
                "guide", lambda start: LiveCallback(start, Silent, build) if applies else None
            )
            offload = Offload("guide", analysis)
            offloads.append(offload)
            token = RE.subscribe(offload)
            plans = with_guides(
                {"follow": follow, "raster": raster}, SimpleNamespace(guide=analysis)
            )
            electrons = electrons_per_dwell(scope.column.beam_current_pa.get(), DWELL_MS * 1e-3)
            settings = {"fov_nm": FIELD_NM, "step_nm": 0.5, "dwell_ms": DWELL_MS, "n_points": 24}
            settings |= {"budget_e_per_a2": 140 * electrons / (FIELD_NM * 10) ** 2} | more
            RE(plans["follow"]([scope.camera], scope.scan_coils, suggest=suggest, **settings))
            RE.unsubscribe(token)
            if gate is not None:
                gate.set()
            offload.join(30)
            return _places(documents)

        yield SimpleNamespace(run=run, documents=documents)
        for offload in offloads:
            offload.close()
        close_engine(RE)


def _places(documents):
    last = [d for name, d in documents.all if name == "start"][-1]["uid"]
    began = max(k for k, (n, d) in enumerate(documents.all) if n == "start" and d["uid"] == last)
    alone = type(documents)()
    alone.all = documents.all[began:]
    return alone.read("scan_coils_commanded")


def test_the_same_specimen_and_seed_give_the_same_path(loop):
    one, again, other = (loop.run(seed=seed) for seed in (1, 1, 2))
    assert one.shape == (140, 2)
    assert np.array_equal(one, again)
    assert np.array_equal(one[:64], other[:64])
    assert not np.array_equal(one[64:], other[64:])
    # the rounds lie about one place, where the frames so far were brightest
    assert np.median(np.linalg.norm(one[64:88] - one[64:88].mean(axis=0), axis=1)) < 0.3


def test_a_slow_analysis_is_not_waited_for_beyond_the_time_given(loop):
    gate = threading.Event()
    loop.run(lambda batch: Brightest(gate), timeout_s=0.05, gate=gate)
    fell_back = [
        d["data"]["round_fell_back"]
        for d in loop.documents.of("event")
        if "round_fell_back" in d["data"]
    ]
    # the coarse raster was seen at once, what came after it was not
    assert fell_back[:2] == [0, 0]
    assert all(fell_back[2:])
    assert len(fell_back) > 2


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"suggest": "gide"}, PluginError, "gide.*guide"),
        ({"applies": False}, RuntimeError, "guide does not apply to this run"),
        (
            {"build": lambda batch: SimpleNamespace(partial_fit=lambda batch: None, result_={})},
            RuntimeError,
            "guide does not say where to measure next",
        ),
    ],
)
def test_what_cannot_steer_is_said(loop, change, error, sentence):
    with pytest.raises(error, match=sentence):
        loop.run(**change)


def test_plans_that_ask_nothing_stay_as_they_are():
    assert with_guides({"raster": raster}, SimpleNamespace()) == {"raster": raster}
