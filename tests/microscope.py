"""A small simulated microscope and what its tests need."""

import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import event_model
import h5py
import pytest
from bluesky import RunEngine

from flyback.devices.column import Column
from flyback.devices.sim.beam import SimBeam
from flyback.devices.sim.camera import SimPixelDetector
from flyback.devices.sim.coils import SimBlanker, SimScanCoils
from flyback.devices.sim.specimen import Specimen

ROOT = Path(__file__).parents[1]
CHECKS = ROOT.parent / "shared" / "checks"
DATA = ROOT.parent / "shared" / "data"


@dataclass
class Microscope:
    column: Column
    specimen: Specimen
    beam: SimBeam
    blanker: SimBlanker
    scan_coils: SimScanCoils
    camera: SimPixelDetector


def microscope(directory, *, rate="max", pixels=32, camera=None, coils=None, **beam) -> Microscope:
    column = Column(name="column", angular_sampling_mrad=2.0, defocus_nm=5.0, beam_current_pa=5.0)
    specimen = Specimen(name="specimen", field_nm=6.0, thickness_nm=2.0)
    sim = SimBeam(name="beam", specimen=specimen, column=column, rate=rate, **beam)
    blanker = SimBlanker(name="blanker", beam=sim)
    return Microscope(
        column,
        specimen,
        sim,
        blanker,
        SimScanCoils(
            name="scan_coils", beam=sim, blanker=blanker, directory=directory, **(coils or {})
        ),
        SimPixelDetector(
            name="camera", beam=sim, directory=directory, pixels=pixels, ring_mb=8, **(camera or {})
        ),
    )


def local(uri: str) -> Path:
    assert uri.startswith("file://localhost/")
    return Path(uri.removeprefix("file://localhost"))


class Documents:
    """Every document of some runs, in order."""

    def __init__(self):
        self.all = []

    def __call__(self, name, doc):
        self.all.append((name, dict(doc)))

    def of(self, kind):
        return [doc for name, doc in self.all if name == kind]

    @property
    def start(self):
        return self.of("start")[-1]

    @property
    def stop(self):
        return self.of("stop")[-1]

    def resource(self, data_key):
        (found,) = [doc for doc in self.of("stream_resource") if doc["data_key"] == data_key]
        return found

    def data(self, resource):
        return [d for d in self.of("stream_datum") if d["stream_resource"] == resource["uid"]]

    def announced(self, data_key):
        found = [doc for doc in self.of("stream_resource") if doc["data_key"] == data_key]
        data = [d["indices"]["stop"] for r in found for d in self.data(r)]
        return max(data, default=0)

    def read(self, data_key):
        resource = self.resource(data_key)
        with h5py.File(local(resource["uri"]), "r") as file:
            return file[resource["parameters"]["dataset"]][: self.announced(data_key)]

    def check(self):
        """Schemas, references and order."""
        for name, doc in self.all:
            event_model.schema_validators[event_model.DocumentNames[name]].validate(doc)
        if CHECKS.is_dir():
            sys.path.insert(0, str(CHECKS))
            try:
                from check_documents import check
            finally:
                sys.path.remove(str(CHECKS))
            assert check(self.all)[1] == []
        seen, ends = set(), {}
        for name, doc in self.all:
            if name == "stream_resource":
                seen.add(doc["uid"])
            elif name == "stream_datum":
                assert doc["stream_resource"] in seen
                assert doc["indices"]["start"] == ends.get(doc["stream_resource"], 0)
                ends[doc["stream_resource"]] = doc["indices"]["stop"]
        return self


def need_data(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"the reference data is not here: {path}")
    return path


def engine():
    RE = RunEngine({})
    documents = Documents()
    RE.subscribe(documents)
    return RE, documents


def close_engine(RE):
    """Stop the engine's loop, so that its thread ends with the test."""
    if RE.state != "idle":
        RE.halt()
    RE.loop.call_soon_threadsafe(RE.loop.stop)
    RE._th.join(5)
    if not RE.loop.is_running():
        RE.loop.close()


@contextmanager
def no_threads_left(patience_s=5.0):
    """Fail when what ran inside has left a thread behind."""
    before = set(threading.enumerate())
    yield
    left = [t for t in threading.enumerate() if t not in before]
    for thread in left:
        thread.join(patience_s)
    still = [thread.name for thread in left if thread.is_alive()]
    assert not still, f"threads left behind: {still}"
