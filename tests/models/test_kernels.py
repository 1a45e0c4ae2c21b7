"""The kernels of ptychography against their oracles."""

from dataclasses import replace

import numpy as np
import pytest

from flyback.models.experiment import Experiment
from flyback.models.ptychography import kernels
from flyback.models.ptychography.bright_field import BrightField
from flyback.models.ptychography.optics import Optics
from flyback.models.ptychography.probe import aperture
from flyback.models.ptychography.scan_canvas import ScanCanvas
from flyback.models.ptychography.side_bands import frequencies
from flyback.tests import naive

RNG = np.random.default_rng(0)


def complex_normal(*shape):
    return (RNG.normal(size=shape) + 1j * RNG.normal(size=shape)).astype(np.complex64)


def test_splatting_agrees_and_is_exact():
    frames = RNG.integers(0, 1000, (50, 20, 20)).astype(np.uint16)
    positions = RNG.uniform(-3, 4, (50, 2))
    keep = np.array([0, 3, 7])
    canvas = ScanCanvas(3, 1.0, None)
    clipped = canvas.add(frames, (2, 4), 4, (3, 4), keep, positions)
    assert clipped == 0
    values, weight, origin = canvas.touched
    binned = frames[:, 2:14, 4:20].astype(float).reshape(50, 3, 4, 4, 4).sum(axis=(2, 4))
    expected = naive.splat(binned.reshape(50, -1)[:, keep], positions - origin, weight.shape)
    np.testing.assert_array_equal(values, expected[0])
    np.testing.assert_array_equal(weight, expected[1])


def test_the_canvas_grows_and_adds():
    frames = RNG.integers(0, 1000, (60, 8, 8)).astype(np.uint16)
    positions = np.cumsum(RNG.normal(0, 3, (60, 2)), axis=0)
    keep = np.arange(4)

    def filled(rows, extent=None):
        canvas = ScanCanvas(4, 0.7, extent)
        for k in rows:
            canvas.add(frames[k : k + 1], (0, 0), 4, (2, 2), keep, positions[k : k + 1])
        return canvas

    whole = ScanCanvas(4, 0.7, None)
    whole.add(frames, (0, 0), 4, (2, 2), keep, positions)
    parts = filled(range(40))
    parts.merge(filled(range(40, 60)))
    parts.merge(ScanCanvas(4, 0.7, None))
    for one, other in zip(whole.touched, parts.touched, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="do not add"):
        whole.merge(ScanCanvas(4, 0.8, None))
    with pytest.raises(ValueError, match="no frames"):
        _ = ScanCanvas(4, 0.8, None).touched


@pytest.mark.parametrize("defocus_nm", [0.0, 5.0])
def test_the_overlap_function(defocus_nm):
    experiment = Experiment.from_metadata(
        {
            "radiation": "electron",
            "energy_kev": 200,
            "semi_convergence_angle_mrad": 20,
            "angular_sampling_mrad": [1.3, 1.5],
            "defocus_nm": defocus_nm,
        }
    )
    good = np.ones((40, 40), bool)
    good[20, 22] = False
    rotation = 0.4
    optics = Optics.of(replace(experiment, scan_rotation_rad=rotation), {})
    field = BrightField.of(optics, (40, 40), good, 8, None)
    shape, step = (12, 10), 0.3e-10
    ours = field.overlap_function(
        optics, frequencies(shape, step), slice(None), lambda n, work: work(slice(0, n))
    )
    assert ours.dtype == (np.complex64 if defocus_nm else np.float32)

    sampling = experiment.angular_sampling_rad

    def wave(ky, kx):
        return aperture(
            ky, kx, 0.02, sampling, experiment.wavelength_m, {"C10": -defocus_nm * 1e-9}
        )

    y, x = ((np.arange(40) - 20) * d for d in sampling)
    qy = np.fft.fftfreq(12, step) * experiment.wavelength_m
    qx = np.fft.rfftfreq(10, step) * experiment.wavelength_m
    (y0, x0), (ny, nx), b = field.corner, field.box, field.size
    for i, j in ((0, 1), (1, 0), (2, 2), (11, 1), (6, 3)):
        q = (
            qy[i] * np.cos(rotation) + qx[j] * np.sin(rotation),
            qx[j] * np.cos(rotation) - qy[i] * np.sin(rotation),
        )
        pixels = naive.overlap_function(wave, y[:, None], x[None], q) * good
        box = pixels[y0 : y0 + ny * b, x0 : x0 + nx * b].reshape(ny, b, nx, b).sum(axis=(1, 3))
        error = np.abs(ours[i, j] - box.ravel()[field.keep])
        # cells of one and a half pixels at the edge of a disk of 13
        assert error.max() < 0.1 * max(np.abs(box).max(), b * b / 4)
    assert np.all(ours[0, 0] == 0)


def test_the_disk_must_be_on_the_detector():
    experiment = Experiment.from_metadata(
        {
            "radiation": "electron",
            "energy_kev": 200,
            "semi_convergence_angle_mrad": 30,
            "angular_sampling_mrad": 1.0,
        }
    )
    with pytest.raises(ValueError, match="leaves the detector of 40 x 40"):
        BrightField.of(Optics.of(experiment, {}), (40, 40), np.ones((40, 40), bool), 8, None)


def test_kernels_warm_up():
    from flyback.models import virtual_kernels
    from flyback.models.ptychography import (
        batch_kernels,
        engine_kernels,
        forward_kernels,
        in_cache_kernels,
    )

    ours = (kernels, engine_kernels, batch_kernels, forward_kernels, in_cache_kernels)
    for module in (*ours, virtual_kernels):
        module.warm()
