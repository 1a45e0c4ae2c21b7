"""The profiles that come with flyback: their TOML files lie beside this module."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent

SIM_MICROSCOPE = _HERE / "sim_microscope.toml"
SIM_DOMAINS = _HERE / "sim_domains.toml"
SIM_BEAMLINE = _HERE / "sim_beamline.toml"
RECORDED = _HERE / "recorded.toml"
