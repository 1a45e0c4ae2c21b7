"""Files changed at random, and what the readers of files of elsewhere make of them.

A reader may read a changed file or refuse it with an error of its own. Anything else is a finding:
another error, a process that dies, more memory than `MEMORY_BYTES`, more time than `CASE_S`.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import multiprocessing
import os
import random
import re
import resource
import struct
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from zlib import crc32

import h5py
import msgpack
import numpy as np

from flyback.callbacks.journal import HEADER
from flyback.callbacks.record import JournalError, read_journal
from flyback.devices.cell_log import CellLogError, read_cell_log
from flyback.devices.recording import Recording, RecordingError
from flyback.profiles.upkeep.checking import StreamCheck
from flyback.profiles.upkeep.streams import IngestError, read_stream
from flyback.tests.run_documents import fly_documents, write_files

MEMORY_BYTES = 6 << 30
CASE_S = 30.0
LARGEST_SEED_BYTES = 400_000
STREAMS = (".json", ".gz", ".jsonl", ".msgpack", ".journal")
CELL_LOGS = (".mpr", ".mpt", ".ndax", ".csv")
RECORDINGS = (
    ".h5", ".npz", ".mib", ".blo", ".emd", ".dm3", ".xy", ".mca", ".spe", ".tif", ".cbf", ".edf",
    ".zip",
)  # fmt: skip
_BOMBS = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\x80", b"\xdd\xff\xff\xff\xff")
_WORDS = (
    b"NaN",
    b"-1",
    b"1e999",
    b"9" * 400,
    b"null",
    b"[]",
    b"{}",
    b"../..",
    b"\xff",
    b"[" * 3000,
)


def read(path: Path) -> None:
    """Read a file as the commands would; raise what the readers raise."""
    kind = path.suffix
    if kind in STREAMS:
        check = StreamCheck(path.name)
        for name, doc in read_stream(path):
            check(name, doc)
    elif kind in CELL_LOGS:
        read_cell_log(path)
    else:
        with Recording(path) as recording:
            np.asarray(recording.frames[0 : min(len(recording), 3)])


def finding(path: Path) -> str | None:
    """Return what is wrong with how a file is read, None where nothing is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(path)
    except (IngestError, CellLogError, RecordingError, JournalError) as error:
        return None if str(error).strip() else f"{type(error).__name__} says nothing"
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        ours = [f for f in traceback.extract_tb(error.__traceback__) if "flyback" in f.filename]
        at = ours[-1] if ours else last
        text = " ".join(str(error).split())[:160]
        return f"{type(error).__name__} at {Path(at.filename).name}:{at.lineno}: {text}"
    return None


def changed(data: bytes, chance: random.Random) -> bytes:
    """Return the bytes of a file with one to six changes."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        if found:
            # heads say most of what is believed
            near = min(len(found), 512) if chance.random() < 0.5 else len(found)
            chance.choice(_CHANGES)(found, chance.randrange(near), chance)
    return bytes(found)


def _byte(found: bytearray, at: int, chance: random.Random) -> None:
    found[at] = chance.randrange(256)


def _bit(found: bytearray, at: int, chance: random.Random) -> None:
    found[at] ^= 1 << chance.randrange(8)


def _cut(found: bytearray, at: int, _: random.Random) -> None:
    del found[at:]


def _bomb(found: bytearray, at: int, chance: random.Random) -> None:
    bomb = chance.choice(_BOMBS)
    found[at : at + len(bomb)] = bomb


def _word(found: bytearray, at: int, chance: random.Random) -> None:
    found[at:at] = chance.choice(_WORDS)


def _repeat(found: bytearray, at: int, chance: random.Random) -> None:
    end = at + chance.randrange(1, 64)
    found[at:end] = found[at:end] * chance.randrange(0, 4)


def _number(found: bytearray, at: int, chance: random.Random) -> None:
    number = re.compile(rb"\d+(\.\d*)?").search(found, at)
    if number:
        found[number.start() : number.end()] = chance.choice(_WORDS)


_CHANGES = (_byte, _bit, _cut, _bomb, _word, _repeat, _number)


def resealed(body: bytes) -> bytes:
    """Return a record of a journal whose checksums are right, whatever its body is."""
    lengths = struct.pack("<II", len(body), crc32(body))
    return lengths + crc32(lengths).to_bytes(4, "little") + body


def changed_journal(bodies: list[bytes], chance: random.Random) -> bytes:
    """Return a journal with right checksums and changed documents."""
    at = chance.randrange(len(bodies))
    bodies = [*bodies[:at], changed(bodies[at], chance), *bodies[at + 1 :]]
    return HEADER + b"".join(map(resealed, bodies))


def seeds(folder: Path, data_folder: Path | None = None) -> list[Path]:
    """Write one file of each form, and name the small ones of the reference data."""
    rng = np.random.default_rng(3)
    frames = rng.poisson(5, (12, 8, 8)).astype(np.uint16)
    positions = np.stack([np.arange(12) // 4, np.arange(12) % 4], axis=1) * 1.0
    docs = fly_documents(write_files(folder, frames, np.arange(12), positions), frames, positions)
    found = [folder / "camera.h5"]
    (folder / "run.json").write_text(json.dumps(docs))
    (folder / "run.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in docs))
    (folder / "run.msgpack").write_bytes(bytes(msgpack.packb(docs) or b""))
    bodies = [bytes(msgpack.packb(pair) or b"") for pair in docs]
    (folder / "run.journal").write_bytes(HEADER + b"".join(map(resealed, bodies)))
    known = {"radiation": "electron", "energy_kev": 80.0, "step_m": 1e-10}
    np.savez(folder / "small.npz", frames=frames.reshape(3, 4, 8, 8), **known)
    with h5py.File(folder / "small.h5", "w") as file:
        file["entry/data/data"] = frames
        file["entry/instrument/beam/energy"] = 80.0
    found += [folder / f"run{kind}" for kind in (".json", ".jsonl", ".msgpack", ".journal")]
    found += [folder / "small.npz", folder / "small.h5"]
    if data_folder is not None:
        suffixes = {".json", *CELL_LOGS, *RECORDINGS}
        found += sorted(
            path
            for path in data_folder.rglob("*")
            if path.suffix in suffixes and path.stat().st_size < LARGEST_SEED_BYTES
        )
    return found


def case(sources: list[Path], number: int, folder: Path) -> tuple[Path, Path]:
    """Write the changed file of a number; return it and what it was made of."""
    chance = random.Random(number)
    source = chance.choice(sources)
    target = folder / f"case{source.suffix}"
    if source.suffix == ".journal" and chance.random() < 0.7:
        bodies = [bytes(msgpack.packb(pair) or b"") for pair in read_journal(source)]
        target.write_bytes(changed_journal(bodies, chance))
    else:
        target.write_bytes(changed(source.read_bytes(), chance))
    return target, source


def work(sources: list[Path], numbers: range, pipe: object) -> None:
    """Try cases in a process of its own: a reader's library may end it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            target, source = case(sources, number, Path(folder))
            pipe.send((number, source.name, "began"))  # type: ignore[attr-defined]
            pipe.send((number, source.name, finding(target)))  # type: ignore[attr-defined]
    pipe.send(None)  # type: ignore[attr-defined]


def hunt(sources: list[Path], seconds: float, first: int = 0, batch: int = 400) -> dict:
    """Try changed files for some time.

    Returns
    -------
    dict
        ``tried``, and ``findings``: text to (how often, number of the first case, its source).
    """
    with contextlib.suppress(ImportError):  # the first import takes long, which is no finding
        importlib.import_module("yadg.extractors")
    tried, findings = 0, {}
    ends = time.monotonic() + seconds
    context = multiprocessing.get_context("fork")
    number = first
    while time.monotonic() < ends:
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=work, args=(sources, range(number, number + batch), theirs))
        child.start()
        theirs.close()
        now, ended = (number, "", "began"), False
        while time.monotonic() < ends + CASE_S:
            try:
                if not ours.poll(CASE_S):
                    what = f"took more than {CASE_S:.0f} s"
                    break
                message = ours.recv()
            except EOFError:
                child.join()
                what = f"the process died ({child.exitcode})"
                break
            if message is None or (message[2] == "began" and time.monotonic() >= ends):
                ended, what = True, None
                break
            if message[2] == "began":
                now = message
                continue
            tried += 1
            if message[2] is not None:
                _add(findings, message[2], message)
        else:
            ended, what = True, None
        if not ended and what is not None:
            _add(findings, f"{now[1]}: {what}", now)
        child.kill()
        child.join()
        number = number + batch if ended else now[0] + 1
    return {"tried": tried, "findings": findings}


def _add(findings: dict, what: str, message: tuple) -> None:
    many, number, source = findings.get(what, (0, message[0], message[1]))
    findings[what] = (many + 1, number, source)
