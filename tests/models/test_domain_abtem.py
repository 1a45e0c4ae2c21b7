"""Multislice on one cell beside abTEM's, of PbTiO3 8 nm thick."""

import numpy as np
import pytest

from flyback.models.domains.crystal import variants
from flyback.models.domains.tables import diffracted, diffracted_by_phases

KEV, GRID = 300.0, 48
BEAMS = np.array([(y, x) for y in range(-4, 5) for x in range(-4, 5)])


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tilt_mrad", [(0.0, 0.0), (0.7, -1.2)])
def test_it_agrees_with_abtem(tilt_mrad):
    abtem = pytest.importorskip("abtem", reason="the extra 'validation'")
    ase = pytest.importorskip("ase")
    from abtem.core.energy import energy2sigma

    cell = variants("PbTiO3")["+x"].without_motion()
    cells = round(80 / cell.size_a[0])
    atoms = ase.Atoms(
        cell.elements,
        positions=(cell.positions * cell.size_a)[:, ::-1],
        cell=cell.size_a[::-1],
        pbc=True,
    )

    def potential(of):
        return abtem.Potential(
            of, gpts=(GRID, GRID), slice_thickness=cell.size_a[0] / 2, projection="infinite"
        ).build(lazy=False)

    # a soft edge of the band limit is abTEM's default: 4e-4 of the largest beam
    how = {"device": "cpu", "precision": "float64", "antialias.taper": 1e-6}
    with abtem.config.set(how):
        one = np.asarray(potential(atoms).array).transpose(0, 2, 1)
        wave = abtem.PlaneWave(
            gpts=GRID,
            extent=tuple(cell.size_a[:0:-1]),
            energy=KEV * 1e3,
            tilt=tilt_mrad[::-1],
        ).build(lazy=False)
        exit_wave = np.asarray(wave.multislice(potential(atoms * (1, 1, cells))).array).T
    expected = np.abs(np.fft.fft2(exit_wave) / exit_wave.size)[BEAMS[:, 0], BEAMS[:, 1]] ** 2
    tilts = np.array([tilt_mrad])
    phases = one * energy2sigma(KEV * 1e3)
    same, _ = diffracted_by_phases(phases, cell.size_a, KEV, tilts, cells, BEAMS)
    assert np.abs(same[cells, :, 0] - expected).max() < 1e-6 * expected.max()
    # our own scattering factors (Peng's) beside Lobato's, and a finer grid
    own, _ = diffracted(cell, KEV, tilts, cells, BEAMS)
    assert np.abs(own[cells, :, 0] - expected).max() < 1e-2 * expected.max()
