"""Cell logs: what is read is what is there, and what is written reads back to the bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flyback.devices.cell_log import CellLog, CellLogError, read_cell_log, write_bdf

numbers = st.floats(-1e6, 1e6, allow_nan=False)


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=30), st.booleans())
@settings(max_examples=40, deadline=None)
def test_what_is_written_reads_back(tmp_path_factory, rows, dated):
    voltage, current = np.array(rows).T
    time = np.arange(len(rows)) * 0.1
    counts = {"cycle_count": np.arange(len(rows))}
    log = CellLog(time, voltage, current, 1.75e9 if dated else None, counts)
    path = write_bdf(log, tmp_path_factory.mktemp("log") / "x.bdf.csv")
    again = read_cell_log(path)
    np.testing.assert_array_equal(again.time_s, time)
    np.testing.assert_array_equal(again.voltage_v, voltage)
    np.testing.assert_array_equal(again.current_a, current)
    np.testing.assert_array_equal(again.counts["cycle_count"], counts["cycle_count"])
    if dated:
        assert again.start_utc_s == pytest.approx(1.75e9, abs=1e-6)
    else:
        assert again.start_utc_s is None


@pytest.mark.heavy
def test_the_format_s_own_package_accepts_what_is_written(tmp_path):
    bdf = pytest.importorskip(
        "bdf", reason="batterydf is not installed; it needs pandas 3, and yadg less"
    )
    n = np.arange(20)
    log = CellLog(
        n * 10.0, 3 + n / 100, n * 1e-3, 1.75e9, {"cycle_count": n // 10, "step_count": n}
    )
    path = write_bdf(log, tmp_path / "x.bdf.csv")
    says = bdf.validate(str(path))
    assert says["ok"], says
    np.testing.assert_array_equal(bdf.read(str(path))["Voltage / V"], log.voltage_v)


@given(st.text(max_size=300))
@settings(max_examples=60, deadline=None)
def test_any_text_is_a_log_or_a_sentence(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("odd")
    for suffix in (".csv", ".mpt"):
        for head in ("", "Test Time / s,Voltage / V,Current / A\n", "EC-Lab ASCII FILE\n"):
            path = folder / f"odd{suffix}"
            path.write_bytes((head + text).encode("utf-8", errors="replace"))
            refusal = None
            try:
                assert len(read_cell_log(path)) > 0
            except CellLogError as error:
                refusal = str(error)
            if refusal is not None:
                assert "\n" not in refusal
                assert path.name in refusal


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.txt", "1", "is no cell log"),
        ("a.csv", "time,volts\n1,2\n", "must name"),
        ("a.csv", "Test Time / s,Voltage / V,Current / A\n", "holds no sample"),
        ("a.mpt", "hello", "is no EC-Lab text"),
        ("a.mpt", "EC-Lab ASCII FILE\nNb header lines : 90\n", "cut short"),
        ("a.mpt", "EC-Lab ASCII FILE\nNb header lines : 3\nmode\tx\n1\t2\n", "no columns"),
    ],
)
def test_what_is_no_log(tmp_path, name, text, says):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(CellLogError, match=says):
        read_cell_log(path)


def test_a_file_that_is_not_there_and_a_name_that_is_none(tmp_path):
    with pytest.raises(CellLogError, match="cannot be opened"):
        read_cell_log(tmp_path / "none.csv")
    log = CellLog(np.arange(2.0), np.ones(2), np.zeros(2))
    with pytest.raises(CellLogError, match=r"ends in \.bdf\.csv"):
        write_bdf(log, tmp_path / "x.csv")
    with pytest.raises(CellLogError, match="does not exist"):
        write_bdf(log, tmp_path / "no" / "x.bdf.csv")


def test_rows_that_lack_a_number_and_times_that_go_back(tmp_path):
    path = tmp_path / "x.bdf.csv"
    path.write_text("Test Time / s,Current / mA,Voltage / V\n2,500,3\n1,250,2\n3,,4\n4,5\n")
    log = read_cell_log(path)
    np.testing.assert_array_equal(log.time_s, [1, 2])
    np.testing.assert_allclose(log.current_a, [0.25, 0.5])
    assert len(log.notes) == 2


@pytest.mark.data
def test_ec_lab_s_text(data_folder):
    log = read_cell_log(data_folder / "echem/eclab/cv.mpt")
    assert len(log) == 5103
    assert log.time_s[0] == pytest.approx(43202.04396882385)
    assert log.current_a[0] == pytest.approx(-1.235983972946997e-9)
    rest = read_cell_log(data_folder / "echem/eclab/ocv.mpt")
    assert (rest.current_a == 0).all()
    assert "open circuit" in rest.notes[0]


@pytest.mark.data
def test_ec_lab_s_binary_agrees_with_its_text(data_folder):
    pytest.importorskip("yadg", reason="the extra 'cells' is not installed")
    for name in ("cv", "ocv"):
        text = read_cell_log(data_folder / f"echem/eclab/{name}.mpt")
        binary = read_cell_log(data_folder / f"echem/eclab/{name}.mpr")
        for key in ("time_s", "voltage_v", "current_a"):
            wanted = getattr(text, key)
            np.testing.assert_allclose(
                getattr(binary, key), wanted, rtol=1e-6, atol=1e-7 * np.abs(wanted).max()
            )
        assert binary.start_utc_s == pytest.approx(text.start_utc_s, abs=1e-3)


@pytest.mark.data
def test_a_cycling_protocol_without_a_column_of_current(data_folder):
    """Power over voltage is the current that passes the charge which the file counts."""
    pytest.importorskip("yadg", reason="the extra 'cells' is not installed")
    log = read_cell_log(
        data_folder / "echem/gcpl/jdb11-1_c3_gcpl_5cycles_2V-3p8V_C-24_data_C09.mpr"
    )
    assert len(log) == 46102
    assert np.isfinite(log.current_a).all()
    assert np.abs(log.current_a).max() < 0.1
    assert "power over voltage" in " ".join(log.notes)


@pytest.mark.data
def test_arbin_s_battery_data_format(data_folder):
    log = read_cell_log(data_folder / "echem/gcpl/arbin_example.bdf.csv")
    assert log.time_s[:2] == pytest.approx([0.072595419795086, 300.0801607718582])
    assert log.voltage_v[0] == pytest.approx(3.8591957)


@pytest.mark.data
def test_neware_s_binary(data_folder, tmp_path):
    pytest.importorskip("NewareNDA", reason="the extra 'cells' is not installed")
    import zipfile

    with zipfile.ZipFile(data_folder / "operando/coincell8/coincell8_LDE2_reduced.zip") as archive:
        archive.extract("coincell8_LDE2/Echem/cc8.ndax", tmp_path)
    log = read_cell_log(tmp_path / "coincell8_LDE2/Echem/cc8.ndax")
    with np.load(data_folder / "operando/coincell8/reference.npz") as file:
        np.testing.assert_allclose(log.start_utc_s + log.time_s, file["echem_t"], atol=1.5)
        np.testing.assert_allclose(log.voltage_v, file["echem_V"])
        np.testing.assert_allclose(log.current_a * 1e3, file["echem_I_mA"], atol=1e-7)
