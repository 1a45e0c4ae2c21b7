"""A lost beam and a dose that is spent: the cell rests, its clock goes on, nothing is lost."""

import threading

import numpy as np
import pytest
from bluesky.suspenders import SuspendCeil, SuspendFloor
from ophyd import Component as Cpt
from ophyd import Device, Signal
from ophyd.status import Status

from flyback.devices.monitors import BeamCurrent
from flyback.models.techniques import OCV
from flyback.plans import operando
from flyback.tests.potentiostats import Cell, samples

NOMINAL_PA, OPEN = 100.0, 1


class Counter(Device):
    """A detector whose exposures add to a dose, and that knows how strong the beam was."""

    counts = Cpt(Signal, value=0.0, kind="hinted")
    dose = Cpt(Signal, value=0.0, kind="normal")

    def __init__(self, *args, beam, **kwargs):
        super().__init__(*args, **kwargs)
        self.beam = beam

    def trigger(self):
        current = self.beam.current_pa.get()
        self.counts.put(current)
        self.dose.put(self.dose.get() + current / NOMINAL_PA)
        status = Status(self)
        status.set_finished()
        return status


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    made = Cell(tmp_path_factory.mktemp("cell"))
    yield made
    made.close()


@pytest.fixture
def beam():
    return BeamCurrent(name="beam", current_pa=NOMINAL_PA)


@pytest.fixture
def detector(beam):
    return Counter(name="detector", beam=beam)


def carry_out(cell, run_engine, detector, suspender, when, then, after_s=0.3):
    """Rest under a suspender; `when` sees each dose, and a while after it is true comes `then`."""
    RE, documents = run_engine
    cell.mark()
    cell.potentiostat.on_pause = "open_circuit"
    helpers = []

    def watch(*, value, **_):
        if when(value) and not helpers:
            helpers.append(threading.Timer(after_s, then))
            helpers[0].start()

    token = detector.dose.subscribe(watch, run=False)
    try:
        RE(operando(cell.potentiostat, OCV(150), [detector], every_s=10, suspenders=[suspender]))
    finally:
        detector.dose.unsubscribe(token)
    helpers[0].join()
    documents.check()
    return documents, samples(documents)


def readings(documents):
    return [e["data"] for e in documents.of("event") if "detector_counts" in e["data"]]


def assert_rested(documents, found):
    """The cell paused at open circuit, sampled all the while, and then did all that was left."""
    index, paused = found["sample_index"], found["flags"] & 1 == 1
    assert np.array_equal(index, np.arange(len(index)))
    assert paused.any()
    assert not paused[-1]
    assert (np.diff(found["device_time_s"]) > 0).all()
    running = np.diff(found["device_time_s"])[~paused[1:]].sum()
    assert running == pytest.approx(149, abs=3)
    (gap,) = [e["data"] for e in documents.of("event") if "potentiostat_pauses_held" in e["data"]]
    assert not gap["potentiostat_pauses_held"]
    assert documents.stop["exit_status"] == "success"


def test_nothing_is_exposed_while_the_beam_is_lost(cell, run_engine, beam, detector):
    suspender = SuspendFloor(beam.current_pa, 0.5 * NOMINAL_PA, resume_thresh=0.8 * NOMINAL_PA)

    def lose(dose):
        if dose == 3:
            beam.current_pa.report(0.02 * NOMINAL_PA)
        return dose == 3

    documents, found = carry_out(
        cell, run_engine, detector, suspender, lose,
        then=lambda: beam.current_pa.report(0.9 * NOMINAL_PA),
    )  # fmt: skip
    assert_rested(documents, found)
    strengths = [data["detector_counts"] for data in readings(documents)]
    assert min(strengths) >= 0.8 * NOMINAL_PA
    assert strengths[:3] == [NOMINAL_PA] * 3
    assert strengths[-1] == 0.9 * NOMINAL_PA


def test_no_more_than_the_dose_that_is_allowed(cell, run_engine, detector):
    budget = 9.0  # of 15 exposures
    suspender = SuspendCeil(detector.dose, budget, resume_thresh=0.5 * budget)
    doses = []

    def spent(dose):
        doses.append(dose)
        return dose > budget

    def fresh_place():
        detector.dose.put(0.0)

    documents, found = carry_out(cell, run_engine, detector, suspender, spent, fresh_place)
    assert_rested(documents, found)
    # the exposure that spends the budget is the last one at this place
    assert max(doses) == budget + 1
    after = doses.index(budget + 1) + 1
    assert doses[after : after + 2] == [0.0, 1.0]
    assert len(readings(documents)) == len(doses) - 1
