"""Patterns of domains: the invariants of diffraction, and multislice done by others."""

from dataclasses import replace

import numpy as np
import pytest

from flyback.models.domains.crystal import (
    IN_PLANE,
    MATERIALS,
    STRUCTURES,
    direction,
    polar_sense,
    read_cell,
    variants,
)
from flyback.models.domains.kernels import paint
from flyback.models.domains.patterns import Conditions, simulate_patterns
from flyback.models.domains.tables import (
    PatternTable,
    band_limit,
    diffracted,
    diffracted_by_phases,
)
from flyback.models.physics import electron_wavelength_m, interaction_parameter
from flyback.models.potential import projected_phase
from flyback.models.ptychography.forward import simulate_frames
from flyback.models.ptychography.propagation import fresnel

KEV = 300.0
CUBIC = """data_cubic
_space_group_name_H-M_alt 'P m -3 m'
_cell_length_a 3.905
_cell_length_b 3.905
_cell_length_c 3.905
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_U_iso_or_equiv
Sr Sr 0.5 0.5 0.5 0.006
Ti Ti 0 0 0 0.004
O O 0.5 0 0 0.007
"""
BEAMS = np.array([(y, x) for y in range(-3, 4) for x in range(-3, 4)])
UPRIGHT = np.zeros((1, 2))
TILTS = np.array([(0.0, 0.0), (1.3, -0.4), (-2.1, 1.7)])


@pytest.fixture
def cubic(tmp_path):
    path = tmp_path / "cubic.cif"
    path.write_text(CUBIC)
    return read_cell(path)


def softened(cell, u_iso_a2):
    return replace(cell, u_iso_a2=np.full(len(cell.elements), u_iso_a2))


def naive(phases, size_a, tilt_mrad, cells):
    """Multislice of a plane wave as the textbook has it, the wave in real space."""
    slices, h, w = phases.shape
    wavelength = electron_wavelength_m(KEV) * 1e10
    keep = band_limit((h, w), size_a[1:] * 1e-10)
    gy = np.fft.fftfreq(h, size_a[1] / h)[:, None]
    gx = np.fft.fftfreq(w, size_a[2] / w)[None]
    ky, kx = np.asarray(tilt_mrad) * 1e-3 / wavelength
    distance = size_a[0] / slices
    flight = keep * np.exp(
        -1j * np.pi * wavelength * distance * ((gy + ky) ** 2 + (gx + kx) ** 2 - ky**2 - kx**2)
    )
    wave = np.ones((h, w), complex)
    for _ in range(cells):
        for phase in phases:
            thin = np.fft.ifft2(np.fft.fft2(np.exp(1j * phase)) * keep)
            wave = np.fft.ifft2(np.fft.fft2(wave * thin) * flight)
    return np.abs(np.fft.fft2(wave) / (h * w)) ** 2


def of(beams, order):
    return int(np.flatnonzero((beams == np.asarray(order)).all(axis=1))[0])


def test_it_is_the_textbooks_multislice():
    cell = variants("PbTiO3")["+x"]
    phases = cell.slice_phases((32, 36), KEV, 2)
    found, total = diffracted_by_phases(phases, cell.size_a, KEV, TILTS, 20, BEAMS)
    for n, tilt in enumerate(TILTS):
        expected = naive(phases, cell.size_a, tilt, 20)
        np.testing.assert_allclose(found[20, :, n], expected[BEAMS[:, 0], BEAMS[:, 1]], atol=1e-6)
        assert total[20, n] == pytest.approx(expected.sum(), rel=1e-10)
    np.testing.assert_array_equal(found[0, :, 0], (BEAMS == 0).all(axis=1))


def test_single_precision_is_enough_for_the_tables():
    cell = variants("PbTiO3")["+x"]
    fine, _ = diffracted(cell, KEV, TILTS, 90, BEAMS, pixel_a=0.12)
    coarse, _ = diffracted(cell, KEV, TILTS, 90, BEAMS, pixel_a=0.12, dtype=np.complex64)
    np.testing.assert_allclose(coarse, fine, atol=1e-5)


def test_electrons_are_conserved_but_for_the_band_limit(cubic):
    # a phase smooth enough for the grid loses nothing
    _, total = diffracted(softened(cubic, 0.15), KEV, TILTS, 50, BEAMS, pixel_a=0.06)
    np.testing.assert_allclose(total, 1, atol=1e-6)
    # sharp atoms scatter beyond any limit: the loss grows with depth, and is stated
    _, total = diffracted(cubic, KEV, TILTS, 50, BEAMS)
    assert np.all(np.diff(total, axis=0) <= 1e-12)
    assert 0.9 < total.min() < 1
    table = PatternTable(cubic, KEV, 10, 2)
    assert 0 < table.lost < 0.05


def test_friedel_pairs_are_equal_where_there_is_an_inversion(cubic):
    found, _ = diffracted(cubic, KEV, UPRIGHT, 60, BEAMS)
    mates = [of(BEAMS, -order) for order in BEAMS]
    np.testing.assert_allclose(found, found[:, mates], atol=1e-7)
    assert found[60].max() < 0.9  # far from the kinematic limit


def test_friedel_pairs_tell_the_sense_of_the_polarization():
    cells = variants("PbTiO3")
    plus, _ = diffracted(cells["+x"], KEV, UPRIGHT, 20, BEAMS)
    minus, _ = diffracted(cells["-x"], KEV, UPRIGHT, 20, BEAMS)
    mates = [of(BEAMS, -order) for order in BEAMS]
    np.testing.assert_allclose(plus, minus[:, mates], atol=1e-7)
    right, left = plus[20, of(BEAMS, (0, 2)), 0], plus[20, of(BEAMS, (0, -2)), 0]
    assert abs(right - left) > 0.2 * (right + left)
    # across the polarization there is a mirror
    mirrored = [of(BEAMS, order * (-1, 1)) for order in BEAMS]
    np.testing.assert_allclose(plus, plus[:, mirrored], atol=1e-7)


def test_a_turn_of_the_polarization_turns_the_beams():
    cells = variants("PbTiO3")
    along_x, _ = diffracted(cells["+x"], KEV, TILTS, 20, BEAMS)
    # what was at (y, x) is at (x, -y): +x has become +y
    turned, _ = diffracted(cells["+y"], KEV, TILTS[:, ::-1] * (1, -1), 20, BEAMS)
    places = [of(BEAMS, (order[1], -order[0])) for order in BEAMS]
    np.testing.assert_allclose(turned[:, places], along_x, atol=1e-6)


def test_patterns_turn_with_the_polarization():
    same = Conditions(thickness_nm=20.0, dose_e_per_pattern=1e6, descan_px=(-0.5, -0.5))
    frames = np.empty((4, 64, 64), np.float32)
    simulate_patterns("PbTiO3", IN_PLANE, same, noise=False, out=frames)
    right, left, down, up = frames
    # with the beam on the corner between four pixels, flips are exact
    np.testing.assert_allclose(left, right[::-1, ::-1], rtol=1e-3, atol=0.5)
    np.testing.assert_allclose(down, right.T, rtol=1e-3, atol=0.5)
    np.testing.assert_allclose(up, left.T, rtol=1e-3, atol=0.5)
    assert np.abs(right - left).sum() > 0.05 * right.sum()


def test_rotation_turns_x_towards_y():
    base = Conditions(thickness_nm=15.0, tilt_mrad=(0.4, 1.1), dose_e_per_pattern=1e6)
    turned = Conditions(
        thickness_nm=15.0, tilt_mrad=(0.4, 1.1), dose_e_per_pattern=1e6, rotation_deg=90
    )
    frames = np.empty((2, 1, 64, 64), np.float32)
    simulate_patterns("PbTiO3", ["+y"], base, noise=False, out=frames[0])
    simulate_patterns("PbTiO3", ["+x"], turned, noise=False, out=frames[1])
    np.testing.assert_allclose(frames[1], frames[0], rtol=1e-3, atol=0.5)


def test_a_thin_crystal_is_kinematic(cubic):
    volume = replace(
        cubic,
        size_a=np.array([0.2, *cubic.size_a[1:]]),
        positions=cubic.positions * (0, 1, 1),
        occupancy=cubic.occupancy * 0.02,
    )
    found, _ = diffracted(volume, KEV, UPRIGHT, 1, BEAMS, slices=1)
    phase = volume.slice_phases((64, 64), KEV, 1)[0]
    kinematic = np.abs(np.fft.fft2(phase) / phase.size) ** 2
    expected = kinematic[BEAMS[:, 0], BEAMS[:, 1]]
    scattered = np.abs(BEAMS).any(axis=1)
    np.testing.assert_allclose(found[1, scattered, 0], expected[scattered], rtol=0.02, atol=1e-9)


def test_two_beams_exchange_their_intensity_as_howie_and_whelan_have_it():
    """One sine in the potential at a Bragg angle: I_g = sin^2(pi t / extinction length)."""
    edge_a, extinction_a, cells = 4.0, 1600.0, 800
    wavelength_a = electron_wavelength_m(KEV) * 1e10
    x = np.arange(32) / 32
    phase = 2 * np.pi / extinction_a * np.cos(2 * np.pi * 3 * x)  # of 1 angstrom of crystal
    bragg = np.array([[0.0, -1.5 * wavelength_a / edge_a * 1e3]])  # k0 = -g / 2
    found, _ = diffracted_by_phases(
        np.broadcast_to(phase, (1, 32, 32)),
        np.array([1.0, edge_a, edge_a]),
        KEV,
        bragg,
        cells,
        np.array([(0, 0), (0, 3)]),
    )
    expected = np.sin(np.pi * np.arange(cells + 1) / extinction_a) ** 2
    assert np.abs(found[:, 1, 0] - expected).max() < 0.02
    assert found[cells, 1, 0] > 0.97


def test_the_laue_circle_lies_opposite_to_the_tilt(cubic):
    found, _ = diffracted(cubic, KEV, np.array([(0.0, 5.0)]), 50, BEAMS)
    towards, away = of(BEAMS, (0, 1)), of(BEAMS, (0, -1))
    assert found[20:, away, 0].mean() > 1.5 * found[20:, towards, 0].mean()


def test_slices_add_up_to_the_projected_phase():
    path = STRUCTURES / "PbTiO3.cif"
    cell = read_cell(path)
    found = cell.slice_phases((21, 21), KEV, 3).sum(axis=0)
    expected = projected_phase(path, (21, 21), 3.895e-10 / 21, 4.171e-10, KEV)
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_a_convergent_beam_through_a_supercell_gives_the_same_disks():
    """`simulate_frames` carries the whole probe through 8 x 8 cells; disks do not overlap."""
    # atoms soft enough for the grid: the band limit is about another direction in either
    cell, cells, side, n = softened(variants("PbTiO3")["+x"], 0.06), 20, 8, 24
    box = (side * n, side * n)
    wavelength = electron_wavelength_m(KEV)
    edges = cell.size_a[1:] * 1e-10
    pixel = (edges[0] / n, edges[1] / n)
    one = np.exp(1j * cell.slice_phases((n, n), KEV, 2))
    one = np.fft.ifft2(np.fft.fft2(one) * band_limit((n, n), edges))
    obj = np.tile(one, (cells, side, side)).astype(np.complex64)
    ky = np.fft.fftfreq(box[0], pixel[0])[:, None] * wavelength * 1e3
    kx = np.fft.fftfreq(box[1], pixel[1])[None] * wavelength * 1e3
    tilt = np.array([0.7, -0.9])
    aperture = np.hypot(ky - tilt[0], kx - tilt[1]) < 1.5
    probe = np.fft.fftshift(np.fft.ifft2(aperture)).astype(np.complex64)
    # free flight, and beyond the limit nothing, as on one cell
    flight = fresnel(box, pixel, wavelength, cell.size_a[0] / 2 * 1e-10)
    limit = 2 / 3 * min(1 / pixel[0] / 2, 1 / pixel[1] / 2)
    flight = flight * (np.hypot(ky, kx) / wavelength / 1e3 < limit)
    frames = np.empty((1, *box), np.float32)
    simulate_frames(
        obj,
        probe,
        np.array([[box[0] // 2, box[1] // 2]], float),
        1.0,
        out=frames,
        noise=False,
        propagator=flight.astype(np.complex64),
    )
    seen = np.fft.ifftshift(frames[0])
    incident = np.argwhere(aperture)
    angles = np.stack([ky[incident[:, 0], 0], kx[0, incident[:, 1]]], 1)
    found, _ = diffracted_by_phases(
        cell.slice_phases((n, n), KEV, 2),
        cell.size_a,
        KEV,
        angles,
        cells,
        BEAMS,
    )
    assert len(incident) > 12
    for b, (gy, gx) in enumerate(BEAMS):
        place = (incident + np.array([gy, gx]) * side) % np.array(box)
        disk = seen[place[:, 0], place[:, 1]] * len(incident)
        np.testing.assert_allclose(disk, found[cells, b], atol=1e-3)


def test_a_table_is_as_good_as_multislice():
    cell = variants("PbTiO3")["+x"]
    table = PatternTable(cell, KEV, 20, 3, pixel_a=0.13)
    rng = np.random.default_rng(3)
    tilts = rng.uniform(-2, 2, (3, 2))
    exact, _ = diffracted(cell, KEV, tilts, 50, table.orders, pixel_a=0.13)
    frames = np.zeros((3, 9, 9), np.float32)
    for b, order in enumerate(table.orders):
        frames[:] = 0
        paint(
            table.intensity[b : b + 1],
            np.zeros((1, 2)),
            table.step_mrad,
            table.cell_nm,
            0,
            np.ones(3),
            np.full(3, 50 * table.cell_nm),
            tilts,
            np.zeros(3),
            np.full((3, 2), 4.0),
            np.full(3, 0.02),
            np.full(3, 0.01),
            frames,
        )
        np.testing.assert_allclose(frames.sum(axis=(1, 2)), exact[50, b], atol=2e-3), order


def test_counts_are_poisson_and_each_is_its_own():
    many = Conditions(thickness_nm=12.0, dose_e_per_pattern=5e3)
    frames = simulate_patterns("PbTiO3", ["+x"] * 300, many, seed=5)
    mean = np.empty((1, 64, 64), np.float32)
    simulate_patterns("PbTiO3", ["+x"], many, noise=False, out=mean)
    bright = mean[0] > 3
    ratio = frames.var(axis=0)[bright] / mean[0][bright]
    assert ratio.mean() == pytest.approx(1, abs=0.05)
    assert frames.mean(axis=0)[bright] == pytest.approx(mean[0][bright], rel=0.35)
    later = simulate_patterns("PbTiO3", ["+x"] * 2, many, seed=5, first_index=298)
    np.testing.assert_array_equal(later, frames[298:])
    assert not np.array_equal(simulate_patterns("PbTiO3", ["+x"], many, seed=6)[0], frames[0])


def test_a_mixture_is_the_sum_of_its_parts():
    at = Conditions(thickness_nm=18.0, dose_e_per_pattern=1e5, tilt_mrad=(0.5, 0.2))
    frames = np.empty((3, 1, 64, 64), np.float32)
    simulate_patterns("PbTiO3", ["+x"], at, noise=False, out=frames[0])
    simulate_patterns("PbTiO3", ["-y"], at, noise=False, out=frames[1])
    simulate_patterns("PbTiO3", {"+x": 0.7, "-y": 0.3}, at, noise=False, out=frames[2])
    np.testing.assert_allclose(frames[2], 0.7 * frames[0] + 0.3 * frames[1], rtol=1e-4, atol=1e-3)


def test_one_variant_holds_for_all_conditions():
    at = Conditions(thickness_nm=np.array([5.0, 9.0, 14.0]), dose_e_per_pattern=1e4)
    once = simulate_patterns("PbTiO3", {"+x": 1.0}, at)
    np.testing.assert_array_equal(once, simulate_patterns("PbTiO3", ["+x"] * 3, at))


def test_the_cameras_faults_keep_the_electrons():
    ideal = Conditions(thickness_nm=10.0, dose_e_per_pattern=1e5)
    frames = np.empty((4, 1, 64, 64), np.float32)
    simulate_patterns("PbTiO3", ["+y"], ideal, noise=False, out=frames[0])
    for n, change in enumerate(
        ({"blur_px": 1.2}, {"descan_px": (3.0, -2.0)}, {"background_fraction": 0.3}), start=1
    ):
        changed = Conditions(thickness_nm=10.0, dose_e_per_pattern=1e5, **change)
        simulate_patterns("PbTiO3", ["+y"], changed, noise=False, out=frames[n])
    np.testing.assert_allclose(frames[1].sum(), frames[0].sum(), rtol=0.01)
    np.testing.assert_allclose(
        frames[2][0, 20:60, 10:50], frames[0][0, 17:57, 12:52], rtol=1e-3, atol=1e-2
    )
    assert frames[1].max() < frames[0].max()
    between = frames[3][0, 32 + 5, 32 + 5]
    assert between > 10 * frames[0][0, 37, 37]


def test_the_polarization_points_from_negative_to_positive():
    # as published, lead titanate's oxygen has moved along +c, barium titanate's titanium has
    assert polar_sense(read_cell(STRUCTURES / "PbTiO3.cif")) == -1
    assert polar_sense(read_cell(STRUCTURES / "BaTiO3.cif")) == 1
    for material in ("PbTiO3", "BaTiO3"):
        for name, cell in variants(material).items():
            along = cell.positions @ direction(name)
            titanium = along[cell.elements.index("Ti")]
            oxygen = [z for z, kind in zip(along, cell.elements, strict=True) if kind == "O"]
            moves = np.array([z - np.rint(2 * z) / 2 for z in (titanium, *oxygen)])
            assert moves[0] > moves[1:].mean()


def test_boracite_is_the_cubic_frame_and_a_model():
    cells = variants("boracite")
    assert cells["+x"].elements.count("Cu") == 24
    assert "Mg" not in cells["+x"].elements
    assert cells["+x"].turned(2).is_like(cells["-x"])
    assert not cells["+x"].is_like(cells["-x"])
    metal = np.array(cells["+x"].elements) == "Cu"
    moved = cells["+x"].positions[metal] - cells["-x"].positions[metal]
    moved = (moved - np.rint(moved)) * cells["+x"].size_a
    np.testing.assert_allclose(moved, [[0, 0, 0.4]] * 24, atol=1e-9)


@pytest.mark.heavy
def test_boracites_domains_differ():
    at = Conditions(thickness_nm=25.0, dose_e_per_pattern=1e6)
    frames = np.empty((4, 64, 64), np.float32)
    simulate_patterns("boracite", IN_PLANE, at, noise=False, out=frames)
    for n in range(4):
        for m in range(n):
            assert np.abs(frames[n] - frames[m]).sum() > 0.01 * frames[n].sum()


@pytest.mark.parametrize(
    ("fractions", "change", "words"),
    [
        (["+x"], {"thickness_nm": -1}, "thickness_nm must lie between 0 and 500"),
        (["+x"], {"tilt_mrad": (99, 0)}, "tilt_mrad must lie"),
        (["+x"], {"tilt_mrad": (1, 2, 3)}, "tilt_mrad must be one for all"),
        (["+x"], {"semi_convergence_angle_mrad": 9}, "would overlap"),
        (["up"], {}, "variant must be one of"),
        ({"+x": 0.5}, {}, "must sum to 1"),
        ({}, {}, "must name at least one variant"),
    ],
)
def test_bad_input_is_named(fractions, change, words):
    with pytest.raises(ValueError, match=words):
        simulate_patterns("PbTiO3", fractions, Conditions(**change))


def test_an_unknown_material_is_named():
    with pytest.raises(ValueError, match="material must be one of PbTiO3, BaTiO3, boracite"):
        variants("steel")
    assert set(MATERIALS) == {path.stem for path in STRUCTURES.glob("*.cif")}


def test_the_interaction_parameter_is_in_the_phase():
    cell = variants("PbTiO3")["+z"]
    ratio = cell.slice_phases((16, 16), 80.0, 1) / cell.slice_phases((16, 16), 300.0, 1)
    np.testing.assert_allclose(ratio, interaction_parameter(80) / interaction_parameter(300))
