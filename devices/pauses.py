"""What became of a cell while a run was paused: one reading a pause."""

from __future__ import annotations

from collections import deque
from typing import Any

from ophyd import Component as Cpt
from ophyd import Device

from .signals import ReadOnlySignal


class Pauses(Device):
    """The pauses of a protocol, as a stream of the run.

    The protocol's steps stood still from `began_s` to `ended_s`; the cell's clock did not.
    """

    began_s = Cpt(ReadOnlySignal, value=float("nan"), units="s", kind="normal")
    ended_s = Cpt(ReadOnlySignal, value=float("nan"), units="s", kind="normal")
    began_utc_s = Cpt(ReadOnlySignal, value=float("nan"), units="s", kind="normal")
    ended_utc_s = Cpt(ReadOnlySignal, value=float("nan"), units="s", kind="normal")
    held = Cpt(ReadOnlySignal, value=0, kind="normal")

    def __init__(self, prefix: str = "", *, name: str, **kwargs: Any) -> None:
        super().__init__(prefix, name=name, **kwargs)
        self._open: tuple[float, float, bool] | None = None
        self._done: deque[tuple[float, float, float, float, bool]] = deque()

    def begin(self, clock_s: float, utc_s: float, *, held: bool) -> None:
        """Note the beginning of a pause.

        Parameters
        ----------
        clock_s : float, s
            The instrument's clock.
        utc_s : float, s
            Since the epoch.
        held : bool
            Whether the voltage is held; else the circuit is open.
        """
        if self._open is None:
            self._open = (clock_s, utc_s, held)

    def end(self, clock_s: float, utc_s: float) -> None:
        """Note the end of the pause that was begun, if there was one."""
        if self._open is not None:
            began_s, began_utc_s, held = self._open
            self._done.append((began_s, clock_s, began_utc_s, utc_s, held))
            self._open = None

    def forget(self) -> None:
        """Begin anew."""
        self._open = None
        self._done.clear()

    def next(self) -> bool:
        """Set what the next reading says; False where every pause has been told."""
        if not self._done:
            return False
        began_s, ended_s, began_utc_s, ended_utc_s, held = self._done[0]
        self.began_s.report(began_s)
        self.ended_s.report(ended_s)
        self.began_utc_s.report(began_utc_s)
        self.ended_utc_s.report(ended_utc_s)
        self.held.report(int(held))
        return True

    def told(self) -> None:
        """Go on to the next: the run has this one."""
        if self._done:
            self._done.popleft()
