"""MIB files made here, in the formats that a Merlin can send, and a server that plays them."""

import os
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest

KINDS = {"U08": ">u1", "U16": ">u2", "U32": ">u4"}


def header(number, shape, kind, depth):
    fields = [
        "MQ1", f"{number:06d}", "00384", "01", f"{shape[1]:04d}", f"{shape[0]:04d}", kind, "   1x1",
        "01", "2026-11-22 17:00:00.000000", "0.001000", "0", "0", "0", "1.2E+2",
        *["5.11E+2"] * 7, str(depth),
    ]  # fmt: skip
    return (",".join(fields) + ",").encode().ljust(384, b"\0")


def raw(frame, depth):
    """Encode as the chip's registers are read out."""
    if depth == 1:
        bits = frame.reshape(*frame.shape[:-1], -1, 64)
        return np.packbits(bits, axis=-1, bitorder="little")[..., ::-1].tobytes()
    if depth == 6:
        return frame.reshape(-1, 8)[:, ::-1].astype("u1").tobytes()
    if depth == 12:
        return frame.reshape(-1, 4)[:, ::-1].astype(">u2").tobytes()
    return raw(frame >> 12, 12) + raw(frame & 4095, 12)


def write(folder, frames, kind, depth, grid):
    """Write a .mib with its .hdr, and return the .hdr's path."""
    stored = (2 * frames.shape[1], frames.shape[2]) if (kind, depth) == ("R64", 24) else None
    path = folder / "scan.mib"
    with path.open("wb") as file:
        for number, frame in enumerate(frames, 1):
            file.write(header(number, stored or frame.shape, kind, depth))
            file.write(raw(frame, depth) if kind == "R64" else frame.astype(KINDS[kind]).tobytes())
    text = {
        "Time and Date Stamp (day, mnth, yr, hr, min, s)": "22/11/2026 17:00:00",
        "Chip ID": "W529_F5,-,-,-",
        "Assembly Size (NX1, 2X2)": "   1x1",
        "Counter Depth (number)": depth,
        "Frames in Acquisition (Number)": len(frames),
        "Frames per Trigger (Number)": grid[1],
    }
    lines = "".join(f"{name}:\t{value}\n" for name, value in text.items())
    (folder / "scan.hdr").write_text(f"HDR,\t\n{lines}End\t")
    return folder / "scan.hdr"


def free_ports(count):
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@contextmanager
def server(hdr, *options):
    """Run libertem-live-mib-sim, and yield its process and its ports."""
    script = shutil.which("libertem-live-mib-sim", path=os.path.dirname(sys.executable))
    if script is None:
        pytest.skip("libertem-live is not installed")
    control, data, trigger = free_ports(3)
    log = hdr.parent / "sim.log"
    arguments = [
        sys.executable, script, str(hdr), "--host", "127.0.0.1", "--control-port", str(control),
        "--data-port", str(data), "--trigger-port", str(trigger), *options,
    ]  # fmt: skip
    with log.open("wb") as out:
        process = subprocess.Popen(arguments, stdout=out, stderr=subprocess.STDOUT)
    try:
        for port in (control, trigger):
            _wait_for(port, process, log)
        yield process, {"control_port": control, "data_port": data, "trigger_port": trigger}
    finally:
        process.kill()
        process.wait(20)


def _wait_for(port, process, log):
    while True:
        assert process.poll() is None, log.read_text(errors="replace")[-2000:]
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            continue
        return
