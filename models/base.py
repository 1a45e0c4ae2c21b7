"""What every model speaks: a `Batch` in, a dictionary of `Quantity` out.

The chunk law: a result may not depend on how frames were batched. Feeding one batch of n
frames, n batches of one frame, or merging two models that saw disjoint parts gives the same
result, bit for bit for direct models fed the same fixed blocks, else to 1e-6 relative.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np


@dataclass(frozen=True)
class Corrections:
    """What a camera's counts need before they are electrons or photons.

    Parameters
    ----------
    dark : (h, w) float32, counts, or None
        Subtracted from each frame.
    gain : (h, w) float32, or None
        Each frame is multiplied by it after the dark is subtracted (1 = nominal).
    bad_pixels : (h, w) bool, or None
        True where a pixel is not to be believed.
    """

    dark: np.ndarray | None = None
    gain: np.ndarray | None = None
    bad_pixels: np.ndarray | None = None

    def __bool__(self) -> bool:
        return any(x is not None for x in (self.dark, self.gain, self.bad_pixels))


@dataclass(frozen=True)
class Batch:
    """Frames with the coordinates that belong to them, in file order.

    Parameters
    ----------
    frames : (n, h, w) or (n, bins), any real dtype, counts
        As the detector wrote them; zero frequency at ``[h // 2, w // 2]``.
    scan_index : (n,) int64
        Index of each frame in the trajectory; a dropped frame leaves a gap.
    coordinates : mapping of name to (n, ...) array
        ``positions_m`` (n, 2) yx in metres, or ``positions_px`` where the scale is unknown;
        ``time_s`` (n,) seconds since the epoch; ``sigma`` (n, bins) where the detector states one
        for each frame; whatever else the run recorded per frame.
    corrections : Corrections
        Dark, gain and bad pixels of the camera that took the frames.
    axes : mapping of name to array
        What goes with the bins of patterns of one line and the channels of spectra:
        ``two_theta_deg`` or ``q_per_a`` (bins,), ``energy_kev_axis`` (channels,), ...
    names : sequence of hashable
        One for each frame, by which no other frame of this process is called; empty where they
        have none. Analyses of one run may share by them what both make of a frame.
    """

    frames: np.ndarray
    scan_index: np.ndarray
    coordinates: Mapping[str, np.ndarray] = field(default_factory=dict)
    corrections: Corrections = field(default_factory=Corrections)
    axes: Mapping[str, np.ndarray] = field(default_factory=dict)
    names: Sequence[Hashable] = ()

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, rows: slice | np.ndarray) -> Batch:
        """Return the rows of this batch as another batch."""
        return Batch(
            self.frames[rows],
            self.scan_index[rows],
            {name: values[rows] for name, values in self.coordinates.items()},
            self.corrections,
            self.axes,
            [self.names[row] for row in np.arange(len(self))[rows]] if self.names else (),
        )


@dataclass(frozen=True)
class Quantity:
    """A result: an array, number or text, with its dimensions and unit.

    Parameters
    ----------
    value : array, float, int, bool, str or list of str
    units : str
        SI or the field's own; "" for a pure number.
    dims : tuple of str
        One name for each axis of `value`, such as ``("y", "x")``. An axis named ``"frame"``
        runs over the frames in file order.
    """

    value: Any
    units: str = ""
    dims: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if np.ndim(self.value) != len(self.dims):
            raise ValueError(
                f"a quantity with {np.ndim(self.value)} axes needs as many dims, got {self.dims}"
            )


@dataclass(frozen=True)
class Event:
    """Something that a model saw happen, such as a phase that began to form.

    Parameters
    ----------
    kind : str
        ``"phase_onset"``, ``"unknown_line"``, ...
    scan_index : int
        Of the frame with which it was seen.
    subject : str
        What it happened to, such as the name of the phase; "" where there is only one.
    says : mapping of str to float or str
        What it was seen by, such as the phase's volume with its sigma.
    """

    kind: str
    scan_index: int
    subject: str = ""
    says: Mapping[str, float | str] = field(default_factory=dict)


@runtime_checkable
class Eventful(Protocol):
    """A model that says what it saw happen, in order; the list only grows."""

    @property
    def events_(self) -> Sequence[Event]:
        """What has happened so far."""
        ...


@runtime_checkable
class Model(Protocol):
    """An analysis that learns frame by frame."""

    def partial_fit(self, batch: Batch) -> Self:
        """Take in the next frames."""
        ...

    @property
    def result_(self) -> dict[str, Quantity]:
        """What is known so far."""
        ...


@runtime_checkable
class Mergeable(Protocol):
    """A model that can be run over parts of a run and joined afterwards."""

    def merge(self, other: Self) -> Self:
        """Take in what `other` has learnt from other frames."""
        ...


@runtime_checkable
class Warmable(Protocol):
    """A model with kernels that a few plain frames do not reach."""

    def warm(self) -> None:
        """Compile them."""
        ...


@runtime_checkable
class Converging(Protocol):
    """A model whose `partial_fit` is a preview and whose `converge` is the answer."""

    def converge(self) -> Self:
        """Restart from a stated seed and fit all frames seen."""
        ...
