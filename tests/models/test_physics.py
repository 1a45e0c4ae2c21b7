import numpy as np
import pytest

from flyback.models import physics


@pytest.mark.parametrize(
    ("energy_kev", "picometres"), [(80, 4.17572), (100, 3.70144), (200, 2.50793), (300, 1.96875)]
)
def test_electron_wavelengths_of_the_textbooks(energy_kev, picometres):
    assert physics.electron_wavelength_m(energy_kev) * 1e12 == pytest.approx(picometres, abs=2e-5)


def test_copper_k_alpha():
    assert physics.photon_wavelength_m(8.04778) * 1e10 == pytest.approx(1.5406, abs=1e-4)
    assert physics.photon_energy_kev(1.5406e-10) == pytest.approx(8.0478, abs=1e-3)


def test_wavelength_by_radiation():
    assert physics.wavelength_m("xray", 8) == physics.photon_wavelength_m(8)
    assert physics.wavelength_m("electron", 80) == physics.electron_wavelength_m(80)
    with pytest.raises(ValueError, match=r'"electron" or "xray", got .neutron.'):
        physics.wavelength_m("neutron", 8)


def test_interaction_parameter_of_kirkland():
    # Kirkland, Advanced Computing in Electron Microscopy, table 5.1: 100, 200 keV
    assert physics.interaction_parameter(100) * 1e-7 == pytest.approx(0.9244, abs=1e-4)
    assert physics.interaction_parameter(200) * 1e-7 == pytest.approx(0.7288, abs=1e-4)


def test_q_and_two_theta_are_inverse():
    angle = np.array([1.0, 40.0, 179.0])
    assert np.allclose(physics.two_theta_deg(physics.q_per_a(angle, 1.5), 1.5), angle)


def test_bragg_angle_of_silicon_111():
    assert physics.bragg_two_theta_deg(3.1356, 1.5406) == pytest.approx(28.443, abs=2e-3)


def test_dose():
    assert physics.electrons_per_dwell(1, 1) == pytest.approx(6.241509e6, rel=1e-6)
    assert physics.dose_e_per_a2(10, 1e-3, 16) == pytest.approx(62415.09 / 16, rel=1e-6)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: physics.electron_wavelength_m(200e3), "energy_kev must lie between 0.01 and 1"),
        (lambda: physics.electron_wavelength_m(float("nan")), "energy_kev"),
        (lambda: physics.photon_energy_kev(1.54), "wavelength_m must lie"),
        (lambda: physics.two_theta_deg(20, 1.54), "q_per_a must lie between 0 and 8.16"),
        (lambda: physics.q_per_a(-1, 1.54), "two_theta_deg must lie between 0 and 180"),
        (lambda: physics.bragg_two_theta_deg(0.5, 1.54), "d_spacing_a must be at least 0.77"),
        (lambda: physics.dose_e_per_a2(1, 1, 0), "area_a2 must lie"),
        (lambda: physics.electrons_per_dwell(-1, 1), "current_pa must lie"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
