"""What a plan of a technique is beyond its protocol: here the fiducial's pulses."""

import numpy as np
import pytest

from flyback.devices.cell_log import CellLog
from flyback.devices.potentiostat_records import LAST_FLAG
from flyback.models.steps import ProtocolError
from flyback.plans import fiducial, ocv
from flyback.profiles.cell_files import clock_of
from flyback.tests.potentiostats import Cell, samples

BEGAN_S, OFFSET_S, DRIFT = 1.76e9, 10.0, 50e-6
CURRENT_MA = 0.02


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    made = Cell(tmp_path_factory.mktemp("cell"), speed=2000.0)
    yield made
    made.close()


def test_a_clock_is_known_by_the_pulses_before_and_after(cell, run_engine, tmp_path):
    RE, documents = run_engine
    logged = {"device_time_s": [], "current_ma": []}
    edges = []
    for plan in (
        fiducial(cell.potentiostat, current_ma=-CURRENT_MA),
        ocv(cell.potentiostat, duration_s=7200, sample_s=20),
        fiducial(cell.potentiostat, current_ma=-CURRENT_MA),
    ):
        documents.all.clear()
        RE(plan)
        found = samples(documents)
        for name, columns in logged.items():
            columns.append(found[name])
        if documents.start["plan_name"] == "fiducial":
            # a step's last sample is taken when it ends
            ends = found["device_time_s"][(found["flags"] & LAST_FLAG) > 0]
            assert len(ends) == 9
            edges.append(ends[:-1])
    time_s, current = (np.concatenate(columns) for columns in logged.values())
    assert set(np.sign(current)) == {-1, 0, 1}

    # another logger, whose clock is 10 s ahead and 50 ppm fast, sees the current by a shunt
    lines = ["time,shunt_mv"]
    for ends in edges:
        seen = np.arange(ends[0] - 5, ends[-1] + 5, 0.05)
        on = np.searchsorted(ends, seen) % 2
        there_s = BEGAN_S + seen + OFFSET_S + DRIFT * seen
        lines += [f"{t!r},{i}" for t, i in zip(there_s.tolist(), on.tolist(), strict=True)]
    witness = tmp_path / "shunt.csv"
    witness.write_text("\n".join(lines))
    log = CellLog(time_s - time_s[0], np.ones(len(time_s)), 1e-3 * current, BEGAN_S + time_s[0])

    clock = clock_of(log, witness)
    true = BEGAN_S + time_s + OFFSET_S + DRIFT * time_s
    assert np.abs(clock.time_s(BEGAN_S + time_s) - true).max() < 0.05
    assert abs(clock.drift - DRIFT) <= clock.drift_bound + 1e-9
    assert clock.drift_bound < 2e-5


def test_a_pulse_of_few_samples_is_refused_before_anything_happens(cell, run_engine):
    RE, documents = run_engine
    with pytest.raises(ProtocolError, match=r"pulse_s of at least 8 s"):
        RE(fiducial(cell.potentiostat, current_ma=CURRENT_MA, sample_s=2.0))
    assert not documents.of("start")
