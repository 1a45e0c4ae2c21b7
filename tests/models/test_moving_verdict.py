"""A verdict while frames come never stands in the way of a frame."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from flyback.models.base import Quantity
from flyback.models.diffraction import moving_verdict
from flyback.models.diffraction.moving_verdict import MovingVerdict


@pytest.fixture
def judged(monkeypatch):
    """Judgements of one step, and what was done in which order."""
    log, begun = [], threading.Event()

    class OneStep:
        def __init__(self, tracker):
            self.kept = []

        def judge(self, pause):
            begun.set()
            pause()
            log.append(f"weighed {len(self.kept)}")
            return {"verdict": Quantity("two_phase"), "verdict_phase": Quantity("Pt")}

    monkeypatch.setattr(moving_verdict, "Verdicts", OneStep)
    return log, begun


def add(moving, index):
    return moving.add(np.ones(3), None, None, index)


def test_a_judgement_that_has_begun_waits_while_a_frame_is_fitted(judged):
    log, begun = judged
    moving = MovingVerdict(SimpleNamespace(theta=np.zeros(2)), every=2, window=4)
    with moving.patterns_first():
        assert add(moving, 0) == add(moving, 1) == []
        assert begun.wait(10)
        log.append("fitted")
    (event,) = moving.settle()
    assert log == ["fitted", "weighed 2"]
    assert (event.kind, event.scan_index, event.subject) == ("verdict", 1, "two_phase")


def test_who_waits_for_a_judgement_while_a_frame_is_fitted_gets_it(judged):
    moving = MovingVerdict(SimpleNamespace(theta=np.zeros(2)), every=1, window=4)
    with moving.patterns_first():
        assert add(moving, 0) == []
        (event,) = add(moving, 1)
        assert moving.settle() == []
    assert event.scan_index == 0
    assert moving.result_["window_end_index"].value.tolist() == [0, 1]
