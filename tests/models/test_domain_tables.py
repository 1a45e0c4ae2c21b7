"""Multislice on one cell: the invariants of diffraction, and multislice done by others."""

from dataclasses import replace

import numpy as np
import pytest

from flyback.models.domains.crystal import (
    read_cell,
    variants,
)
from flyback.models.domains.kernels import paint
from flyback.models.domains.tables import (
    PatternTable,
    band_limit,
    diffracted,
    diffracted_by_phases,
)
from flyback.models.physics import electron_wavelength_m
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
