"""A simulated camera on the simulated beam."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..pixel_detector import Block, PixelDetector, Trigger
from .beam import SimBeam


class SimFrameDriver:
    """Takes the frames of a `SimBeam`.

    Parameters
    ----------
    beam : SimBeam
    pixels : int
        Side of a frame.
    drop_fraction : float
        So many frames get lost, at random but the same for the same seed.
    """

    def __init__(self, beam: SimBeam, pixels: int, drop_fraction: float = 0.0) -> None:
        self.beam = beam
        self.pixels = int(pixels)
        self.drop_fraction = float(drop_fraction)
        self.dtype = np.dtype("<u2")
        self._armed: tuple[int, float, int, Trigger] = (0, 0.0, 0, "internal")
        self._off = threading.Event()
        self._shots = 0

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w)."""
        return (self.pixels, self.pixels)

    def connect(self) -> None:
        """Do nothing: it is always there."""

    def disconnect(self) -> None:
        """Do nothing."""

    def arm(self, n_frames: int, exposure_s: float, *, first_index: int, trigger: Trigger) -> None:
        """Make ready."""
        self._armed = (n_frames, exposure_s, first_index, trigger)
        self._off.clear()
        self.beam.warm(self.pixels)
        if trigger == "external":
            self.beam.clock.join(self)

    def blocks(self) -> Iterator[Block | None]:
        """Yield frames as the beam makes them."""
        n_frames, exposure_s, first_index, trigger = self._armed
        if trigger == "internal":
            yield from self._own_pace(n_frames, exposure_s, first_index)
            return
        clock, beam = self.beam.clock, self.beam
        rng = np.random.default_rng([beam.seed, 7])
        while not self._off.is_set():
            taken = clock.take(self, 256, 0.2)
            if taken is None:
                yield None
                continue
            rows, times = taken
            frames = beam.expose_scan(rows, self.pixels)
            if self.drop_fraction:
                kept = rng.random(len(rows)) >= self.drop_fraction
                rows, times, frames = rows[kept], times[kept], frames[kept]
            last = int(taken[0][-1]) + 1 >= n_frames
            if len(rows):
                yield rows + first_index, times, frames
            if last:
                return

    def _own_pace(self, n_frames: int, exposure_s: float, first: int) -> Iterator[Block | None]:
        real = not math.isinf(self.beam.clock.rate)
        began = time.monotonic()
        for start in range(0, n_frames, 64):
            count = min(64, n_frames - start)
            until = began + (start + count) * exposure_s
            while real and (left := until - time.monotonic()) > 0:
                if self._off.wait(min(left, 0.5)):
                    return
                if left > 0.5:
                    yield None
            frames = self.beam.expose_parked(count, exposure_s, self.pixels, self._shots)
            self._shots += count
            rows = np.arange(start, start + count)
            yield rows + first, time.time() - (count - 1 - np.arange(count)) * exposure_s, frames

    def disarm(self) -> None:
        """End the acquisition."""
        self._off.set()
        self.beam.clock.leave(self)


class SimPixelDetector(PixelDetector):
    """The pixelated detector of the simulated microscope.

    Parameters
    ----------
    name : str
    beam : SimBeam
    pixels : int
        Side of a frame.
    drop_fraction : float
        So many frames get lost.
    **kwargs
        As of `PixelDetector`.
    """

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        beam: SimBeam,
        pixels: int = 128,
        drop_fraction: float = 0.0,
        **kwargs: Any,
    ) -> None:
        driver = SimFrameDriver(beam, pixels, drop_fraction)
        super().__init__(prefix, name=name, driver=driver, **kwargs)
