"""Rules of a profile are checked when a session opens, and bound to its plans and devices."""

import pytest

from flyback.callbacks.rules import Rules
from flyback.models.base import Event
from flyback.profiles.registry import SettingError
from flyback.profiles.rules import StandingRules, read_rules
from flyback.profiles.schema import ProfileError, parse_profile
from flyback.profiles.steering import with_rules

RULE = {"when": "phases.phase_onset", "subject": "Li2Pt", "do": "finer_frames", "every_s": 1.0}


def profile(**rule):
    return parse_profile("p", {"analyses": {"phases": {}}, "rules": {"r": {**RULE, **rule}}})


def finer_frames(every_s=1.0, detector=None):
    return [("every", every_s, detector)]


def standing(**rule):
    return StandingRules(Rules(read_rules(profile(**rule))), {}, {"xrd": "the detector"})


def test_a_rule_is_read_with_its_settings():
    (rule,) = read_rules(profile())
    assert (rule.name, rule.analysis, rule.on, rule.subject) == (
        "r",
        "phases",
        "phase_onset",
        "Li2Pt",
    )
    assert rule.settings == {"every_s": 1.0}
    assert rule.times == 1


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"when": 3}, "needs when"),
        ({"do": None}, "needs do"),
        ({"when": "phases"}, r"ANALYSIS\.EVENT"),
        ({"when": "phasse.phase_onset"}, "did you mean 'phases'"),
        ({"times": 0}, "at least 1"),
        ({"times": True}, "at least 1"),
    ],
)
def test_what_a_rule_lacks_is_said_in_a_sentence(rule, words):
    with pytest.raises(ProfileError, match=words):
        read_rules(profile(**rule))


def test_an_unknown_action_or_setting_is_refused_before_the_run():
    actions = {"finer_frames": finer_frames}
    standing().check(actions)
    with pytest.raises(SettingError, match="did you mean 'finer_frames'"):
        standing(do="finer_frame").check(actions)
    with pytest.raises(SettingError, match="did you mean 'every_s'"):
        standing(evry_s=2.0).check(actions)
    with pytest.raises(SettingError, match="no device 'xrf'"):
        standing(detector="@xrf").check(actions)


def test_a_firing_becomes_messages_with_the_devices_it_names():
    rules = standing(detector="@xrd")
    rules._rules.heard("phases", "run", Event("phase_onset", 3, "Li2Pt"))
    (firing,) = rules.take("run")
    assert rules.plan(firing, {"finer_frames": finer_frames}) == [("every", 1.0, "the detector")]


def test_a_plan_gets_the_sessions_rules_where_none_are_given():
    def ruled(rules=None):
        yield rules

    def free():
        yield "free"

    mine = standing()
    plans = with_rules({"ruled": ruled, "free": free}, mine)
    assert next(plans["ruled"]()) is mine
    assert next(plans["ruled"](rules="others")) == "others"
    assert next(plans["free"]()) == "free"
