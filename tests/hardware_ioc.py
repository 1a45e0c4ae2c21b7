"""An EPICS IOC that behaves like a potentiostat of another make; it shares no code with flyback.

A resistor and a capacitor are its cell: V = V0 + Q / C + I R. Records have other names and the
converter is coarse (12 bits); commands are obeyed late; it samples on its own grid, with a clock
that does not begin at zero and is fast by 50 ppm.

Run as ``python hardware_ioc.py PREFIX PORT LOG``.
"""

import asyncio
import json
import os
import sys
import time

PREFIX, PORT, LOG = sys.argv[1], sys.argv[2], sys.argv[3]
os.environ["EPICS_CA_SERVER_PORT"] = os.environ["EPICS_CAS_SERVER_PORT"] = PORT
os.environ["EPICS_CAS_AUTO_BEACON_ADDR_LIST"] = "NO"
os.environ["EPICS_CAS_BEACON_ADDR_LIST"] = "127.0.0.1"

from caproto import ChannelType  # noqa: E402
from caproto.asyncio.server import start_server  # noqa: E402
from caproto.server import PVGroup, pvproperty  # noqa: E402

OHM, FARAD, V0 = 200.0, 1e-4, 1.0
FAST = 1 + 50e-6
COMMANDS = ["none", "start", "open_circuit", "pause_open", "pause_hold", "resume"]


def clock():
    return 1000.0 + time.monotonic() * FAST


def write(event, **facts):
    with open(LOG, "a") as log:
        log.write(json.dumps({"utc": time.time(), "event": event, **facts}) + "\n")


class Box:
    state, text = "idle", ""
    steps, step, began, step_charge = [], 0, 0.0, 0.0
    limits, sample_s = {}, 1.0
    volt_on_c, current, charge = V0, 0.0, 0.0
    heard = 0.0
    rows, count, done = [], 0, 0

    def voltage(self):
        v = self.volt_on_c + self.current * 1e-3 * OHM
        return round(v * 409.6) / 409.6

    def live(self, dt):
        if self.state == "running":
            s = self.steps[self.step]
            if s["mode"] == "current":
                self.current = s["current_ma"]
            elif s["mode"] == "voltage":
                self.current = (s["voltage_v"] - self.volt_on_c) / OHM * 1e3
            else:
                self.current = 0.0
        else:
            self.current = 0.0
        self.volt_on_c += self.current * 1e-3 * dt / FARAD
        self.charge += self.current * dt / 3600
        self.step_charge += self.current * dt / 3600

    def sample(self):
        if self.state not in ("running", "paused"):
            return
        s = self.steps[self.step]
        v = self.voltage()
        mode = ["open", "current", "voltage"].index(s["mode"])
        flags = 1 if self.state == "paused" else 0
        nan = float("nan")
        row = [self.count, clock(), v, self.current, self.charge, s["cycle"], self.step + 1]
        self.rows.append([*row, mode, flags, nan, nan, nan])
        self.count += 1
        if self.state == "paused":
            return
        over = clock() - self.began >= s.get("duration_s", 1e99)
        over |= abs(self.step_charge) >= s.get("capacity_mah", 1e99)
        over |= v <= s.get("below_v", -1e99) or v >= s.get("above_v", 1e99)
        if over:
            self.step, self.began, self.step_charge = self.step + 1, clock(), 0.0
            if self.step == len(self.steps):
                self.step -= 1
                self.open("done", "end of program")
        elif v > self.limits.get("upper_v", 1e99) and self.current > 0:
            self.open("tripped", "over-voltage")

    def open(self, state, why):
        if self.state in ("running", "paused"):
            self.state, self.text = state, why
        self.current = 0.0
        write("open_circuit", reason=why)


box = Box()


class Records(PVGroup):
    prog = pvproperty(name="PRG", value="", dtype=ChannelType.CHAR, max_length=100_000)
    cmd = pvproperty(name="CMD", value="none", dtype=ChannelType.ENUM, enum_strings=COMMANDS)
    stat = pvproperty(name="State", value="idle", dtype=ChannelType.STRING)
    text = pvproperty(name="Message", value="", dtype=ChannelType.CHAR, max_length=200)
    alive = pvproperty(name="Heartbeat", value=0)
    data = pvproperty(name="DAT", value=[0.0], max_length=2000)
    ack = pvproperty(name="Acknowledge", value=0)
    now = pvproperty(name="Now", value=[0.0], max_length=20)
    lim = pvproperty(name="Limits", value=[-5.0, 5.0, 10.0, float("nan")])
    comp = pvproperty(name="Compliance", value=12.0)
    speed = pvproperty(name="Speed", value=1.0)

    @prog.putter
    async def prog(self, instance, value):
        text = value if isinstance(value, str) else bytes(bytearray(value)).decode()
        given = json.loads(text)
        box.steps, box.limits, box.sample_s = given["steps"], given["limits"], given["sample_s"]

    @cmd.putter
    async def cmd(self, instance, value):
        await asyncio.sleep(0.05)  # it takes its time
        name = value if isinstance(value, str) else COMMANDS[int(value)]
        if name == "start":
            box.rows, box.count, box.step, box.charge, box.step_charge = [], 0, 0, 0.0, 0.0
            box.state, box.began, box.heard = "running", clock(), time.monotonic()
            write("start")
        elif name == "open_circuit":
            box.open("idle", "commanded")
        elif name.startswith("pause") and box.state == "running":
            box.state = "paused"
            write("open_circuit", reason="pause")
        elif name == "resume" and box.state == "paused":
            box.state = "running"
        await self.stat.write(box.state)

    @alive.putter
    async def alive(self, instance, value):
        box.heard = time.monotonic()

    @ack.putter
    async def ack(self, instance, value):
        box.rows = [row for row in box.rows if row[0] >= value]

    @data.getter
    async def data(self, instance):
        rows = box.rows[:50]
        return [clock(), box.count, len(rows), 12, *[number for row in rows for number in row]]

    @now.getter
    async def now(self, instance):
        nan = float("nan")
        row = [box.count, clock(), box.voltage(), box.current, box.charge, 0, box.step]
        return [clock(), *row, 0, 0, nan, nan, nan]


async def main():
    group = Records(prefix=PREFIX)

    async def live(_):
        print("ready", flush=True)
        last, sampled = clock(), 0.0
        while os.getppid() != 1:
            now = clock()
            box.live(now - last)
            last = now
            if now - sampled >= box.sample_s:
                sampled = now
                box.sample()
            if box.state in ("running", "paused") and time.monotonic() - box.heard > 0.7:
                box.open("tripped", "no heartbeat")
            if group.stat.value != box.state:
                await group.text.write(box.text)
                await group.stat.write(box.state)
            await asyncio.sleep(0.01)
        os._exit(0)

    await start_server(group.pvdb, interfaces=["127.0.0.1"], startup_hook=live, log_pv_names=False)


asyncio.run(main())
