"""A cycle in a session: stored samples and frames, joined by time, with the cell's truth beside."""

import os

import numpy as np
import pytest

import flyback as fb
from flyback.models.electrochemistry import lithium_per_platinum, platinum_mol
from flyback.profiles.schema import parse_profile, read_profile
from flyback.tests.small_microscope import MICROSCOPE

pytestmark = pytest.mark.heavy


def test_a_cycle_is_stored_and_joins_by_time(tmp_path):
    potentiostat = {"plugin": "sim_potentiostat", "speed": 1000.0, "limits": {"upper_v": 3.5}}
    profile = parse_profile(
        "beamline",
        {
            "profile": {"baseline": ["potentiostat"]},
            "store": {"worker": "process"},
            "devices": {**MICROSCOPE["devices"], "potentiostat": potentiostat},
        },
    )
    with fb.open(profile, tmp_path, progress=False) as s:
        s.beam.warm(32)
        pid = s.potentiostat.pid
        (uid,) = s.RE(
            s.plans.cycle(
                s.potentiostat,
                [s.camera],
                c_rate=2,
                capacity_mah=0.0589,
                lower_v=0.01,
                upper_v=1.5,
                every_s=100,
            )
        )
        # the next line finds the run, though a process writes it behind the plan
        run = s.catalog[uid]
        composition, phases = s.potentiostat.composition, s.potentiostat.phases()
        cell = run["potentiostat"].read()
        frames = run["primary"]
        time_s = np.asarray(frames["camera_time"].read())
        beside = frames["potentiostat_capacity_mah"].read()
        read_s = np.asarray(frames["potentiostat_utc_s"].read())
        baseline = np.asarray(run["baseline"]["potentiostat_voltage_v"].read())
    index = np.asarray(cell["potentiostat_sample_index"])
    assert np.array_equal(index, np.arange(len(index)))
    utc, charge = (np.asarray(cell[f"potentiostat_{k}"]) for k in ("utc_s", "capacity_mah"))
    assert len(time_s) > 10
    assert utc[0] - 1 < time_s[0] < time_s[-1] < utc[-1] + 1
    # what was read with a frame is what the samples say for that moment, to 30 ms on the wall
    joined = np.interp(read_s, utc, charge)
    assert np.abs(joined - np.asarray(beside)).max() < 0.03 * 1000 / 3600 * 2 * 0.0589
    assert np.abs(time_s - read_s).max() < 1.0
    # x by charge is an upper bound while lithium is taken up
    bottom = charge.argmin()
    x = lithium_per_platinum(charge, platinum_mol(100))
    assert 2.0 < x[bottom] < 2.3
    assert 0 <= composition < x[-1]
    assert sum(fraction for _, fraction, _ in phases) == pytest.approx(1)
    assert baseline[0] == pytest.approx(2.8, abs=1e-3)
    # the session has ended the cell's process
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_profile_of_the_beamline_has_a_cell():
    table = read_profile("sim_beamline").devices["potentiostat"]
    assert table["plugin"] == "sim_potentiostat"
    assert table["limits"]["upper_v"] <= 4.2
