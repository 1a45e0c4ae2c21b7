"""The coils that move the beam: two axes for step scans, a path for fly scans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from ophyd import Component as Cpt
from ophyd.positioner import SoftPositioner
from ophyd.status import Status
from ophyd.utils import LimitError

from ..models.trajectories import Trajectory, TrajectoryError, from_dict
from .acquisition import Acquisition
from .blanker import Blanker
from .file_flyer import FileFlyer
from .frame_writer import Field, FrameWriter
from .signals import UnitSignal, number_key

CoilBlock = tuple[np.ndarray, np.ndarray]
"""scan_index (n,) int64 and read-back positions (n, 2) float64; NaN where there is none."""


class SupportsMetadata(Protocol):
    """Knows flat keys of a start document."""

    def metadata(self) -> dict[str, Any]:
        """Return them."""
        ...


@runtime_checkable
class CoilsDriver(Protocol):
    """How the beam is moved."""

    def park(self, position: tuple[float, float]) -> None:
        """Move the beam to a place (y, x)."""
        ...

    def start(self, commanded: np.ndarray, dwell_s: float, first_index: int) -> None:
        """Start to follow (n, 2) positions, triggering the cameras at each."""
        ...

    def blocks(self) -> Iterator[CoilBlock | None]:
        """Yield what was done, and None at least every second where nothing was."""
        ...

    def hold(self) -> None:
        """Stand still at the next point."""
        ...

    def release(self) -> None:
        """Go on."""
        ...

    def halt(self) -> None:
        """End the path, from any thread and in any state."""
        ...


class DeflectionAxis(SoftPositioner):
    """One direction of deflection, for step scans."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("labels", {"motors"})  # %wa finds it by this
        super().__init__(egu="nm", source="coils", **kwargs)
        self._position: float = 0.0

    @property
    def position(self) -> float:
        """Deflection, nm."""
        return float(self._position)

    def _setup_move(self, position: float, status: Status) -> None:
        super()._setup_move(float(position), status)
        if self.parent is not None:
            self.parent.park()

    def describe(self) -> dict[str, Any]:
        """Return the data key, with `dtype_numpy`."""
        key = super().describe()
        key[self.name] |= number_key(
            self.position, units=self.egu, limits=(float(self.low_limit), float(self.high_limit))
        )
        return key

    def move_limits(self, limits: tuple[float, float]) -> None:
        """Set the soft limits (low, high)."""
        self._limits = limits

    def stop(self, *, success: bool = False) -> None:
        """Do nothing: a deflection is instantaneous, and a scan in flight is its parent's."""


class ScanCoils(FileFlyer):
    """Scan coils that step, and that fly along a trajectory.

    Parameters
    ----------
    name : str
    driver : CoilsDriver
    directory : str, path or None
        Folder of the files; it can be set later.
    limit_nm : float, nm
        The beam can be moved so far from the axis in y and in x.
    blanker : Blanker or None
        Closed by `stop` and `unstage`, and held together with the scan in a pause.
    column : Column or None
        Where plans read the beam current, from its ``metadata()``.
    timeout_s : float, s
        Coils silent for so long (and longer than a dwell) have failed.
    """

    y = Cpt(DeflectionAxis, kind="hinted")
    x = Cpt(DeflectionAxis, kind="hinted")
    dwell_ms = Cpt(UnitSignal, value=1.0, units="ms", limits=(1e-4, 1e7), kind="config")

    units = "nm"

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        driver: CoilsDriver,
        directory: str | Path | None = None,
        limit_nm: float = 1000.0,
        blanker: Blanker | None = None,
        column: SupportsMetadata | None = None,
        timeout_s: float = 10.0,
        **kwargs: Any,
    ) -> None:
        self.driver = driver
        super().__init__(prefix, name=name, directory=directory, **kwargs)
        self.blanker = blanker
        self.column = column
        self.timeout_s = timeout_s
        self.limit_nm = float(limit_nm)
        for axis in (self.y, self.x):
            axis.move_limits((-self.limit_nm, self.limit_nm))
        self._trajectory: Trajectory | None = None
        self._next_index = 0
        self._paused = False
        if blanker is not None:
            blanker.before_blanking.append(self._hold)
            blanker.after_opening.append(self._release)

    def park(self) -> None:
        """Move the beam to where the two axes stand."""
        self.driver.park((self.y.position, self.x.position))

    def _fields(self) -> list[Field]:
        return [
            Field("scan_index", f"{self.name}_scan_index", (), np.dtype("<i8")),
            *(
                Field(key, f"{self.name}_{key}", (2,), np.dtype("<f8"), self._units, ("yx",))
                for key in ("commanded", "readback")
            ),
        ]

    @property
    def _units(self) -> str:
        return self._trajectory.units if self._trajectory is not None else self.units

    def describe_collect(self) -> dict[str, dict[str, Any]]:
        """Return the data keys of a fly scan."""
        source = f"coils:{self.name}"
        return {field.data_key: field.describe(source) for field in self._fields()}

    def check(self, trajectory: Trajectory | Mapping[str, Any]) -> Trajectory:
        """Return the trajectory if the coils can follow it.

        Raises
        ------
        TrajectoryError
            When it is not a trajectory or its unit is not the coils'.
        ophyd.utils.LimitError
            When it leaves the limits.
        """
        wanted = trajectory if isinstance(trajectory, Trajectory) else from_dict(trajectory)
        if wanted.units != self.units:
            raise TrajectoryError(
                f"the trajectory is in {wanted.units} and {self.name} moves in {self.units}; "
                f"give it in {self.units}."
            )
        reach = float(np.abs(wanted.positions).max())
        if reach > self.limit_nm * (1 + 1e-9):
            raise LimitError(
                f"the trajectory reaches {reach:g} {self.units} from the axis and {self.name} is "
                f"limited to {self.limit_nm:g} {self.units}; make the field smaller or move its "
                "centre."
            )
        return wanted

    def prepare(self, value: Trajectory | Mapping[str, Any]) -> Status:
        """Take the path of the next `kickoff`.

        Parameters
        ----------
        value : Trajectory or mapping
            A trajectory, its dictionary, or ``{"trajectory": ..., "dwell_ms": ...}``.

        Raises
        ------
        TrajectoryError, ophyd.utils.LimitError
            Before anything moves.
        """
        if isinstance(value, Mapping) and "trajectory" in value:
            trajectory = self.check(value["trajectory"])
            self.dwell_ms.put(float(value.get("dwell_ms", self.dwell_ms.get())))
        else:
            trajectory = self.check(value)
        self._trajectory = trajectory
        status = Status(self)
        status.set_finished()
        return status

    def stage(self) -> list[object]:
        """Make ready for a run."""
        self._close()
        self._next_index = 0
        self._paused = False
        return super().stage()

    def kickoff(self) -> Status:
        """Start to follow the path; finished when the beam is on its way.

        Raises
        ------
        RuntimeError
            When it was not prepared, is busy, or has no folder to write to.
        """
        if self._trajectory is None:
            raise RuntimeError(f"{self.name} has no trajectory to follow; prepare it.")
        folder = self.folder()
        if self.running is not None:
            raise RuntimeError(f"{self.name} is still scanning; complete or stop it first.")
        if self._writer is None:
            self._writer = FrameWriter(folder, self.name, self._fields(), chunk_rows=1024)
        commanded = np.asarray(self._trajectory.positions)
        first = self._next_index
        self._next_index += len(commanded)
        dwell_s = float(self.dwell_ms.get()) * 1e-3
        self._acquisition = Acquisition(
            self,
            begin=lambda: self.driver.start(commanded, dwell_s, first),
            source=self.driver.blocks,
            sink=lambda block: self._take(block, commanded, first),
            expected=first + len(commanded),
            end=lambda error: self.driver.halt(),
            timeout_s=self.timeout_s + 2 * dwell_s,
        )
        self._acquisition.start()
        return self._acquisition.begun

    def _take(self, block: CoilBlock, commanded: np.ndarray, first: int) -> int:
        scan_index, readback = block
        if self._writer is None:
            raise RuntimeError(f"{self.name} moved without a file to write to.")
        self._writer.append(
            {
                "scan_index": scan_index,
                "commanded": commanded[scan_index - first],
                "readback": readback,
            }
        )
        return int(scan_index[-1]) + 1

    def _hold(self) -> None:
        if (running := self.running) is not None:
            running.held = True
            self.driver.hold()

    def _release(self) -> None:
        if self._acquisition is not None and not self._paused:
            self.driver.release()
            self._acquisition.held = False

    def pause(self) -> None:
        """Stand still; the beam is blanked."""
        self._paused = True
        self._hold()
        if self.blanker is not None:
            self.blanker.pause()

    def resume(self) -> None:
        """Let the beam through again and go on."""
        self._paused = False
        if self.blanker is not None:
            self.blanker.resume()
        self._release()

    def stop(self, *, success: bool = False) -> None:
        """End the path and blank the beam."""
        if (running := self.running) is not None:
            self.driver.halt()
            running.stop()
        if self.blanker is not None:
            self.blanker.drive(False)
        super().stop(success=success)

    def unstage(self) -> list[object]:
        """Stop, blank and close the file."""
        self.stop(success=True)
        self._close()
        return super().unstage()
