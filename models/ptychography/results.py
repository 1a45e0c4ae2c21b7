"""What a reconstruction publishes, and the reasons not to trust it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.ndimage

from ..base import Quantity
from .geometry import into_detector, into_scan, median_spacing
from .merit import denoised
from .probe import probe_diameter_px
from .thick import states_of
from .visits import field_reasons

if TYPE_CHECKING:
    from .iterative import IterativePtychography

MIN_FRAMES = 16
MIN_OVERLAP = 0.6
SETTLED = 0.03
MAX_DIAMETER = 0.7
POWER = 1.5
WANDERING = 0.05
AMPLITUDE = 1.25
SHARED = 0.5


def shared_result(
    obj: np.ndarray,
    phase: np.ndarray,
    pixel_m: np.ndarray,
    probe: np.ndarray | None,
    positions: np.ndarray,
    scan_index: np.ndarray,
    origin: np.ndarray,
    units: str,
    method: str,
    fourier_error: float,
    reasons: list[str],
    *,
    frc: np.ndarray | None = None,
    held_out_error: float = np.nan,
    axis: str = "",
) -> dict[str, Quantity]:
    """Return the quantities of any reconstruction.

    Parameters
    ----------
    obj : (H, W) complex64
        In the scan's frame of reference; `axis` names the axis before, where there is one.
    phase : (H, W) float32, rad
    pixel_m : (2,) float64, m
        Size of a pixel yx, NaN where unknown.
    probe : (modes, h, w) complex64 or None
        In the detector's frame of reference, centre at ``[h // 2, w // 2]``.
    positions : (n, 2) float64, `units`
    scan_index : (n,) int64
    origin : (2,) float64, `units`
        Position of the object's pixel [0, 0] in the scan.
    units : {"m", "px"}
    method : str
    fourier_error : float
    reasons : list of str
        Why the result should not be trusted; empty where it may be.
    frc : (rings,) float64 or None
        Fourier ring correlation of two independent halves; NaN where it was not asked for.
    held_out_error : float
        `fourier_error` of frames that were not learnt from.
    axis : str
        Of an object of several planes: "slice", from the side where the beam comes in, or
        "object_mode".
    """
    dims = (axis, "y", "x") if axis else ("y", "x")
    quantities = {
        "object": Quantity(obj, "", dims),
        "object_phase": Quantity(phase, "rad", dims),
        "object_pixel_m": Quantity(pixel_m, "m", ("yx",)),
        f"object_origin_{units}": Quantity(origin, units, ("yx",)),
        f"positions_{units}": Quantity(positions, units, ("frame", "yx")),
        "scan_index": Quantity(scan_index, "", ("frame",)),
        "fourier_error": Quantity(float(fourier_error)),
        "held_out_error": Quantity(float(held_out_error)),
        "frc": Quantity(np.full(1, np.nan) if frc is None else frc, "", ("ring",)),
        "method": Quantity(method),
        "n_frames": Quantity(len(positions)),
        "trust": Quantity(not reasons),
        "trust_reasons": Quantity(reasons, "", ("reason",)),
    }
    if probe is not None:
        quantities["probe"] = Quantity(probe, "", ("mode", "y", "x"))
    return quantities


def iterative_result(model: IterativePtychography) -> dict[str, Quantity]:
    """Return the result of an iterative reconstruction.

    ``fourier_error`` is ``sum (|model| - sqrt(counts))^2 / sum counts`` of the final object and
    probe over the frames learnt from after `converge`, else over those of the last preview; the
    object that it is of has not been through the noise filter. The
    object is turned into the scan's frame; its phase is relative to its mean where the beam has
    been, slice by slice. Of several object modes the phases are those of the strongest.
    """
    canvas, probe = model.canvas_, model.probe_
    assert model.obj_ is not None  # noqa: S101  (for the type checker)
    assert canvas is not None  # noqa: S101
    assert probe is not None  # noqa: S101
    experiment, settings, sampling = model.experiment, model.settings, model.sampling
    pixel_m = model.pixel_m
    scale = np.ones(2) / sampling.finer if experiment.units == "px" else pixel_m
    index, given = model.measured.given()
    frame = experiment.scan_rotation_rad, bool(experiment.transposed)
    corner = canvas.origin_px * scale
    planes = model.obj_.reshape(-1, *canvas.shape)
    if model.converged_ and settings.filters(experiment.radiation):
        planes = denoised(planes, model.frc_, model.frc_side_px_)
    turned = [_into_scan_frame(plane, corner, scale, *frame) for plane in planes]
    obj, origin = np.array([plane for plane, _ in turned]), turned[0][1]
    reasons = []
    if model.plan.position_bound_px and model.moves_px_ is not None:
        moves, bound = model.moves_px_, model.plan.position_bound_px
        given = given + into_scan(moves * scale, *frame)
        far = int((np.abs(moves) > 0.99 * bound).any(axis=1).sum())
        if far > WANDERING * len(moves):
            reasons.append(
                f"positions wandering: {far} of {len(moves)} came to the bound of {bound:g} px"
            )
    probe = probe * sampling.tilt().conj() if sampling.centre else probe
    lit = _lit(obj.shape[1:], given, origin, scale, probe)
    if settings.object_modes > 1:
        obj = states_of(obj, lit)
    for plane in obj:
        mean = plane[lit].mean() if lit.any() else plane.mean()
        plane *= np.exp(-1j * np.angle(mean))
    axis = "slice" if settings.slices > 1 else "object_mode" if settings.object_modes > 1 else ""
    seen = np.prod(obj[:, lit], axis=0)
    if settings.object_modes > 1:
        seen = np.sqrt((np.abs(obj[:, lit]) ** 2).sum(axis=0))
    obj = obj if axis else obj[0]
    quantities = shared_result(
        obj,
        np.angle(obj),
        pixel_m,
        probe,
        given,
        index,
        origin,
        experiment.units,
        settings.method,
        model.fourier_error_,
        _reasons(model, given / scale, seen, probe) + reasons,
        frc=model.frc_,
        held_out_error=model.held_out_error_,
        axis=axis,
    )
    if settings.slices > 1:
        quantities["slice_thickness_m"] = Quantity(settings.slice_thickness_nm * 1e-9, "m")
    if settings.background and model.background_ is not None:
        background = np.fft.fftshift(sampling.measured(model.background_))
        quantities["background"] = Quantity(background, "counts", ("y", "x"))
    return quantities


def _lit(
    shape: tuple[int, ...],
    positions: np.ndarray,
    origin: np.ndarray,
    scale: np.ndarray,
    probe: np.ndarray,
) -> np.ndarray:
    """Return where within a probe's radius of its centre the beam has been, (H, W) bool."""
    pixels = np.rint((positions - origin) / scale).astype(int)
    inside = np.all((pixels >= 0) & (pixels < np.array(shape)), axis=1)
    visited = np.zeros(shape, bool)
    visited[tuple(pixels[inside].T)] = True
    distance = scipy.ndimage.distance_transform_edt(~visited)
    return np.asarray(distance) <= max(1.0, probe_diameter_px(probe) / 2)


def _into_scan_frame(
    obj: np.ndarray, origin: np.ndarray, scale: np.ndarray, rotation: float, transposed: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Resample an object of the detector's frame on the scan's axes.

    Returns the object and where its pixel [0, 0] lies in the scan.
    """
    if rotation == 0 and not transposed:
        return obj, origin
    shape = np.array(obj.shape[::-1] if transposed else obj.shape)
    middle, new_middle = (np.array(obj.shape) - 1) / 2, (shape - 1) / 2
    turned_middle = into_scan(origin + middle * scale, rotation, transposed)
    # columns: where a step along the new y and x leads on the old grid
    matrix = into_detector(np.eye(2), rotation, transposed).T * scale[None, :] / scale[:, None]
    offset = middle - matrix @ new_middle
    parts = [
        scipy.ndimage.affine_transform(
            part,
            matrix,
            offset,  # pyright: ignore[reportArgumentType]  (the stub knows numbers only)
            output_shape=tuple(shape.tolist()),
            order=3,
            cval=cval,
        )
        for part, cval in ((np.real(obj), 1.0), (np.imag(obj), 0.0))
    ]
    return (parts[0] + 1j * parts[1]).astype(np.complex64), turned_middle - new_middle * scale


def _reasons(
    model: IterativePtychography, positions_px: np.ndarray, lit: np.ndarray, probe: np.ndarray
) -> list[str]:
    reasons = []
    if not model.converged_:
        reasons.append("preview: converge has not run over all frames")
    elif not model.settled_ and model.errors_[-1] < (1 - SETTLED) * model.errors_[-2:][0]:
        reasons.append(
            f"not converged: the last pass still lowered the error by more than {SETTLED:.0%}"
        )
    n = len(positions_px)
    if n < MIN_FRAMES:
        reasons.append(f"too few frames: {n}, at least {MIN_FRAMES} are wanted")
    reasons += model.measured.reasons()
    step, diameter = median_spacing(positions_px), probe_diameter_px(probe)
    if 1 - step / max(diameter, 1e-9) < MIN_OVERLAP:
        reasons.append(
            f"undersampled: overlap is low, the step of {step:.1f} px is more than"
            f" {1 - MIN_OVERLAP:.0%} of the probe's diameter of {diameter:.1f} px"
        )
    reasons += field_reasons(positions_px, diameter)
    box = min(probe.shape[1:])
    if diameter > MAX_DIAMETER * box:
        reasons.append(
            f"probe larger than the box: its diameter of {diameter:.0f} px is more than"
            f" {MAX_DIAMETER:.0%} of the box of {box} px; defocus less or sample finer in angle"
        )
    if model.settings.method == "dm" and model.settings.likelihood == "amplitude":
        reasons.append(
            "contrast: the difference map with the amplitude likelihood leaves the phase too low;"
            " take the Poisson likelihood"
        )
    if model.converged_:
        reasons += _scale_reasons(model, lit, probe)
        if np.isfinite(model.frc_[1:]).any() and not np.nanmax(model.frc_[1:]) >= SHARED:
            reasons.append(
                "noise: odd and even frames share no detail, their Fourier ring correlation stays"
                f" below {SHARED:g}; take more dose"
            )
    return reasons


def _scale_reasons(model: IterativePtychography, lit: np.ndarray, probe: np.ndarray) -> list[str]:
    """Return what is odd about the scale of object and probe, which share one scale."""
    reasons = []
    counts = float(model.measured.mean_frame().sum())
    if model.background_ is not None:
        counts -= float(model.background_.sum())
    power = float((np.abs(probe) ** 2).sum(dtype=np.float64)) * probe[0].size
    mean = float(np.abs(lit).mean()) if lit.size else 1.0
    if not 1 / POWER <= power * mean**2 / max(counts, 1e-30) <= POWER:
        reasons.append(
            f"probe power: probe and object give {power * mean**2:.3g} counts a frame, the frames"
            f" have {counts:.3g}"
        )
    if model.experiment.radiation == "electron" and not 1 / AMPLITUDE <= mean <= AMPLITUDE:
        reasons.append(
            f"amplitude: the object's mean is {mean:.2f}, and thin matter's is about 1;"
            " check positions, probe and scale"
        )
    return reasons
