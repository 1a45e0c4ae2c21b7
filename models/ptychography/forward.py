"""Far-field frames of an object: what a pixel detector would have counted.

The exit wave of a frame is ``obj[box] * probe``, with the probe moved to the exact, sub-pixel
position by a phase ramp on its spectrum; between the slices of a thick object it flies freely
(Cowley & Moodie, Acta Cryst. 10, 609 (1957)). Its far field is the numpy forward transform with
zero frequency moved to ``[h // 2, w // 2]``; probe modes add as intensities. Counts are Poisson
numbers drawn from a generator seeded by (seed, index of the frame), so that a frame is the same
however the scan was cut into calls.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from .forward_kernels import ceiling_of, expose


def simulate_frames(
    obj: np.ndarray,
    probe: np.ndarray,
    positions_px: np.ndarray,
    dose_e_per_frame: float,
    seed: int = 0,
    out: np.ndarray | None = None,
    *,
    first_index: int = 0,
    descan_px: np.ndarray | None = None,
    noise: bool = True,
    workers: int = 1,
    propagator: np.ndarray | None = None,
) -> np.ndarray:
    """Return the frames that a scan over an object would give.

    Parameters
    ----------
    obj : (H, W) or (slices, H, W) complex64
        Transmission of the object, or of its slices from where the beam comes in.
    probe : (modes, h, w) or (h, w) complex64
        Illumination, its centre at ``[h // 2, w // 2]``. Only its shape matters, not its scale.
    positions_px : (n, 2) float64, object pixels, yx
        Where on the object the centre of the probe's box lies.
    dose_e_per_frame : float
        Mean counts of a frame through an empty object.
    seed : int
        Seed of the Poisson noise.
    out : (n, h, w) uint16 or float32 or None
        Filled and returned where given. uint16 clips at 65535.
    first_index : int
        Index of the first of these frames in its scan; it goes into the noise's seed.
    descan_px : (n, 2) float64 or None, detector pixels, yx
        Shift of the whole pattern on the detector.
    noise : bool
        False gives the expected counts (rounded where `out` holds integers).
    workers : int
        Threads.
    propagator : (h, w) complex64 or None
        From one slice to the next, `propagation.fresnel`; needed where there are several.

    Returns
    -------
    (n, h, w) uint16, counts
        Zero frequency at ``[h // 2, w // 2]``.

    Raises
    ------
    ValueError
        When a shape does not fit or a box leaves the object.
    """
    obj = np.ascontiguousarray(obj, np.complex64)
    probe = np.asarray(probe, np.complex64)
    probe = probe[None] if probe.ndim == 2 else probe
    slices = obj[None] if obj.ndim == 2 else obj
    if slices.ndim != 3 or probe.ndim != 3:
        raise ValueError(
            "obj must be (H, W) or (slices, H, W) and probe (modes, h, w),"
            f" got {obj.shape} and {probe.shape}"
        )
    box = probe.shape[1:]
    flight = np.ones(box) if propagator is None and len(slices) == 1 else np.asarray(propagator)
    if flight.shape != box:
        raise ValueError(
            f"propagator must be {box} like the probe's box where there are {len(slices)} slices,"
            f" got {None if propagator is None else flight.shape}"
        )
    flight = np.ascontiguousarray(flight, np.complex64)
    positions = np.ascontiguousarray(positions_px, np.float64)
    if positions.ndim != 2 or positions.shape[1] != 2:
        raise ValueError(f"positions_px must be (n, 2) yx, got {positions.shape}")
    if not dose_e_per_frame >= 0:
        raise ValueError(f"dose_e_per_frame must be at least 0, got {dose_e_per_frame}")
    corners, offsets = _corners(positions, box, slices.shape[1:])
    shift = np.zeros_like(positions) if descan_px is None else np.array(descan_px, np.float64)
    if shift.shape != positions.shape:
        raise ValueError(f"descan_px must be {positions.shape} like positions, got {shift.shape}")
    n = len(positions)
    frames = np.empty((n, *box), np.uint16) if out is None else out
    if frames.shape != (n, *box):
        raise ValueError(f"out must be {(n, *box)}, got {frames.shape}")
    spectrum = np.fft.fft2(probe)
    scale = dose_e_per_frame / float((np.abs(spectrum) ** 2).sum())
    spectrum = (spectrum * np.sqrt(scale)).astype(np.complex64)

    def run(start: int, stop: int) -> None:
        expose(
            slices,
            spectrum,
            flight,
            corners[start:stop],
            offsets[start:stop],
            shift[start:stop],
            np.uint64(seed),
            first_index + start,
            noise,
            ceiling_of(frames.dtype),
            frames[start:stop],
        )

    run(0, 0)  # compiled here, before threads would all compile at once
    cuts = np.linspace(0, n, max(1, workers) + 1).astype(int)
    parts = [(int(a), int(b)) for a, b in pairwise(cuts) if b > a]
    if len(parts) <= 1:
        run(0, n)
    else:
        with ThreadPoolExecutor(len(parts)) as pool:
            list(pool.map(lambda part: run(*part), parts))
    return frames


def partially_coherent(probe: np.ndarray, source_sigma_px: float, modes: int = 4) -> np.ndarray:
    """Return the probe modes of a source of finite size.

    A Gaussian source is an incoherent sum of displaced probes; its density matrix is diagonalised
    into orthogonal modes (Thibault & Menzel, Nature 494, 68 (2013)).

    Parameters
    ----------
    probe : (h, w) complex
        The coherent probe.
    source_sigma_px : float, object pixels
        Standard deviation of the demagnified source, both axes.
    modes : int
        How many modes to keep.

    Returns
    -------
    (modes, h, w) complex64
        Strongest first; total intensity that of `probe`, less what the left-out modes held.

    Raises
    ------
    ValueError
        When the size is negative or the number of modes not positive.
    """
    if not 0 <= source_sigma_px < min(probe.shape) / 8:
        raise ValueError(
            "source_sigma_px must lie between 0 and an eighth of the probe's box,"
            f" got {source_sigma_px}"
        )
    if modes < 1:
        raise ValueError(f"modes must be at least 1, got {modes}")
    nodes, weights = np.polynomial.hermite_e.hermegauss(7)
    spectrum = np.fft.fft2(np.asarray(probe, np.complex128))
    fy, fx = (np.fft.fftfreq(size) for size in probe.shape)
    moved = []
    for dy, wy in zip(nodes * source_sigma_px, weights, strict=True):
        for dx, wx in zip(nodes * source_sigma_px, weights, strict=True):
            ramp = np.exp(-2j * np.pi * (fy[:, None] * dy + fx[None] * dx))
            moved.append(np.sqrt(wy * wx / weights.sum() ** 2) * spectrum * ramp)
    stack = np.fft.ifft2(np.array(moved)).reshape(len(moved), -1)
    _, vectors = np.linalg.eigh(stack.conj() @ stack.T)
    ordered = vectors[:, ::-1][:, :modes].T
    return (ordered @ stack).reshape(-1, *probe.shape).astype(np.complex64)


def _corners(
    positions: np.ndarray, box: tuple[int, ...], field: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Split positions of box centres into integer corners and offsets within half a pixel."""
    if not np.all(np.isfinite(positions)):
        raise ValueError("positions_px must be finite; leave out frames without a position")
    whole = np.rint(positions)
    corners = whole.astype(np.int64) - np.array([size // 2 for size in box])
    low, high = corners.min(0, initial=0), corners.max(0, initial=0) + np.array(box)
    if np.any(low < 0) or np.any(high > np.array(field)):
        raise ValueError(
            f"the probe's box of {box[0]} x {box[1]} leaves the object of {field[0]} x {field[1]}"
            " at some positions_px; enlarge the object or move the scan inside"
        )
    return corners, positions - whole
