"""A session of its own that flies and is killed: ``crashing_run.py DIRECTORY``.

It says on stdout what it announces, and before each block waits for a line on stdin.
"""

import sys
from pathlib import Path

from block_flyer import BlockFlyer, fly
from bluesky import RunEngine
from ophyd.sim import motor

from flyback.callbacks.record import Recorder
from flyback.profiles.store.catalog import open_catalog
from flyback.profiles.store.writer import StoreWriter


def say(*words):
    # one write: two threads speak, and print writes the end of the line by itself
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def gate(start):
    say("block", start)
    sys.stdin.readline()


def announced(name, doc):
    if name == "start":
        say("start", doc["uid"])
    if name == "stream_datum":
        say("datum", doc["indices"]["stop"])


def main(root):
    catalog = open_catalog(root / "catalog", readable=[root / "frames"])
    RE = RunEngine({})
    RE.subscribe(Recorder(root / "journal"))
    RE.subscribe(StoreWriter(catalog, journal=root / "journal"))
    RE.subscribe(announced)
    camera = BlockFlyer(name="camera", directory=root / "frames", n_frames=10_000, gate=gate)
    RE(fly(camera, [motor]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
