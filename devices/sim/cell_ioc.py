"""The simulated potentiostat and its cell as an EPICS IOC, in a process of its own.

Started by `SimPotentiostat`, or by hand with ``python -m flyback.devices.sim.cell_ioc --help``. It
watches over its driver: where the heartbeat stays away, or the pipe from the driver closes because
the driver is dead, the circuit is opened and the log says so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from ...models.steps import Limits, Step
from ..potentiostat_records import BLOCK_ROWS, COMMANDS, FIELDS, IDLE
from .amplifier import Hardware
from .cell_choice import make_cell
from .cell_records import records
from .instrument import Instrument

TICK_S = 0.02


class CellIoc:
    """An instrument, its clock on the wall, its watchdog and its log.

    Parameters
    ----------
    instrument : Instrument
    speed : float
        Seconds of the instrument for each second on the wall.
    watchdog_s : float, s
        A driver that was not heard for so long, on the wall, is dead.
    linger_s : float, s
        So long after its driver's death it ends too.
    log_path : path or None
        One JSON object a line: what happened, `utc` and the instrument's `clock_s`.
    """

    def __init__(
        self,
        instrument: Instrument,
        *,
        speed: float = 1.0,
        watchdog_s: float = 0.5,
        linger_s: float = 5.0,
        log_path: str | Path | None = None,
    ) -> None:
        self.instrument, self.speed = instrument, float(speed)
        self.watchdog_s, self.linger_s = float(watchdog_s), float(linger_s)
        self._log = None if log_path is None else Path(log_path).open("a", buffering=1)  # noqa: SIM115
        instrument.log = self.log
        self._origin = time.monotonic()
        self._last_tick = self._heard = self._origin
        self._orphaned: float | None = None
        self._program: dict[str, Any] | None = None
        self._acknowledged = 0
        self.over = False

    def log(self, event: str, **details: Any) -> None:
        """Write down what happened."""
        if self._log is not None:
            facts = {"utc": time.time(), "clock_s": self.instrument.clock_s, "event": event}
            self._log.write(json.dumps(facts | details) + "\n")

    def now_s(self) -> float:
        """Return what the instrument's clock shows now."""
        return (time.monotonic() - self._origin) * self.speed

    def tick(self) -> None:
        """Let the instrument's time go on to now, and look after the driver."""
        now = time.monotonic()
        gap, self._last_tick = now - self._last_tick, now
        behind_s = self.now_s() - self.instrument.clock_s
        most_s = 5 * TICK_S * self.speed
        if behind_s > most_s + self.instrument.interval_s:
            # this machine is too slow: the instrument's clock slips, and nothing is skipped
            self._origin += (behind_s - most_s - self.instrument.interval_s) / self.speed
        self._catch_up(now + 2 * TICK_S)
        if gap > self.watchdog_s / 2:
            return  # it slept itself: what the driver said meanwhile has not been read yet
        if self.instrument.programmed and now - self._heard > self.watchdog_s:
            self._open(f"watchdog: no heartbeat for {now - self._heard:.2f} s")
        if self._orphaned is not None and now - self._orphaned > self.linger_s:
            self.log("end", reason="the driver is gone")
            self.over = True

    def _catch_up(self, until: float) -> None:
        """Let the instrument come up to now, but leave commands and heartbeats no long wait."""
        instrument = self.instrument
        goal_s = self.now_s()
        while (clock_s := instrument.clock_s) < goal_s and time.monotonic() < until:
            instrument.advance_to(min(goal_s, clock_s + max(instrument.interval_s, 60.0)))
            if instrument.clock_s == clock_s:
                break  # the next sample is not due yet

    def hear(self) -> None:
        """Note a heartbeat."""
        self._heard = time.monotonic()

    def orphan(self) -> None:
        """Note that the driver is dead: the pipe from it was closed."""
        self._open("the driver is gone")
        self._orphaned = time.monotonic()

    def _open(self, reason: str, state: str | None = None) -> None:
        self.instrument.advance_to(self.now_s(), wholly=True)
        if state is None:
            self.instrument.open_circuit(reason)
        else:
            self.instrument.open_circuit(reason, state)

    def load_text(self, text: str | list[int]) -> None:
        """Take a program: JSON with `steps`, `limits`, `sample_s` and `range_ma`."""
        given = json.loads(text if isinstance(text, str) else bytes(text).decode())
        self._program = {
            "steps": [Step(**step) for step in given["steps"]],
            "limits": Limits(**given["limits"]),
            "sample_s": float(given["sample_s"]),
            "range_ma": float(given["range_ma"]),
        }

    def command(self, value: str | int) -> None:
        """Obey one of `COMMANDS`, or the one of that number."""
        name = value if isinstance(value, str) else COMMANDS[int(value)]
        instrument = self.instrument
        instrument.advance_to(self.now_s(), wholly=True)
        if name == "start":
            if self._program is None:
                raise ValueError("there is no program to start")
            self.hear()
            self._acknowledged = 0
            program = self._program
            instrument.start(
                program["steps"],
                program["limits"],
                sample_s=program["sample_s"],
                range_ma=program["range_ma"],
            )
        elif name == "open_circuit":
            self._open("asked for", IDLE)
        elif name in ("pause_open", "pause_hold"):
            instrument.pause(hold=name == "pause_hold")
        elif name == "resume":
            instrument.resume()

    def acknowledge(self, index: int) -> None:
        """Forget the samples below an index."""
        self._acknowledged = max(self._acknowledged, int(index))
        samples = self.instrument.samples
        while samples and samples[0][0] < self._acknowledged:
            samples.popleft()

    def block(self) -> list[float]:
        """Return `HEADER` and the oldest samples that were not acknowledged, in one line."""
        samples = self.instrument.samples
        rows = [samples[i] for i in range(min(BLOCK_ROWS, len(samples)))]
        total = float(self.instrument.taken)
        flat = [self.now_s(), total, float(len(rows)), float(len(FIELDS))]
        for row in rows:
            flat += row
        return flat

    def reading(self) -> list[float]:
        """Return the clock, and a row of `FIELDS` for now."""
        self.instrument.advance_to(self.now_s())
        return [self.now_s(), *self.instrument.reading()]

    def truth(self) -> list[float]:
        """Return swelling, x in LixPt, then volume fraction and cell scale of each phase."""
        cell = self.instrument.cell
        flat = [cell.swelling, cell.state.composition]
        for _, fraction, scale in cell.phases():
            flat += [fraction, scale]
        return flat


async def serve(ioc: CellIoc, prefix: str, *, watch_stdin: bool) -> None:
    """Serve until the driver has been gone for long.

    Parameters
    ----------
    ioc : CellIoc
    prefix : str
        Of the PVs.
    watch_stdin : bool
        Whether the end of standard input means that the driver is dead.
    """
    from caproto.asyncio.server import start_server

    group = records(ioc)(prefix=prefix)
    loop = asyncio.get_running_loop()

    def watch() -> None:
        while sys.stdin.buffer.read(4096):
            pass
        loop.call_soon_threadsafe(ioc.orphan)

    async def live(_: Any) -> None:
        print("ready", flush=True)
        if watch_stdin:
            threading.Thread(target=watch, daemon=True, name="driver").start()
        shown = 0.0
        while not ioc.over:
            ioc.tick()
            if (now := time.monotonic()) - shown > 0.1:
                shown = now
                await group.show()
            await asyncio.sleep(TICK_S)
        server.cancel()

    server = asyncio.ensure_future(
        start_server(group.pvdb, interfaces=["127.0.0.1"], startup_hook=live, log_pv_names=False)
    )
    try:
        await server
    except asyncio.CancelledError:
        if not ioc.over:
            raise


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="A simulated potentiostat as an EPICS IOC.")
    parser.add_argument("--prefix", default="sim:cell:")
    parser.add_argument("--port", type=int, default=5064, help="of Channel Access, on 127.0.0.1")
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--watchdog-s", type=float, default=0.5)
    parser.add_argument("--linger-s", type=float, default=5.0)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cell", default="{}", help="as in a profile's table, as JSON")
    parser.add_argument("--alone", action="store_true", help="without a driver at standard input")
    given = parser.parse_args()
    # Ctrl-C is for the driver, which decides what becomes of the cell
    if not given.alone:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["EPICS_CA_SERVER_PORT"] = os.environ["EPICS_CAS_SERVER_PORT"] = str(given.port)
    os.environ["EPICS_CAS_AUTO_BEACON_ADDR_LIST"] = "NO"
    os.environ["EPICS_CAS_BEACON_ADDR_LIST"] = "127.0.0.1"
    cell = make_cell(json.loads(given.cell))
    ioc = CellIoc(
        Instrument(cell, Hardware(), seed=given.seed),
        speed=given.speed,
        watchdog_s=given.watchdog_s,
        linger_s=given.linger_s,
        log_path=given.log,
    )
    ioc.log("serve", prefix=given.prefix, port=given.port, pid=os.getpid())
    asyncio.run(serve(ioc, given.prefix, watch_stdin=not given.alone))


if __name__ == "__main__":
    main()
