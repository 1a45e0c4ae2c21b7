"""Small simulated measurements with known truth, made by the naive oracle."""

import functools
from dataclasses import dataclass

import numpy as np

from flyback.models.base import Batch
from flyback.models.experiment import Experiment
from flyback.models.ptychography.probe import aberrated_probe
from flyback.tests import naive

ENERGY_KEV, ALPHA_RAD, PIXEL_M = 200.0, 0.02, 0.3e-10
WAVELENGTH_M = 2.507934e-12


@dataclass(frozen=True)
class Scene:
    """Frames over a known object; positions in metres, on the object's pixels."""

    frames: np.ndarray
    positions_m: np.ndarray
    phase: np.ndarray
    metadata: dict

    def batch(self, rows=slice(None), **coordinates):
        index = np.arange(len(self.frames))[rows]
        coordinates = {"positions_m": self.positions_m[rows]} | coordinates
        return Batch(self.frames[rows], index, coordinates)

    def experiment(self, **changes):
        trajectory = self.metadata["trajectory"] | changes.pop("trajectory", {})
        return Experiment.from_metadata(self.metadata | changes | {"trajectory": trajectory})


def atoms(shape, peak, seed=1, spacing=13, sigma=1.4):
    """A jittered square lattice of Gaussian atoms with vacancies; positive phase."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape)
    phase = np.zeros(shape)
    for ay in np.arange(spacing / 2, shape[0], spacing):
        for ax in np.arange(spacing / 2, shape[1], spacing):
            if rng.random() < 0.1:
                continue
            cy, cx = np.array([ay, ax]) + rng.normal(0, 0.7, 2)
            phase += rng.uniform(0.5, 1) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * sigma**2))
    return peak * phase / phase.max()


@functools.cache
def scene(
    kind="raster", n=24, box=64, step_px=1.0, defocus_m=0.0, peak=0.2, dose=1e5, rotation_deg=0.0
):
    """Simulate a scan over atoms.

    With a rotation the detector is turned against the scan; the object stays in the scan's frame.
    """
    sampling = WAVELENGTH_M / (box * PIXEL_M)
    probe = aberrated_probe((box, box), WAVELENGTH_M, (sampling, sampling), ALPHA_RAD, defocus_m)
    rng = np.random.default_rng(3)
    side = int((n - 1) * step_px) + box + 6
    phase = atoms((side, side), peak)
    first = box // 2 + 2
    grid = np.stack(np.mgrid[:n, :n], -1).reshape(-1, 2) * step_px
    if kind == "spiral":
        k = np.arange(n * n) + 0.5
        radius = step_px * np.sqrt(k / np.pi)
        angle = k * np.pi * (3 - np.sqrt(5))
        grid = np.stack([radius * np.sin(angle), radius * np.cos(angle)], 1)
        first = side / 2
    elif kind == "jittered":
        grid = grid + rng.uniform(-0.4, 0.4, grid.shape)
    elif kind == "serpentine":
        grid = grid.reshape(n, n, 2)
        grid[1::2] = grid[1::2, ::-1].copy()
        grid = grid.reshape(-1, 2)
    positions = grid + first
    frames = naive.expected_frames(np.exp(1j * phase), probe, positions, dose)
    if rotation_deg:
        turns = round(rotation_deg / 90)  # a quarter turn of a detector is exact
        frames = np.stack([quarter_turn(frame, turns) for frame in frames])
    trajectory = {
        "type": kind,
        "units": "nm",
        "n_points": n * n,
        "step": step_px * PIXEL_M * 1e9,
        "extent": [
            (edge * PIXEL_M * 1e9).tolist() for edge in (positions.min(0), positions.max(0))
        ],
        "grid_shape": [n, n] if kind in ("raster", "serpentine") else None,
        "scan_order": kind if kind in ("raster", "serpentine") else "free",
    }
    metadata = {
        "radiation": "electron",
        "energy_kev": ENERGY_KEV,
        "semi_convergence_angle_mrad": ALPHA_RAD * 1e3,
        "angular_sampling_mrad": sampling * 1e3,
        "defocus_nm": defocus_m * 1e9,
        "scan_rotation_deg": rotation_deg,
        "trajectory": trajectory,
    }
    counts = rng.poisson(frames).astype(np.uint16)
    return Scene(counts, positions * PIXEL_M, phase, metadata)


def quarter_turn(frame, turns):
    """Turn a pattern from +x towards +y about [h // 2, w // 2]."""
    size = frame.shape[0]
    for _ in range(turns % 4):
        y, x = np.indices(frame.shape) - size // 2
        # what was at +x comes to +y: the new (y, x) shows the old (-x, y)
        frame = frame[(-x + size // 2) % size, (y + size // 2) % size]
    return frame


def sampled(phase, origin_m, pixel_m, shape):
    """The truth on a result's grid, band-limited to twice the semi-convergence angle."""
    import scipy.ndimage

    spectrum = np.fft.fft2(phase)
    q = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n, PIXEL_M) for n in phase.shape), indexing="ij"))
    spectrum[q >= 2 * ALPHA_RAD / WAVELENGTH_M] = 0
    limited = np.fft.ifft2(spectrum).real
    y, x = (
        (o + np.arange(n) * p) / PIXEL_M
        for o, n, p in zip(origin_m, shape, np.broadcast_to(pixel_m, 2), strict=True)
    )
    return scipy.ndimage.map_coordinates(limited, np.meshgrid(y, x, indexing="ij"), order=3)


def correlation(one, other, margin=0):
    keep = (slice(margin, one.shape[0] - margin), slice(margin, one.shape[1] - margin))
    return float(np.corrcoef(one[keep].ravel(), other[keep].ravel())[0, 1])
