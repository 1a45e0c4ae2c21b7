"""How long after a fault is the circuit open, and how far is a voltage overshot?

``python tests/bench/open_circuit.py [N]``: N of each fault, on this machine as it is. The time of a
fault is taken just before it is injected; the cell's own log says when its circuit was opened.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from flyback.devices.sim.cell import Cell
from flyback.devices.sim.instrument import Instrument
from flyback.models.protocol import Protocol
from flyback.models.techniques import GCPL

DRIVER = """
import sys, time
from flyback.devices.sim.potentiostat import SimPotentiostat
from flyback.tests.potentiostats import slow_cycle
cell = SimPotentiostat(name="cell", speed=100.0, linger_s=0.5, log_path=sys.argv[1])
cell.prepare(slow_cycle()).wait(5)
cell.kickoff().wait(5)
print("driven", cell.pid, flush=True)
while True:
    time.sleep(1)
"""
FAULTS = {"killed": "SIGKILL", "terminated": "SIGTERM", "hung": "SIGSTOP"}


def opened_after_s(fault: str, folder: Path) -> float:
    log = folder / f"{fault}-{time.monotonic_ns()}.jsonl"
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(log)], stdout=subprocess.PIPE, text=True
    )
    assert driver.stdout is not None
    assert driver.stdout.readline().startswith("driven")
    time.sleep(0.3)
    told = time.time()
    driver.send_signal(getattr(signal, FAULTS[fault]))
    opened = None
    while opened is None and time.time() - told < 10:
        for line in log.read_text().splitlines():
            entry = json.loads(line)
            if entry["event"] == "open_circuit":
                opened = entry["utc"] - told
        time.sleep(0.01)
    driver.kill()
    driver.wait()
    driver.stdout.close()
    assert opened is not None, f"{fault}: the circuit stayed closed"
    return opened


def overshoot(sample_s: float, c_rate: float) -> tuple[int, float]:
    """Return samples beyond a voltage at a turn, and by how much at most, V."""
    cell = Cell()
    c = cell.capacity_mah
    instrument = Instrument(cell)
    protocol = Protocol([GCPL(c_rate * c, 0.05, 1.2, capacity_mah=2 * c, cycles=3)])
    instrument.start(
        protocol.steps(), protocol.limits, sample_s=sample_s, range_ma=max(0.1, 10 * c_rate * c)
    )
    instrument.advance_to(1e6)
    rows = np.array(instrument.samples)
    v, i, step = rows[:, 2], rows[:, 3], rows[:, 6]
    beyond = ((v < 0.05) & (i < 0)) | ((v > 1.2) & (i > 0) & (step > 1))
    runs = max(sum(beyond[step == k]) for k in set(step))
    return int(runs), float(max(0.05 - v.min(), v[step > 1].max() - 1.2))


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    if os.name == "nt":
        raise SystemExit("faults are injected with POSIX signals")
    print("| fault | open circuit after, s: median | largest |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for fault in FAULTS:
            after = [opened_after_s(fault, Path(folder)) for _ in range(count)]
            print(f"| the driver is {fault} | {np.median(after):.3f} | {max(after):.3f} |")
    print("\n| sample, s | C-rate | samples beyond a turn | overshoot, mV |\n|---|---|---|---|")
    for sample_s, c_rate in ((1, 1), (10, 1), (60, 1), (1, 5), (10, 5)):
        samples, volt = overshoot(sample_s, c_rate)
        print(f"| {sample_s} | {c_rate} | {samples} | {1e3 * volt:.1f} |")


if __name__ == "__main__":
    main()
