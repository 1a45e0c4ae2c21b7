"""The beam blanker. Whatever stops, the beam is off."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ophyd import Component as Cpt
from ophyd import Device
from ophyd.status import Status

from .signals import ReadOnlySignal

OPEN, CLOSED = "open", "closed"


class Blanker(Device):
    """Lets the beam through or keeps it off the specimen.

    `stop` always blanks. The RunEngine stops every movable that it touched, on success, abort,
    stop, halt and Ctrl-C, and so a plan that opened the blanker cannot leave it open.

    Parameters
    ----------
    name : str
    switch : callable or None
        Called with True to let the beam through and False to blank it; the hardware's side.
    """

    state = Cpt(ReadOnlySignal, value=CLOSED, kind="hinted", doc="'open' or 'closed'")

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        switch: Callable[[bool], None] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(prefix, name=name, **kwargs)
        self._switch = switch
        self._stopped_open = False
        self._reopen = False
        self.before_blanking: list[Callable[[], None]] = []
        self.after_opening: list[Callable[[], None]] = []
        self.state.name = self.name
        self.drive(False)

    def drive(self, is_open: bool) -> None:
        """Move the hardware and the read-back."""
        if self._switch is not None:
            self._switch(is_open)
        self.state.report(OPEN if is_open else CLOSED)

    @property
    def is_open(self) -> bool:
        """Whether the beam reaches the specimen."""
        return self.state.get() == OPEN

    @property
    def position(self) -> str:
        """'open' or 'closed'."""
        return self.state.get()

    def check_value(self, value: Any) -> None:
        """Refuse everything but 'open' and 'closed'.

        Raises
        ------
        ValueError
        """
        if value not in (OPEN, CLOSED):
            raise ValueError(f"{self.name} is set to 'open' or 'closed', not {value!r}.")

    def set(self, value: str) -> Status:
        """Open or close.

        Parameters
        ----------
        value : "open" or "closed"
        """
        self.check_value(value)
        self._stopped_open = self._reopen = False
        if value == OPEN:
            self._open()
        else:
            self._close()
        status = Status(self)
        status.set_finished()
        return status

    def _close(self) -> None:
        for hold in self.before_blanking:
            hold()
        self.drive(False)

    def _open(self) -> None:
        self.drive(True)
        for release in self.after_opening:
            release()

    def locate(self) -> dict[str, str]:
        """Return setpoint and readback."""
        return {"setpoint": self.position, "readback": self.position}

    def stop(self, *, success: bool = False) -> None:
        """Blank the beam. A scan in flight is held first, so that no frame is taken dark."""
        self._stopped_open = self.is_open
        self._close()
        super().stop(success=success)

    def pause(self) -> None:
        """Blank; `resume` opens again where the pause closed."""
        self._reopen = self.is_open or self._stopped_open
        self.drive(False)

    def resume(self) -> None:
        """Open again if the pause found the beam on."""
        if self._reopen:
            self._reopen = self._stopped_open = False
            self._open()

    def unstage(self) -> list[object]:
        """Blank."""
        self.drive(False)
        return super().unstage()

    def read(self) -> dict[str, dict[str, Any]]:
        """Read 'open' or 'closed'."""
        return {
            self.name: {"value": self.position, "timestamp": self.state.timestamp or time.time()}
        }
