"""A cycler's clock is set by pulses of its current that the beamline saw too."""

import numpy as np
import pytest

from flyback.devices.cell_log import CellLog, write_bdf
from flyback.models.time_axis import ClockError
from flyback.profiles.cell_files import open_cell

BEGAN_S, OFFSET_S, DRIFT = 1.76e9, 10.0, 50e-6
# beginnings and lengths, s: no two gaps alike, each pulse followed by its opposite
TRAIN = [(20.0, 3.0, 1), (30.37, 3.0, -1), (41.11, 2.0, 1), (53.93, 2.0, -1)]
LATER_S = 3 * 3600.0


def true_current_ma(t):
    """Pulses, three hours of cycling, and the pulses again."""
    current = np.where((t > 2000) & (t < LATER_S - 2000), 0.7, 0.0)
    for begin, length, sign in TRAIN + [(b + LATER_S, n, s) for b, n, s in TRAIN]:
        current = np.where((t > begin) & (t <= begin + length), 0.2 * sign, current)
    return current


@pytest.fixture
def written(tmp_path):
    """Write the cycler's log, whose clock is off, and what the beamline saw at both ends."""
    rng = np.random.default_rng(1)
    true = np.arange(0.2, LATER_S + 100, 0.25)
    shown = (true - OFFSET_S) / (1 + DRIFT)
    current = true_current_ma(true) + rng.normal(0, 0.003, len(true))
    log = CellLog(shown - shown[0], 1.0 + 1e-5 * true, current * 1e-3, BEGAN_S + shown[0])
    seen = np.concatenate([np.arange(0, 70, 0.05), LATER_S + np.arange(0, 70, 0.05)])
    lines = ["Unix Time / s,Current / mA"]
    columns = (BEGAN_S + seen).tolist(), (0.03 + true_current_ma(seen)).tolist()
    lines += [f"{t!r},{i!r}" for t, i in zip(*columns, strict=True)]
    witness = tmp_path / "witness.csv"
    witness.write_text("\n".join(lines))
    return write_bdf(log, tmp_path / "cell.bdf.csv"), witness, true


def test_ten_seconds_and_fifty_ppm_are_found_and_the_samples_moved(written):
    path, witness, true = written
    notes = []
    cell = open_cell(path, notes, None, witness)
    utc_s = np.concatenate([page["time"] for page in cell.pages()])
    assert np.abs(utc_s - (BEGAN_S + true)).max() < 0.05
    clock = cell.fitted
    assert clock.drift == pytest.approx(DRIFT, abs=clock.drift_bound)
    assert clock.drift_bound < 2e-5
    assert clock.offset_bound_s < 0.1
    assert any("behind the frames'" in note for note in notes)
    # without a witness the log is as it says
    plain = np.concatenate([page["time"] for page in open_cell(path, []).pages()])
    assert np.abs(plain - (BEGAN_S + true)).min() > 9


def test_a_witness_of_another_day_is_refused_in_a_sentence(written, tmp_path):
    path, witness, _ = written
    head, *rows = witness.read_text().splitlines()
    moved = [f"{float(row.split(',')[0]) + 86400!r},{row.split(',')[1]}" for row in rows]
    other = tmp_path / "other.csv"
    other.write_text("\n".join([head, *moved]))
    with pytest.raises(ClockError, match=r"lie 2\d\.\d h apart by their clocks"):
        open_cell(path, [], None, other)


def test_a_witness_without_pulses_is_refused_in_a_sentence(written, tmp_path):
    path, witness, _ = written
    head, *rows = witness.read_text().splitlines()
    flat = tmp_path / "flat.csv"
    flat.write_text("\n".join([head, *(f"{row.split(',')[0]},0.03" for row in rows)]))
    with pytest.raises(ClockError, match="no pulses"):
        open_cell(path, [], None, flat)
