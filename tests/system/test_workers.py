"""Analyses in processes of their own: the same numbers, whatever becomes of the process."""

import copy
import os
import signal
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest

import flyback as fb
from flyback.models.base import Event
from flyback.profiles.builtin import SIM_DOMAINS
from flyback.profiles.registry import SettingError
from flyback.profiles.schema import parse_profile
from flyback.tests.small_microscope import MICROSCOPE

pytestmark = pytest.mark.heavy


def opened(directory, analyses, **changes):
    profile = copy.deepcopy(MICROSCOPE)
    profile["analyses"] = analyses
    profile["devices"]["beam"] |= changes
    return fb.open(parse_profile("workers", profile), directory, progress=False)


def scan(session, **changed):
    settings = {"fov_nm": 1.5, "step_nm": 0.05, "dwell_ms": 1.0} | changed
    (uid,) = session.RE(session.plans.raster([session.camera], session.scan_coils, **settings))
    return uid


def kill(worker):
    """Kill a process and wait until the session could know."""
    worker._link.process.kill()
    worker._link._listener.join(30)


def equal(one, other):
    assert sorted(one) == sorted(other)
    for key, quantity in one.items():
        np.testing.assert_array_equal(quantity.value, other[key].value, err_msg=key)


REPLAY = """
import sys
import numpy as np
import flyback as fb
from flyback.tests.system.test_workers import opened

directory, name, target, *uids = sys.argv[1:]
with opened(directory, {name: {}}) as session:
    for uid in uids:
        final = fb.replay(uid, name, session=session).callback.final
        np.savez(f"{target}/{uid}.npz", **{key: each.value for key, each in final.items()})
"""


@pytest.mark.parametrize("name", ["virtual_images", "ptychography"])
def test_a_process_gives_what_a_thread_gives(tmp_path, name):
    """Both load compiled kernels: what a process has just compiled may differ in the last bits."""
    archive = tmp_path / "archive"
    with opened(archive, {name: {"worker": "process"}}) as session:
        scan(session)
        assert len(session.join(300)) == 1
    with opened(archive, {name: {"worker": "process"}}) as session:
        looks = []
        getattr(session.live, name).watchers.append(lambda c: looks.append(len(c.result_)))
        uids = [scan(session), scan(session, dwell_ms=0.5)]
        done = session.join(200)
        assert [callback.start["uid"] for callback in done] == uids
        assert looks
        assert looks[-1] == len(done[-1].final)
        assert session.pictures.saved
        for uid in uids:
            derived = session.analyses(uid)[name].metadata
            assert derived["stop"]["exit_status"] == "success"
            assert "worker" not in derived["start"]["parameters"]
    subprocess.run(
        [sys.executable, "-c", REPLAY, str(archive), name, str(tmp_path), *uids],
        check=True,
        timeout=300,
    )
    for uid, live in zip(uids, done, strict=True):
        with np.load(tmp_path / f"{uid}.npz") as replayed:
            assert sorted(replayed.files) == sorted(live.final)
            for key, quantity in live.final.items():
                np.testing.assert_array_equal(replayed[key], quantity.value, err_msg=key)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("at", [1, 5, "stop"])
def test_a_killed_process_is_started_again_and_catches_up(tmp_path, at):
    with opened(tmp_path, {"virtual_images": {"worker": "process"}}, rate="real") as session:
        worker = session.workers["virtual_images"]
        pids, seen = [worker.pid], []

        def watch(name, doc):
            seen.append(name)
            datums = seen.count("stream_datum")
            if name == "stop" if at == "stop" else (name == "stream_datum" and datums == at):
                os.kill(worker.pid, signal.SIGKILL)

        session.RE.subscribe(watch)
        uid = scan(session)
        (live,) = session.join(200)
        assert session.RE.state == "idle"
        assert live.error is None
        assert live.frames == 900
        assert worker.pid != pids[0]
        equal(fb.replay(uid, "virtual_images", session=session).callback.final, live.final)
        runs = session.archive.catalog.analysis
        ends = [run.metadata["stop"]["exit_status"] for run in runs.values()]
        assert ends.count("success") == 2  # live and replay
        assert "fail" in ends or len(ends) == 2  # it had begun a derived run, or not


def test_a_process_that_dies_again_and_again_is_given_up_and_the_run_is_whole(tmp_path):
    with opened(tmp_path, {"virtual_images": {"worker": "process"}}) as session:
        worker = session.workers["virtual_images"]
        begin = worker._revive

        def revive_and_die(callback):
            begin(callback)
            kill(worker)

        kill(worker)
        worker._revive = revive_and_die
        uid = scan(session)
        (failed,) = [c for c in _taken(session) if c.start["uid"] == uid]
        assert "died 4 times in this run" in str(failed.error)
        assert "replay it" in str(failed.error)
        session.archive.wait(60)
        assert session.catalog[uid].metadata["stop"]["exit_status"] == "success"
        del worker._revive
        scan(session)
        (live,) = session.join(200)  # the next run gets a process that works
        assert live.error is None


def _taken(session):
    session.offloads["virtual_images"].join(200)
    return session.live.virtual_images.take()


def test_events_reach_the_rules_and_questions_the_model(tmp_path):
    profile = tomllib.loads(SIM_DOMAINS.read_text(encoding="utf-8"))
    profile["devices"]["beam"]["rate"] = "max"
    found, heard = {}, []
    for worker in ("thread", "process"):
        profile["analyses"] = {"domains": {"worker": worker}}
        with fb.open(parse_profile("w", profile), tmp_path / worker, progress=False) as session:
            (uid,) = session.RE(
                session.plans.follow(
                    [session.camera], session.scan_coils, fov_nm=40.0, step_nm=5.0, dwell_ms=0.2,
                    n_points=24, budget_e_per_a2=6.0, seed=3,
                )
            )  # fmt: skip
            session.join(200)
            path = np.asarray(session.catalog[uid]["scan_coils"]["scan_coils_commanded"].read())
            found[worker] = path
            if worker == "process":
                session.live.domains.listeners.append(lambda c, event: heard.append(event))
                callback = session.live.domains.current
                session.workers["domains"]._open[callback.uid] = callback
                session.workers["domains"]._heard("event", callback.uid, Event("seen", 1, {}))
                assert [event.kind for event in heard] == ["seen"]
    np.testing.assert_array_equal(found["thread"], found["process"])


def test_an_analysis_that_fails_there_says_why_here(tmp_path):
    with opened(tmp_path, {"virtual_images": {"com_outer": -1.0, "worker": "process"}}) as s:
        scan(s)
        with pytest.raises(ValueError, match="com_outer"):
            s.join(200)


def test_what_worker_may_be_is_said(tmp_path):
    with pytest.raises(SettingError, match="worker must be 'thread' or 'process', got 'gpu'"):
        opened(tmp_path, {"virtual_images": {"worker": "gpu"}})


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_nothing_is_left_of_a_session_that_was_killed(tmp_path):
    code = """
import sys
from flyback.tests.system.test_workers import opened, scan
session = opened(sys.argv[1], {"virtual_images": {"worker": "process"}})
scan(session)
session.join(100)
print(session.workers["virtual_images"].pid, session.camera.ring._memory.path, flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    pid, path = process.stdout.readline().split()
    assert Path(path).exists()
    worker = int(pid)
    process.kill()
    process.communicate()
    wait_for(lambda: not _alive(worker))
    assert not Path(path).exists()


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")  # nobody may have asked how it ended
    return not stat.exists() or stat.read_text().split()[2] != "Z"


def wait_for(what, timeout_s=30.0):
    until = time.monotonic() + timeout_s
    while not what() and time.monotonic() < until:
        threading.Event().wait(0.02)
    assert what()
