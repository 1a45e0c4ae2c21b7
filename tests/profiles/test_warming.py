"""A session's analyses are compiled before the first frame comes."""

import gc
import json
import os
import subprocess
import sys

import numpy as np
import pytest

import flyback as fb
from flyback.models.base import Batch
from flyback.profiles.warming import Camera, cameras, rehearsal, rehearse


class Detector:
    """As much of a camera as warming looks at."""

    name, ring = "xrf", object()

    def __init__(self):
        self.driver = type("Driver", (), {"shape": (64,), "dtype": "<u4"})
        self.corrections = {"energy_kev_axis": np.arange(64.0), "dark": np.zeros(64)}

    def metadata(self):
        return {"energy_kev": 18.0}


def test_a_rehearsal_has_what_a_cameras_files_will_hold():
    (camera,) = cameras([Detector(), object()])
    start, batch = rehearsal(camera)
    assert start["energy_kev"] == 18.0
    assert batch.frames.shape == (16, 64)
    assert batch.frames.dtype == np.uint32
    assert list(batch.axes) == ["energy_kev_axis"]
    assert batch.corrections.dark is not None
    assert batch.frames.var() > 0


def test_an_analysis_that_cannot_take_a_rehearsal_does_no_harm():
    shown = []

    class Callback:
        def rehearse(self, batch: Batch):
            shown.append(batch)
            raise ValueError("no lines in noise")

    camera = Camera("xrd", {}, (8, 8), np.dtype("u2"), {})
    rehearse("phases", lambda start, publisher: Callback(), camera)
    rehearse("phases", lambda start, publisher: None, camera)
    assert len(shown) == 1


def test_what_is_loaded_is_left_out_of_garbage_rounds_while_a_session_is_open(tmp_path):
    with fb.open("sim_microscope", tmp_path, progress=False) as session:
        session.warming.join()
        assert gc.get_freeze_count() > 10_000
    assert gc.get_freeze_count() == 0


SESSION = """
import json, sys, tempfile, tomllib
from importlib.resources import files
import numba.core.event as events
import flyback as fb
from flyback.profiles.schema import parse_profile

class Compiled(events.Listener):
    names = []
    def on_start(self, event):
        self.names.append(event.data["dispatcher"].py_func.__name__)
    def on_end(self, event):
        pass

if __name__ == "__main__":
    events.register("numba:compile", Compiled())
    text = files("flyback.profiles").joinpath("sim_beamline.toml").read_text("utf-8")
    table = tomllib.loads(text)
    table["devices"]["potentiostat"]["speed"] = 100.0
    del table["profile"], table["rules"]
    with fb.open(parse_profile("warm", table), tempfile.mkdtemp(), progress=False) as s:
        s.warming.join()
        before = len(Compiled.names)
        plan = s.plans.ocv(
            s.potentiostat, [s.xrd, s.xrf], duration_s=600, every_s=150, sample_s=20
        )
        s.RE(plan)
        frames = {c.publisher.start["analysis"]: c.frames for c in s.join(300)}
    print(json.dumps({"late": Compiled.names[before:], "frames": frames, "early": before}))
"""


@pytest.mark.heavy
def test_nothing_is_compiled_under_the_first_frames(tmp_path):
    script = tmp_path / "session.py"
    script.write_text(SESSION, encoding="utf-8")
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    runs = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, str(script)], env=environment, capture_output=True, text=True,
            timeout=600, check=True,
        )  # fmt: skip
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    for run in runs:
        assert run["late"] == []
        assert {"phases", "fluorescence", "integration", "cell_history"} <= set(run["frames"])
    assert runs[0]["early"] > 50
    assert runs[1]["early"] == 0  # all of it was kept on the disk
