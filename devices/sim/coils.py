"""Simulated scan coils: they lag behind what is asked of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.signal import lfilter

from ..blanker import Blanker
from ..scan_coils import CoilBlock, ScanCoils
from .beam import SimBeam


def lagging(
    commanded: np.ndarray, start: np.ndarray, dwell_s: float, time_constant_s: float
) -> np.ndarray:
    """Return the mean position during each dwell of a first-order system.

    Parameters
    ----------
    commanded : (n, 2) float
    start : (2,) float
        Where the beam is before the first point.
    dwell_s, time_constant_s : float, s

    Returns
    -------
    (n, 2) float64
    """
    if time_constant_s <= 0:
        return np.array(commanded, float)
    ratio = dwell_s / time_constant_s
    left = np.exp(-ratio)
    ends = lfilter([1 - left], [1, -left], commanded - start, axis=0) + start
    before = np.concatenate([start[None], ends[:-1]])
    return commanded + (before - commanded) * (1 - left) / ratio


class SimCoilsDriver:
    """Moves a `SimBeam`.

    Parameters
    ----------
    beam : SimBeam
    time_constant_ms : float, ms
    readback_noise_nm : float, nm
        Standard deviation of the read-back.
    """

    def __init__(self, beam: SimBeam, time_constant_ms: float, readback_noise_nm: float) -> None:
        self.beam = beam
        self.time_constant_s = time_constant_ms * 1e-3
        self.readback_noise_nm = readback_noise_nm
        self._readback = np.empty((0, 2))
        self._first = 0

    def park(self, position: tuple[float, float]) -> None:
        """Move the beam to a place (y, x)."""
        self.beam.park(position)

    def start(self, commanded: np.ndarray, dwell_s: float, first_index: int) -> None:
        """Start to follow (n, 2) positions."""
        real = lagging(commanded, self.beam.parked_nm, dwell_s, self.time_constant_s)
        rng = np.random.default_rng([self.beam.seed, self.beam.clock.runs])
        self._readback = real + self.readback_noise_nm * rng.standard_normal(real.shape)
        self._first = first_index
        self.beam.scan(real, dwell_s, first_index)
        self.beam.park((float(real[-1, 0]), float(real[-1, 1])))

    def blocks(self) -> Iterator[CoilBlock | None]:
        """Yield what the beam has passed."""
        clock, done = self.beam.clock, 0
        while True:
            passed = clock.wait_beyond(done, 0.2)
            if passed > done:
                rows = np.arange(done, passed)
                yield rows + self._first, self._readback[rows]
                done = passed
            else:
                yield None

    def hold(self) -> None:
        """Stand still."""
        self.beam.clock.hold()

    def release(self) -> None:
        """Go on."""
        self.beam.clock.release()

    def halt(self) -> None:
        """End the path."""
        self.beam.clock.stop()


class SimScanCoils(ScanCoils):
    """Scan coils of the simulated microscope.

    Parameters
    ----------
    name : str
    beam : SimBeam
    blanker : Blanker or None
    time_constant_ms : float, ms
        Of the first-order lag.
    readback_noise_nm : float, nm
    **kwargs
        As of `ScanCoils`.
    """

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        beam: SimBeam,
        blanker: Blanker | None = None,
        time_constant_ms: float = 0.02,
        readback_noise_nm: float = 0.002,
        limit_nm: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            prefix,
            name=name,
            driver=SimCoilsDriver(beam, time_constant_ms, readback_noise_nm),
            blanker=blanker,
            column=beam.column,
            limit_nm=beam.specimen.field_nm / 2 if limit_nm is None else limit_nm,
            **kwargs,
        )


class SimBlanker(Blanker):
    """The blanker of the simulated microscope.

    Parameters
    ----------
    name : str
    beam : SimBeam
    """

    def __init__(self, prefix: str = "", *, name: str, beam: SimBeam, **kwargs: Any) -> None:
        super().__init__(prefix, name=name, switch=beam.switch, **kwargs)
