"""Where a reconstruction starts from: its first probe, and room for its object."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..experiment import Experiment
from .forward import partially_coherent
from .geometry import Canvas
from .probe import initial_probe, more_modes
from .sampling import MOST_BYTES, Sampling
from .settings import Settings
from .thick import empty_object

FWHM = 2.354820045
COPIES = 3


def first_probe(
    experiment: Experiment,
    settings: Settings,
    sampling: Sampling,
    mean: np.ndarray,
    pixel_m: np.ndarray,
) -> np.ndarray:
    """Return the probe of an empty object and the mean frame's power, (modes, h, w) complex64.

    Parameters
    ----------
    experiment : Experiment
    settings : Settings
    sampling : Sampling
    mean : (h, w) float64, counts
        Zero frequency at [0, 0].
    pixel_m : (2,) float64, m
        Of the object, NaN where unknown.

    Raises
    ------
    MissingMetadata
        When a needed quantity is unknown.
    ValueError
        When a given probe or the source does not fit the frames.
    """
    if experiment.probe is not None:
        given = initial_probe(experiment, sampling.shape, mean, settings.aberrations)
        probe = sampling.resampled(given)
    else:
        angles = experiment.angular_sampling_rad
        if angles is not None:
            angles = (angles[0] / sampling.wider, angles[1] / sampling.wider)
        finer = replace(experiment, angular_sampling_rad=angles)
        spread = np.fft.fftshift(sampling.split(mean))
        probe = initial_probe(finer, sampling.box, spread, settings.aberrations)
    if settings.source_size_nm:
        probe = _from_source(probe, settings, pixel_m, experiment)
    probe = more_modes(probe, settings.probe_modes).astype(np.complex128) * sampling.tilt()
    power = (np.abs(probe) ** 2).sum() * probe[0].size
    return (probe * np.sqrt(mean.sum() / power)).astype(np.complex64)


def _from_source(
    probe: np.ndarray, settings: Settings, pixel_m: np.ndarray, experiment: Experiment
) -> np.ndarray:
    experiment.need("wavelength_m")
    experiment.need("angular_sampling_rad")
    pixel = float(np.sqrt(np.prod(pixel_m)))
    widest = min(probe.shape[1:]) / 8 * pixel * FWHM * 1e9
    if settings.source_size_nm >= widest:
        raise ValueError(
            f"source_size_nm must lie below {widest:.3g}, an eighth of the probe's box in standard"
            f" deviations, got {settings.source_size_nm:g}; give the demagnified size"
        )
    sigma_px = settings.source_size_nm * 1e-9 / FWHM / pixel
    return partially_coherent(probe[0], sigma_px, settings.probe_modes)


def new_object(settings: Settings, shape: tuple[int, int]) -> np.ndarray:
    """Return an empty object, (H, W) or (states, slices, H, W) complex64.

    Raises
    ------
    ValueError
        When it and the threads' copies take more than 8 GB.
    """
    planes = settings.slices * settings.object_modes
    size = COPIES * 8.0 * planes * shape[0] * shape[1]
    if size > MOST_BYTES:
        raise ValueError(
            f"an object of {planes} planes of {shape[0]} x {shape[1]} pixels takes"
            f" {size / 1e9:.3g} GB, at most {MOST_BYTES / 1e9:.3g} GB are allowed; lower slices,"
            " object_modes or object_upsampling, scan a smaller field, or correct positions that"
            " lie far outside"
        )
    if settings.thick:
        return empty_object(settings.object_modes, settings.slices, shape, settings.seed)
    return np.ones(shape, np.complex64)


def with_room(
    settings: Settings,
    positions_px: np.ndarray,
    box: tuple[int, int],
    old: Canvas | None,
    obj: np.ndarray | None,
) -> tuple[Canvas, np.ndarray]:
    """Return a canvas that holds all boxes, and the object on it.

    Parameters
    ----------
    settings : Settings
    positions_px : (n, 2) float64
    box : (h, w)
    old : Canvas or None
        What there was; it is part of the new one.
    obj : (..., H, W) complex64 or None
        What has been reconstructed on the old one; it is kept.
    """
    corners = [positions_px.min(axis=0), positions_px.max(axis=0)]
    if old is not None:
        low = old.origin_px + np.array([box[0] // 2, box[1] // 2]) + 2
        corners += [low, low + np.array(old.shape) - np.array(box) - 4]
    new = Canvas.around(np.array(corners), box)
    if old is None or obj is None:
        return new, new_object(settings, new.shape)
    if new.shape == old.shape and np.all(new.origin_px == old.origin_px):
        return old, obj
    larger = new_object(settings, new.shape)
    y, x = (old.origin_px - new.origin_px).astype(int)
    larger[..., y : y + old.shape[0], x : x + old.shape[1]] = obj
    return new, larger
