"""Pixels as wide as the lines: images of a powder, and fits that know of pixels."""

import numpy as np
import pytest

from flyback.models.diffraction.blunting import Blunting, box_cumulants
from flyback.models.diffraction.geometry import geometry_from_distance
from flyback.models.diffraction.integrator import Integrator
from flyback.models.diffraction.known_phases import find_cif
from flyback.models.diffraction.noise import steadied
from flyback.models.diffraction.pattern_axis import Axis
from flyback.models.diffraction.pattern_model import PatternModel
from flyback.models.diffraction.powder import read_phase
from flyback.models.diffraction.powder_image import PowderImage
from flyback.models.diffraction.tracker import PhaseTracker

pytest.importorskip("gemmi")
WAVELENGTH_A = 0.6888
FWHM = np.sqrt(8 * np.log(2))
INSTRUMENT_PER_A, SIZE_A, STRAIN = 0.008, 400.0, 5e-4
STATE = {"Pt": (0.5, 1.0002), "LiPt": (0.3, 1.0), "Li2Pt": (0.2, 0.999)}


def geometry(pixel_um, pixels=384):
    side = int(pixels * 250 / pixel_um)
    return geometry_from_distance(
        (side, side), wavelength_a=WAVELENGTH_A, distance_m=0.11, pixel_m=(pixel_um * 1e-6,) * 2
    )


def phase(name):
    return read_phase(find_cif(name), q_max_per_a=6.6, energy_kev=18.0)


@pytest.fixture(scope="module")
def scene():
    """The powder on pixels that are as wide as its lines."""
    seen = geometry(250)
    phases = [phase(name) for name in STATE]
    image = PowderImage(
        seen, phases, windows=[(phase("Al"), 0.05)], width_per_a=INSTRUMENT_PER_A, size_a=SIZE_A,
        strain=STRAIN,
    )  # fmt: skip
    return seen, [*phases, phase("Al")], image.expected(STATE)


def tracked(scene, counts, split="no", seed=0):
    seen, phases, expected = scene
    image = np.random.default_rng(seed).poisson(expected * counts + 0.1).astype(np.uint32)
    integrator = Integrator(seen, bins=1000, split=split)
    use = integrator.axis > 1.2
    axis = Axis(integrator.centres[use], WAVELENGTH_A, blunting=integrator.blunting)
    intensity, sigma, _ = integrator(image)
    sigma = steadied(sigma, integrator.norm)
    return PhaseTracker(phases, axis, window=[3]).add(intensity[use], sigma[use])


def test_a_box_has_the_cumulants_of_its_moments():
    x = (np.arange(100_000) + 0.5) / 100_000 - 0.5
    variance, fourth = box_cumulants(np.array(3.0))
    moments = ((3 * x) ** 2).mean(), ((3 * x) ** 4).mean()
    np.testing.assert_allclose([variance, fourth], [moments[0], moments[1] - 3 * moments[0] ** 2])


@pytest.mark.parametrize(("box", "off"), [(0.5, 0.001), (1.0, 0.007), (1.5, 0.03)])
def test_a_blunted_line_is_a_gaussian_folded_with_a_box(box, off):
    """Boxes up to one and a half times as wide as the line; those of round rings are rounder."""
    q, crystal, width = np.linspace(2.6, 2.9, 601), phase("Pt"), 0.03
    boxes = Blunting(q, *box_cumulants(np.full(len(q), box * width)))
    models = [PatternModel([crystal], Axis(q, blunting=b), width_per_a=0.03) for b in (None, boxes)]
    theta = models[0].start.copy()
    theta[models[0].shape_row(0) :][:3] = width**2, 0.0, 0.0
    away = ((np.arange(200) + 0.5) / 200 - 0.5) * box * width
    sharp, blunted = (model.columns(theta)[0] for model in models)
    folded = np.mean([np.interp(q - shift, q, sharp) for shift in away], axis=0)
    np.testing.assert_allclose(blunted, folded, atol=off * folded.max())


def test_a_pixel_of_the_simulated_image_is_a_mean_over_its_area():
    """Against 8 x 8 pixels in the place of each."""
    few, parts = 96, 8
    coarse = geometry_from_distance(
        (few, few), wavelength_a=WAVELENGTH_A, distance_m=0.11, pixel_m=(5e-4, 5e-4),
        center_px=(-60.5, 10.5),
    )  # fmt: skip
    fine = geometry_from_distance(
        (few * parts,) * 2, wavelength_a=WAVELENGTH_A, distance_m=0.11,
        pixel_m=(5e-4 / parts,) * 2, center_px=(-60 * parts - 0.5, 11 * parts - 0.5),
    )  # fmt: skip
    made = [
        PowderImage(seen, [phase("Pt")], width_per_a=0.02, background=0.0)
        for seen in (coarse, fine)
    ]
    # each has a unit of its own
    expected = made[1].expected({"Pt": (1.0, 1.0)}).reshape(few, parts, few, parts).mean((1, 3))
    found = made[0].expected({"Pt": (1.0, 1.0)}) * (made[0]._unit / made[1]._unit)
    np.testing.assert_allclose(found, expected, atol=0.004 * expected.max())


@pytest.mark.parametrize("split", ["no", "bbox"])
def test_blunting_is_what_integration_makes_of_a_narrow_ring(split):
    """Second and fourth moment of a ring's pattern are those of pixels, splitting and bins."""
    seen = geometry(250)
    integrator = Integrator(seen, bins=1000, split=split)
    blunting, at, width = integrator.blunting, 3.0, 0.012
    # what a pixel counts of a Gaussian ring, by points in its two sides
    y, x = np.stack(seen.extents())[:, None] * _points(7)
    image = np.exp(-0.5 * ((seen.radial + x + y - at) / width) ** 2).mean(axis=0)
    intensity, _, _ = integrator((image * seen.solid_angle).astype(np.float64))
    near = np.abs(integrator.axis - at) < 0.08
    q, rows = integrator.centres[near], intensity[near]
    rows /= np.trapezoid(rows, q)
    mean = np.trapezoid(rows * q, q)
    moments = [np.trapezoid(rows * (q - mean) ** k, q) for k in (2, 4)]
    variance = np.interp(at, blunting.q_per_a, blunting.variance)
    fourth = np.interp(at, blunting.q_per_a, blunting.fourth)
    assert moments[0] - width**2 == pytest.approx(variance, rel=0.06)
    assert moments[1] - 3 * moments[0] ** 2 == pytest.approx(fourth, rel=0.3, abs=3e-10)


def _points(n):
    """Places over a pixel's two sides, in those, (2, n, n, 1, 1)."""
    at = (np.arange(n) + 0.5) / n - 0.5
    return np.stack(np.meshgrid(at, at))[..., None, None].reshape(2, n * n, 1, 1)


def test_widths_cells_and_volumes_are_those_of_the_powder_not_of_the_pixels(scene):
    """Pixels of .021 and lines of .024 per angstrom, at many counts."""
    found = tracked(scene, 2000)
    assert found.reduced_chi2 < 1.15
    assert len(found.unknown) == 0
    true = np.hypot(INSTRUMENT_PER_A * FWHM, 0.9 * 2 * np.pi / SIZE_A)
    np.testing.assert_allclose(found.size_width[:3], true, rtol=0.02)
    assert np.abs((found.strain[:3] - STRAIN * FWHM) / found.strain_sigma[:3]).max() < 4
    volumes = np.array([volume for volume, _ in STATE.values()])
    assert np.abs((found.volume[:3] - volumes) / found.volume_sigma[:3]).max() < 4
    lengths = [p.cell[0] * STATE[p.name][1] for p in scene[1][:3]]
    assert np.abs((found.cell[:3, 0] - lengths) / found.cell_sigma[:3, 0]).max() < 4


def test_without_knowledge_of_pixels_the_same_pattern_cannot_be_described(scene):
    seen, phases, expected = scene
    integrator = Integrator(seen, bins=1000, split="bbox")
    image = np.random.default_rng(0).poisson(expected * 2000).astype(np.uint32)
    use = integrator.axis > 1.2
    intensity, sigma, _ = integrator(image)
    axis = Axis(integrator.axis[use], WAVELENGTH_A)
    bare = PhaseTracker(phases, axis, window=[3]).add(intensity[use], sigma[use])
    assert bare.reduced_chi2 > 5


def test_aluminium_does_not_take_the_lines_of_platinum(scene):
    """Stretched by 3 %, within its range, it would have them all."""
    seen, phases, _ = scene
    image = PowderImage(seen, phases[:1], windows=[(phases[3], 0.05)], width_per_a=0.01)
    found = tracked((seen, phases, image.expected({"Pt": (1.0, 1.002)})), 200)
    assert found.present.tolist() == [True, False, False, True]
    assert found.cell[0, 0] == pytest.approx(phases[0].cell[0] * 1.002, rel=1e-4)
    assert found.cell[3, 0] == pytest.approx(phases[3].cell[0], rel=1e-3)
