from types import SimpleNamespace

import numpy as np
import pytest

from flyback.models.base import Quantity
from flyback.profiles.demo import compare
from flyback.profiles.saving import check_target, save_results


def callback(**final):
    publisher = SimpleNamespace(start={"analysis": "a"})
    return SimpleNamespace(publisher=publisher, error=None, final=final)


def test_everything_loads_without_pickle(tmp_path):
    done = callback(
        wave=Quantity(np.ones((2, 3), np.complex64), "", ("y", "x")),
        method=Quantity("rpie"),
        reasons=Quantity(["one", "and another"], "", ("reason",)),
        none=Quantity([], "", ("reason",)),
        trust=Quantity(True),
        error=Quantity(0.25),
    )
    path = save_results(tmp_path / "out", [done])
    assert path.name == "out.npz"
    with np.load(path, allow_pickle=False) as saved:
        assert saved["a.wave"].dtype == np.complex64
        assert str(saved["a.method"]) == "rpie"
        assert saved["a.reasons"].tolist() == ["one", "and another"]
        assert saved["a.none"].dtype.kind == "U"
        assert bool(saved["a.trust"]) is True
        assert float(saved["a.error"]) == 0.25
    assert [p.name for p in tmp_path.iterdir()] == ["out.npz"]


def test_a_failed_analysis_saves_nothing(tmp_path):
    failed = SimpleNamespace(publisher=object(), error=ValueError(), final={})
    with np.load(save_results(tmp_path / "x.npz", [failed])) as saved:
        assert saved.files == []


def test_a_missing_folder_is_said_before_anything_is_done(tmp_path):
    with pytest.raises(ValueError, match="does not exist; make it first"):
        check_target(tmp_path / "no" / "x.npz")


def test_comparisons_are_bit_by_bit():
    nan = {"x": Quantity(float("nan"))}
    assert compare("n", nan, nan)[0]["max_abs_difference"] == 0.0
    a = {"x": Quantity(np.array([1.0, np.nan]), "", ("frame",)), "m": Quantity("rpie")}
    b = {"x": Quantity(np.array([1.0, np.nan]), "", ("frame",)), "m": Quantity("epie")}
    rows = {row["key"]: row for row in compare("n", a, b)}
    assert rows["x"] == {"analysis": "n", "key": "x", "equal": True, "max_abs_difference": 0.0}
    assert rows["m"]["equal"] is False
    c = {"x": Quantity(np.array([1.5, np.nan]), "", ("frame",))}
    rows = {row["key"]: row for row in compare("n", a, c)}
    assert rows["x"]["max_abs_difference"] == 0.5
    assert rows["m"]["equal"] is False
