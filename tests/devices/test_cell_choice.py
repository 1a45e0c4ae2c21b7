"""Which cell a profile's table asks for."""

import importlib.util

import pytest

from flyback.devices.sim.cell import Cell
from flyback.devices.sim.cell_choice import cell_parameters, make_cell


def test_a_table_without_a_model_is_platinum():
    cell = make_cell({"thickness_nm": 50.0})
    assert isinstance(cell, Cell)
    assert cell.capacity_mah == pytest.approx(0.0295, abs=1e-4)
    assert cell_parameters({"model": "platinum_lithium"}) == cell_parameters({})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"model": "lead"}, "cell.model must be one of platinum_lithium, pybamm, not 'lead'"),
        ({"thick_nm": 1.0}, "a cell with model = 'platinum_lithium' has no thick_nm"),
        ({"model": "pybamm", "thickness_nm": 1.0}, "a cell with model = 'pybamm' has no thickness"),
        ({"model": "pybamm", "equations": "P2D"}, "equations must be one of SPM, SPMe, DFN"),
        ({"model": "pybamm", "capacity_mah": -1.0}, "capacity_mah must be positive and finite"),
        ({"model": "pybamm", "state_of_charge": 2.0}, "state_of_charge must lie between 0 and 1"),
    ],
)
def test_a_wrong_table_says_what_is_wrong(table, message):
    with pytest.raises(ValueError, match=message):
        cell_parameters(table)


def test_without_pybamm_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "flyback\[pybamm\]"'):
        cell_parameters({"model": "pybamm"})
