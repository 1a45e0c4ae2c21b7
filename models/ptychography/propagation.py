"""Free flight from one slice of an object to the next."""

from __future__ import annotations

import numpy as np


def fresnel(
    shape: tuple[int, int], pixel_m: tuple[float, float], wavelength_m: float, distance_m: float
) -> np.ndarray:
    """Return what a wave's spectrum is multiplied by on its way down the beam.

    ``exp(-i pi wavelength distance |k|^2)``: flight by `distance_m` takes as much from the
    defocus, see docs/conventions.md.

    Parameters
    ----------
    shape : (h, w)
    pixel_m : (y, x), m
    wavelength_m : float, m
    distance_m : float, m

    Returns
    -------
    (h, w) complex64
        Zero frequency at [0, 0].

    Raises
    ------
    ValueError
        When the distance is not positive, or so long that waves at the largest angle leave the
        box by more than its half: the phase would turn by more than pi from pixel to pixel.
    """
    longest = min(n * pixel**2 for n, pixel in zip(shape, pixel_m, strict=True)) / wavelength_m
    if not 0 < distance_m <= longest:
        raise ValueError(
            f"slice_thickness_nm must lie above 0 and up to {longest * 1e9:.3g}, where this box of"
            f" {shape[0]} x {shape[1]} pixels holds the propagated waves, got"
            f" {distance_m * 1e9:.3g}; give more, thinner slices"
        )
    ky, kx = (np.fft.fftfreq(n, pixel) for n, pixel in zip(shape, pixel_m, strict=True))
    k2 = ky[:, None] ** 2 + kx[None] ** 2
    return np.exp(-1j * np.pi * wavelength_m * distance_m * k2).astype(np.complex64)


def depth_filter(
    shape: tuple[int, int, int],
    pixel_m: tuple[float, float],
    wavelength_m: float,
    distance_m: float,
    strength: float,
) -> np.ndarray:
    """Return what the spectrum of slices, mirrored in depth, is multiplied by.

    A wave of transverse frequency q that is scattered up to the angle theta tells of depth no
    more than ``|kz| < theta q``: the rest is a missing wedge, and slices fill it with each other's
    ghosts. ``1 - strength * 2 / pi * atan((kz / (theta q))^2)`` keeps what is told and takes the
    rest away, theta being the detector's half angle (after the multislice regularisation of
    Odstrcil, Menzel & Guizar-Sicairos, Opt. Express 26, 3108 (2018)).

    Parameters
    ----------
    shape : (slices, H, W)
    pixel_m : (y, x), m
    wavelength_m : float, m
    distance_m : float, m
        From one slice to the next.
    strength : float
        0 changes nothing; 1 applies the filter in full.

    Returns
    -------
    (slices, H, W) float32
        For a cosine transform (type 2) along the first axis, zero frequency at [0, 0].
    """
    slices, height, width = shape
    kz = np.arange(slices) / (2 * slices * distance_m)
    ky, kx = np.fft.fftfreq(height, pixel_m[0]), np.fft.fftfreq(width, pixel_m[1])
    reach = wavelength_m / (2 * max(pixel_m)) * np.hypot(ky[:, None], kx[None])
    angle = np.arctan2((kz**2)[:, None, None], reach[None] ** 2)
    return (1 - strength * 2 / np.pi * angle).astype(np.float32)
