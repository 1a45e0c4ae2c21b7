"""The initial illumination: an aberrated aperture, a given array, or a guess from the frames.

Aberrations follow Krivanek's notation (Ultramicroscopy 78, 1 (1999)) with abTEM's signs:
``chi = 2 pi / lambda * sum alpha^(n+1) / (n+1) * C_nm cos(m (phi - phi_nm))`` and the aperture
holds ``exp(-i chi)``. Defocus is ``-C10``: positive is underfocus.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from ..experiment import Experiment

_SYMMETRY = {1: (0, 2), 2: (1, 3), 3: (0, 2, 4)}
_NAMES = tuple(
    name
    for n, orders in _SYMMETRY.items()
    for m in orders
    for name in ((f"C{n}{m}",) if m == 0 else (f"C{n}{m}", f"phi{n}{m}"))
)


def chi(
    angle_y_rad: np.ndarray,
    angle_x_rad: np.ndarray,
    wavelength_m: float,
    aberrations: Mapping[str, float],
) -> np.ndarray:
    """Return the aberration function.

    Parameters
    ----------
    angle_y_rad, angle_x_rad : float arrays that broadcast, rad
    wavelength_m : float, m
    aberrations : mapping
        ``C10``, ``C12``, ``C21``, ``C23``, ``C30``, ``C32``, ``C34`` in metres; ``phi12`` and so
        on in radians, from +x towards +y.

    Returns
    -------
    float64 array, rad

    Raises
    ------
    ValueError
        When a name is unknown.
    """
    unknown = sorted(set(aberrations) - set(_NAMES))
    if unknown:
        raise ValueError(f"unknown aberration {unknown[0]!r}; known are {', '.join(_NAMES)}")
    alpha2 = angle_y_rad**2 + angle_x_rad**2
    azimuth = np.arctan2(angle_y_rad, angle_x_rad)
    total = np.zeros(np.broadcast(angle_y_rad, angle_x_rad).shape)
    for name, value in aberrations.items():
        match = re.fullmatch(r"C(\d)(\d)", name)
        if match is None or not value:
            continue
        n, m = int(match[1]), int(match[2])
        axis = aberrations.get(f"phi{n}{m}", 0.0)
        total += alpha2 ** ((n + 1) / 2) / (n + 1) * value * np.cos(m * (azimuth - axis))
    return 2 * np.pi / wavelength_m * total


def aperture(
    angle_y_rad: np.ndarray,
    angle_x_rad: np.ndarray,
    semi_angle_rad: float,
    sampling_rad: tuple[float, float],
    wavelength_m: float,
    aberrations: Mapping[str, float],
) -> np.ndarray:
    """Return the wave in a round aperture with an edge one pixel wide.

    Parameters
    ----------
    angle_y_rad, angle_x_rad : float arrays that broadcast, rad
    semi_angle_rad : float, rad
    sampling_rad : (y, x), rad per pixel
    wavelength_m : float, m
    aberrations : mapping
        As `chi` takes them.

    Returns
    -------
    complex128 array
    """
    radius = np.sqrt(angle_y_rad**2 + angle_x_rad**2)
    edge = np.sqrt(sampling_rad[0] * sampling_rad[1])
    inside = np.clip((semi_angle_rad - radius) / edge + 0.5, 0, 1)
    return inside * np.exp(-1j * chi(angle_y_rad, angle_x_rad, wavelength_m, aberrations))


def aberrated_probe(
    shape: tuple[int, int],
    wavelength_m: float,
    angular_sampling_rad: tuple[float, float],
    semi_convergence_angle_rad: float,
    defocus_m: float = 0.0,
    aberrations: Mapping[str, float] | None = None,
) -> np.ndarray:
    """Return the focused wave of a round, aberrated aperture.

    Parameters
    ----------
    shape : (h, w)
        Pixels of the detector and of the probe's box.
    wavelength_m : float, m
    angular_sampling_rad : (y, x), rad per detector pixel
    semi_convergence_angle_rad : float, rad
    defocus_m : float, m
        Positive is underfocus; added to ``-C10``.
    aberrations : mapping or None
        As `chi` takes them.

    Returns
    -------
    (h, w) complex64
        Centre at ``[h // 2, w // 2]``, summed intensity 1.

    Raises
    ------
    ValueError
        When the aperture does not fit on the detector.
    """
    reach = min(n * d / 2 for n, d in zip(shape, angular_sampling_rad, strict=True))
    if not 0 < semi_convergence_angle_rad < reach:
        raise ValueError(
            "semi_convergence_angle_mrad must lie between 0 and the detector's half width of"
            f" {reach * 1e3:.4g}, got {semi_convergence_angle_rad * 1e3:.4g}"
        )
    known = dict(aberrations or {})
    known["C10"] = known.get("C10", 0.0) - defocus_m
    y, x = (np.fft.fftfreq(n, 1 / n) * d for n, d in zip(shape, angular_sampling_rad, strict=True))
    wave = aperture(
        y[:, None],
        x[None],
        semi_convergence_angle_rad,
        angular_sampling_rad,
        wavelength_m,
        known,
    )
    probe = np.fft.fftshift(np.fft.ifft2(wave))
    return (probe / np.sqrt((np.abs(probe) ** 2).sum())).astype(np.complex64)


def guess_probe(mean_frame: np.ndarray) -> np.ndarray:
    """Return a start where nothing but the frames is known: the mean amplitude, brought to focus.

    Parameters
    ----------
    mean_frame : (h, w) float, counts
        Zero frequency at ``[h // 2, w // 2]``.

    Returns
    -------
    (h, w) complex64
        Centre at ``[h // 2, w // 2]``, summed intensity 1.
    """
    amplitude = np.sqrt(np.maximum(mean_frame, 0))
    probe = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(amplitude)))
    return (probe / max(np.sqrt((np.abs(probe) ** 2).sum()), 1e-30)).astype(np.complex64)


def initial_probe(
    experiment: Experiment,
    shape: tuple[int, int],
    mean_frame: np.ndarray,
    aberrations: Mapping[str, float] | None = None,
) -> np.ndarray:
    """Return the first probe of a reconstruction, (modes, h, w) complex64.

    The given one where there is one, else the microscope's aperture where it is known, else
    `guess_probe`.

    Raises
    ------
    ValueError
        When the given probe has another shape than the frames.
    """
    if experiment.probe is not None:
        if experiment.probe.shape[1:] != tuple(shape):
            raise ValueError(
                f"the given probe is {experiment.probe.shape[1:]} and the frames are"
                f" {tuple(shape)}; give a probe of the frames' shape"
            )
        return experiment.probe.copy()
    if experiment.radiation == "xray":
        return guess_probe(mean_frame)[None]
    return aberrated_probe(
        shape,
        experiment.need("wavelength_m"),
        experiment.need("angular_sampling_rad"),
        experiment.need("semi_convergence_angle_rad"),
        experiment.defocus_m,
        aberrations,
    )[None]


def more_modes(probe: np.ndarray, modes: int) -> np.ndarray:
    """Return the probe with weak, orthogonal further modes: Hermite-like gradients of the first.

    Parameters
    ----------
    probe : (m, h, w) complex64
    modes : int

    Returns
    -------
    (modes, h, w) complex64
    """
    if len(probe) >= modes:
        return probe[:modes]
    h, w = probe.shape[1:]
    y, x = (np.arange(n) - n // 2 for n in (h, w))
    shapes = [y[:, None] + 0 * x[None], 0 * y[:, None] + x[None], np.outer(y, x)]
    out = [*probe]
    for factor in shapes[: modes - len(probe)]:
        mode = probe[0] * factor
        out.append(mode * 0.1 * np.linalg.norm(probe[0]) / max(np.linalg.norm(mode), 1e-30))
    return np.array(out, np.complex64)


def probe_diameter_px(probe: np.ndarray) -> float:
    """Return the diameter of a disc of uniform light with the probe's root mean square radius.

    The radius is taken over the pixels above 1 % of the peak, so that noise far out counts for
    nothing.
    """
    intensity = (np.abs(probe) ** 2).sum(axis=0)
    intensity = np.where(intensity > 0.01 * intensity.max(), intensity, 0)
    intensity = intensity / intensity.sum()
    y, x = np.indices(intensity.shape)
    variance = (intensity * (y**2 + x**2)).sum()
    variance -= (intensity * y).sum() ** 2 + (intensity * x).sum() ** 2
    return float(2 * np.sqrt(2 * max(variance, 0.0)))
