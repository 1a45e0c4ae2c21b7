"""Threads take short turns while a session is open, and the usual ones afterwards."""

import sys

import pytest

import flyback as fb
from flyback.profiles.turns import TURN_S, restore_turns, shorten_turns


def test_a_session_shortens_turns_and_gives_them_back(tmp_path):
    usual_s = sys.getswitchinterval()
    with fb.open("recorded", tmp_path, progress=False, warm=False):
        assert sys.getswitchinterval() == TURN_S
    assert sys.getswitchinterval() == usual_s


def test_the_usual_turns_come_back_with_the_last_who_shortened_them():
    usual_s = sys.getswitchinterval()
    shorten_turns()
    shorten_turns()
    restore_turns()
    assert sys.getswitchinterval() == TURN_S
    restore_turns()
    assert sys.getswitchinterval() == usual_s


def test_turns_that_were_shorter_stay():
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        shorten_turns()
        assert sys.getswitchinterval() == pytest.approx(1e-4, rel=0.05)
        restore_turns()
        assert sys.getswitchinterval() == pytest.approx(1e-4, rel=0.05)
    finally:
        sys.setswitchinterval(usual_s)
