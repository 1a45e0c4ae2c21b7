"""Scans with any aberrations, rotation and transposition: an object wider than the scan."""

import functools

import numpy as np
import scipy.fft

from flyback.models.base import Batch
from flyback.models.experiment import Experiment
from flyback.models.ptychography.geometry import into_detector
from flyback.models.ptychography.probe import aperture
from flyback.tests.models.scenes import WAVELENGTH_M, atoms

ALPHA_RAD = 0.02


@functools.cache
def wide_scene(
    defocus_m,
    step_m,
    n=32,
    box=160,
    rotation_deg=0.0,
    dose_e_per_a2=1e4,
    transposed=False,
    pixel_m=0.06e-9,
    aberrations=(),
    told=(),
):
    """Return the experiment and its frames; `told` are changes to what the experiment states."""
    sampling = WAVELENGTH_M / (box * pixel_m)
    angles = scipy.fft.fftfreq(box, 1 / box) * sampling
    known = {"C10": -defocus_m, **dict(aberrations)}
    wave = aperture(
        angles[:, None], angles[None], ALPHA_RAD, (sampling, sampling), WAVELENGTH_M, known
    )
    wave = wave / np.sqrt((np.abs(wave) ** 2).sum())
    positions = np.stack(np.mgrid[:n, :n], -1).reshape(-1, 2) * step_m
    places = into_detector(positions, np.radians(rotation_deg), False)
    places = (places - places.min(axis=0)) / pixel_m
    obj = np.exp(1j * atoms((int(places.max()) + box + 4,) * 2, 0.3)).astype(np.complex64)
    q = scipy.fft.fftfreq(box)
    middle, reach = box // 2, int(np.ceil(ALPHA_RAD / sampling)) + 2
    inner = slice(middle - reach, middle + reach)
    frames = np.empty((n * n, 2 * reach, 2 * reach))
    for k, place in enumerate(places):
        corner = np.floor(place).astype(int)
        y, x = place - corner
        moved = wave * np.exp(-2j * np.pi * (y * q[:, None] + x * q[None]))
        probe = scipy.fft.fftshift(scipy.fft.ifft2(moved.astype(np.complex64)))
        patch = obj[corner[0] : corner[0] + box, corner[1] : corner[1] + box]
        far = scipy.fft.fftshift(np.abs(scipy.fft.fft2(probe * patch)) ** 2)
        frames[k] = far[inner, inner]
    electrons = dose_e_per_a2 * (step_m * 1e10) ** 2
    counts = np.random.default_rng(0).poisson(frames / frames.sum(axis=(1, 2)).mean() * electrons)
    if transposed:
        counts = counts.transpose(0, 2, 1)
    extent = [(edge * 1e9).tolist() for edge in (positions.min(0), positions.max(0))]
    metadata = {
        "radiation": "electron",
        "energy_kev": 200,
        "semi_convergence_angle_mrad": ALPHA_RAD * 1e3,
        "angular_sampling_mrad": sampling * 1e3,
        "scan_rotation_deg": rotation_deg,
        "transposed": transposed,
        "trajectory": {"units": "nm", "step": step_m * 1e9, "n_points": n * n, "extent": extent},
    }
    experiment = Experiment.from_metadata(metadata | dict(told))
    frames = np.ascontiguousarray(counts).astype(np.uint16)
    return experiment, Batch(frames, np.arange(n * n), {"positions_m": positions})
