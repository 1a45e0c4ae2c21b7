"""Intensities divided by the beam's current: live, in replay, and of a recorded file."""

import h5py
import numpy as np
import pytest

import flyback as fb
from flyback.profiles.schema import parse_profile

pytestmark = pytest.mark.heavy

CELL = {"plugin": "sim_potentiostat", "speed": 200.0, "watchdog_s": 8.0,
        "limits": {"upper_v": 3.5}}  # fmt: skip
XRD = {
    "plugin": "sim_diffraction_detector", "specimen": "@potentiostat", "beam": "@ring",
    "pixels": 128, "pixel_um": 700.0, "exposure_s": 1.0, "rate": "max", "phases": ["Pt", "LiPt"],
    "gap_px": [40, 44], "counts_per_s": 2e4, "dark_per_s": 0.0,
}  # fmt: skip
FULL = 200.0


def beamline(**analysis):
    return parse_profile(
        "ring",
        {
            "profile": {},
            "devices": {
                "potentiostat": CELL,
                "ring": {"plugin": "sim_ring_current", "current_pa": FULL, "decay": 0.05},
                "xrd": XRD,
            },
            "analyses": {
                "integration": {"camera": "xrd", "bins": 60, **analysis},
                "phases": {"camera": "xrd", "bins": 300, "cif": ["Pt"], **analysis},
            },
        },
    )


def held(s, detectors):
    """Rest at open circuit, so that the specimen stays as it is and only the beam changes."""
    if s.warming is not None:
        s.warming.join()
    protocol = [{"technique": "OCV", "duration_s": 1000.0}]
    (uid,) = s.RE(s.plans.operando(s.potentiostat, protocol, detectors, every_s=25.0))
    s.join()
    return s.catalog[uid], s.live.integration.result_


def test_live_and_replay_are_divided_alike_to_poisson_noise(tmp_path):
    with fb.open(beamline(monitor="ring"), tmp_path, progress=False) as s:
        run, live = held(s, [s.ring, s.xrd])
        current = np.asarray(run["primary"]["ring_current_pa"].read())
        again = fb.replay(run, "integration", camera="xrd", bins=60, monitor="ring")
        plain = fb.replay(run, "integration", camera="xrd", bins=60, monitor="monitor")
        phases = s.live.phases.result_
        replayed = fb.replay(run, "phases", camera="xrd", bins=300, cif=["Pt"], monitor="ring")
    n = len(live["scan_index"].value)
    assert n >= 10
    np.testing.assert_array_equal(live["monitor"].value, current[:n])
    for name in ("intensity", "sigma", "monitor", "q_per_a"):
        np.testing.assert_array_equal(again[name], live[name].value)
    assert live["intensity"].units == "counts/monitor"
    assert current.max() / current.min() > 1.3
    intensity, sigma = live["intensity"].value, live["sigma"].value
    lit = np.isfinite(intensity).all(axis=0) & (plain["intensity"].min(axis=0) > 2)
    weights = sigma[:, lit] ** -2.0
    mean = (intensity[:, lit] * weights).sum(axis=0) / weights.sum(axis=0)
    pulls = (intensity[:, lit] - mean) / sigma[:, lit]
    chi2 = (pulls**2).sum() / ((n - 1) * lit.sum())
    assert abs(chi2 - 1) < 5 * np.sqrt(2 / ((n - 1) * lit.sum()))
    amount, spread = phases["amount"].value[:, 0], phases["amount_sigma"].value[:, 0]
    np.testing.assert_array_equal(replayed["amount"], phases["amount"].value)
    assert np.std(amount) < 3 * np.median(spread)
    assert np.ptp(amount) < 0.1 * amount.mean()
    # undivided they follow the current
    raw = plain["intensity"][:, lit].sum(axis=1)
    assert np.corrcoef(raw, current[:n])[0, 1] > 0.99


def test_a_monitor_that_is_not_there_is_told_and_divides_nothing(tmp_path):
    with fb.open(beamline(monitor="ring"), tmp_path, progress=False) as s:
        run, live = held(s, [s.xrd])
        plain = fb.replay(run, "integration", camera="xrd", bins=60, monitor="monitor")
    np.testing.assert_array_equal(live["intensity"].value, plain["intensity"])
    assert any("no readings of ring" in flag for flag in live["flags"].value)
    assert "monitor" not in live


def test_a_recorded_monitor_is_used_in_play_and_in_replay(flyback, tmp_path):
    rng = np.random.default_rng(2)
    current = rng.uniform(50, 100, 7)
    current[3] = 0.0
    frames = rng.poisson(40, (7, 40, 36)).astype("<u2")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["entry/data/data"] = frames
        file["entry/monitor/data"] = current
    save, again = tmp_path / "a.npz", tmp_path / "b.npz"
    geometry = ("--set", "energy_kev=18", "--set", "detector_distance_m=0.1", "--set",
                "detector_pixel_m=0.001", "--set", "integration.bins=20")  # fmt: skip
    code, _, err = flyback(
        "play", tmp_path / "a.h5", "--analysis", "integration", *geometry, "--save", save
    )
    assert code == 0, err
    code, _, err = flyback(
        "replay", "last", "integration", "--set", "integration.bins=20", "--save", again
    )
    assert code == 0, err
    with np.load(save) as first, np.load(again) as second:
        np.testing.assert_array_equal(first["integration.monitor"], current)
        for name in ("intensity", "sigma"):
            np.testing.assert_array_equal(
                first[f"integration.{name}"], second[f"integration.{name}"]
            )
        assert np.isnan(first["integration.intensity"][3]).all()
        assert any("not positive" in flag for flag in first["integration.flags"])
        level = np.delete(first["integration.intensity"].mean(axis=1) * current, 3)
    np.testing.assert_allclose(level / np.median(level), 1, atol=0.05)
