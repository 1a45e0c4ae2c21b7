"""`flyback demo`, as a newcomer would run it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def demonstrated(folder, what):
    """Run a demonstration; return what became of the process, and its report."""
    done = subprocess.run(
        [sys.executable, "-m", "flyback", "demo", what, "--directory", str(folder), "--json"],
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "MPLBACKEND": "agg"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("what", "plans", "analysis", "strip"),
    [
        ("microscope", ["raster", "spiral"], "ptychography", "phase-growing.png"),
        ("domains", ["raster", "follow"], "domains", "domains-growing.png"),
    ],
)
def test_the_demo_tells_a_true_story(tmp_path, what, plans, analysis, strip):
    done, report = demonstrated(tmp_path, what)
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


@pytest.mark.heavy
def test_the_beamline_finds_what_is_true_inside_the_cell(tmp_path):
    _, report = demonstrated(tmp_path, "beamline")
    assert [run["exit_status"] for run in report["runs"]] == ["success"]
    assert all(run["error"] is None for run in report["analyses"])
    assert report["replay_equal"] is True
    for phase, row in report["recovered"]["phases"].items():
        assert row["volume_rms"] < 0.004, phase
        assert row["lattice_spread_ppm"] < 150, phase
        assert abs(row["onset_frame"] - row["frame_of_2_percent"]) <= 2, phase
    assert report["recovered"]["verdict"] in ("solid_solution", "undecided")
    outside = report["platinum_outside_crystals"]
    assert abs(outside["mean"]) < 4 * outside["sigma"] < 0.16
    pictures = {Path(picture).name.split("-")[1] for picture in report["pictures"]}
    assert {"integration.png", "phases.png", "fluorescence.png"} <= pictures
