"""What rules made of a run: one reading for each that fired."""

from __future__ import annotations

import json
import time
from typing import Any

from ophyd import Component as Cpt
from ophyd import Device

from .signals import UnitSignal


class Firings(Device):
    """The rules that fired in a run, as a stream of it."""

    rule = Cpt(UnitSignal, value="", kind="normal")
    analysis = Cpt(UnitSignal, value="", kind="normal")
    event = Cpt(UnitSignal, value="", kind="normal")
    subject = Cpt(UnitSignal, value="", kind="normal")
    scan_index = Cpt(UnitSignal, value=0, kind="normal")
    says = Cpt(UnitSignal, value="{}", kind="normal")
    action = Cpt(UnitSignal, value="", kind="normal")
    settings = Cpt(UnitSignal, value="{}", kind="normal")
    fired_s = Cpt(UnitSignal, value=0.0, units="s", kind="normal")
    acted_s = Cpt(UnitSignal, value=0.0, units="s", kind="normal")

    def __init__(self, prefix: str = "", *, name: str = "rule", **kwargs: Any) -> None:
        super().__init__(prefix, name=name, **kwargs)

    def note(self, firing: Any) -> None:
        """Set what the next reading says; called when the plan begins to act.

        Parameters
        ----------
        firing : object
            With ``rule`` (``name``, ``analysis``, ``do``, ``settings``), ``event`` (``kind``,
            ``subject``, ``scan_index``, ``says``) and ``time_s``, as of `callbacks.rules.Firing`.
        """
        rule, event = firing.rule, firing.event
        self.rule.put(rule.name)
        self.analysis.put(rule.analysis)
        self.event.put(event.kind)
        self.subject.put(event.subject)
        self.scan_index.put(int(event.scan_index))
        self.says.put(json.dumps(dict(event.says)))
        self.action.put(rule.do)
        self.settings.put(json.dumps(dict(rule.settings)))
        self.fired_s.put(float(firing.time_s))
        self.acted_s.put(time.time())
