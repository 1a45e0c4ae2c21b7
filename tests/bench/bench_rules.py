"""From a frame to what a rule makes of it: a megapixel of diffraction, integrated and fitted live.

python -m pytest tests/bench/bench_rules.py -q -s

The beamline is the simulated one, with a few images drawn beforehand, since drawing a megapixel
takes longer than all that is measured here. The analysis `phases` is the shipped one; only that it
says of every frame that it saw it, so that there is a firing for each.
"""

import itertools
import os
import time
import tomllib
from importlib.resources import files

import numpy as np
import pytest

import flyback as fb
from flyback.callbacks.offload import Offload
from flyback.profiles.schema import parse_profile
from flyback.tests.bench.yardstick import record

FRAMES, SPEED, EVERY_S = 260, 100.0, 30.0
EXPOSURE_S, DRAWN = 0.02, 8
LEFT_OUT = 50
"""Frames at the beginning that are not counted: the first fits start from nothing."""


PLUGIN = """
import functools

from flyback.callbacks.phases import phases
from flyback.models.base import Event


class Announcing:
    def __init__(self, model):
        self._model, self.events_ = model, []

    def __getattr__(self, name):
        return getattr(self._model, name)

    def partial_fit(self, batch):
        self._model.partial_fit(batch)
        self.events_ += [Event("seen", int(index), "", {}) for index in batch.scan_index]
        return self


@functools.wraps(phases)
def announcing_phases(*args, **settings):
    callback = phases(*args, **settings)
    build = callback._build
    callback._build = lambda batch: Announcing(build(batch))
    return callback
"""
NAME = "announcing_phases"
ENTRY_POINTS = f"[flyback.callbacks]\n{NAME} = {NAME}:{NAME}\n"


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Install `phases` with an event for every frame, here and in processes of analyses."""
    folder = tmp_path / "site"
    about = folder / f"{NAME}-0.dist-info"
    about.mkdir(parents=True)
    (folder / f"{NAME}.py").write_text(PLUGIN)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 0\n")
    (about / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)


@pytest.fixture(params=["thread", "process"])
def session(request, plugin, tmp_path):
    """The simulated beamline with a detector of a megapixel and a rule that fires by the frame."""
    table = tomllib.loads(files("flyback.profiles").joinpath("sim_beamline.toml").read_text())
    table["devices"]["potentiostat"]["speed"] = SPEED
    table["devices"]["xrd"] |= {"pixels": 1024, "pixel_um": 94.0, "exposure_s": EXPOSURE_S}
    del table["devices"]["xrf"], table["analyses"]["fluorescence"], table["profile"]
    table["analyses"][NAME] = {**table["analyses"].pop("phases"), "worker": request.param}
    table["rules"] = {
        "each": {"when": f"{NAME}.seen", "do": "finer_frames", "every_s": EVERY_S, "times": 10**6}
    }
    with fb.open(parse_profile("bench", table), tmp_path, progress=False) as opened:
        if opened.warming is not None:
            opened.warming.join()
        draw_beforehand(opened.xrd.driver)
        yield opened


def draw_beforehand(driver):
    """Let a detector's driver give images that were drawn once, over and over."""
    expected = driver._expected(1.0)
    rng = np.random.default_rng(0)
    drawn = itertools.cycle([rng.poisson(expected).astype(driver.dtype) for _ in range(DRAWN)])

    def blocks():
        n_frames, exposure_s, first = driver._armed
        for frame in range(n_frames):
            driver._off.wait(exposure_s)
            yield np.array([first + frame]), np.array([time.time()]), next(drawn)[None]

    driver.blocks = blocks


@pytest.fixture
def handed_over(monkeypatch):
    """When the datum of each frame was put into the queue of `phases`."""
    stamps, frames_of = {}, set()
    usual = Offload.__call__

    def stamped(self, name, doc):
        if self.name == NAME:
            if name == "stream_resource" and doc["data_key"].endswith("_frames"):
                frames_of.add(doc["uid"])
            if name == "stream_datum" and doc["stream_resource"] in frames_of:
                for row in range(doc["indices"]["start"], doc["indices"]["stop"]):
                    stamps[row] = time.time()
        usual(self, name, doc)

    monkeypatch.setattr(Offload, "__call__", stamped)
    return stamps


def bench_from_a_frame_to_its_rule(benchmark, handed_over, session):
    """Queue to firing, exposure's end to action, in ms."""
    uids = []

    def run():
        uids.extend(
            session.RE(
                session.plans.ocv(
                    session.potentiostat,
                    [session.xrd],
                    duration_s=FRAMES * EVERY_S,
                    every_s=EVERY_S,
                    sample_s=EVERY_S,
                )
            )
        )

    benchmark.pedantic(run, rounds=1)
    session.join(60)
    stream = session.catalog[uids[0]]
    fired = stream["rules"].read()
    rows = np.asarray(fired["rule_scan_index"]).astype(int)
    fired_s, acted_s = (np.asarray(fired[f"rule_{key}_s"]) for key in ("fired", "acted"))
    queued_s = np.array([handed_over[row] for row in rows])
    exposed_s = np.asarray(stream["primary"]["xrd_time"].read()).ravel()[rows]
    counted = rows >= LEFT_OUT
    figures = {"n": int(counted.sum())}
    for name, begin, end in (
        ("queue_to_firing", queued_s, fired_s),
        ("firing_to_action", fired_s, acted_s),
        ("exposure_end_to_action", exposed_s, acted_s),
    ):
        spent = 1e3 * (end - begin)[counted]
        figures |= {f"{name}_p{q}_ms": np.percentile(spent, q) for q in (50, 99)}
    record(benchmark, **figures)
