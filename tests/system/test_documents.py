"""Every kind of run is clean by the checker of reference: schemas, references, ingest by Tiled."""

import json
import os
import subprocess
import sys
import tomllib

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import numpy as np
import pytest

import flyback as fb
from flyback.callbacks.journal import append_documents
from flyback.callbacks.record import read_journal
from flyback.profiles.archive import Archive
from flyback.profiles.builtin import SIM_DOMAINS
from flyback.profiles.commands import run_replay
from flyback.profiles.schema import parse_profile
from flyback.profiles.store.recovery import recover
from flyback.profiles.upkeep.ingest import ingest
from flyback.tests.small_microscope import MICROSCOPE, SCAN

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]


def plain(value):
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(type(value))


def journals(folder):
    """Return the documents of every run of an archive, a run after the other."""
    paths = sorted((folder / "journal").glob("*.journal"), key=lambda path: path.stat().st_mtime)
    return [doc for path in paths for doc in read_journal(path)]


def scans_and_tuning_and_a_cell(folder):
    potentiostat = {"plugin": "sim_potentiostat", "speed": 1000.0, "limits": {"upper_v": 3.5}}
    devices = {**MICROSCOPE["devices"], "potentiostat": potentiostat}
    analyses = {"virtual_images": {}}
    profile = MICROSCOPE | {"devices": devices, "analyses": analyses}
    with fb.open(parse_profile("all", profile), folder, progress=False) as s:
        s.beam.warm(32)
        s.RE(s.plans.raster([s.camera], s.scan_coils, **SCAN))
        s.RE(s.plans.spiral([s.camera], s.scan_coils, fov_nm=0.6, step_nm=0.05, dwell_ms=0.1))
        s.RE(s.plans.tune_rotation([s.camera], s.scan_coils, fov_nm=0.8, step_nm=0.08))
        cycle = s.plans.cycle(
            s.potentiostat, [s.camera], c_rate=4, capacity_mah=0.0589, lower_v=0.3, upper_v=1.0,
            every_s=300,
        )  # fmt: skip
        s.RE(cycle)
        whole = s.plans.raster([s.camera], s.scan_coils, **SCAN)

        def broken(message):
            if message.command == "complete":
                raise RuntimeError("the plan was broken off")
            return message

        with pytest.raises(RuntimeError, match="broken off"):
            s.RE(bpp.msg_mutator(whole, broken))

        def aborted():
            yield from bps.open_run(md={"plan_name": "aborted"})
            yield from bps.sleep(0.01)
            raise RuntimeError("aborted before a frame")

        with pytest.raises(RuntimeError, match="before a frame"):
            s.RE(aborted())
        s.join(120)


def adaptive(folder):
    profile = tomllib.loads(SIM_DOMAINS.read_text(encoding="utf-8"))
    profile["devices"]["beam"]["rate"] = "max"
    profile["analyses"] = {"domains": {}}
    with fb.open(parse_profile("walls", profile), folder, progress=False) as s:
        follow = s.plans.follow(
            [s.camera], s.scan_coils, fov_nm=30.0, step_nm=5.0, dwell_ms=0.2, n_points=12, seed=3
        )
        s.RE(follow)
        s.join(120)


def cut_off(folder, source):
    """Recover a scan whose session was killed after three quarters of its documents."""
    whole = next(
        list(read_journal(path))
        for path in sorted((source / "journal").glob("*.journal"))
        if next(read_journal(path))[1].get("plan_name") == "spiral"
    )
    with Archive(folder) as archive:
        path = archive.layout.journal / f"{whole[0][1]['uid']}.journal"
        path.touch()
        append_documents(path, whole[: len(whole) * 3 // 4])
        report = recover(archive.layout.journal, archive.catalog)
        assert report.ended == [whole[0][1]["uid"]]
        assert not report.problems


def test_the_checker_finds_nothing(tmp_path, data_folder, monkeypatch):
    checker = data_folder.parent / "checks" / "check_documents.py"
    if not checker.is_file():
        pytest.skip(f"the checker is not in {checker}")
    first, second, third, fourth = (tmp_path / name for name in ("a", "b", "c", "d"))
    scans_and_tuning_and_a_cell(first)
    report = run_replay("1", "virtual_images", settings={}, speed=1e9, directory=first)
    assert not report.failed
    adaptive(second)
    monkeypatch.setenv("FLYBACK_READABLE", os.pathsep.join([str(first / "frames")]))
    cut_off(third, first)
    taken = ingest(sorted((data_folder / "bluesky" / "apstools_misc").glob("*.json")), fourth)
    assert not taken.problems
    made = {folder.name: journals(folder) for folder in (first, second, third, fourth)}
    plans = {
        doc.get("plan_name") for docs in made.values() for name, doc in docs if name == "start"
    }
    assert plans >= {"raster", "spiral", "follow", "cycle", "aborted", "analysis:virtual_images"}
    # in one file, for a server is started for each; the recovered run has the uid of another
    recovered = made.pop(third.name)
    files = [tmp_path / "recovered.json", tmp_path / "all.json"]
    everything = [doc for docs in made.values() for doc in docs]
    for file, docs in zip(files, (recovered, everything), strict=True):
        file.write_text(json.dumps(docs, default=plain))
    done = subprocess.run(
        [sys.executable, checker, *files, "--tiled"], capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert done.stdout.count("problems 0") == len(files)
