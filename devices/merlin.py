"""Quantum Detectors Merlin (Medipix3) cameras, over TCP."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from ophyd import Component as Cpt

from .merlin_link import ControlLink, DataLink, MerlinError, connect
from .mib import decode, dtype_of, sequences
from .pixel_detector import Block, PixelDetector, Trigger
from .signals import ReadOnlySignal

__all__ = ["MerlinDetector", "MerlinDriver", "MerlinError"]

TriggerSource = Literal["hardware", "software", "socket"]


class MerlinDriver:
    """Arms a Merlin and receives its frames.

    Parameters
    ----------
    host : str
    control_port, data_port, trigger_port : int
    trigger_source : "hardware", "software" or "socket"
        Who starts a scan: a wire from the scan engine, a command, or a message on a third port.
    flip_y : bool
        MIB stores the lowest line first; True turns frames upright.
    timeout_s : float, s
        For a connection and an answer.
    """

    def __init__(
        self,
        host: str,
        control_port: int = 6341,
        data_port: int = 6342,
        trigger_port: int = 6343,
        *,
        trigger_source: TriggerSource = "hardware",
        flip_y: bool = True,
        timeout_s: float = 5.0,
    ) -> None:
        if trigger_source not in ("hardware", "software", "socket"):
            raise ValueError(
                f"trigger_source is 'hardware', 'software' or 'socket', not {trigger_source!r}."
            )
        self.host, self.flip_y, self.timeout_s = host, flip_y, timeout_s
        self.control_port, self.data_port = int(control_port), int(data_port)
        self.trigger_port, self.trigger_source = int(trigger_port), trigger_source
        self.shape: tuple[int, int] = (256, 256)
        self.dtype = np.dtype("<u2")
        self.counter_depth = 12
        self.software_version = ""
        self._data: DataLink | None = None
        self._whole = False
        self._armed = (0, 0)
        self._off = threading.Event()

    def connect(self) -> None:
        """Ask the camera for the shape and depth of its frames.

        Raises
        ------
        MerlinError
        """
        control = ControlLink(self.host, self.control_port, self.timeout_s)
        try:
            self.software_version = control.get("SOFTWAREVERSION")
            answers = [control.get(name) for name in ("IMAGEY", "IMAGEX", "COUNTERDEPTH")]
        finally:
            control.close()
        known = [int(answer) if answer.strip().isdigit() else None for answer in answers]
        if known[0] and known[1]:
            self.shape = (known[0], known[1])
        if known[2]:
            self.counter_depth = known[2]
            self.dtype = dtype_of(known[2])

    def arm(self, n_frames: int, exposure_s: float, *, first_index: int, trigger: Trigger) -> None:
        """Make ready, and trigger where no wire does it.

        Raises
        ------
        MerlinError
        """
        self._off.clear()
        self._armed = (n_frames, first_index)
        self._whole = False
        if self._data is None:
            self._data = DataLink(self.host, self.data_port, self.timeout_s)
        control = ControlLink(self.host, self.control_port, self.timeout_s)
        try:
            control.set("NUMFRAMESTOACQUIRE", n_frames)
            control.set("ACQUISITIONTIME", f"{exposure_s * 1e3:.6f}")
            by_wire = trigger == "external" and self.trigger_source == "hardware"
            control.set("TRIGGERSTART", 1 if by_wire else 5)
            self._start(control, self._data)
            if by_wire:
                return
            if self.trigger_source == "socket":
                with connect(self.host, self.trigger_port, "trigger", self.timeout_s) as link:
                    link.sendall(b"TRIGGER\n")
            else:
                control.command("SOFTTRIGGER")
        finally:
            control.close()

    def _start(self, control: ControlLink, data: DataLink) -> None:
        """Start an acquisition; a server that still minds the last caller may miss the first."""
        for _ in range(3):
            control.command("STARTACQUISITION")
            if data.begun(self.timeout_s / 3):
                return
        raise MerlinError(
            f"the Merlin at {self.host} took STARTACQUISITION but sent no header of an acquisition "
            f"to port {self.data_port}."
        )

    def blocks(self) -> Iterator[Block | None]:
        """Yield frames as they come.

        Raises
        ------
        MerlinError
        """
        n_frames, first = self._armed
        if self._data is None:
            raise MerlinError("the Merlin was not armed.")
        received = 0
        try:
            for message in self._data.messages():
                if self._off.is_set():
                    return
                if message is None:
                    yield None
                    continue
                header, block = message
                if header.shape != self.shape or header.dtype != self.dtype:
                    raise MerlinError(
                        f"the Merlin sends {header.shape} {header.dtype} where {self.shape} "
                        f"{self.dtype} was announced; stage it again."
                    )
                rows = sequences(block) - 1
                wanted = rows < n_frames
                if not wanted.any():
                    return
                frames = decode(block[wanted][:, header.header_bytes :], header, flip_y=self.flip_y)
                received += len(frames)
                self._whole = int(rows[-1]) >= n_frames - 1
                yield rows[wanted] + first, np.full(len(frames), time.time()), frames
        except MerlinError as error:
            if self._off.is_set():
                return
            raise MerlinError(f"{error} {received} of {n_frames} frames had come.") from error

    def disarm(self) -> None:
        """End the acquisition; hang up if it was cut short, lest its rest pass for the next."""
        self._off.set()
        if not self._whole:
            self.disconnect()

    def disconnect(self) -> None:
        """Hang up."""
        link, self._data = self._data, None
        if link is not None:
            link.close()


class MerlinDetector(PixelDetector):
    """A Merlin camera.

    Parameters
    ----------
    name : str
    host : str
    control_port, data_port, trigger_port : int
    trigger_source : "hardware", "software" or "socket"
        See `MerlinDriver`.
    flip_y : bool
    **kwargs
        As of `PixelDetector`.
    """

    software_version = Cpt(ReadOnlySignal, value="", kind="config")
    counter_depth = Cpt(ReadOnlySignal, value=12, units="bit", kind="config")

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        host: str = "127.0.0.1",
        control_port: int = 6341,
        data_port: int = 6342,
        trigger_port: int = 6343,
        trigger_source: TriggerSource = "hardware",
        flip_y: bool = True,
        connect_timeout_s: float = 5.0,
        **kwargs: Any,
    ) -> None:
        self.merlin = MerlinDriver(
            host,
            control_port,
            data_port,
            trigger_port,
            trigger_source=trigger_source,
            flip_y=flip_y,
            timeout_s=connect_timeout_s,
        )
        super().__init__(prefix, name=name, driver=self.merlin, **kwargs)

    def stage(self) -> list[object]:
        """Ask the camera what it is, then make ready for a run."""
        staged = super().stage()
        self.software_version.report(self.merlin.software_version)
        self.counter_depth.report(self.merlin.counter_depth)
        return staged
