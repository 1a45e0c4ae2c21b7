"""Real measurements and independent simulations with known answers.

How reconstructions are compared. X-rays: the object is known up to a global phase, a linear phase
ramp (the probe may drift on the detector), and a shift shared with the probe; all three are
removed before the complex correlation. Electrons: the truth's phase is band-limited to twice the
semi-convergence angle and sampled on our grid; only an offset is free. iDPC shows the phase as a
focused probe sees it, so its truth is convolved with the probe's intensity.
"""

import dataclasses

import numpy as np
import pytest
import scipy.ndimage
import scipy.optimize

from flyback.models.base import Batch
from flyback.models.experiment import Experiment
from flyback.models.ptychography.choose import Ptychography
from flyback.models.virtual_images import VirtualImages

pytestmark = pytest.mark.data

ALPHA_RAD, BATCH = 0.03, 256


@pytest.fixture(scope="module")
def mos2(data_folder):
    with np.load(data_folder / "stem4d" / "mos2_4dstem.npz") as measured:
        frames = measured["data"].reshape(-1, 106, 106)
        sampling = measured["angular_sampling_mrad"].tolist()
    with np.load(data_folder / "stem4d" / "mos2_truth.npz") as file:
        truth = dict(file)
    positions = truth["scan_positions_A"].reshape(-1, 2).astype(float) * 1e-10
    experiment = Experiment.from_metadata(
        {
            "radiation": "electron",
            "energy_kev": 80,
            "semi_convergence_angle_mrad": ALPHA_RAD * 1e3,
            "angular_sampling_mrad": sampling,
            "defocus_nm": 0,
            "scan_rotation_deg": 0,
            "trajectory": {
                "units": "nm",
                "step": 0.03,
                "grid_shape": [44, 40],
                "scan_order": "raster",
                "extent": (np.array([positions.min(0), positions.max(0)]) * 1e9).tolist(),
                "n_points": len(frames),
            },
        }
    )
    return experiment, frames, positions, truth


def fed(model, frames, positions, name="positions_m"):
    for start in range(0, len(frames), BATCH):
        rows = slice(start, start + BATCH)
        index = np.arange(len(frames))[rows]
        model.partial_fit(Batch(frames[rows], index, {name: positions[rows]}))
    return model


def seen(truth, experiment, points_m, transfer):
    """The truth's phase at points (..., 2), after a transfer function of |Q| lambda, in rad."""
    step = truth["phase_sampling_A"] * 1e-10
    q = np.meshgrid(
        *(np.fft.fftfreq(n, d) for n, d in zip(truth["phase_rad"].shape, step, strict=True)),
        indexing="ij",
    )
    angle = np.hypot(*q) * experiment.wavelength_m
    limited = np.fft.ifft2(np.fft.fft2(truth["phase_rad"]) * transfer(angle)).real
    return scipy.ndimage.map_coordinates(
        limited, np.moveaxis(points_m / step, -1, 0), order=3, mode="grid-wrap"
    )


def double_angle(angle):
    return angle < 2 * ALPHA_RAD


def focused_probe(angle):
    light = np.abs(np.fft.ifft2(angle < ALPHA_RAD)) ** 2
    return np.fft.fft2(light / light.sum())


def corr(one, other):
    return float(np.corrcoef(np.ravel(one), np.ravel(other))[0, 1])


def test_mos2_centre_of_mass_and_idpc(mos2):
    experiment, frames, positions, truth = mos2
    result = fed(VirtualImages(experiment), frames, positions).result_
    expected = truth["noise_free_com_mrad"].reshape(-1, 2)
    assert corr(result["com_mrad"].value, expected - expected.mean(axis=0)) >= 0.995
    phase = seen(truth, experiment, positions, focused_probe)
    assert corr(result["idpc"].value, phase) >= 0.96
    assert result["flags"].value == []
    metadata = {"scan_rotation_stated": False, "scan_rotation_rad": 0.0}
    unstated = dataclasses.replace(experiment, **metadata)
    found = fed(VirtualImages(unstated), frames, positions).result_
    assert not found["transposed"].value
    assert abs(found["scan_rotation_deg"].value) < 2
    assert corr(found["idpc"].value, phase) >= 0.96
    (flag,) = found["flags"].value
    assert flag.startswith("estimated: scan_rotation_deg")
    # 30 mrad over the camera's mrad per pixel, which differ in y and x
    half = 30 / np.array(experiment.angular_sampling_rad) / 1e3
    assert abs(found["disk_radius_px"].value / np.sqrt(half.prod()) - 1) < 0.02
    assert abs(found["ellipticity"].value - half.max() / half.min()) < 0.02


@pytest.mark.parametrize(
    "method", ["single_sideband", pytest.param("rpie", marks=pytest.mark.heavy)]
)
def test_mos2_phase(mos2, method):
    experiment, frames, positions, truth = mos2
    result = fed(Ptychography(experiment, method), frames, positions).converge().result_
    phase, pixel = result["object_phase"].value, result["object_pixel_m"].value
    origin = result["object_origin_m"].value
    points = np.stack(np.indices(phase.shape), -1) * pixel + origin
    expected = seen(truth, experiment, points, double_angle)
    low, high = (
        np.rint((edge - origin) / pixel).astype(int)
        for edge in (positions.min(axis=0), positions.max(axis=0))
    )
    scanned = tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))
    assert corr(phase[scanned], expected[scanned]) >= 0.95


def aligned(ours, reference):
    """Complex correlation, best over a sub-pixel shift, a phase ramp and a global phase."""
    fy, fx = (np.fft.fftfreq(n) for n in ours.shape)
    spectrum = np.fft.fft2(ours)
    y, x = (np.linspace(-1, 1, n) for n in ours.shape)
    inner = np.s_[8:-8, 8:-8]

    def correlation(shift_y, shift_x, ramp_y, ramp_x):
        moved = np.fft.ifft2(
            spectrum * np.exp(-2j * np.pi * (fy[:, None] * shift_y + fx[None] * shift_x))
        )
        moved = moved * np.exp(1j * (ramp_y * y[:, None] + ramp_x * x[None]))
        a, b = (v[inner] - v[inner].mean() for v in (moved, reference))
        return abs(np.vdot(a, b)) / np.sqrt(np.vdot(a, a).real * np.vdot(b, b).real)

    found = scipy.optimize.minimize(
        lambda p: -correlation(*p), np.zeros(4), method="Nelder-Mead", options={"maxiter": 200}
    )
    assert np.all(np.abs(found.x[:2]) < 3)
    return -found.fun


@pytest.mark.heavy
def test_siemens_star(data_folder):
    import hdf5plugin  # noqa: F401  (the file is compressed)

    h5py = pytest.importorskip("h5py")
    with h5py.File(data_folder / "ptycho" / "siemens_star.h5") as file:
        frames, positions = file["frames"][:], file["positions_px"][:]
        probe = file["probe"][:]
    with np.load(data_folder / "ptycho" / "siemens_star_reference.npz") as file:
        reference = file["object_central240"]
    experiment = Experiment.from_metadata(
        {"radiation": "xray", "trajectory": {"units": "px"}}, probe=probe
    )
    model = fed(Ptychography(experiment), frames, positions, "positions_px").converge()
    result = model.result_
    origin = result["object_origin_px"].value
    centre = np.rint((positions.min(axis=0) + positions.max(axis=0)) / 2 - origin).astype(int)
    window = tuple(slice(c - 120, c + 120) for c in centre)
    assert aligned(result["object"].value[window], reference) >= 0.95
    assert result["fourier_error"].value < 0.05
