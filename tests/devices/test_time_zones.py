"""Clocks in local time, hours that occur twice, and the cycler's own count of charge."""

import zipfile
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyback.devices.cell_log import TAKEN, TOLD, read_cell_log
from flyback.devices.cell_log_capacity import compared, net_mah, summed_mah
from flyback.devices.recorded_cell import RecordedCell
from flyback.devices.time_zones import TimeZoneError, time_zone, to_utc

BERLIN = time_zone("Europe/Berlin")
MPT = """EC-Lab ASCII FILE
Nb header lines : 5

Acquisition started on : {}

"""


def shown(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@given(st.integers(0, 4_000_000_000), st.sampled_from(["Europe/Berlin", "Asia/Kathmandu", "UTC"]))
def test_every_moment_comes_back_but_in_the_hour_that_occurs_twice(utc_s, name):
    local = datetime.fromtimestamp(utc_s, ZoneInfo(name))
    as_shown = local.replace(tzinfo=UTC).timestamp()
    found, notes = to_utc(np.array([as_shown]), time_zone(name))
    if local.fold == 0:
        assert found[0] == utc_s
    else:
        assert found[0] == utc_s - 3600
    assert bool(notes) == any("twice" in note for note in notes)


def test_a_log_over_the_end_of_summer_time_goes_on():
    real = shown("2025-10-26T00:00:00") + np.arange(0, 4 * 3600, 600.0)
    local = [datetime.fromtimestamp(s, BERLIN).replace(tzinfo=UTC).timestamp() for s in real]
    assert (np.diff(local) < 0).any()
    found, notes = to_utc(np.array(local), BERLIN)
    np.testing.assert_array_equal(found, real)
    assert not notes


def test_what_is_ambiguous_or_impossible_is_told():
    found, notes = to_utc(np.array([shown("2025-10-26T02:30:00")]), BERLIN)
    assert found[0] == shown("2025-10-26T00:30:00")
    assert "2025-10-26 02:30:00 occurs twice" in notes[0]
    _, notes = to_utc(np.array([shown("2025-03-30T02:30:00")]), BERLIN)
    assert "never shown" in notes[0]


@pytest.mark.parametrize(("name", "hours"), [("+02:00", 2), ("-5", -5), ("UTC+5:30", 5.5)])
def test_offsets(name, hours):
    found, _ = to_utc(np.array([1e9]), time_zone(name))
    assert found[0] == 1e9 - hours * 3600


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../../etc/passwd", "+99:00", "Europe"])
def test_no_time_zone(name):
    with pytest.raises(TimeZoneError, match=r"Europe/Berlin.*got"):
        time_zone(name, "cell.time_zone")


def mpt(folder, started, rows="0\t3.0\t1.0\t0.0\n3600\t3.1\t1.0\t1.0\n"):
    path = folder / "a.mpt"
    head = MPT.format(started) + "time/s\tEwe/V\t<I>/mA\t(Q-Qo)/mA.h\n"
    path.write_text(head.replace(": 5", ": 6") + rows)
    return path


def test_the_start_of_an_ec_lab_file_in_a_time_zone(tmp_path):
    path = mpt(tmp_path, "07/10/2025 14:00:00.000")
    assumed, told = read_cell_log(path), read_cell_log(path, BERLIN)
    assert assumed.start_utc_s == shown("2025-07-10T14:00:00")
    assert told.start_utc_s == shown("2025-07-10T12:00:00")
    assert (assumed.clock, told.clock) == (TAKEN, "Europe/Berlin")
    assert any("UTC" in note for note in assumed.notes)
    assert any("Europe/Berlin" in note for note in told.notes)
    twice = read_cell_log(mpt(tmp_path, "10/26/2025 02:30:00.000"), BERLIN)
    assert any("occurs twice" in note for note in twice.notes)


def test_a_log_that_states_its_zone_is_left_alone(tmp_path):
    path = tmp_path / "a.bdf.csv"
    path.write_text("Test Time / s,Voltage / V,Current / A,Unix Time / s\n0,3,0,1e9\n1,3,0,1e9\n")
    log = read_cell_log(path, BERLIN)
    assert (log.start_utc_s, log.clock) == (pytest.approx(1e9, abs=1), TOLD)
    assert any("not needed" in note for note in log.notes)


def test_counters_that_begin_anew_are_added():
    charged = np.array([0, 1, 2, 0, 0, 1, 3.0])
    discharged = np.array([0, 0, 0, 1, 2, 0, 0.0])
    np.testing.assert_array_equal(net_mah(charged, discharged), [0, 1, 2, 1, 0, 1, 3])


@pytest.mark.parametrize(("counted", "word"), [(1.0, "agree"), (-1.0, "differ")])
def test_the_cyclers_capacity_is_held_against_the_current(tmp_path, counted, word):
    rows = "".join(f"{k * 36}\t3.0\t1.0\t{counted * k / 100}\n" for k in range(101))
    log = read_cell_log(mpt(tmp_path, "07/10/2025 14:00:00.000", rows))
    np.testing.assert_allclose(log.capacity_mah, counted * np.arange(101) / 100)
    assert any(note.startswith("capacity") and word in note for note in log.notes)
    cell = RecordedCell(name="cell", log=log)
    assert "cell_capacity_cycler_mah" in cell.describe_collect()
    (page,) = list(cell.pages())
    assert page["data"]["cell_capacity_mah"][-1] == pytest.approx(1.0)
    assert page["data"]["cell_capacity_cycler_mah"][-1] == pytest.approx(counted)


@pytest.mark.data
@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "agreement"),
    [
        ("echem/gcpl/arbin_example.bdf.csv", 0.02),
        ("echem/gcpl/jdb11-1_c3_gcpl_5cycles_2V-3p8V_C-24_data_C09.mpr", 1e-6),
        ("echem/eclab/cv.mpt", 0.045),  # its averages of 20 to 230 s miss 4.2 % of the charge
        ("echem/eclab/cv.mpr", 0.045),
        ("operando/coincell8/coincell8_LDE2_reduced.zip", 0.005),
    ],
)
def test_real_cyclers_count_as_their_current_does(data_folder, tmp_path, name, agreement):
    path = data_folder / name
    if path.suffix in (".mpr", ".zip"):
        pytest.importorskip("yadg", reason="the extra 'cells' is not installed")
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            (tmp_path / "cc8.ndax").write_bytes(archive.read("coincell8_LDE2/Echem/cc8.ndax"))
        path = tmp_path / "cc8.ndax"
    log = read_cell_log(path)
    assert log.capacity_mah is not None
    off, says = compared(log.time_s, log.current_a, log.capacity_mah)
    assert off < agreement
    assert says in log.notes
    assert ("differ" in says) == ("cv" in path.name)
    assert np.ptp(summed_mah(log.time_s, log.current_a)) > 0
