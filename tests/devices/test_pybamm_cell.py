"""A cell of PyBaMM under the simulated potentiostat, against PyBaMM's own solver."""

import math

import numpy as np
import pytest

from flyback.devices.potentiostat_records import FIELDS
from flyback.devices.sim.instrument import Instrument
from flyback.devices.sim.potentiostat import SimPotentiostat
from flyback.devices.sim.pybamm_cell import EQUATIONS, PybammCell, PybammParameters
from flyback.models.protocol import Protocol
from flyback.models.steps import Limits
from flyback.models.techniques import GCPL, OCV, PEIS
from flyback.plans import operando
from flyback.tests.microscope import close_engine, engine
from flyback.tests.potentiostats import samples

pytest.importorskip("pybamm", reason="the extra 'pybamm' is not installed")
pytestmark = [pytest.mark.heavy, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

WINDOW = Limits(lower_v=2.4, upper_v=4.3)
TABLE = {"model": "pybamm", "parameter_set": "Chen2020", "equations": "SPM", "capacity_mah": 5.0}


def reference(parameter_set, equations, c_rate, times_s, rest_from_s=math.inf):
    """Return the voltages that PyBaMM itself gives, at close tolerances."""
    import pybamm  # pyright: ignore[reportMissingImports]

    values = pybamm.ParameterValues(parameter_set)
    nominal = values["Nominal cell capacity [A.h]"]
    values["Current function [A]"] = (
        c_rate * nominal
        if math.isinf(rest_from_s)
        else pybamm.Interpolant(
            np.array([0.0, rest_from_s, rest_from_s + 1e-6, 1e9]),
            np.array([1.0, 1.0, 0.0, 0.0]) * c_rate * nominal,
            pybamm.t,
        )
    )
    simulation = pybamm.Simulation(
        getattr(pybamm.lithium_ion, equations)(),
        parameter_values=values,
        solver=pybamm.IDAKLUSolver(rtol=1e-8, atol=1e-10),
    )
    t_eval = np.unique([0.0, times_s[-1], min(rest_from_s, times_s[-1])])
    solution = simulation.solve(t_eval, initial_soc=1.0)
    return solution["Voltage [V]"](times_s)


@pytest.mark.parametrize(("parameter_set", "equations"), [
    ("Chen2020", "SPM"), ("Marquis2019", "SPM"), ("Chen2020", "SPMe"), ("Chen2020", "DFN"),
])  # fmt: skip
def test_a_discharge_is_that_of_pybamm_itself(parameter_set, equations):
    assert equations in EQUATIONS
    cell = PybammCell(PybammParameters(parameter_set, equations, capacity_mah=3.0))
    times_s = np.arange(1, 361 if equations == "DFN" else 601) * 5.0
    found = []
    for _ in times_s:
        cell.advance(5.0, "current", -3.0)
        found.append(cell.voltage_v)
    assert cell.current_ma == pytest.approx(-3.0)
    assert cell.state.charge_mah == pytest.approx(-3.0 * times_s[-1] / 3600)
    expected = reference(parameter_set, equations, 1.0, times_s)
    assert np.abs(np.array(found) - expected).max() < 1e-4  # V; a millivolt was asked for


def test_at_rest_it_relaxes_as_pybamms_does():
    cell = PybammCell()
    times_s = np.arange(1, 241) * 10.0
    found = []
    for until_s in times_s:
        cell.advance(10.0, "current", -5.0) if until_s <= 1200 else cell.advance(10.0)
        found.append(cell.voltage_v)
    expected = reference("Chen2020", "SPM", 1.0, times_s, rest_from_s=1200.0)
    assert np.abs(np.array(found) - expected).max() < 1e-3
    assert found[-1] > found[119] + 0.1
    assert cell.current_ma == 0.0


def test_capacity_and_impedance_scale_with_the_area():
    large = PybammCell(PybammParameters(capacity_mah=None))
    small = PybammCell(PybammParameters(capacity_mah=5.0))
    assert large.capacity_mah == 5000.0
    for frequency in (1e3, 1e-3):
        z = small.impedance_ohm(frequency)
        assert z == pytest.approx(1000 * large.impedance_ohm(frequency))
        assert z.real > 0
        assert z.imag < 0
    # the slope of a small, slow step of the current is the resistance
    moved = PybammCell()
    moved.advance(0.01, "current", -0.05)
    ohm = (moved.voltage_v - small.voltage_v) / -0.05e-3
    assert ohm == pytest.approx(small.impedance_ohm(30.0).real, rel=0.02)


def test_a_step_is_undone_by_its_snapshot_and_pieces_do_not_matter():
    cell = PybammCell()
    cell.advance(60.0, "current", -2.0)
    before, voltage = cell.state, cell.voltage_v
    unknowns = before.unknowns.copy()
    cell.advance(30.0, "current", -5.0)
    once = cell.voltage_v
    assert once < voltage
    np.testing.assert_array_equal(before.unknowns, unknowns)
    cell.state, cell.voltage_v = before, voltage
    cell.advance(30.0, "current", -5.0)
    assert cell.voltage_v == once
    cell.state, cell.voltage_v = before, voltage
    for _ in range(60):
        cell.advance(0.5, "current", -5.0)
    assert cell.voltage_v == pytest.approx(once, abs=5e-5)


def test_a_voltage_is_held_and_every_coulomb_counted():
    cell = PybammCell(PybammParameters(state_of_charge=0.5))
    start = cell.state.composition
    for _ in range(60):
        cell.advance(1.0, "voltage", cell.voltage_v if cell.voltage_v > 3.9 else 3.9)
        assert cell.voltage_v == pytest.approx(3.9, abs=1e-6)
    assert cell.current_ma > 0
    charged = cell.state
    assert charged.charge_mah > 0
    # charge and stoichiometry of the electrode go together, whatever drove them
    other = PybammCell(PybammParameters(state_of_charge=0.5))
    other.advance(60.0, "current", charged.charge_mah * 60)
    assert other.state.charge_mah == pytest.approx(charged.charge_mah)
    assert other.state.composition - start == pytest.approx(charged.composition - start, rel=1e-6)
    assert charged.composition < start


def test_an_empty_cell_trips_a_limit_and_lives_on():
    cell = PybammCell(PybammParameters(state_of_charge=0.02))
    instrument = Instrument(cell)
    steps = Protocol([GCPL(5.0, -1.0, 4.9, capacity_mah=5.0)], Limits(lower_v=-1.9, upper_v=5.0))
    instrument.start(steps.steps(), steps.limits, sample_s=1.0, range_ma=10.0)
    instrument.advance_to(4000.0)
    assert instrument.state in ("tripped", "done")
    assert not instrument.driving
    cell.advance(600.0)
    assert 2.0 < cell.voltage_v < 4.3


def test_an_impedance_spectrum_is_taken_by_the_instrument():
    instrument = Instrument(PybammCell(PybammParameters(state_of_charge=0.5)))
    protocol = Protocol([OCV(10), PEIS(0.01, 1e3, per_decade=2)], WINDOW)
    instrument.start(protocol.steps(), WINDOW, sample_s=10.0, range_ma=10.0)
    instrument.advance_to(1e5)
    rows = np.array(instrument.samples)
    z = rows[:, FIELDS.index("z_real_ohm")]
    z = z[np.isfinite(z)]
    assert len(z) == 11
    assert (np.diff(z) > 0).all()  # from fast to slow, the diffusion comes in


@pytest.fixture(scope="module")
def potentiostat(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pybamm")
    table = TABLE | {"state_of_charge": 0.6}
    made = SimPotentiostat(name="pot", speed=1500.0, cell=table, log_path=folder / "log")
    yield made
    made.destroy()


@pytest.fixture
def run_engine():
    RE, documents = engine()
    yield RE, documents
    close_engine(RE)


def test_a_cycle_at_constant_current_and_voltage_through_the_cells_process(
    potentiostat, run_engine
):
    RE, documents = run_engine
    assert potentiostat.phases() == []
    assert potentiostat.element_masses() == {"Cu": 50.0}
    started = potentiostat.composition
    assert 0.3 < started < 0.95
    gcpl = GCPL(2.5, 3.0, 4.1, capacity_mah=5.0, first="delithiation", hold_ma=0.25, hold_s=7200)
    RE(operando(potentiostat, Protocol([gcpl], WINDOW, 10.0), []))
    documents.check()
    found = samples(documents, "pot")
    voltage, current, mode = found["voltage_v"], found["current_ma"], found["mode"]
    charging = (mode == 2) & (found["step_count"] <= 2)
    assert charging.sum() > 20
    assert voltage[charging][1:] == pytest.approx(4.1, abs=2e-3)
    assert (np.diff(current[charging][1:]) < 0.01).all()  # but for the amplifier's noise
    assert abs(current[charging][-1]) == pytest.approx(0.25, rel=0.1)
    assert np.abs(np.abs(current[mode == 1]) - 2.5).max() < 0.01
    assert voltage[mode == 1].min() == pytest.approx(3.0, abs=0.01)
    assert potentiostat.composition > started  # discharged: lithium is back in the cathode
