"""``flyback demo beamline``: two cycles of a simulated Pt | Li cell, watched live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..models.mass_balance import outside_crystals
from .commands import execute
from .report import Report
from .schema import Profile, read_profile
from .session import Session

SPEED = 200.0
CYCLES = {
    "c_rate": 2.0,
    "capacity_mah": 0.059,
    "lower_v": 0.01,
    "upper_v": 1.5,
    "cycles": 2,
    "every_s": 120.0,
    "sample_s": 5.0,
}


def fast_beamline() -> Profile:
    """Return the simulated beamline, its cell faster than the clock on the wall."""
    profile = read_profile("sim_beamline")
    devices = {name: dict(table) for name, table in profile.devices.items()}
    devices["potentiostat"]["speed"] = SPEED
    devices["xrd"]["rate"] = devices["xrf"]["rate"] = "max"
    return replace(profile, devices=devices)


def two_cycles(session: Session, report: Report, say: Callable[[str], None]) -> list[Any]:
    """Cycle the cell, follow its phases, and compare them with what is true inside.

    Returns
    -------
    list of LiveCallback
        What the analyses came to.
    """
    say("compiling the kernels of the analyses")
    if session.warming is not None:
        session.warming.join()
    say(
        f"two cycles at 2C between 0.01 and 1.5 V, {SPEED:g} times as fast as the clock on the wall"
    )
    detectors = [session.xrd, session.xrf, session.truth]
    done = execute(session, session.plans.cycle(session.potentiostat, detectors, **CYCLES), report)
    found = {callback.publisher.start["analysis"]: callback for callback in done}
    if "phases" in found and found["phases"].final:
        uid = found["phases"].start["uid"]
        report.extra["recovered"] = compare_with_truth(session, uid, found["phases"].final)
        for line in said(report.extra["recovered"]):
            say(line)
        report.extra["platinum_outside_crystals"] = outside = platinum(found)
        say(
            "platinum in the beam but in no crystal, of the first mass: "
            f"{outside['mean']:+.4f} +- {outside['sigma']:.4f} (none is there)"
        )
    return done


def compare_with_truth(session: Session, uid: str, final: Any) -> dict[str, Any]:
    """Return how far volumes, cells and onsets are off what was true inside the cell."""
    truth = session.catalog[uid]["primary"].read()
    names = [str(name) for name in final["names"].value]
    volume, lattice = final["volume"].value, final["lattice_angstrom"].value
    ends = final["window_end_index"].value.tolist()
    rows: dict[str, Any] = {
        "verdict": str(final["verdict"].value),
        "verdict_to_frame": dict(zip(map(str, ends), final["window_verdict"].value, strict=True)),
        "phases": {},
    }
    for phase in ("Pt", "LiPt", "Li2Pt"):
        k, key = names.index(phase), phase.lower()
        share = np.asarray(truth[f"truth_share_{key}"])[: len(volume)]
        scale = np.asarray(truth[f"truth_scale_{key}"])[: len(volume)]
        off = np.nan_to_num(volume[:, k]) - share
        sure = (share > 0.1) & np.isfinite(lattice[:, k, 0])
        # the true length at zero lithium is that of the CIF, which the first sure frame fixes
        length = lattice[sure, k, 0] / scale[sure]
        spread = float(np.std(length) / np.mean(length) * 1e6) if sure.sum() > 1 else float("nan")
        appeared = np.flatnonzero(share > 0.02)
        onset = int(final["onset_index"].value[k])
        rows["phases"][phase] = {
            "volume_rms": float(np.sqrt(np.mean(off**2))),
            "lattice_spread_ppm": spread,
            "onset_frame": onset,
            "frame_of_2_percent": int(appeared[0]) if len(appeared) else -1,
        }
    return rows


def platinum(found: dict[str, Any]) -> dict[str, float]:
    """Return how much platinum fluorescence sees and crystals lack: a mean over all frames.

    The first frame, to which both refer, is left out. The sigma is a frame's, for the first one's
    noise is in all ratios alike and does not fall with their number.
    """
    balance = outside_crystals(found["fluorescence"].final, found["phases"].final)
    outside, sigma = balance["outside"].value[1:], balance["outside_sigma"].value[1:]
    known = np.isfinite(outside) & (sigma > 0)
    return {
        "mean": float(np.mean(outside[known])),
        "sigma": float(np.mean(sigma[known])),
    }


def said(rows: dict[str, Any]) -> list[str]:
    """Return the comparison in lines."""
    lines = ["phase   volume off, rms   cell off, ppm   seen in frame (2 % there in frame)"]
    for phase, row in rows["phases"].items():
        lines.append(
            f"{phase:<8}{row['volume_rms']:<18.4f}{row['lattice_spread_ppm']:<16.0f}"
            f"{row['onset_frame']} ({row['frame_of_2_percent']})"
        )
    lines.append(f"verdict on the whole run: {rows['verdict']}")
    lines += [
        f"  on the frames up to {end}: {verdict}"
        for end, verdict in rows["verdict_to_frame"].items()
    ]
    return lines
