"""Rules of a profile: on what an analysis sees, which plan or action follows while the run goes on.

[rules.li2pt_forms]
when = "phases.phase_onset"   # ANALYSIS.EVENT
subject = "Li2Pt"             # optional: of the event
do = "finer_frames"           # an action of the running plan, or any plan of the session
times = 1                     # optional: at most so often in a run
every_s = 1.0                 # all other keys are settings of the action or plan; "@name": a device
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..callbacks.rules import Firing, Rule, Rules
from .registry import SettingError, check_table, unknown
from .schema import Profile, ProfileError

_OWN = ("when", "do", "subject", "times")


def read_rules(profile: Profile) -> list[Rule]:
    """Check the rules of a profile.

    Raises
    ------
    ProfileError
        For a rule without ``when`` or ``do``, one about an analysis that the profile has not, or
        ``times`` that is no positive number.
    """
    return [_rule(profile, name, table) for name, table in profile.rules.items()]


def _rule(profile: Profile, name: str, table: Mapping[str, Any]) -> Rule:
    where = f"profile {profile.name!r}, [rules.{name}]"
    for key in ("when", "do"):
        if not isinstance(table.get(key), str):
            raise ProfileError(f'{where} needs {key} = "...", such as {_EXAMPLES[key]!r}')
    analysis, dot, kind = table["when"].partition(".")
    if not (dot and kind):
        raise ProfileError(
            f"{where}: when is ANALYSIS.EVENT, such as {_EXAMPLES['when']!r}, got {table['when']!r}"
        )
    if analysis not in profile.analyses:
        raise ProfileError(f"{where}: {unknown('analysis', analysis, list(profile.analyses))}")
    times = table.get("times", 1)
    if not isinstance(times, int) or isinstance(times, bool) or times < 1:
        raise ProfileError(f"{where}: times is a whole number of at least 1, got {times!r}")
    return Rule(
        name=name,
        analysis=analysis,
        on=kind,
        do=table["do"],
        subject=table.get("subject"),
        settings={key: value for key, value in table.items() if key not in _OWN},
        times=times,
    )


_EXAMPLES = {"when": "phases.phase_onset", "do": "hold"}


class StandingRules:
    """The rules of a session, as a plan takes them.

    Parameters
    ----------
    rules : Rules
    plans : mapping of str to plan
        That a rule may name.
    devices : mapping of str to device
        That a rule's settings may name.
    """

    def __init__(
        self, rules: Rules, plans: Mapping[str, Callable[..., Any]], devices: Mapping[str, Any]
    ) -> None:
        self._rules, self._plans, self._devices = rules, plans, devices

    def take(self, run: str, timeout_s: float = 0.0) -> list[Firing]:
        """Return what has fired in a run since the last call."""
        return self._rules.take(run, timeout_s)

    def ring(self, run: str, bell: Callable[[], None]) -> None:
        """Have `bell` called, on the analysis' thread, whenever a rule fires in a run."""
        self._rules.ring(run, bell)

    def forget(self, run: str) -> None:
        """Let go of a run that is over."""
        self._rules.forget(run)

    def check(self, actions: Mapping[str, Callable[..., Any]]) -> None:
        """Raise if a rule names neither an action nor a plan, or sets what that does not take.

        Parameters
        ----------
        actions : mapping of str to callable
            What the running plan can do itself.

        Raises
        ------
        SettingError
        """
        for rule in self._rules.rules:
            target = actions.get(rule.do) or self._plans.get(rule.do)
            if target is None:
                known = sorted({*actions, *self._plans})
                raise SettingError(f"[rules.{rule.name}]: {unknown('action', rule.do, known)}")
            check_table(target, self._settings(rule), what=f"the rule {rule.name!r}: {rule.do}")

    def plan(self, firing: Firing, actions: Mapping[str, Callable[..., Any]]) -> Any:
        """Return the messages of what a rule that fired is to do."""
        target = actions.get(firing.rule.do) or self._plans[firing.rule.do]
        return target(**self._settings(firing.rule))

    def _settings(self, rule: Rule) -> dict[str, Any]:
        return {key: self._resolved(rule, value) for key, value in rule.settings.items()}

    def _resolved(self, rule: Rule, value: Any) -> Any:
        if isinstance(value, list):
            return [self._resolved(rule, one) for one in value]
        if not (isinstance(value, str) and value.startswith("@")):
            return value
        if value[1:] not in self._devices:
            known = unknown("device", value[1:], list(self._devices))
            raise SettingError(f"[rules.{rule.name}]: {known}")
        return self._devices[value[1:]]
