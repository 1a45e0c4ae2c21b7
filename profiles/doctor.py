"""``flyback doctor``: is everything here that a scan needs, and if not, what to do."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from .archive import Archive, Layout, layout
from .registry import GROUPS, PluginError, plugins
from .store.recovery import stopped_runs

PACKAGES = (
    "bluesky",
    "ophyd",
    "event-model",
    "databroker",
    "tiled",
    "bluesky-tiled-plugins",
    "numpy",
    "scipy",
    "numba",
    "rocket-fft",
    "onnxruntime",
    "h5py",
    "hdf5plugin",
)
ENOUGH_DISK_GB = 10.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    name : str
    ok : bool
    found : str
    fix : str
        What to do where it is not well; a hint where it is.
    """

    name: str
    ok: bool
    found: str
    fix: str = ""

    def line(self) -> str:
        """Return it as a line of text."""
        mark = "ok  " if self.ok else "FAIL"
        return f"{mark}  {self.name:22} {self.found}" + (f"  -> {self.fix}" if self.fix else "")

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {"name": self.name, "ok": self.ok, "found": self.found, "fix": self.fix}


def examine(directory: str | os.PathLike[str] | None = None) -> list[Finding]:
    """Look at the machine, the installation and the archive of a directory."""
    findings = [*_versions(), _threading(), _compression(), _plugins()]
    try:
        place = layout(directory)
    except OSError as error:
        return [*findings, Finding("directory", False, str(error), "choose another directory")]
    findings += [_disk(place), *_store(place)]
    return findings


def _versions() -> Iterator[Finding]:
    python_ok = (3, 11) <= sys.version_info[:2] < (3, 15)
    yield Finding(
        "python",
        python_ok,
        f"{platform.python_version()} on {platform.system()}",
        "" if python_ok else "use Python 3.11, 3.12 or 3.13",
    )
    for package in PACKAGES:
        try:
            yield Finding(package, True, version(package))
        except PackageNotFoundError:
            yield Finding(package, False, "not installed", f"python -m pip install {package}")


def _threading() -> Finding:
    """Say which layer numba's parallel kernels use."""
    import numba

    @numba.njit(parallel=True)
    def touch(x: np.ndarray) -> None:
        for i in numba.prange(len(x)):
            x[i] += 1

    touch(np.zeros(2))
    layer = numba.threading_layer()  # type: ignore[reportPrivateImportUsage]
    safe = layer in {"omp", "tbb"}
    hint = "" if safe else "fine: parallel kernels are kept apart by a lock; tbb would lift that"
    return Finding("JIT threading layer", True, f"{layer}, {numba.get_num_threads()} threads", hint)


def _compression() -> Finding:
    """Write and read back a bitshuffle-LZ4 block in memory."""
    import h5py
    import hdf5plugin

    data = np.arange(4096, dtype=np.uint16)
    try:
        with h5py.File("doctor.h5", "w", driver="core", backing_store=False) as file:
            written: Any = file.create_dataset("x", data=data, **hdf5plugin.Bitshuffle(cname="lz4"))
            same = np.array_equal(written[()], data)
    except (OSError, ValueError, RuntimeError) as error:
        return Finding("HDF5 bitshuffle-LZ4", False, str(error), "reinstall h5py and hdf5plugin")
    return Finding("HDF5 bitshuffle-LZ4", same, f"HDF5 {h5py.version.hdf5_version}, SWMR")


def _plugins() -> Finding:
    try:
        counts = {group.removeprefix("flyback."): len(plugins(group)) for group in GROUPS}
    except PluginError as error:
        return Finding("plugins", False, str(error), "uninstall one of the two")
    empty = [group for group, count in counts.items() if not count]
    text = ", ".join(f"{count} {group}" for group, count in counts.items())
    fix = "reinstall flyback (python -m pip install -e .)" if empty else ""
    return Finding("plugins", not empty, text, fix)


def _disk(place: Layout) -> Finding:
    free = shutil.disk_usage(place.root).free / 1e9
    fix = "" if free > ENOUGH_DISK_GB else "make room: a 128 x 128 camera writes 10 MB/s at 1 kHz"
    return Finding("disk", free > 1.0, f"{free:.0f} GB free at {place.root}", fix)


def _store(place: Layout) -> Iterator[Finding]:
    try:
        archive = Archive(place.root)
    except Exception as error:
        yield Finding("catalogue", False, str(error), "see the message")
        return
    with archive:
        runs = len(archive.catalog.raw)
        yield Finding(
            "catalogue", True, f"{runs} raw and {len(archive.catalog.analysis)} derived runs"
        )
        yield _journals(archive)
        yield _checksums(archive)
        yield from _tried(archive, [("media types", _media_types), ("readable storage", _readable)])


def _journals(archive: Archive) -> Finding:
    """Compare the journals with the catalogue."""
    journals = {path.stem for path in archive.layout.journal.glob("*.journal")}
    missing = journals - set(stopped_runs(archive.catalog))
    text = f"{len(journals)} runs, {len(missing)} of them not whole in the catalogue"
    fix = "flyback recover (runs of a session that is open now are whole when it ends)"
    return Finding("journal", not missing, text, fix if missing else "")


def _checksums(archive: Archive) -> Finding:
    """Say how many stored runs can be verified by the checksums of their files."""
    noted = {path.stem for path in archive.layout.checksums.glob("*.json")}
    runs = set(archive.catalog.raw) | set(archive.catalog.analysis)
    text = f"{len(noted & runs)} of {len(runs)} runs have their files' checksums (flyback verify)"
    return Finding("checksums", True, text)


def _tried(
    archive: Archive, checks: list[tuple[str, Callable[[Archive], str]]]
) -> Iterator[Finding]:
    for name, check in checks:
        try:
            yield Finding(name, True, check(archive))
        except Exception as error:
            text = " ".join(str(error).split())
            yield Finding(name, False, f"{type(error).__name__}: {text}", "flyback recover")


def _media_types(archive: Archive) -> str:
    """Export a run's documents, which wants a media type that is registered."""
    if not len(archive.catalog.raw):
        return "no run to export yet"
    count = sum(1 for _ in archive.catalog.raw[-1].documents())
    return f"{count} documents of the newest run exported"


def _readable(archive: Archive) -> str:
    """Read a frame of the newest run through the catalogue."""
    if not len(archive.catalog.raw):
        return "no frames to read yet"
    run = archive.catalog.raw[-1]
    for stream in run:
        if stream == "streams":
            continue
        for key in run[stream]:
            if str(key).endswith("_frames"):
                frame = np.asarray(run[stream][key][:1])
                folder = Path(archive.layout.frames).name
                return f"a frame of {frame.shape[1:]} read from {folder}"
    return "the newest run has no frames"
