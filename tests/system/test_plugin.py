"""The package shown in docs/plugins.md: built as a wheel, installed, run."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "plugins.md"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Folder into which the wheel was installed."""
    source = tmp_path_factory.mktemp("plugin")
    for name, text in re.findall(r"`([\w.]+)`:\n\n```\w+\n(.*?)```", PAGE.read_text(), re.DOTALL):
        (source / name).write_text(text)
    assert {p.name for p in source.iterdir()} == {"pyproject.toml", "flyback_hotspots.py"}
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(source / "dist")]
    subprocess.run([*build, str(source)], check=True, capture_output=True, timeout=200)
    (wheel,) = (source / "dist").glob("*.whl")
    target = tmp_path_factory.mktemp("site")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    subprocess.run([*install, str(target), str(wheel)], check=True, timeout=200)
    return target


def flyback(installed, *arguments):
    path = os.pathsep.join([str(installed), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "flyback", *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_it_is_listed_without_being_imported(installed):
    code, out, _ = flyback(installed, "plugins", "--json")
    assert code == 0
    groups = json.loads(out)
    for group, name in {
        "flyback.devices": "double_camera",
        "flyback.plans": "cross",
        "flyback.models": "hotspots",
        "flyback.callbacks": "hotspots",
        "flyback.profiles": "hotspot_hunt",
    }.items():
        assert [p["distribution"] for p in groups[group] if p["name"] == name] == [
            "flyback-hotspots"
        ]


@pytest.mark.heavy
def test_it_runs(installed, tmp_path):
    save = tmp_path / "hotspots.npz"
    arguments = ["run", "hotspot_hunt", "cross", "--directory", str(tmp_path / "store")]
    arguments += ["--set", "n=8", "--set", "hotspots.above=2", "--save", str(save), "--json"]
    code, out, err = flyback(installed, *arguments)
    assert code == 0, err
    report = json.loads(out.splitlines()[-1])
    assert report["runs"][0]["plan"] == "cross"
    assert report["runs"][0]["frames"] == 16
    assert report["analyses"][0]["exit_status"] == "success"
    with np.load(save, allow_pickle=False) as saved:
        assert saved["hotspots.pixel"].shape == (16,)
