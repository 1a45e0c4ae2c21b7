"""Finer object pixels and larger boxes than the detector's own.

The object's pixel is the wavelength over the detector's whole angle, and the probe's box the
wavelength over the angle of one detector pixel. Unmeasured pixels round the detector make the
former smaller; sub-pixels of which only the sum is measured make the latter larger.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOST_BYTES = 8e9


@dataclass(frozen=True)
class Sampling:
    """How the arrays of a reconstruction lie to those of the detector.

    Parameters
    ----------
    shape : (h, w)
        The detector.
    finer : int
        How many object pixels stand for one, along y and along x.
    wider : int
        How many sub-pixels a detector pixel is split into, along y and along x.
    """

    shape: tuple[int, int]
    finer: int = 1
    wider: int = 1

    @property
    def frame(self) -> tuple[int, int]:
        """Shape of a frame with the unmeasured pixels."""
        return self.shape[0] * self.finer, self.shape[1] * self.finer

    @property
    def box(self) -> tuple[int, int]:
        """Shape of the probe's box."""
        return self.frame[0] * self.wider, self.frame[1] * self.wider

    def check(self, frames: int, itemsize: int) -> None:
        """See that padded frames fit in memory.

        Raises
        ------
        ValueError
            When they take more than 8 GB.
        """
        size = float(frames) * itemsize * self.frame[0] * self.frame[1]
        if self.finer > 1 and size > MOST_BYTES:
            raise ValueError(
                f"object_upsampling must be lower than {self.finer}: {frames} frames padded to"
                f" {self.frame[0]} x {self.frame[1]} take {size / 1e9:.3g} GB, at most"
                f" {MOST_BYTES / 1e9:.3g} GB are allowed; lower it, or bin or cut the frames"
            )

    def padded(self, frames: np.ndarray) -> np.ndarray:
        """Return frames with zeros for what was not measured.

        Parameters
        ----------
        frames : (..., h, w)
            Zero frequency at [0, 0].

        Returns
        -------
        (..., finer h, finer w) array of the same dtype
        """
        if self.finer == 1:
            return frames
        h, w = self.shape
        out = np.zeros((*frames.shape[:-2], *self.frame), frames.dtype)
        rows = np.r_[0 : (h + 1) // 2, self.frame[0] - h // 2 : self.frame[0]]
        columns = np.r_[0 : (w + 1) // 2, self.frame[1] - w // 2 : self.frame[1]]
        out[..., rows[:, None], columns[None]] = frames
        return out

    def measured(self, frame: np.ndarray) -> np.ndarray:
        """Return the detector's part (h, w) of a padded frame; zero frequency at [0, 0]."""
        (h, w), (tall, wide) = self.shape, self.frame
        rows = np.r_[0 : (h + 1) // 2, tall - h // 2 : tall]
        columns = np.r_[0 : (w + 1) // 2, wide - w // 2 : wide]
        return frame[rows[:, None], columns[None]]

    def split(self, frame: np.ndarray) -> np.ndarray:
        """Return a frame (h, w) spread over the box, float64, zero frequency at [0, 0]."""
        fine = np.kron(self.padded(np.asarray(frame, float)), np.ones((self.wider,) * 2))
        return np.roll(fine / self.wider**2, (-(self.wider // 2),) * 2, (0, 1))

    def resampled(self, probe: np.ndarray) -> np.ndarray:
        """Return a probe (modes, h, w) on the box's pixels, (modes, *box) complex64."""
        spectrum = self.padded(np.fft.fft2(np.fft.ifftshift(probe, axes=(1, 2))))
        fine = np.fft.fftshift(np.fft.ifft2(spectrum), axes=(1, 2)) * self.finer**2
        out = np.zeros((len(probe), *self.box), np.complex64)
        y, x = (b // 2 - f // 2 for b, f in zip(self.box, self.frame, strict=True))
        out[:, y : y + self.frame[0], x : x + self.frame[1]] = fine
        return out

    @property
    def centre(self) -> float:
        """Frequency index of the middle of the central detector pixel in the box's transform."""
        return (self.wider - 1) / 2 - self.wider // 2

    def tilt(self) -> np.ndarray:
        """Return the wave (h, w) of the box that lands in the middle of the central pixel."""
        y, x = ((np.arange(n) - n // 2) / n for n in self.box)
        phase = 2j * np.pi * self.centre * (y[:, None] + x[None])
        return np.exp(phase).astype(np.complex64)
