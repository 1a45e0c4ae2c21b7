"""Simulated films: known counts, pile-up where it must be, and found again by the analysis."""

import numpy as np
import pytest

from flyback.models.base import Batch
from flyback.models.experiment import Experiment
from flyback.models.spectra.response import Response
from flyback.models.spectra.simulate import LossSpectra, emission, film_spectrum
from flyback.models.spectra.xrf import Fluorescence

RESPONSE = Response(0.0, 0.01, noise_kev=0.1)


def test_emission_jumps_at_edges_and_falls_between():
    assert emission("Pt", "L", 11.7) > emission("Pt", "L", 13.0) > 0
    assert emission("Pt", "L", 13.4) > 1.1 * emission("Pt", "L", 13.2)  # L2 opens
    assert emission("Pt", "L", 11.0) == 0
    assert emission("Cu", "K", 18.0) > emission("Ar", "K", 18.0)


def test_counts_are_proportional_to_mass():
    one = film_spectrum({"Pt": 100.0}, RESPONSE, 2048, 18.0, counts_per_ug=10)
    two = film_spectrum({"Pt": 200.0}, RESPONSE, 2048, 18.0, counts_per_ug=10)
    np.testing.assert_allclose(two, 2 * one)


def test_pairs_are_counted_at_the_sum_of_their_energies():
    plain = film_spectrum({"Cu": 50.0}, RESPONSE, 2048, 18.0, counts_per_ug=500)
    piled = film_spectrum({"Cu": 50.0}, RESPONSE, 2048, 18.0, counts_per_ug=500, pileup_s=1e-6)
    twice = slice(1590, 1630)  # 2 x 8.05 keV
    assert plain[twice].sum() < 1e-6 * plain.sum()
    expected = (0.88 * plain.sum()) ** 2 * 1e-6
    assert piled[twice].sum() == pytest.approx(expected, rel=0.2)
    lost = 1 - piled[750:850].sum() / plain[750:850].sum()
    assert lost == pytest.approx(2 * plain.sum() * 1e-6, rel=0.1)


def test_the_analysis_finds_the_masses_of_a_dissolving_film():
    rng = np.random.default_rng(0)
    left = np.linspace(1, 0.7, 40)
    frames = [
        rng.poisson(
            film_spectrum(
                {"Pt": 214.5 * f, "Cu": 30.0, "Ar": 20.0}, RESPONSE, 2048, 18.0,
                counts_per_ug=100, scattered=3000, pileup_s=3e-7,
            )
        )
        for f in left
    ]  # fmt: skip
    model = Fluorescence(
        Experiment(energy_kev=18.0, radiation="xray"), ["Pt", "Cu"], RESPONSE.energies(2048),
        mass="Pt", also=["Ar"],
    )  # fmt: skip
    model.partial_fit(Batch(np.array(frames, np.uint32), np.arange(40))).converge()
    found = model.result_
    ratio, sigma = found["mass_ratio"].value, found["mass_ratio_sigma"].value
    assert np.abs(ratio - left).max() < 5 * sigma.max()
    assert found["mass_drift_sigmas"].value < -10
    strength = 100 * 214.5 * emission("Pt", "L", 18.0) / 100
    assert found["area"].value[0, 0] == pytest.approx(strength, rel=0.05)


def test_energy_losses_are_the_sum_of_their_parts():
    axis = np.arange(30.0, 780.0, 0.5)
    spectra = LossSpectra(axis, ("Pt_O", "LiF"), background=1000.0, exponent=2.0)
    rates = spectra(np.array([[0.0, 0.0], [5.0, 7.0]]))
    np.testing.assert_allclose(rates[0], 1000 * (axis / 50) ** -2.0)
    assert (rates[1] - rates[0]).sum() == pytest.approx(12.0)
