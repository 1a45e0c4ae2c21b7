"""`flyback demo`, as a newcomer would run it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.heavy
def test_the_demo_tells_a_true_story(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "flyback", "demo", "--directory", str(tmp_path), "--json"],
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "MPLBACKEND": "agg"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert [run["plan"] for run in report["runs"]] == ["raster", "spiral"]
    assert all(run["exit_status"] == "success" for run in report["runs"])
    assert report["replay_equal"] is True
    assert {row["analysis"] for row in report["comparisons"]} == {
        "dose_map",
        "virtual_images",
        "ptychography",
    }
    assert all(row["max_abs_difference"] in (0.0, None) for row in report["comparisons"])
    names = {Path(picture).name for picture in report["pictures"]}
    assert "phase-growing.png" in names
    assert all(Path(picture).is_file() for picture in report["pictures"])
    assert "frame" in done.stderr  # a progress bar was drawn
