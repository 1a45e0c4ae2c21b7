"""Series are drawn with their units, beside the cell where there is one."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from flyback.callbacks.plots import save_picture
from flyback.callbacks.series_plots import draw_series, series
from flyback.models.base import Quantity

N, BINS = 50, 300
Q = np.linspace(1, 4, BINS)


def result(*, cell=True, time=True, n=N):
    lines = np.exp(-0.5 * ((Q - np.linspace(2.7, 2.8, n)[:, None]) / 0.02) ** 2)
    volume = np.linspace([1.0, 0.0], [0.2, 0.8], n)
    found = {
        "q_per_a": Quantity(Q, "1/angstrom", ("bin",)),
        "intensity": Quantity(lines * 100, "counts", ("frame", "bin")),
        "volume": Quantity(volume, "", ("frame", "phase")),
        "volume_sigma": Quantity(np.full((n, 2), 0.03), "", ("frame", "phase")),
        "names": Quantity(["Pt", "Li2Pt"], "", ("phase",)),
    }
    if time:
        found["time_s"] = Quantity(1e9 + np.arange(n) * 30.0, "s", ("frame",))
    if cell:
        found["voltage_v"] = Quantity(np.linspace(1.5, 0.01, n), "V", ("frame",))
        found["capacity_mah"] = Quantity(-np.linspace(0, 0.06, n), "mAh", ("frame",))
    return found


def texts(figure):
    return {t.get_text() for t in figure.findobj() if hasattr(t, "get_text") and t.get_text()}


def test_what_can_be_drawn_is_found():
    assert series(result()) == ["intensity", "volume"]
    assert series({"intensity": result()["intensity"]}) == []
    assert series(result(n=1)) == []


def test_axes_say_what_they_are(tmp_path):
    figure = Figure(figsize=(9, 4))
    assert draw_series(figure, result(), "a title")
    said = texts(figure)
    assert {"q, 1/Å", "time, s", "voltage, V", "charge, mAh", "Pt", "Li2Pt", "a title"} <= said


@pytest.mark.parametrize(("time", "label"), [(True, "time, s"), (False, "frame")])
def test_without_a_cell_time_or_the_frames_number_is_the_axis(time, label):
    figure = Figure()
    draw_series(figure, result(cell=False, time=time), "t")
    said = texts(figure)
    assert label in said
    assert not {"voltage, V", "charge, mAh"} & said


def test_a_series_is_saved_and_a_result_without_one_is_not(tmp_path):
    path = save_picture(tmp_path / "a.png", result(), "t")
    assert path is not None
    assert path.stat().st_size > 10_000
    assert save_picture(tmp_path / "b.png", {"n": Quantity(3)}, "t") is None
