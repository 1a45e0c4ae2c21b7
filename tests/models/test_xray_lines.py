"""Lines of the elements and what a detector makes of them, against what is known of both."""

import numpy as np
import pytest

from flyback.models.spectra.background import hats, snip
from flyback.models.spectra.lines import ElementError, family, parse, visible
from flyback.models.spectra.response import Response


def test_energies_and_ratios_of_known_lines():
    iron = family("Fe", "K")
    assert iron.main_kev == pytest.approx(6.4038, abs=2e-3)  # Bearden
    assert iron.intensity.sum() == pytest.approx(1)
    beta = iron.intensity[iron.energy_kev > 6.9].sum()
    assert beta == pytest.approx(0.121, abs=0.01)  # of Ka + Kb, Scofield
    platinum = family("Pt", "L", 18.0)
    assert platinum.main_kev == pytest.approx(9.442, abs=2e-3)
    assert family("Cu", "K").main_kev == pytest.approx(8.0478, abs=2e-3)


def test_the_excitation_decides_which_subshells_shine():
    """Between the edges L3 (11.564) and L2 (13.273 keV) platinum has no Lb1."""
    low, high = family("Pt", "L", 12.0), family("Pt", "L", 18.0)
    assert not np.isclose(low.energy_kev, 11.071, atol=2e-3).any()
    assert np.isclose(high.energy_kev, 11.071, atol=2e-3).any()
    assert family("Pt", "L", 11.5) is None
    assert family("Pt", "M", 11.5).main_kev == pytest.approx(2.05, abs=0.01)


def test_families_in_sight():
    assert [f.name for f in visible("Pt", 1.0, 20.0, 18.0)] == ["Pt L", "Pt M"]
    assert [f.name for f in visible("Pt_M", 1.0, 20.0, 18.0)] == ["Pt M"]
    with pytest.raises(ElementError, match="Li has no lines between 1 and 20 keV"):
        visible("Li", 1.0, 20.0, 18.0)
    with pytest.raises(ElementError, match="excited at 7 keV"):
        visible("Fe_K", 1.0, 20.0, 7.0)


@pytest.mark.parametrize("name", ["", "Xx", "Fe K L", "12", "Fe,Cu", "iron"])
def test_what_is_no_element(name):
    with pytest.raises(ElementError, match="is no element"):
        parse(name)


@pytest.mark.parametrize("name", ["Pt L", "pt_l".replace("l", "L"), "PT-L"])
def test_spellings(name):
    assert parse(name) == ("Pt", "L")


def test_a_line_integrates_to_its_intensity_with_and_without_a_tail():
    for response in (
        Response(-0.05, 0.01, escape=False),
        Response(-0.05, 0.01, escape=False, tail=0.1, tail_kev=0.2),
    ):
        column = response.column(family("Fe", "K"), 1500)
        assert column.sum() == pytest.approx(1, abs=1e-4)
        assert (column >= -1e-12).all()
    plain = Response(-0.05, 0.01, escape=False)
    column = plain.peaks(np.array([6.0]), np.ones(1), 1500)
    energies = plain.energies(1500)
    assert energies @ column == pytest.approx(6.0, abs=1e-6)
    spread = np.sqrt(((energies - 6) ** 2) @ column - 0.01**2 / 12)
    assert spread == pytest.approx(float(plain.sigma_kev(6.0)), rel=1e-3)


def test_the_width_of_mn_ka():
    """Fano noise alone is about 115 eV in silicon, and noise adds in quadrature."""
    assert Response(0, 0.01, noise_kev=0.0).fwhm_kev() == pytest.approx(0.117, abs=0.003)
    assert Response(0, 0.01, noise_kev=0.1).fwhm_kev() == pytest.approx(
        np.hypot(0.117, 0.1), abs=0.003
    )


def test_escape_peaks():
    """Of Ca Ka about 1 % escapes from silicon, of Si K itself nothing can."""
    lines, intensities = Response(0, 0.01).lines(family("Ca", "K"))
    escaped = intensities[np.isclose(lines, 3.692 - 1.74, atol=0.01)].sum()
    assert escaped == pytest.approx(0.007 * 0.88, rel=0.4)
    assert Response(0, 0.01).lines(family("Si", "K"))[1].sum() == pytest.approx(1)
    with pytest.raises(ValueError, match="detector must be 'Si' or 'Ge'"):
        Response(0, 0.01, material="CdTe")


def test_snip_follows_a_smooth_background_under_lines():
    at = np.arange(1000)
    smooth = 200 + 300 * np.exp(-(((at - 300) / 250) ** 2))
    lines = sum(5000 * np.exp(-0.5 * ((at - c) / 6) ** 2) for c in (200, 350, 600))
    found = snip(smooth + lines, np.full(1000, 14.0))
    assert np.abs(found / smooth - 1)[30:-30].max() < 0.15
    assert (snip(np.zeros(50), np.full(50, 5.0)) == 0).all()


def test_hats_sum_to_one():
    np.testing.assert_allclose(hats(57, 4).sum(axis=1), 1)
    assert hats(5, 1).shape == (5, 1)
