"""Simulated potentiostats and what their tests need."""

import json
import time

import numpy as np

from flyback.devices.sim.potentiostat import SimPotentiostat
from flyback.models.protocol import Protocol
from flyback.models.steps import Limits
from flyback.models.techniques import GCPL

CAPACITY_MAH = 0.0589
PATIENCE_S = 1.0


def slow_cycle(**kwargs) -> Protocol:
    """Take hours of the cell's time, and one sample each second of it."""
    gcpl = GCPL(0.1 * CAPACITY_MAH, 0.01, 1.5, capacity_mah=1.5 * CAPACITY_MAH)
    return Protocol([gcpl], Limits(lower_v=0.0, upper_v=3.0), **kwargs)


class Cell:
    """A simulated potentiostat with its log."""

    def __init__(self, folder, **kwargs):
        self.log_path = folder / "cell.jsonl"
        kwargs.setdefault("speed", 100.0)
        self.potentiostat = SimPotentiostat(
            name="potentiostat", log_path=self.log_path, limits={"upper_v": 3.5}, **kwargs
        )
        self.mark()

    def mark(self):
        """Forget what was logged so far."""
        self._seen = len(self.log_path.read_text().splitlines())

    def events(self, *names):
        """Return what was logged since the mark, of some names."""
        lines = self.log_path.read_text().splitlines()[self._seen :]
        logged = [json.loads(line) for line in lines]
        return [entry for entry in logged if not names or entry["event"] in names]

    def opened(self, since=0.0):
        """Return when, by the wall clock, the circuit was first opened after a time."""
        times = [e["utc"] for e in self.events("open_circuit") if e["utc"] >= since]
        assert times, f"the circuit was not opened; the log has {self.events()[-5:]}"
        return times[0]

    def close(self):
        self.potentiostat.destroy()


def samples(documents, name="potentiostat"):
    """Return the samples of a run as arrays, by the ends of their data keys."""
    columns = {}
    for page in documents.of("event_page"):
        for key, values in page["data"].items():
            columns.setdefault(key.removeprefix(f"{name}_"), []).extend(values)
    return {key: np.array(values) for key, values in columns.items()}


def until(condition, patience_s=20.0):
    """Wait until something is true."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)
