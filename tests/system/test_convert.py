"""flyback convert: a cell log in the Battery Data Format, or one sentence."""

import numpy as np
import pytest

from flyback.devices.cell_log import read_cell_log


def test_a_log_is_written_anew(flyback, tmp_path):
    source = tmp_path / "cell.mpt"
    source.write_text(
        "EC-Lab ASCII FILE\nNb header lines : 3\ntime/s\tEwe/V\t<I>/mA\n0\t3.5\t-2\n1,5\t3.4\t-2\n"
    )
    target = tmp_path / "cell.bdf.csv"
    code, out, err = flyback("convert", source, "--to", target)
    assert code == 0, err
    assert "2 samples" in out
    log = read_cell_log(target)
    np.testing.assert_array_equal(log.time_s, [0, 1.5])
    np.testing.assert_array_equal(log.current_a, [-0.002, -0.002])


@pytest.mark.parametrize(
    ("name", "to", "says"),
    [("x.h5", "y.bdf.csv", "is no cell log"), ("x.csv", "y.bdf.csv", "cannot be opened")],
)
def test_what_is_no_log_is_refused_in_one_sentence(flyback, tmp_path, name, to, says):
    code, out, err = flyback("convert", tmp_path / name, "--to", tmp_path / to)
    assert code == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert says in err
