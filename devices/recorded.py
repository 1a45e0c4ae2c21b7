"""Play a recording: the same camera and coils, fed from a file."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..models.trajectories import Trajectory
from .clock import ScanClock
from .frame_writer import Field
from .pixel_detector import Block, PixelDetector, Trigger
from .recording import Recording, RecordingError
from .scan_coils import CoilBlock, ScanCoils

__all__ = [
    "RecordedCoils",
    "RecordedDriver",
    "RecordedPixelDetector",
    "Recording",
    "RecordingError",
    "play",
]


class RecordedDriver:
    """Gives a recording's frames at the pace of a clock.

    Parameters
    ----------
    recording : Recording
    clock : ScanClock
    """

    def __init__(self, recording: Recording, clock: ScanClock) -> None:
        self.recording, self.clock = recording, clock
        self._armed: tuple[int, float, int, Trigger] = (0, 0.0, 0, "external")
        self._off = threading.Event()

    @property
    def shape(self) -> tuple[int, ...]:
        """(h, w) or (bins,)."""
        return self.recording.frames.shape[1:]

    @property
    def dtype(self) -> np.dtype:
        """As recorded, little-endian."""
        return self.recording.frames.dtype

    def connect(self) -> None:
        """Do nothing: it is always there."""

    def disconnect(self) -> None:
        """Do nothing."""

    def arm(self, n_frames: int, exposure_s: float, *, first_index: int, trigger: Trigger) -> None:
        """Make ready.

        Raises
        ------
        RecordingError
            When more frames are asked for than were recorded.
        """
        if first_index + n_frames > len(self.recording):
            raise RecordingError(
                f"{self.recording.name} holds {len(self.recording)} frames; "
                f"{first_index + n_frames} were asked for."
            )
        self._armed = (n_frames, exposure_s, first_index, trigger)
        self._off.clear()
        if trigger == "external":
            self.clock.join(self)

    def blocks(self) -> Iterator[Block | None]:
        """Yield the recorded frames."""
        n_frames, exposure_s, first, trigger = self._armed
        if trigger == "internal":
            yield from self._unclocked(n_frames, exposure_s, first)
            return
        done = 0
        while done < n_frames and not self._off.is_set():
            taken = self.clock.take(self, 256, 0.2)
            if taken is None:
                yield None
                continue
            rows, times = taken
            done = int(rows[-1]) + 1
            rows = rows + first
            if self.recording.taken_utc_s is not None:
                times = self.recording.taken_utc_s[rows]
            yield rows, times, self.recording.frames[int(rows[0]) : int(rows[-1]) + 1]

    def _unclocked(self, n_frames: int, exposure_s: float, first: int) -> Iterator[Block | None]:
        for start in range(first, first + n_frames, 64):
            if self._off.is_set():
                return
            stop = min(start + 64, first + n_frames)
            times = time.time() - (stop - 1 - np.arange(start, stop)) * exposure_s
            yield np.arange(start, stop), times, self.recording.frames[start:stop]

    def disarm(self) -> None:
        """End the playback."""
        self._off.set()
        self.clock.leave(self)


class RecordedCoilsDriver:
    """Follows a recording's path: what is commanded is what was recorded.

    Parameters
    ----------
    recording : Recording
    clock : ScanClock
    """

    def __init__(self, recording: Recording, clock: ScanClock) -> None:
        self.recording, self.clock = recording, clock
        self._positions = np.empty((0, 2))
        self._first = 0

    def park(self, position: tuple[float, float]) -> None:
        """Do nothing: a recording does not move."""

    def start(self, commanded: np.ndarray, dwell_s: float, first_index: int) -> None:
        """Start the clock."""
        self._positions, self._first = commanded, first_index
        times = self.recording.time_s
        rows = slice(first_index, first_index + len(commanded))
        if times is not None and len(times[rows]) == len(commanded):
            passed = times[rows] - times[rows][0] + dwell_s
        else:
            passed = np.arange(1, len(commanded) + 1) * dwell_s
        self.clock.start(passed, first_index)

    def blocks(self) -> Iterator[CoilBlock | None]:
        """Yield the positions that the clock has passed."""
        done = 0
        while True:
            passed = self.clock.wait_beyond(done, 0.2)
            if passed > done:
                rows = np.arange(done, passed)
                yield rows + self._first, self._positions[rows]
                done = passed
            else:
                yield None

    def hold(self) -> None:
        """Stand still."""
        self.clock.hold()

    def release(self) -> None:
        """Go on."""
        self.clock.release()

    def halt(self) -> None:
        """End the path."""
        self.clock.stop()


class RecordedPixelDetector(PixelDetector):
    """The camera of a recording.

    Parameters
    ----------
    name : str
    recording : Recording
    clock : ScanClock
    **kwargs
        As of `PixelDetector`.
    """

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        recording: Recording,
        clock: ScanClock,
        **kwargs: Any,
    ) -> None:
        self.recording = recording
        super().__init__(prefix, name=name, driver=RecordedDriver(recording, clock), **kwargs)
        # axes of bins and channels go into the file beside the frames as the corrections do
        self.corrections = {**recording.corrections, **recording.axes}
        if recording.monitor is not None:
            self.corrections["monitor"] = recording.monitor

    def _fields(self) -> list[Field]:
        first, *others = super()._fields()
        return [replace(first, dims=self.recording.dims), *others]


class RecordedCoils(ScanCoils):
    """The coils of a recording; as their column they have the recording's metadata.

    Parameters
    ----------
    name : str
    recording : Recording
    clock : ScanClock
    **kwargs
        As of `ScanCoils`.
    """

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        recording: Recording,
        clock: ScanClock,
        **kwargs: Any,
    ) -> None:
        path = recording.trajectory()
        super().__init__(
            prefix,
            name=name,
            driver=RecordedCoilsDriver(recording, clock),
            limit_nm=float(np.abs(path.positions).max()) or 1.0,
            column=recording,
            **kwargs,
        )
        self.units = path.units
        self.trajectory: Trajectory = path
        if recording.dwell_ms:
            self.dwell_ms.put(recording.dwell_ms)


def play(
    recording: Recording, directory: str | Path, *, rate: float | str = "real"
) -> tuple[RecordedPixelDetector, RecordedCoils, dict[str, Any]]:
    """Return devices that play a recording, for ``points(camera, coils, md=md)``.

    Parameters
    ----------
    recording : Recording
    directory : path
        Folder of the new files; the recording's probe is put there as well.
    rate : "real", "max" or float, Hz
        "real" is the recorded pace.

    Returns
    -------
    camera : RecordedPixelDetector
    scan_coils : RecordedCoils
    md : dict
        The recording's metadata for the start document.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    clock = ScanClock(rate)
    camera = RecordedPixelDetector(
        name="camera", recording=recording, clock=clock, directory=folder
    )
    coils = RecordedCoils(name="scan_coils", recording=recording, clock=clock, directory=folder)
    md = recording.metadata()
    if recording.probe is not None:
        # the content names the file: two recordings of one name shall not share a probe
        digest = hashlib.sha256(np.ascontiguousarray(recording.probe).tobytes()).hexdigest()[:12]
        probe_file = folder / f"{recording.path.stem}_probe_{digest}.npy"
        if not probe_file.is_file():
            np.save(probe_file, recording.probe)
        md["probe_file"] = str(probe_file)
    return camera, coils, md
