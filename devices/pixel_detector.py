"""A camera whose frames go to a file, to a ring in memory, and into the documents.

The detector is composed of three answers: how frames are got (`FrameDriver`), where they are
kept (`FrameWriter`), and who may look at the latest (`FrameRing`). It works as a flyer and in
step scans.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from ophyd import Component as Cpt
from ophyd.status import Status

from .acquisition import Acquisition
from .file_flyer import FileFlyer
from .frame_writer import Field, FrameWriter
from .ring import FrameRing
from .signals import ReadOnlySignal, UnitSignal

Block = tuple[np.ndarray, np.ndarray, np.ndarray]
"""scan_index (n,) int64, time (n,) float64 s since the epoch, frames (n, h, w)."""

Trigger = Literal["internal", "external"]


@runtime_checkable
class FrameDriver(Protocol):
    """How a camera is armed and where its frames come from."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(h, w), or (bins,) for a camera of one line."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """What the frames are made of."""
        ...

    def connect(self) -> None:
        """Look whether the camera is there, before a run; `shape` and `dtype` are then right."""
        ...

    def arm(self, n_frames: int, exposure_s: float, *, first_index: int, trigger: Trigger) -> None:
        """Make ready for `n_frames`; "external" frames are timed by the scan coils.

        The first frame has the index `first_index`.
        """
        ...

    def blocks(self) -> Iterator[Block | None]:
        """Yield blocks as they come, and None at least every second where none comes."""
        ...

    def disarm(self) -> None:
        """End the acquisition, from any thread and in any state."""
        ...

    def disconnect(self) -> None:
        """Let go of the camera, after a run."""
        ...


class PixelDetector(FileFlyer):
    """A pixelated detector.

    Parameters
    ----------
    name : str
    driver : FrameDriver
    directory : str, path or None
        Folder of the files; it can be set later.
    exposure_s : float, s
    ring_mb : float, MB
        Memory for the latest frames.
    timeout_s : float, s
        A camera silent for so long has failed.
    allowed_drops : float
        Fraction of the frames that may be missing at the end of a scan without failing it.

    Attributes
    ----------
    ring : FrameRing
    corrections : dict of name to (h, w) array
        `dark` (counts), `gain`, `bad_pixels` (bool); written into each file.
    """

    exposure_s = Cpt(UnitSignal, value=1e-3, units="s", limits=(1e-7, 1e4), kind="config")
    gain = Cpt(UnitSignal, value=1.0, units="counts/quantum", limits=(1e-6, 1e6), kind="config")
    frame_shape = Cpt(ReadOnlySignal, value=np.zeros(2, np.int64), units="pixels", kind="config")
    frame_dtype = Cpt(ReadOnlySignal, value="<u2", kind="config")
    total = Cpt(ReadOnlySignal, value=0.0, units="counts", kind="hinted")
    dropped = Cpt(ReadOnlySignal, value=0, units="frames", kind="normal")

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        driver: FrameDriver,
        directory: str | Path | None = None,
        exposure_s: float = 1e-3,
        ring_mb: float = 256.0,
        timeout_s: float = 10.0,
        allowed_drops: float = 0.05,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("labels", {"detectors"})  # %ct and %wa find it by this
        super().__init__(prefix, name=name, directory=directory, **kwargs)
        self.driver = driver
        self.timeout_s = timeout_s
        self.allowed_drops = allowed_drops
        self.ring = FrameRing(ring_mb)
        self.corrections: dict[str, np.ndarray] = {}
        self._n_frames = 0
        self._trigger: Trigger = "external"
        self._next_index = 0
        self._received = 0
        self.exposure_s.put(exposure_s)
        self._refresh()

    def _refresh(self) -> None:
        self.frame_shape.report(np.asarray(self.driver.shape, np.int64))
        self.frame_dtype.report(np.dtype(self.driver.dtype).str)

    def _fields(self) -> list[Field]:
        shape = tuple(int(side) for side in self.driver.shape)
        dims = ("ky", "kx") if len(shape) == 2 else ("bin",)
        dtype = np.dtype(self.driver.dtype)
        return [
            Field("frames", f"{self.name}_frames", shape, dtype, "counts", dims, compress=True),
            Field("scan_index", f"{self.name}_scan_index", (), np.dtype("<i8")),
            Field("time", f"{self.name}_time", (), np.dtype("<f8"), "s"),
        ]

    def describe_collect(self) -> dict[str, dict[str, Any]]:
        """Return the data keys of a fly scan."""
        source = f"camera:{self.name}"
        return {field.data_key: field.describe(source) for field in self._fields()}

    def describe(self) -> dict[str, Any]:
        """Return the data keys of a step scan."""
        described: dict[str, Any] = dict(self.describe_collect())
        described.update(super().describe())  # type: ignore[arg-type]
        return described

    def stage(self) -> list[object]:
        """Make ready for a run, which gets a file of its own.

        Raises
        ------
        RuntimeError
            When there is no folder to write to.
        """
        self.folder()
        self._close()
        self._next_index = 0
        self.driver.connect()
        self._refresh()
        self.dropped.report(0)
        return super().stage()

    def prepare(self, value: int | Mapping[str, Any]) -> Status:
        """Say what the next `kickoff` shall take.

        Parameters
        ----------
        value : int or mapping
            Number of frames, or `n_frames` and, optionally, `exposure_s` and `trigger`
            ("external" by the scan coils, or "internal").

        Raises
        ------
        ValueError
        """
        wanted = dict(value) if isinstance(value, Mapping) else {"n_frames": value}
        n_frames = int(wanted.pop("n_frames", 0))
        trigger = wanted.pop("trigger", "external")
        exposure_s = wanted.pop("exposure_s", None)
        if wanted:
            raise ValueError(f"{self.name} cannot prepare {', '.join(map(str, wanted))}.")
        if n_frames < 1:
            raise ValueError(f"{self.name} needs at least one frame to take, not {n_frames}.")
        if trigger not in ("internal", "external"):
            raise ValueError(f"trigger must be 'internal' or 'external', not {trigger!r}.")
        if exposure_s is not None:
            self.exposure_s.put(float(exposure_s))
        self._n_frames, self._trigger = n_frames, trigger
        status = Status(self)
        status.set_finished()
        return status

    def kickoff(self) -> Status:
        """Arm the camera and start to take frames; finished when it is armed.

        Raises
        ------
        RuntimeError
            When it was not prepared or is busy.
        """
        if self._n_frames < 1:
            raise RuntimeError(f"{self.name} does not know how many frames to take; prepare it.")
        rows = max(1, min(64, int(0.1 / self.exposure_s.get())))
        return self._acquire(self._n_frames, self._trigger, rows).begun

    def trigger(self) -> Status:
        """Take one frame; finished when it is on disk."""
        return self._acquire(1, "internal", 1).done

    def _acquire(self, n_frames: int, trigger: Trigger, chunk_rows: int) -> Acquisition:
        if self.running is not None:
            raise RuntimeError(f"{self.name} is still taking frames; complete or stop it first.")
        if self._writer is None:
            self._open(chunk_rows)
        first = self._next_index
        self._next_index += n_frames
        self._received = 0
        driver = self.driver
        self._acquisition = Acquisition(
            self,
            begin=lambda: driver.arm(
                n_frames, float(self.exposure_s.get()), first_index=first, trigger=trigger
            ),
            source=driver.blocks,
            sink=self._take,
            expected=first + n_frames,
            end=lambda error: self._finish(n_frames, error),
            timeout_s=self.timeout_s + float(self.exposure_s.get()),
        )
        self._acquisition.start()
        return self._acquisition

    def _open(self, chunk_rows: int) -> None:
        fields = self._fields()
        extras = {
            f"/entry/instrument/detector/{name}": array
            for name, array in self.corrections.items()
            if array is not None
        }
        self._writer = FrameWriter(
            self.folder(), self.name, fields, chunk_rows=chunk_rows, extras=extras
        )
        self.ring.begin(
            self._writer.uids,
            {field.name: field.shape for field in fields},
            {field.name: field.dtype for field in fields},
        )

    def _take(self, block: Block) -> int:
        writer = self._writer
        if writer is None:
            raise RuntimeError(f"{self.name} got frames without a file to write them to.")
        scan_index, time, frames = block
        rows = {"frames": frames, "scan_index": scan_index, "time": time}
        self.ring.put(rows)
        writer.append(rows)
        self._received += len(frames)
        self.total.report(float(frames[-1].sum(dtype=np.float64)))
        return int(scan_index[-1]) + 1

    def _finish(self, n_frames: int, error: BaseException | None) -> None:
        self.driver.disarm()
        missing = n_frames - self._received
        stopped = self._acquisition is not None and self._acquisition.stopping
        if missing and not stopped:
            self.dropped.report(int(self.dropped.get()) + missing)
        if error is None and not stopped and missing > self.allowed_drops * n_frames:
            raise RuntimeError(
                f"{self.name} gave {self._received} of {n_frames} frames; "
                f"{missing} dropped are more than the {self.allowed_drops:.0%} allowed."
            )

    def pause(self) -> None:
        """Let the camera be silent for as long as the pause lasts."""
        if self._acquisition is not None:
            self._acquisition.held = True

    def resume(self) -> None:
        """Expect frames again."""
        if self._acquisition is not None:
            self._acquisition.held = False

    def stop(self, *, success: bool = False) -> None:
        """End the acquisition; what is on disk stays and can be collected."""
        if (running := self.running) is not None:
            self.driver.disarm()
            running.stop()
        super().stop(success=success)

    def unstage(self) -> list[object]:
        """Stop and close the file. The ring stays for analyses that lag."""
        self.stop(success=True)
        self.driver.disconnect()
        self._close()
        return super().unstage()
