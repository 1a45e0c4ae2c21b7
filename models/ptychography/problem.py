"""What every iterative engine works on: counts, places, object, probe and background.

Positions fall into 4 x 4 classes of sub-pixel shift that share a shifted probe; whole-pixel
positions cost a factor of four in error.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np
import scipy.fft

from .engine_kernels import measure
from .in_cache_fft import Tables, suits, tables
from .in_cache_kernels import measure_in_cache
from .stripes import CLASSES, run, stripes_of

Kind = TypeVar("Kind", int, np.ndarray)


class Scene(NamedTuple):
    """A problem as rPIE's kernels take it: turned over, (x, y), where `tables` is not None.

    Parameters
    ----------
    obj : (H, W) or (W, H) complex64
        A copy where it is turned over.
    spectrum : (modes, h, w) or (modes, w, h) complex64
        The probe's.
    corners : (n, 2) int64
    kinds : (n,) int64
        Classes of sub-pixel shift.
    tables : Tables or None
        Of the transform that leaves far fields turned over; None where there is none of that size.
    """

    obj: np.ndarray
    spectrum: np.ndarray
    corners: np.ndarray
    kinds: np.ndarray
    tables: Tables | None


@dataclass(eq=False)
class Problem:
    """One reconstruction in progress.

    Parameters
    ----------
    counts : (n, h, w) uint16 or float32
        Zero frequency at [0, 0].
    good : (h, w) float32
        1 where a pixel was measured, zero frequency at [0, 0].
    positions : (n, 2) float64, pixels of the object's array
    obj : (H, W) complex64
    probe : (modes, h, w) complex64
    background : (h, w) float32, counts
    floor : float, counts
    poisson : bool
    rows : (k,) int64
        Frames to learn from.
    diameter_px : float
        Of the initial probe.
    frame_total : (n,) float64
        Counts of each frame in good pixels.
    pool : ThreadPoolExecutor or None
    """

    counts: np.ndarray
    good: np.ndarray
    positions: np.ndarray
    obj: np.ndarray
    probe: np.ndarray
    background: np.ndarray
    floor: float
    poisson: bool
    rows: np.ndarray
    diameter_px: float
    frame_total: np.ndarray
    pool: ThreadPoolExecutor | None = None
    stripes: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.stripes = np.zeros(len(self.positions), np.int64)
        if len(self.rows):
            self.stripes[self.rows] = stripes_of(self.positions[self.rows], self.diameter_px)

    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the corner (n, 2) int64 of each frame's box and its class (n,) int64."""
        half = np.array(self.probe.shape[1:]) // 2
        quarter = np.floor(self.positions * CLASSES + 0.5).astype(np.int64)
        # a box at the edge of the canvas stays on it
        corners = np.clip(
            quarter // CLASSES - half, 0, np.array(self.obj.shape) - self.probe.shape[1:]
        )
        return corners, (quarter[:, 0] % CLASSES) * CLASSES + quarter[:, 1] % CLASSES

    def scene(self) -> Scene:
        """Return what rPIE's kernels work on."""
        corners, kinds = self.places()
        if not suits(self.probe.shape):
            return Scene(self.obj, np.asarray(scipy.fft.fft2(self.probe)), corners, kinds, None)
        turned = np.ascontiguousarray(self.probe.transpose(0, 2, 1))
        return Scene(
            np.ascontiguousarray(self.obj.T),
            np.asarray(scipy.fft.fft2(turned)),
            np.ascontiguousarray(corners[:, ::-1]),
            transposed(kinds),
            tables(turned.shape[-1]),
        )

    def members(self, kinds: np.ndarray, kind: int) -> list[tuple[int, np.ndarray]]:
        """Return the frames to learn from of one class, for each stripe that has any."""
        chosen = self.rows[kinds[self.rows] == kind]
        stripes = self.stripes[chosen]
        return [(s, chosen[stripes == s]) for s in np.unique(stripes).tolist()]

    def shares(self, kinds: np.ndarray, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield each class that has members among rows, with them."""
        for kind in range(CLASSES * CLASSES):
            members = rows[kinds[rows] == kind]
            if len(members):
                yield kind, members

    def misfits(self, rows: np.ndarray) -> np.ndarray:
        """Return ``sum (sqrt(I) - sqrt(n))^2`` of each frame of rows, (k,) float64."""
        scene = self.scene()
        errors = np.zeros(len(self.positions))

        def work(share: tuple[int, np.ndarray]) -> None:
            kind, order = share
            given = (
                scene.obj, moved(scene.spectrum, kind), self.counts, self.good, self.background,
                order, scene.corners, errors,
            )  # fmt: skip
            if scene.tables is None:
                measure(*given)
            else:
                measure_in_cache(*given, *scene.tables)

        run(self.pool, work, list(self.shares(scene.kinds, rows)))
        return errors[rows]

    def fourier_error(self, rows: np.ndarray) -> float:
        """Return ``sum (sqrt(I) - sqrt(n))^2 / sum n`` over rows, NaN where there are none."""
        if not len(rows):
            return float("nan")
        return float(self.misfits(rows).sum()) / max(float(self.frame_total[rows].sum()), 1e-30)


def transposed(kind: Kind) -> Kind:
    """Return the class that a class is where arrays are turned over."""
    return kind % CLASSES * CLASSES + kind // CLASSES


def ramp(shape: tuple[int, ...], kind: int) -> np.ndarray:
    """Return the phase ramp (h, w) complex64 that moves a wave by a class's sub-pixel shift."""
    shift_y, shift_x = divmod(kind, CLASSES)
    fy, fx = (np.fft.fftfreq(size) for size in shape)
    along_y = np.exp(-2j * np.pi * fy * shift_y / CLASSES)
    along_x = np.exp(-2j * np.pi * fx * shift_x / CLASSES)
    return np.outer(along_y, along_x).astype(np.complex64)


def moved(spectrum: np.ndarray, kind: int) -> np.ndarray:
    """Return the probe (modes, h, w) complex64 of a class from its spectrum."""
    return np.asarray(scipy.fft.ifft2(spectrum * ramp(spectrum.shape[1:], kind)))


def slopes_of(spectrum: np.ndarray, kind: int) -> np.ndarray:
    """Return the derivatives (2, modes, h, w) complex64 of a class's probe along y and x."""
    there = spectrum * ramp(spectrum.shape[1:], kind)
    fy, fx = (2j * np.pi * np.fft.fftfreq(size) for size in spectrum.shape[1:])
    pair = [scipy.fft.ifft2(there * slope) for slope in (fy[:, None], fx[None])]
    return np.ascontiguousarray(pair, np.complex64)


def orthogonal(probe: np.ndarray) -> np.ndarray:
    """Return the same mixed state with orthogonal modes, strongest first."""
    if len(probe) == 1:
        return probe
    flat = probe.reshape(len(probe), -1)
    _, vectors = np.linalg.eigh((flat.conj() @ flat.T).astype(np.complex128))
    return (vectors[:, ::-1].T @ flat).reshape(probe.shape).astype(np.complex64)


def learn_probe(
    spectrum: np.ndarray, gradients: list[np.ndarray], densities: list[np.ndarray], kind: int
) -> None:
    """Take one step of the probe from what the parts of a sub-pixel class gathered.

    Parameters
    ----------
    spectrum : (modes, h, w) complex64, in place
        Of the probe at whole pixels.
    gradients : list of (modes, h, w) complex64
        At the class's sub-pixel place.
    densities : list of (h, w) float32
        Sums of ``|obj|^2``; the largest of their sum is the step's denominator.
    kind : int
        The class.
    """
    gradient, density = sum(gradients[1:], gradients[0]), sum(densities[1:], densities[0])
    gradient = gradient / max(float(np.max(density)), 1e-30)
    spectrum += scipy.fft.fft2(gradient) * ramp(spectrum.shape[1:], kind).conj()
