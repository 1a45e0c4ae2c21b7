"""`flyback ipython` and the start-up file: every name that a user expects, and the magics."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flyback.tests.small_microscope import MICROSCOPE

STARTUP = Path(__file__).resolve().parents[2] / "profiles/ipython/startup/00-flyback.py"

PROMPT = """
RE(raster([camera], scan_coils, fov_nm=0.6, step_nm=0.03, dwell_ms=0.1))
session.join(120)
assert live.ptychography.object_phase_.ndim == 2
assert catalog[-1].metadata["start"]["uid"] == db[-1].start["uid"]
assert set(analyses(catalog[-1])) == {"virtual_images", "ptychography"}
assert all(callable(f) for f in (bp.scan, bps.mv, bpp.run_decorator)) and sd and bec
%mov scan_coils.y 0.1
assert scan_coils.y.position == 0.1
%wa
%ct
"""


@pytest.fixture
def profile(tmp_path):
    """The small microscope as a TOML file."""
    lines = []
    for section in ("devices", "analyses"):
        for name, table in MICROSCOPE[section].items():
            lines.append(f"[{section}.{name}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    path = tmp_path / "small.toml"
    path.write_text("\n".join(lines))
    return path


@pytest.mark.heavy
def test_everything_is_at_hand_at_the_prompt(profile, tmp_path):
    command = [sys.executable, "-m", "flyback", "ipython", str(profile), "-c", PROMPT]
    done = subprocess.run(
        [*command, "--directory", str(tmp_path / "store"), "--json"],
        capture_output=True,
        text=True,
        timeout=250,
        env={**os.environ, "MPLBACKEND": "agg", "IPYTHONDIR": str(tmp_path / "ipython")},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [r["plan"] for r in json.loads(done.stdout.splitlines()[-1])["runs"]] == [
        "raster",
        "count",
    ]
    assert "scan_coils_y" in done.stdout  # %wa
    assert "camera_total" in done.stdout  # %ct, in the table of the best-effort callback


@pytest.mark.heavy
def test_the_start_up_file_gives_the_same_names(profile, tmp_path):
    code = (
        f"exec(open({str(STARTUP)!r}, encoding='utf-8').read())\n"
        "assert RE and raster and camera and scan_coils and live and bec\n"
        "session.close()\n"
    )
    environment = {
        "FLYBACK_PROFILE": str(profile),
        "FLYBACK_DIRECTORY": str(tmp_path / "store"),
        "MPLBACKEND": "agg",
    }
    subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, check=True, timeout=200
    )
