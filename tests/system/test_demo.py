"""`flyback demo`, as a newcomer would run it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("what", "plans", "analysis", "strip"),
    [
        ("microscope", ["raster", "spiral"], "ptychography", "phase-growing.png"),
        ("domains", ["raster", "follow"], "domains", "domains-growing.png"),
    ],
)
def test_the_demo_tells_a_true_story(tmp_path, what, plans, analysis, strip):
    done = subprocess.run(
        [sys.executable, "-m", "flyback", "demo", what, "--directory", str(tmp_path), "--json"],
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "MPLBACKEND": "agg"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert [run["plan"] for run in report["runs"]] == plans
    assert all(run["exit_status"] == "success" for run in report["runs"])
    assert report["replay_equal"] is True
    assert {row["analysis"] for row in report["comparisons"]} == {
        "dose_map",
        "virtual_images",
        analysis,
    }
    assert all(row["max_abs_difference"] in (0.0, None) for row in report["comparisons"])
    names = {Path(picture).name for picture in report["pictures"]}
    assert strip in names
    assert all(Path(picture).is_file() for picture in report["pictures"])
    assert "frame" in done.stderr  # a progress bar was drawn
