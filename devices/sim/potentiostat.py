"""The potentiostat over a simulated cell, which lives in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import ophyd

from ...models.electrochemistry import PLATINUM_G_CM3
from ...models.platinum_lithium import PHASES
from ..potentiostat import Potentiostat
from ..potentiostat_link import PotentiostatError
from .cell import CellParameters
from .cell_choice import cell_parameters

_LONGEST_START_S = 60.0
_ADDRESSES, _AUTOMATIC = "EPICS_CA_ADDR_LIST", "EPICS_CA_AUTO_ADDR_LIST"


class SimPotentiostat(Potentiostat):
    """A potentiostat that drives a simulated cell over EPICS, on this machine only.

    Parameters
    ----------
    name : str
    speed : float
        Seconds of the cell for each second on the wall.
    cell : mapping
        As of `devices.sim.cell.CellParameters`, such as ``{"thickness_nm": 50.0}``; with
        ``"model": "pybamm"`` as of `devices.sim.pybamm_cell.PybammParameters`.
    collector_ug_cm2 : float, ug/cm2
        Copper behind the platinum, which fluorescence sees.
    seed : int
        Of the instrument's noise.
    watchdog_s : float, s
        The cell's process opens the circuit when it has not heard the driver for so long.
    linger_s : float, s
        It ends so long after its driver's death.
    log_path : path, optional
        Its log; a file among the temporary ones otherwise.
    **kwargs
        As of `Potentiostat`.

    Attributes
    ----------
    log_path : Path
        What the cell's process has seen and done, one JSON object a line.
    """

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        speed: float = 1.0,
        cell: Mapping[str, Any] | None = None,
        collector_ug_cm2: float = 50.0,
        seed: int = 0,
        watchdog_s: float = 0.5,
        linger_s: float = 5.0,
        log_path: str | Path | None = None,
        **kwargs: Any,
    ) -> None:
        if not 0 < speed <= 1e5:
            raise ValueError(f"speed must lie between 0 and 1e5, not {speed!r}.")
        if ophyd.get_cl().name != "caproto":
            raise ValueError(
                f"the simulated potentiostat needs ophyd's control layer 'caproto', not "
                f"{ophyd.get_cl().name!r}; set OPHYD_CONTROL_LAYER=caproto in the environment."
            )
        film = cell_parameters(cell or {})
        self._masses = {"Cu": float(collector_ug_cm2)}
        if isinstance(film, CellParameters):
            self._masses["Pt"] = film.thickness_nm * 1e-7 * PLATINUM_G_CM3 * 1e6
        tag = uuid.uuid4().hex[:8]
        prefix = prefix or f"flyback:{tag}:"
        folder = Path(tempfile.gettempdir())
        self.log_path = Path(log_path) if log_path else folder / f"flyback-cell-{tag}.jsonl"
        errors_path = self.log_path.with_suffix(".stderr")
        port = free_port()
        errors = errors_path.open("wb")
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "flyback.devices.sim.cell_ioc"),
                *("--prefix", prefix, "--port", str(port), "--speed", repr(float(speed))),
                *("--watchdog-s", repr(float(watchdog_s)), "--linger-s", repr(float(linger_s))),
                *("--log", str(self.log_path), "--seed", str(int(seed))),
                *("--cell", json.dumps(dict(cell or {}))),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        errors.close()
        left_behind = [errors_path] if log_path else [errors_path, self.log_path]
        leave = search_at(port)
        self._finalizer = weakref.finalize(self, _end_process, self._process, leave, left_behind)
        try:
            _wait_until_ready(self._process, name, errors_path)
            super().__init__(prefix, name=name, **kwargs)
            self.truth = ophyd.EpicsSignalRO(
                f"{prefix}Phases", name=f"{name}_phases", kind="omitted"
            )
            self.connect()
            self.truth.wait_for_connection(timeout=self.timeout_s)
        except BaseException:
            self._finalizer()
            raise

    @property
    def pid(self) -> int:
        """Of the cell's process."""
        return self._process.pid

    def phases(self) -> list[tuple[str, float, float]]:
        """Return what diffraction sees now.

        Returns
        -------
        list of (phase name, volume fraction, cell scale)
            Pt, LiPt and Li2Pt. The fractions add up to one; the scale multiplies the lengths of
            the phase's unit cell. None in a cell of PyBaMM, which knows no structures.
        """
        fractions = self._truth()[2:]
        return [
            (name, float(fractions[2 * i]), float(fractions[2 * i + 1]))
            for i, name in enumerate(PHASES[: len(fractions) // 2])
        ]

    def element_masses(self) -> dict[str, float]:
        """Return what fluorescence sees, ug/cm2 by element: no platinum is lost in this cell."""
        return dict(self._masses)

    @property
    def swelling(self) -> float:
        """Volume of the electrode now, relative to the metal."""
        return float(self._truth()[0])

    @property
    def composition(self) -> float:
        """Lithium per platinum now: what the cell holds, not what the charge suggests.

        In a cell of PyBaMM, per site of the positive electrode.
        """
        return float(self._truth()[1])

    def _truth(self) -> np.ndarray:
        try:
            return np.asarray(self._ask(self.truth), float)
        except Exception as error:  # whatever the control layer raises
            raise PotentiostatError(f"the cell of {self.name} does not answer.") from error

    def end_process(self) -> None:
        """End the cell's process, its circuit open."""
        if self._finalizer.alive:
            self.stop()
            self._finalizer()

    def destroy(self) -> None:
        """End the cell's process and forget the records."""
        self.end_process()
        self.truth.destroy()
        super().destroy()


def free_port() -> int:
    """Return a port that is free for UDP and TCP on this machine now."""
    for _ in range(50):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.bind(("127.0.0.1", 0))
            port = int(udp.getsockname()[1])
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
                try:
                    tcp.bind(("127.0.0.1", port))
                except OSError:
                    continue
                return port
    raise OSError("no port is free on 127.0.0.1")


def search_at(port: int) -> Callable[[], None]:
    """Let Channel Access search on this port of this machine too; return what undoes it."""
    here = f"127.0.0.1:{port}"
    known = os.environ.get(_ADDRESSES, "")
    if not known and _AUTOMATIC not in os.environ:
        # nobody uses EPICS here otherwise: search nowhere else
        os.environ[_AUTOMATIC] = "NO"
    os.environ[_ADDRESSES] = f"{known} {here}".strip()

    def leave() -> None:
        left = [a for a in os.environ.get(_ADDRESSES, "").split() if a != here]
        os.environ[_ADDRESSES] = " ".join(left)

    return leave


def _wait_until_ready(process: subprocess.Popen[bytes], name: str, errors_path: Path) -> None:
    """Wait until the cell's process serves.

    Raises
    ------
    PotentiostatError
        With the last line that it wrote, when it ends or takes too long.
    """
    said: list[bytes] = []

    def listen() -> None:
        assert process.stdout is not None  # noqa: S101  it is a pipe
        said.append(process.stdout.readline())

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    listener.join(_LONGEST_START_S)
    if said and said[0].strip() == b"ready":
        return
    process.kill()
    process.wait()
    errors = errors_path.read_text(errors="replace").strip().splitlines()
    last = errors[-1] if errors else "it said nothing"
    raise PotentiostatError(f"the cell of {name} could not be started: {last}")


def _end_process(
    process: subprocess.Popen[bytes], leave: Callable[[], None], left_behind: list[Path]
) -> None:
    """End the cell's process: closing its input opens the circuit, then it is told to go."""
    leave()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(0.5)
    except subprocess.TimeoutExpired:
        process.terminate()
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for path in left_behind:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
