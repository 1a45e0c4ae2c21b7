"""Waves, angles and dose: the few formulas that every analysis shares.

Constants are the exact SI values of 2019 and CODATA 2018 (Tiesinga et al., Rev. Mod. Phys. 93,
025010 (2021)). Every function takes numbers with the unit in the argument's name and refuses a
value outside its range with one sentence.
"""

from __future__ import annotations

import math

import numpy as np

PLANCK_J_S = 6.62607015e-34  # exact
LIGHT_SPEED_M_S = 299792458.0  # exact
ELEMENTARY_CHARGE_C = 1.602176634e-19  # exact
ELECTRON_MASS_KG = 9.1093837015e-31  # CODATA 2018
ELECTRON_REST_KEV = ELECTRON_MASS_KG * LIGHT_SPEED_M_S**2 / ELEMENTARY_CHARGE_C / 1e3


def _in_range(name: str, value: float, low: float, high: float, fix: str) -> float:
    if not low <= value <= high:  # also refuses NaN
        raise ValueError(f"{name} must lie between {low:g} and {high:g}, got {value:g}; {fix}")
    return float(value)


def _energy(energy_kev: float, low: float = 0.01) -> float:
    return _in_range("energy_kev", energy_kev, low, 1e4, "give it in kilo-electronvolts")


def electron_wavelength_m(energy_kev: float) -> float:
    """Return the relativistic de Broglie wavelength of an electron.

    Parameters
    ----------
    energy_kev : float, keV
        Kinetic energy, 0.01 to 10 000.

    Returns
    -------
    float, m

    Raises
    ------
    ValueError
        When the energy is outside its range.

    Examples
    --------
    >>> round(electron_wavelength_m(200) * 1e12, 4)
    2.5079
    """
    energy = _energy(energy_kev) * 1e3 * ELEMENTARY_CHARGE_C
    rest = ELECTRON_MASS_KG * LIGHT_SPEED_M_S**2
    return PLANCK_J_S * LIGHT_SPEED_M_S / math.sqrt(energy * (2 * rest + energy))


def photon_wavelength_m(energy_kev: float) -> float:
    """Return the wavelength of a photon.

    Parameters
    ----------
    energy_kev : float, keV
        0.01 to 10 000.

    Returns
    -------
    float, m

    Raises
    ------
    ValueError
        When the energy is outside its range.

    Examples
    --------
    >>> round(photon_wavelength_m(8.04778) * 1e10, 4)
    1.5406
    """
    return PLANCK_J_S * LIGHT_SPEED_M_S / (_energy(energy_kev) * 1e3 * ELEMENTARY_CHARGE_C)


def photon_energy_kev(wavelength_m: float) -> float:
    """Return the energy of a photon of a wavelength.

    Parameters
    ----------
    wavelength_m : float, m
        1e-13 to 1e-6.

    Returns
    -------
    float, keV

    Raises
    ------
    ValueError
        When the wavelength is outside its range.
    """
    wavelength = _in_range("wavelength_m", wavelength_m, 1e-13, 1e-6, "give it in metres")
    return PLANCK_J_S * LIGHT_SPEED_M_S / wavelength / ELEMENTARY_CHARGE_C / 1e3


def wavelength_m(radiation: str, energy_kev: float) -> float:
    """Return the wavelength of "electron" or "xray" radiation.

    Parameters
    ----------
    radiation : {"electron", "xray"}
    energy_kev : float, keV

    Returns
    -------
    float, m

    Raises
    ------
    ValueError
        When the radiation is another word or the energy outside its range.
    """
    if radiation == "electron":
        return electron_wavelength_m(energy_kev)
    if radiation == "xray":
        return photon_wavelength_m(energy_kev)
    raise ValueError(f'radiation must be "electron" or "xray", got {radiation!r}')


def interaction_parameter(energy_kev: float) -> float:
    """Return sigma, the phase an electron gains per volt and metre of projected potential.

    sigma = 2 pi m e lambda / h^2 with the relativistic mass (Kirkland, *Advanced Computing in
    Electron Microscopy*, 2nd ed., eq. 5.6).

    Parameters
    ----------
    energy_kev : float, keV
        Kinetic energy, 0.01 to 10 000.

    Returns
    -------
    float, rad / (V m)

    Raises
    ------
    ValueError
        When the energy is outside its range.

    Examples
    --------
    >>> round(interaction_parameter(100) * 1e-7, 4)  # Kirkland: 0.924e-3 rad / (V angstrom)
    0.9244
    """
    gamma = 1 + _energy(energy_kev) / ELECTRON_REST_KEV
    return (
        2
        * math.pi
        * gamma
        * ELECTRON_MASS_KG
        * ELEMENTARY_CHARGE_C
        * electron_wavelength_m(energy_kev)
        / PLANCK_J_S**2
    )


def two_theta_deg(q_per_a: np.ndarray | float, wavelength_a: float) -> np.ndarray:
    """Return the scattering angle of a momentum transfer ``q = 4 pi sin(theta) / lambda``.

    Parameters
    ----------
    q_per_a : float or array, 1/angstrom
        At most ``4 pi / wavelength_a``.
    wavelength_a : float, angstrom

    Returns
    -------
    array of the shape of `q_per_a`, degree

    Raises
    ------
    ValueError
        When a `q_per_a` is negative or beyond back-scattering.
    """
    wavelength = _in_range("wavelength_a", wavelength_a, 1e-3, 1e4, "give it in angstrom")
    sine = np.asarray(q_per_a, float) * wavelength / (4 * np.pi)
    if not np.all((sine >= 0) & (sine <= 1)):
        limit = 4 * np.pi / wavelength
        raise ValueError(
            f"q_per_a must lie between 0 and {limit:.4g} (back-scattering at this wavelength);"
            " check the unit, 1/angstrom with the factor 2 pi"
        )
    return np.degrees(2 * np.arcsin(sine))


def q_per_a(two_theta_deg: np.ndarray | float, wavelength_a: float) -> np.ndarray:
    """Return the momentum transfer ``q = 4 pi sin(theta) / lambda`` of a scattering angle.

    Parameters
    ----------
    two_theta_deg : float or array, degree
        0 to 180.
    wavelength_a : float, angstrom

    Returns
    -------
    array of the shape of `two_theta_deg`, 1/angstrom

    Raises
    ------
    ValueError
        When an angle is outside 0 to 180 degrees.
    """
    wavelength = _in_range("wavelength_a", wavelength_a, 1e-3, 1e4, "give it in angstrom")
    angle = np.asarray(two_theta_deg, float)
    if not np.all((angle >= 0) & (angle <= 180)):
        raise ValueError("two_theta_deg must lie between 0 and 180; give it in degrees")
    return 4 * np.pi / wavelength * np.sin(np.radians(angle) / 2)


def bragg_two_theta_deg(d_spacing_a: np.ndarray | float, wavelength_a: float) -> np.ndarray:
    """Return the Bragg angle 2 theta of a plane spacing, ``lambda = 2 d sin(theta)``.

    Parameters
    ----------
    d_spacing_a : float or array, angstrom
        At least half a wavelength.
    wavelength_a : float, angstrom

    Returns
    -------
    array of the shape of `d_spacing_a`, degree

    Raises
    ------
    ValueError
        When a spacing is too small to diffract.
    """
    spacing = np.asarray(d_spacing_a, float)
    if not np.all(spacing >= wavelength_a / 2):
        raise ValueError(
            f"d_spacing_a must be at least {wavelength_a / 2:.4g} angstrom, half the wavelength"
        )
    return two_theta_deg(2 * np.pi / spacing, wavelength_a)


def electrons_per_dwell(current_pa: float, dwell_s: float) -> float:
    """Return how many electrons a beam delivers in a dwell time.

    Parameters
    ----------
    current_pa : float, pA
        0 to 1e6.
    dwell_s : float, s
        0 to 1e6.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        When a quantity is outside its range.

    Examples
    --------
    >>> round(electrons_per_dwell(10, 1e-3))
    62415
    """
    current = _in_range("current_pa", current_pa, 0, 1e6, "give it in picoampere")
    dwell = _in_range("dwell_s", dwell_s, 0, 1e6, "give it in seconds")
    return current * 1e-12 * dwell / ELEMENTARY_CHARGE_C


def dose_e_per_a2(current_pa: float, dwell_s: float, area_a2: float) -> float:
    """Return the electron dose on an area.

    Parameters
    ----------
    current_pa : float, pA
        0 to 1e6.
    dwell_s : float, s
        Time the beam spends on the area, 0 to 1e6.
    area_a2 : float, angstrom^2
        1e-4 to 1e20.

    Returns
    -------
    float, electrons / angstrom^2

    Raises
    ------
    ValueError
        When a quantity is outside its range.

    Examples
    --------
    >>> round(dose_e_per_a2(10, 1e-3, 16))
    3901
    """
    area = _in_range("area_a2", area_a2, 1e-4, 1e20, "give it in square angstrom")
    return electrons_per_dwell(current_pa, dwell_s) / area
