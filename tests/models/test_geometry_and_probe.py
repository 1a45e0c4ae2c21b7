import numpy as np
import pytest

from flyback.models.base import Batch
from flyback.models.experiment import Experiment, MissingMetadata
from flyback.models.ptychography.geometry import (
    Canvas,
    batch_positions,
    object_pixel_m,
    positions_in_pixels,
    turn,
)
from flyback.models.ptychography.probe import (
    aberrated_probe,
    chi,
    guess_probe,
    initial_probe,
    more_modes,
)

WAVELENGTH = 2.5e-12
SAMPLING = (1e-3, 1e-3)


def propagate(wave, distance_m, pixel_m):
    """Fresnel propagation of a wave exp(+2 pi i k z), along the beam."""
    k2 = sum(
        f**2 for f in np.meshgrid(*(np.fft.fftfreq(n, pixel_m) for n in wave.shape), indexing="ij")
    )
    return np.fft.ifft2(np.fft.fft2(wave) * np.exp(-1j * np.pi * WAVELENGTH * k2 * distance_m))


def test_underfocus_is_positive_and_focuses_below_the_entrance_surface():
    pixel = WAVELENGTH / (64 * SAMPLING[0])
    focused = aberrated_probe((64, 64), WAVELENGTH, SAMPLING, 0.02)
    under = aberrated_probe((64, 64), WAVELENGTH, SAMPLING, 0.02, defocus_m=5e-9)
    below = propagate(under, 5e-9, pixel)
    np.testing.assert_allclose(below, focused, atol=1e-5 * np.abs(focused).max())
    same = aberrated_probe((64, 64), WAVELENGTH, SAMPLING, 0.02, aberrations={"C10": -5e-9})
    np.testing.assert_array_equal(under, same)


def test_aberrations_have_their_symmetry():
    y, x = np.array([0.0, 0.01, 0.0, -0.01]), np.array([0.01, 0.0, -0.01, 0.0])
    two = chi(y, x, WAVELENGTH, {"C12": 1e-9})
    assert np.allclose(two, two[0] * np.array([1, -1, 1, -1]))
    assert two[0] == pytest.approx(2 * np.pi / WAVELENGTH * 0.5 * 1e-4 * 1e-9)
    along_y = chi(y, x, WAVELENGTH, {"C12": 1e-9, "phi12": np.pi / 2})
    assert np.allclose(along_y, -two)
    assert chi(0.01, 0.0, WAVELENGTH, {"C30": 1e-3}) == pytest.approx(
        2 * np.pi / WAVELENGTH * 1e-8 / 4 * 1e-3
    )
    assert chi(0.0, 0.01, WAVELENGTH, {"C21": 1e-6}) == pytest.approx(
        -chi(0.0, -0.01, WAVELENGTH, {"C21": 1e-6})
    )
    with pytest.raises(ValueError, match="unknown aberration 'C99'; known are C10"):
        chi(0.0, 0.0, WAVELENGTH, {"C99": 1.0})


def test_a_focused_probe_is_centred_and_has_unit_intensity():
    probe = aberrated_probe((48, 64), WAVELENGTH, (1.5e-3, 1e-3), 0.02)
    intensity = np.abs(probe) ** 2
    assert np.unravel_index(intensity.argmax(), probe.shape) == (24, 32)
    assert intensity.sum() == pytest.approx(1, rel=1e-5)
    with pytest.raises(ValueError, match="half width of 32, got 50"):
        aberrated_probe((64, 64), WAVELENGTH, SAMPLING, 0.05)


def test_object_pixel():
    assert object_pixel_m(2e-12, (1e-3, 2e-3), (100, 50)) == pytest.approx((2e-11, 2e-11))


def test_turning_takes_x_towards_y():
    assert np.allclose(turn(np.array([[0.0, 1.0]]), np.pi / 2), [[1.0, 0.0]])
    vectors = np.random.default_rng(0).normal(size=(5, 2))
    assert np.allclose(turn(turn(vectors, 0.3), -0.3), vectors)


def test_a_canvas_holds_every_box():
    positions = np.random.default_rng(0).uniform(-30, 50, (100, 2))
    canvas = Canvas.around(positions, (16, 20))
    assert np.all(canvas.corners >= 0)
    assert np.all(canvas.corners + np.array([16, 20]) <= canvas.shape)
    centres = canvas.corners + np.array([8, 10]) + canvas.offsets + canvas.origin_px
    assert np.allclose(centres, positions)


def batch(**coordinates):
    return Batch(np.zeros((2, 8, 8)), np.arange(2), coordinates)


def test_positions_turn_into_the_detectors_frame():
    experiment = Experiment.from_metadata(
        {
            "radiation": "electron",
            "energy_kev": 200,
            "angular_sampling_mrad": 1.0,
            "scan_rotation_deg": 90,
        }
    )
    pixel = experiment.wavelength_m / (8 * 1e-3)
    pixels, size = positions_in_pixels(np.array([[0, pixel], [pixel, 0]]), experiment, (8, 8))
    assert np.allclose(pixels, [[1, 0], [0, -1]])
    assert np.allclose(size, pixel)


def test_positions_must_be_there_and_finite():
    with pytest.raises(MissingMetadata, match="positions_m is needed"):
        batch_positions(batch(), "m")
    with pytest.raises(ValueError, match="positions_px must be finite"):
        batch_positions(batch(positions_px=np.full((2, 2), np.nan)), "px")
    with pytest.raises(ValueError, match=r"positions_px must be \(2, 2\)"):
        batch_positions(batch(positions_px=np.zeros((3, 2))), "px")


def test_the_initial_probe_is_what_is_known():
    given = np.ones((2, 8, 8), np.complex64)
    xray = Experiment.from_metadata({"radiation": "xray"}, probe=given)
    assert initial_probe(xray, (8, 8), np.ones((8, 8))).shape == (2, 8, 8)
    with pytest.raises(ValueError, match="give a probe of the frames' shape"):
        initial_probe(xray, (9, 8), np.ones((9, 8)))
    guess = initial_probe(xray.without_probe(), (8, 8), np.ones((8, 8)))
    assert np.unravel_index(np.abs(guess[0]).argmax(), (8, 8)) == (4, 4)
    with pytest.raises(MissingMetadata, match="angular_sampling_mrad"):
        initial_probe(
            Experiment.from_metadata({"radiation": "electron", "energy_kev": 80}),
            (8, 8),
            np.ones((8, 8)),
        )


def test_more_modes_are_weak():
    probe = guess_probe(np.outer(np.hanning(16), np.hanning(16)))[None]
    modes = more_modes(probe, 4)
    weights = (np.abs(modes) ** 2).sum(axis=(1, 2))
    assert modes.shape == (4, 16, 16)
    assert np.allclose(weights[1:] / weights[0], 0.01)
    assert len(more_modes(modes, 2)) == 2
