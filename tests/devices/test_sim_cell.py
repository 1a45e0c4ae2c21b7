"""The simulated cell: what is conserved, what it looks like, and what its instrument does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flyback.devices.potentiostat_records import FIELDS, LAST_FLAG, OVERLOAD_FLAG, PAUSED_FLAG
from flyback.devices.sim.cell import Cell, CellParameters
from flyback.devices.sim.instrument import Instrument
from flyback.models.electrochemistry import FARADAY_C_MOL, platinum_mol
from flyback.models.platinum_lithium import VOLUME_PER_PT, Potentials
from flyback.models.protocol import Protocol
from flyback.models.steps import Limits
from flyback.models.techniques import CA, CV, GCPL, GITT, OCV, PEIS

WIDE = Limits(lower_v=-1, upper_v=4)


def driven(cell, current_ma, stop_v, dt_s=5.0):
    """Drive to a voltage; return voltages and compositions on the way."""
    rows = []
    while not rows or (rows[-1][0] > stop_v if current_ma < 0 else rows[-1][0] < stop_v):
        cell.advance(dt_s, "current", current_ma)
        rows.append((cell.voltage_v, cell.state.composition))
        assert len(rows) < 20_000
    return np.array(rows)


def cycled(cycles, c_rate=0.5):
    cell = Cell()
    rate = c_rate * cell.capacity_mah
    for _ in range(cycles):
        down = driven(cell, -rate, 0.01)
        full = {name: fraction for name, fraction, _ in cell.phases()}
        up = driven(cell, rate, 1.5)
    return cell, down, up, full


def test_the_first_lithiation_forms_li2pt_on_a_plateau_and_cycling_leaves_lipt():
    cell, down, up, full = cycled(1)
    middle = down[(down[:, 1] > 0.3) & (down[:, 1] < 1.7)]
    assert 0.2 < middle[:, 0].min() < middle[:, 0].max() < 0.35
    assert np.ptp(middle[:, 0]) < 0.06
    assert full["Li2Pt"] > 0.99
    back = up[(up[:, 1] > 0.5) & (up[:, 1] < 1.8)]
    assert 0.6 < back[:, 0].min() < back[:, 0].max() < 1.0
    fourth, *_, full = cycled(4)
    assert full["Li2Pt"] < 0.25
    fractions = {name: fraction for name, fraction, _ in fourth.phases()}
    assert fractions["LiPt"] > 0.9  # it stays, and breathes as a solid solution
    scale = {n: s for n, _, s in fourth.phases()}["LiPt"]
    fourth.advance(2000, "voltage", 0.3)
    assert {n: s for n, _, s in fourth.phases()}["LiPt"] > scale + 0.005
    # some of the first charge is the interphase's
    assert 0.05 < -cell.state.interphase_mah / cell.capacity_mah < 0.15


def test_platinum_is_conserved_and_volumes_are_those_of_the_phases():
    cell = Cell()
    driven(cell, -0.5 * cell.capacity_mah, 0.01)
    ((name, fraction, _),) = [p for p in cell.phases() if p[0] == "Li2Pt"]
    assert fraction * cell.swelling / VOLUME_PER_PT[name] == pytest.approx(1.0, abs=5e-3)
    assert cell.swelling == pytest.approx(2.68, abs=0.02)
    driven(cell, 0.5 * cell.capacity_mah, 0.9)
    platinum = sum(f * cell.swelling / VOLUME_PER_PT[n] / s**3 for n, f, s in cell.phases())
    assert platinum == pytest.approx(1.0, rel=1e-12)
    assert sum(f for _, f, _ in cell.phases()) == pytest.approx(1.0)


moves = st.tuples(
    st.floats(0.01, 60),
    st.sampled_from(["open", "current", "voltage"]),
    st.floats(-0.2, 0.2),
)


@settings(max_examples=20, deadline=None)
@given(st.lists(moves, min_size=1, max_size=25))
def test_every_coulomb_is_accounted_for(asked):
    cell = Cell()
    n_pt = platinum_mol(100)
    start_v = cell.state.interface_v
    for dt_s, mode, value in asked:
        cell.advance(dt_s, mode, value if mode == "current" else 0.5 + 5 * value)
    s = cell.state
    taken = -FARADAY_C_MOL * n_pt * s.composition
    parasitic = (s.interphase_mah + s.lost_mah) * 3.6
    stored = 40e-6 * (s.interface_v - start_v)
    assert s.charge_mah * 3.6 == pytest.approx(taken + parasitic + stored, abs=2e-9)
    shares = (s.li2pt, s.lipt, 1 - s.li2pt - s.lipt)
    assert min(shares) > -1e-12
    assert s.stable <= s.lipt + 1e-12


def test_longer_steps_of_the_solution_agree():
    voltages = []
    for dt_s in (0.5, 5.0):
        cell = Cell()
        for _ in range(round(3000 / dt_s)):
            cell.advance(dt_s, "current", -cell.capacity_mah)
        voltages.append((cell.voltage_v, cell.state.composition))
    assert voltages[0][0] == pytest.approx(voltages[1][0], abs=1e-3)
    assert voltages[0][1] == pytest.approx(voltages[1][1], abs=1e-3)


def test_the_cell_relaxes_and_polarises_with_the_current():
    cell = Cell()
    driven(cell, -cell.capacity_mah, 0.25)
    cell.advance(600, "current", -0.5 * cell.capacity_mah)
    slow = cell.voltage_v
    cell.advance(60, "current", -2 * cell.capacity_mah)
    assert cell.voltage_v < slow - 0.015
    under_current = cell.voltage_v
    cell.advance(1.0)
    first = cell.voltage_v
    cell.advance(3000)
    assert under_current < first < cell.voltage_v
    assert cell.current_ma == 0


def test_the_solid_solutions_potential_is_inverted():
    u = Potentials()
    for lithium in (0.45, 0.8, 1.0, 1.55):
        v = u.solid_solution_v(lithium)
        assert u.solid_solution_lithium(v) == pytest.approx(lithium, abs=1e-9)
    falling = [u.solid_solution_v(y) for y in np.linspace(0.41, 1.59, 50)]
    assert (np.diff(falling) < 0).all()


def test_impedance_is_ohmic_when_fast_and_larger_when_slow():
    cell = Cell()
    driven(cell, -cell.capacity_mah, 0.25)
    fast, slow = cell.impedance_ohm(1e6), cell.impedance_ohm(1e-3)
    assert fast.real == pytest.approx(60, rel=1e-3)
    assert slow.real > 200
    assert all(cell.impedance_ohm(f).imag < 0 for f in (1e4, 10, 0.1))


def test_a_thicker_film_holds_more():
    assert Cell(CellParameters(thickness_nm=50)).capacity_mah == pytest.approx(0.0295, abs=1e-4)


class Bench:
    """An instrument and its samples, as columns."""

    def __init__(self, techniques, *, until_s=1e6, limits=WIDE, sample_s=10.0, range_ma=0.1):
        self.log = []
        self.instrument = Instrument(Cell(), log=lambda e, **d: self.log.append((e, d)))
        protocol = Protocol(techniques, limits, sample_s)
        self.instrument.start(
            protocol.steps(), protocol.limits, sample_s=sample_s, range_ma=range_ma
        )
        if until_s:
            self.instrument.advance_to(until_s)

    def __getattr__(self, name):
        rows = np.array(self.instrument.samples)
        return rows[:, FIELDS.index(name)]


def test_voltages_are_overshot_by_one_sample_and_by_little():
    c = Cell().capacity_mah
    bench = Bench([GCPL(c, 0.05, 1.2, capacity_mah=2 * c, cycles=3)], sample_s=30)
    v, i = bench.voltage_v, bench.current_ma
    for beyond in ((v <= 0.05) & (i < 0), (v >= 1.2) & (i > 0)):
        assert beyond.sum() == 3
        assert (bench.flags[beyond] == LAST_FLAG).all()
    assert v.min() > 0.035
    assert v[bench.step > 1].max() < 1.22
    assert bench.instrument.state == "done"
    assert bench.log[-1] == ("open_circuit", {"reason": "end of the protocol"})
    assert set(bench.cycle) == {1, 2, 3}


def test_durations_and_charges_are_exact_and_samples_on_their_grid():
    bench = Bench([OCV(25), GCPL(0.036, 0.0, 3.0, capacity_mah=0.001)], sample_s=10)
    t = bench.time_s
    np.testing.assert_allclose(t[:3], [10, 20, 25], atol=1e-6)
    turn = np.flatnonzero(bench.flags == LAST_FLAG)
    assert bench.capacity_mah[turn[1]] == pytest.approx(-0.001, rel=1e-6)
    np.testing.assert_array_equal(bench.index, np.arange(len(t)))


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(upper_v=4, lower_v=0.2), "below lower_v = 0.2 V"),
        (Limits(upper_v=4, capacity_mah=0.001), "capacity_mah = 0.001"),
        (Limits(upper_v=4, time_s=100), "time_s = 100"),
        (Limits(upper_v=4, power_mw=0.05), "power_mw = 0.05"),
    ],
)
def test_a_limit_opens_the_circuit_within_a_sample(limits, message):
    c = Cell().capacity_mah
    steps = Protocol([GCPL(c, -0.5, 4.0, capacity_mah=2 * c)], sample_s=10.0).steps()
    instrument = Instrument(Cell())
    instrument.start(steps, limits, sample_s=10.0, range_ma=0.1)
    instrument.advance_to(10_000)
    assert instrument.state == "tripped"
    assert message in instrument.message
    assert not instrument.driving
    rows = np.array(instrument.samples)
    broken = [
        limits.broken_by(r[2], r[3], r[4], r[1] + 0.0, slack_ma=1e-4) is not None for r in rows
    ]
    assert sum(broken) == 1
    assert broken[-1]


def test_the_range_holds_the_amplifier_back_and_says_so():
    bench = Bench([CA(0.2, 20)], sample_s=1.0, range_ma=0.01)
    over = (bench.flags.astype(int) & OVERLOAD_FLAG) > 0
    assert over.any()
    assert np.abs(bench.current_ma).max() <= 0.0101


def test_a_pause_stops_the_protocols_time_but_not_the_cells():
    bench = Bench([OCV(100), CA(0.5, 100)], until_s=0, sample_s=10)
    instrument = bench.instrument
    instrument.advance_to(133.0, wholly=True)
    instrument.pause(hold=False)
    assert not instrument.driving
    instrument.advance_to(233.0, wholly=True)
    instrument.resume()
    instrument.advance_to(1000)
    t, paused = bench.time_s, (bench.flags.astype(int) & PAUSED_FLAG) > 0
    assert t[-1] == pytest.approx(300, abs=1e-3)
    assert (bench.current_ma[paused] == 0).all()
    assert paused.sum() == 10
    assert [e for e, _ in bench.log] == [
        "start", "step", "step", "open_circuit", "resume", "open_circuit",
    ]  # fmt: skip


def test_a_sweep_goes_on_from_where_a_pause_left_the_cell():
    bench = Bench([CV(0.3, 1.0, 1.0)], until_s=0, sample_s=10)
    instrument = bench.instrument
    instrument.advance_to(500, wholly=True)
    before = instrument.cell.voltage_v
    instrument.pause(hold=True)
    instrument.advance_to(1500, wholly=True)
    assert instrument.cell.voltage_v == pytest.approx(before, abs=1e-6)
    instrument.resume()
    instrument.advance_to(10_000)
    assert instrument.state == "done"
    held = (bench.flags.astype(int) & PAUSED_FLAG) > 0
    steps = np.abs(np.diff(bench.voltage_v[~held]))
    assert steps.max() < 0.015  # 1 mV/s, 10 s


def test_a_titration_ends_where_the_window_ends():
    bench = Bench([GITT(-0.06, 600, 600, 200, 0.2, 3.0), OCV(5)], sample_s=60)
    assert bench.instrument.state == "done"
    assert bench.instrument.message == "end of the protocol"
    assert len(set(bench.step)) < 60
    assert bench.mode[-1] == 0  # the observation after it was carried out


def test_an_impedance_is_one_sample_for_each_frequency():
    bench = Bench([PEIS(1, 1e4, per_decade=2)])
    assert len(bench.frequency_hz) == 9
    assert (np.diff(bench.frequency_hz) < 0).all()
    assert np.isfinite(bench.z_real_ohm).all()


def test_the_same_seed_gives_the_same_samples():
    runs = [Bench([CA(0.3, 300)], sample_s=7) for _ in range(2)]
    np.testing.assert_array_equal(
        np.array(runs[0].instrument.samples), np.array(runs[1].instrument.samples)
    )
    # and it does not matter in which pieces the time passes
    pieces = Bench([CA(0.3, 300)], sample_s=7, until_s=0)
    for until in np.linspace(0, 400, 173):
        pieces.instrument.advance_to(until)
    np.testing.assert_array_equal(
        np.array(runs[0].instrument.samples), np.array(pieces.instrument.samples)
    )
