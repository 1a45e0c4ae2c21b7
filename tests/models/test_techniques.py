"""Techniques are data, end by themselves, and keep limits."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyback.models.protocol import Protocol, protocol_from
from flyback.models.steps import Limits, ProtocolError, Step, check_steps, strictest
from flyback.models.techniques import CA, CV, GCPL, GITT, OCV, PEIS, Fiducial

EACH = [
    OCV(60),
    CA(0.3, 100, until_ma=1e-3),
    CV(0.01, 1.5, 0.5, cycles=2),
    GCPL(0.03, 0.01, 1.5, capacity_mah=0.09, cycles=3, hold_ma=1e-3, hold_s=600, rest_s=60),
    GITT(-0.01, 600, 1200, 20, 0.05, 1.5),
    Fiducial(0.01, pairs=3),
    PEIS(0.01, 1e4, per_decade=3, voltage_v=0.5),
]


@pytest.mark.parametrize("technique", EACH, ids=lambda t: type(t).__name__)
def test_a_technique_survives_json(technique):
    protocol = Protocol([technique, OCV(1)], Limits(lower_v=-1, upper_v=5), sample_s=2.0)
    again = protocol_from(json.loads(json.dumps(protocol.to_dict())))
    assert again == protocol
    assert again.steps() == protocol.steps()
    assert 0 < protocol.longest_s() < 1e8


def test_cycling_lithiates_first_and_turns_at_the_voltages():
    steps = list(GCPL(0.03, 0.01, 1.5, capacity_mah=0.09, cycles=2).steps())
    assert [s.current_ma for s in steps] == [-0.03, 0.03] * 2
    assert [(s.below_v, s.above_v) for s in steps] == [(0.01, None), (None, 1.5)] * 2
    assert [s.cycle for s in steps] == [1, 1, 2, 2]
    first = next(iter(GCPL(1, 0.1, 1, capacity_mah=1, first="delithiation").steps()))
    assert first.current_ma == 1


def test_impedance_runs_from_high_to_low():
    found = [s.frequency_hz for s in PEIS(0.1, 1e3, per_decade=5).steps()]
    assert found[0] == pytest.approx(1e3)
    assert found[-1] == pytest.approx(0.1)
    assert len(found) == 21


def test_pulses_of_two_titrations_are_groups_of_their_own():
    titration = GITT(-0.01, 10, 10, 2, 0.05, 1.5)
    assert {s.group for s in Protocol([titration, OCV(1), titration]).steps()} == {0, None, 2}


@given(pairs=st.integers(1, 8), pulse_s=st.floats(0.1, 100), current_ma=st.floats(1e-4, 1))
def test_fiducial_pulses_leave_no_charge_and_fit_in_one_way(pairs, pulse_s, current_ma):
    steps = list(Fiducial(current_ma, pulse_s, pairs).steps())
    pulses = [s for s in steps if s.mode == "current"]
    assert len(pulses) == 2 * pairs
    assert sum(s.current_ma * s.duration_s for s in pulses) == 0
    rests = [s.duration_s for s in steps if s.mode == "open"]
    assert sum(rests) > sum(s.duration_s for s in pulses)
    between = sorted(rests[1:-1])
    assert all(b - a > 0.6 * pulse_s for a, b in pairwise(between))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GCPL(0.03, 0.01, 1.5), "no sure end"),
        (lambda: GCPL(0.03, 0.01, 1.5, capacity_mah=1, hold_ma=0.01), "give hold_s"),
        (lambda: GCPL(0.03, 1.5, 0.01, capacity_mah=1), "leave no room"),
        (lambda: GCPL(0.03, 0.01, 1.5, capacity_mah=1, cycles=0), "whole number"),
        (lambda: GCPL(0.03, 0.01, 1.5, capacity_mah=1, first="up"), "'lithiation'"),
        (lambda: OCV(float("inf")), "positive and finite"),
        (lambda: CA(0.1, 0), "duration_s must be positive"),
        (lambda: CV(0.1, 1.0, 0), "rate_mv_s"),
        (lambda: GITT(0, 1, 1, 1, 0, 1), "not zero"),
        (lambda: PEIS(10, 1), "must be below"),
        (lambda: Fiducial(0.0), "not zero"),
        (lambda: Fiducial(0.1, pairs=9), "at most 8"),
        (lambda: Fiducial(0.1, pairs=0), "whole number"),
        (lambda: Protocol([]), "no steps"),
        (lambda: Protocol([OCV(1)], sample_s=0), "sample_s"),
        (
            lambda: Protocol([CA(4.5, 1)], Limits(upper_v=4.0)),
            "above upper_v = 4 V of the protocol",
        ),
        (lambda: Protocol([CV(0.1, 1.0, 1, cycles=20_000)]), "more than the 20000 that fit"),
        (lambda: Step("current", current_ma=1.0, below_v=0.1), "no sure end; give duration_s or"),
        (lambda: Step("current", duration_s=1.0), "needs current_ma"),
        (lambda: Step("wait", duration_s=1.0), "mode is one of"),
        (lambda: Step("voltage", voltage_v=float("nan"), duration_s=1.0), "finite number"),
        (lambda: Limits(current_ma=-1), "must be positive"),
        (lambda: Limits(lower_v=2, upper_v=1), "leave no room"),
        (lambda: protocol_from([{"technique": "LSV"}]), "no technique 'LSV', but OCV"),
        (lambda: protocol_from({"technique": "OCV", "time": 3}), "no setting 'time'"),
        (lambda: protocol_from({"technique": "OCV"}), "OCV: "),
        (lambda: protocol_from({"techniques": [OCV(1)], "limit": {}}), "has no limit"),
        (lambda: protocol_from({"techniques": [OCV(1)], "limits": {"volt": 1}}), "limits: "),
        (lambda: protocol_from("cycle"), "made of techniques"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(make, message):
    with pytest.raises(ProtocolError, match=message):
        make()


def test_contradicting_layers_are_named():
    layers = {"device": Limits(lower_v=-2, upper_v=1.0), "plan": Limits(lower_v=1.5, upper_v=2)}
    with pytest.raises(ProtocolError, match=r"1.5 V of the plan .* 1 V of the device"):
        strictest(layers)


numbers = st.none() | st.floats(0.1, 5)


@given(st.lists(st.tuples(numbers, numbers, numbers), max_size=4))
def test_the_strictest_of_all_layers_holds(rows):
    layers = {
        str(k): Limits(lower_v=None if low is None else -low, upper_v=high, current_ma=ma)
        for k, (low, high, ma) in enumerate(rows)
    }
    held = strictest(layers)
    for name, choose in (("lower_v", max), ("upper_v", min), ("current_ma", min)):
        given_ = [v for v in (getattr(one, name) for one in layers.values()) if v is not None]
        assert getattr(held, name) == (choose(given_) if given_ else None)


def test_a_voltage_breaks_its_limit_only_where_the_current_drives_it_out():
    limits = Limits(lower_v=0.1, upper_v=1.0, current_ma=2, power_mw=1.5, capacity_mah=3, time_s=9)
    assert "below lower_v" in (limits.broken_by(0.05, -1) or "")
    assert limits.broken_by(0.05, 1) is None
    assert "above upper_v" in (limits.broken_by(1.1, 1) or "")
    assert limits.broken_by(2.8, 0) is None
    assert "current_ma = 2" in (limits.broken_by(0.5, -2.1) or "")
    assert "power_mw" in (limits.broken_by(0.9, 1.9) or "")
    assert "capacity_mah" in (limits.broken_by(0.5, 0, charge_mah=-3.1) or "")
    assert "time_s" in (limits.broken_by(0.5, 0, since_s=9.1) or "")
    assert check_steps([Step("open", duration_s=1)], limits)
