"""What is done between passes: constraints of probe and slices, and the background's estimate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.ndimage

from ..experiment import Experiment
from .background_kernels import residual_sums
from .problem import CLASSES, Problem, moved
from .propagation import depth_filter
from .sampling import Sampling
from .settings import Settings
from .stripes import run
from .thick import ThickProblem

APERTURE_EDGE_PX = 2.0
SUPPORT_EDGE_PX = 4.0
BACKGROUND_FROM = 2
BACKGROUND_SMOOTH_PX = 1.0


@dataclass(frozen=True, eq=False)
class Constraints:
    """What holds after each pass.

    Parameters
    ----------
    aperture : (h, w) float32 or None
        What the probe's spectrum is multiplied by, zero frequency at [0, 0].
    support : (h, w) float32 or None
        What the probe is multiplied by.
    counts : float or None
        The probe's power.
    depth : (slices, H, W) float32 or None
        `propagation.depth_filter`.
    background : bool
    """

    aperture: np.ndarray | None = None
    support: np.ndarray | None = None
    counts: float | None = None
    depth: np.ndarray | None = None
    background: bool = False

    def apply(self, problem: Problem, passes: int) -> None:
        """Make them hold, after so many passes."""
        probe = problem.probe
        if self.aperture is not None:
            probe = np.asarray(scipy.fft.ifft2(scipy.fft.fft2(probe) * self.aperture))
        if self.support is not None:
            probe = probe * self.support
        problem.probe = np.ascontiguousarray(probe, np.complex64)
        if self.counts is not None:
            power = float((np.abs(problem.probe) ** 2).sum(dtype=np.float64)) * probe[0].size
            scale = np.float32(np.sqrt(self.counts / max(power, 1e-30)))
            problem.probe *= scale
            first = problem.obj if problem.obj.ndim == 2 else problem.obj[:, 0]
            first /= scale
        if self.depth is not None:
            for state in problem.obj:
                spectrum = scipy.fft.fft2(scipy.fft.dct(state, axis=0), axes=(1, 2))
                state[:] = scipy.fft.idct(scipy.fft.ifft2(spectrum * self.depth), axis=0)
        if self.background and passes >= BACKGROUND_FROM:
            problem.background = estimate(problem)


def constraints_for(
    settings: Settings,
    experiment: Experiment,
    sampling: Sampling,
    pixel_m: np.ndarray,
    counts: float,
    shape: tuple[int, int],
) -> Constraints:
    """Return the constraints that settings ask for.

    Parameters
    ----------
    settings : Settings
    experiment : Experiment
    sampling : Sampling
    pixel_m : (2,) float64, m
        Of the object.
    counts : float
        Of the mean frame.
    shape : (H, W)
        The object.

    Raises
    ------
    MissingMetadata
        When the aperture is to be kept and is not known.
    """
    wanted = settings.probe_aperture
    if wanted == "auto":
        known = (experiment.semi_convergence_angle_rad, experiment.angular_sampling_rad)
        wanted = None not in known and experiment.probe is None
    depth = None
    if settings.slice_regularisation:
        depth = depth_filter(
            (settings.slices, *shape),
            (float(pixel_m[0]), float(pixel_m[1])),
            experiment.need("wavelength_m"),
            settings.slice_thickness_nm * 1e-9,
            settings.slice_regularisation,
        )
    return Constraints(
        aperture_mask(experiment, sampling) if wanted else None,
        support_mask(sampling.box, settings.probe_support) if settings.probe_support else None,
        counts if settings.probe_power else None,
        depth,
        settings.background,
    )


def aperture_mask(experiment: Experiment, sampling: Sampling) -> np.ndarray:
    """Return 1 within the semi-convergence angle, (h, w) float32, zero frequency at [0, 0].

    The edge begins at the angle and ends 2 detector pixels further out, for what the calibration
    and a pixel's width leave open.
    """
    angle = experiment.need("semi_convergence_angle_rad")
    angles = experiment.need("angular_sampling_rad")
    y, x = (
        (np.fft.fftfreq(n, 1 / n) - sampling.centre) * step / sampling.wider
        for n, step in zip(sampling.box, angles, strict=True)
    )
    radius = np.hypot(y[:, None], x[None])
    edge = APERTURE_EDGE_PX * float(np.sqrt(angles[0] * angles[1]))
    return _falling((radius - angle) / edge)


def support_mask(box: tuple[int, int], fraction: float) -> np.ndarray:
    """Return 1 within a disk of a fraction of the box's shorter side, (h, w) float32.

    The edge begins at the disk's rim and ends 4 object pixels further out.
    """
    y, x = (np.arange(n) - n // 2 for n in box)
    radius = np.hypot(y[:, None], x[None])
    return _falling((radius - fraction * min(box) / 2) / SUPPORT_EDGE_PX)


def _falling(t: np.ndarray) -> np.ndarray:
    """Return 1 below t = 0, 0 above t = 1, a cosine between."""
    return (0.5 + 0.5 * np.cos(np.pi * np.clip(t, 0, 1))).astype(np.float32)


def estimate(problem: Problem) -> np.ndarray:
    """Return a better background (h, w) float32, counts, at least 0.

    One step of Newton's method for the background that makes all frames likeliest, object and
    probe being as they are: the mean residual, frames where a pixel is dark counting most. It is
    smooth by a pixel. Where the direct beam falls, frames hardly differ and a background hardly
    differs from a brighter probe: there it is the least certain.
    """
    obj, propagator = problem.obj, np.ones(problem.probe.shape[1:], np.complex64)
    if isinstance(problem, ThickProblem):
        propagator = problem.propagator
    else:
        obj = obj[None, None]
    corners, kinds = problem.places()
    spectrum = np.asarray(scipy.fft.fft2(problem.probe))
    sums = np.zeros((2, *problem.background.shape))

    def work(share: tuple[np.ndarray, int]) -> np.ndarray:
        order, kind = share
        own = np.zeros_like(sums)
        residual_sums(
            obj, moved(spectrum, kind), propagator, problem.counts, problem.background,
            np.float32(problem.floor), order, corners, own[0], own[1],
        )  # fmt: skip
        return own

    shares = [(problem.rows[kinds[problem.rows] == kind], kind) for kind in range(CLASSES**2)]
    for own in run(problem.pool, work, [share for share in shares if len(share[0])]):
        sums += own
    sums = [scipy.ndimage.gaussian_filter(s, BACKGROUND_SMOOTH_PX, mode="wrap") for s in sums]
    better = problem.background + sums[0] / np.maximum(sums[1], 1e-30)
    return (np.maximum(better, 0) * (problem.good > 0)).astype(np.float32)
