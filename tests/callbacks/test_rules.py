"""A rule fires once its analysis sees what it waits for, and a plan takes it."""

import threading

import numpy as np

from flyback.callbacks.live import Analysis, LiveCallback
from flyback.callbacks.rules import MOST_RUNS, Rule, Rules
from flyback.models.base import Event, Quantity
from flyback.tests.run_documents import fly_documents, write_files


class Brighter:
    """Says when a frame is brighter than all before."""

    def __init__(self):
        self.most, self.events_ = -1.0, []

    def partial_fit(self, batch):
        for index, total in zip(batch.scan_index, batch.frames.sum(axis=(1, 2)), strict=True):
            if total > self.most:
                self.most = total
                says = {"total": float(total)}
                self.events_.append(Event("brighter", int(index), "camera", says))
        return self

    @property
    def result_(self):
        return {"most": Quantity(float(self.most))}


class Silent:
    def due(self):
        return False

    def finish(self, final):
        pass


def played(tmp_path, rules, totals, **md):
    frames = np.zeros((len(totals), 2, 2), np.uint16)
    frames[:, 0, 0] = totals
    places = np.zeros((len(totals), 2))
    files = write_files(tmp_path, frames, np.arange(len(totals)), places)
    docs = fly_documents(files, frames, places, **md)
    analysis = Analysis("light", lambda start: LiveCallback(start, Silent, lambda b: Brighter()))
    analysis.listeners.append(rules.listener("light"))
    for name, doc in docs:
        analysis(name, doc)
    assert analysis.history[0].error is None
    return docs[0][1]["uid"]


def test_a_rule_fires_with_what_it_saw_and_no_oftener_than_it_says(tmp_path):
    rule = Rule("bright", "light", "brighter", "hold", settings={"seconds": 2.0}, times=2)
    rules = Rules([rule])
    run = played(tmp_path, rules, [3, 1, 7, 9])
    first, second = rules.take(run)
    assert (first.rule, first.event.scan_index, first.event.says) == (rule, 0, {"total": 3.0})
    assert second.event.scan_index == 2
    assert first.monotonic_s <= second.monotonic_s
    assert rules.take(run) == []


def test_other_events_subjects_analyses_and_runs_fire_nothing(tmp_path):
    rules = Rules(
        [
            Rule("a", "light", "darker", "hold"),
            Rule("b", "light", "brighter", "hold", subject="another"),
            Rule("c", "other", "brighter", "hold"),
        ]
    )
    run = played(tmp_path, rules, [3, 7])
    assert rules.take(run) == []
    rules.heard("light", "another run", Event("darker", 0))
    assert rules.take(run) == []
    assert len(rules.take("another run")) == 1


def test_who_waits_is_woken_when_a_rule_fires():
    rules = Rules([Rule("a", "light", "darker", "hold")])
    taken = []
    waiting = threading.Thread(target=lambda: taken.extend(rules.take("run", timeout_s=30)))
    waiting.start()
    rules.heard("light", "run", Event("darker", 5))
    waiting.join(10)
    assert [firing.event.scan_index for firing in taken] == [5]


def test_a_bell_rings_for_its_run_and_for_what_has_fired_before():
    rules = Rules([Rule("a", "light", "darker", "hold", times=2)])
    rung = []
    rules.heard("light", "run", Event("darker", 5))
    rules.ring("run", lambda: rung.append(len(rung)))
    assert rung == [0]
    rules.heard("light", "another run", Event("darker", 5))
    rules.heard("light", "run", Event("brighter", 5))
    assert rung == [0]
    rules.heard("light", "run", Event("darker", 6))
    assert rung == [0, 1]
    rules.forget("run")
    rules.heard("light", "run", Event("darker", 6))
    assert rung == [0, 1]


def test_runs_that_nobody_takes_from_do_not_pile_up():
    rules = Rules([Rule("a", "light", "darker", "hold")])
    rung = []
    rules.ring("listened to", lambda: rung.append(1))
    for run in range(10 * MOST_RUNS):
        rules.heard("light", str(run), Event("darker", 0))
    assert len(rules._runs) <= MOST_RUNS + 2
    assert len(rules.take(str(run))) == 1
    rules.heard("light", "listened to", Event("darker", 0))
    assert rung == [1]


def test_what_is_forgotten_may_fire_again():
    rules = Rules([Rule("a", "light", "darker", "hold")])
    for _ in range(3):
        rules.heard("light", "run", Event("darker", 0))
    assert len(rules.take("run")) == 1
    rules.forget("run")
    rules.heard("light", "run", Event("darker", 1))
    assert len(rules.take("run")) == 1


def test_a_listener_that_raises_ends_nothing(tmp_path, caplog):
    rules = Rules([])
    rules.heard = lambda *args: 1 / 0
    played(tmp_path, rules, [3, 7])
    assert "listener" in caplog.text
