"""A witness of a cell's current is read as loggers and databroker write it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flyback.devices.cell_log import CellLogError
from flyback.devices.witness_log import read_witness


def written(tmp_path, text):
    path = tmp_path / "witness.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "head",
    [
        "Unix Time / s,Current / mA",
        "time,shunt_v",
        "unix_time_second,other?,Current / A",
        "cell_utc_s,cell_voltage_v,cell_current_ma",
    ],
)
def test_its_columns_are_found(tmp_path, head):
    reading = head.count(",")
    rows = [[1e9 + k, *([7.0] * (reading - 1)), 0.5 * k] for k in range(5)]
    lines = [head, *(",".join(map(repr, row)) for row in rows)]
    time_s, current = read_witness(written(tmp_path, "\ufeff" + "\n".join(lines)))
    np.testing.assert_array_equal(time_s, 1e9 + np.arange(5))
    np.testing.assert_array_equal(current, 0.5 * np.arange(5))


def test_times_are_sorted_and_rows_without_a_number_left_out(tmp_path):
    time_s, current = read_witness(written(tmp_path, "time,a\n3,1\n1,2\nx,9\n3,1\n2\n\n2,5\n"))
    assert (time_s.tolist(), current.tolist()) == ([1, 2, 3], [2, 5, 1])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "must name Unix Time / s"),
        ("time,a,b\n1,2,3\n", "one reading"),
        ("", "must name"),
        ("time,a\n", "no row with a time"),
    ],
)
def test_what_is_none_is_refused_in_a_sentence(tmp_path, text, words):
    with pytest.raises(CellLogError, match=words):
        read_witness(written(tmp_path, text))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CellLogError, match=r"gone\.csv cannot be opened"):
        read_witness(tmp_path / "gone.csv")


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_give_numbers_or_a_sentence(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("witness") / "any.csv"
    path.write_bytes(b"time,a\n" + data)
    try:
        time_s, current = read_witness(path)
    except CellLogError:
        return
    assert np.isfinite(time_s).all()
    assert (np.diff(time_s) > 0).all()
    assert np.isfinite(current).all()
