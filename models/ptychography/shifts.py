"""Defocus, astigmatism, rotation and transposition from how bright-field images are displaced.

Images of neighbouring super-pixels are displaced against each other by the same vector wherever
in the disk they lie, as far as aberrations are of first order. So the cross-correlations of all
pairs of neighbours are added up, and two vectors tell everything: no reference image and no
start is needed, and few counts suffice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .parallax import lit, mean_vector, padded, spectra
from .side_bands import chunks, frequencies

if TYPE_CHECKING:
    from .single_sideband import SingleSideband

_GROUPS = 8
_LAGS = (1, 2, 4)
_TAPER = 0.2
_PER_SIGMA = 4.0


@dataclass(frozen=True)
class ShiftFit:
    """First-order optics from displacements.

    Parameters
    ----------
    defocus_m, defocus_sigma_m : float, m
        Positive is underfocus.
    scan_rotation_rad, scan_rotation_sigma_rad : float, rad
        As `Experiment` has it, in (-pi, pi].
    transposed : bool
    astigmatism_m : float, m
        C12, not negative.
    astigmatism_axis_rad : float, rad
        phi12, from the detector's +x towards +y, in (-pi / 2, pi / 2].
    matrix_m : ((yy, yx), (xy, xx)) float, m
        Displacement in the scan's frame for each rad of tilt in the detector's.
    trust : bool
        Whether the displacements are well above their error.
    """

    defocus_m: float
    defocus_sigma_m: float
    scan_rotation_rad: float
    scan_rotation_sigma_rad: float
    transposed: bool
    astigmatism_m: float
    astigmatism_axis_rad: float
    matrix_m: tuple[tuple[float, float], tuple[float, float]]
    trust: bool

    def to_metadata(self) -> dict[str, Any]:
        """Return keys of a start document."""
        return {
            "defocus_nm": self.defocus_m * 1e9,
            "defocus_sigma_nm": self.defocus_sigma_m * 1e9,
            "scan_rotation_deg": math.degrees(self.scan_rotation_rad),
            "scan_rotation_sigma_deg": math.degrees(self.scan_rotation_sigma_rad),
            "transposed": self.transposed,
        }


def fit_shifts(model: SingleSideband, *, underfocus: bool = True) -> ShiftFit:
    """Fit how bright-field images are displaced.

    Turning the scan by 180 degrees and changing the sign of the defocus displace images alike:
    which side of focus the probe is on must be known, and the rotation follows. It needs some
    defocus, more than ``wavelength / angle^2``, and less astigmatism than defocus.

    Parameters
    ----------
    model : SingleSideband
        With its frames; rotation, transposition and aberrations it was given do not matter.
    underfocus : bool
        Whether the defocus is positive.

    Raises
    ------
    ValueError
        When there are no frames, or too few super-pixels side by side.
    """
    crosses, lags, q = _crosses(model)
    groups = np.arange(_GROUPS)
    whole = _matrix(crosses, lags, q, np.ones(_GROUPS, bool))
    left_out = np.array([_matrix(crosses, lags, q, groups != g, whole) for g in groups])
    sign = 1.0 if underfocus else -1.0
    c10, rotation, transposed, c12, axis = _first_order(whole, sign)
    apart = np.array([_first_order(m, sign)[:2] for m in left_out])
    moved = apart - (c10, rotation)
    moved[:, 1] = (moved[:, 1] + math.pi) % (2 * math.pi) - math.pi
    sigma = np.sqrt((_GROUPS - 1) / _GROUPS * (moved**2).sum(axis=0))
    optics = model.optics
    deep = optics.wavelength_m / optics.semi_convergence_angle_rad**2
    return ShiftFit(
        -c10,
        float(sigma[0]),
        rotation,
        float(sigma[1]),
        transposed,
        c12,
        axis,
        ((float(whole[0, 0]), float(whole[0, 1])), (float(whole[1, 0]), float(whole[1, 1]))),
        bool(abs(c10) > _PER_SIGMA * sigma[0] and abs(c10) > deep and c12 < abs(c10)),
    )


def _crosses(model: SingleSideband) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return cross-spectra (lag, group, Q), lags (lag, 2) in rad, and frequencies (Q, 2)."""
    canvas, field = model.gathered()
    values, weight, _ = canvas.touched
    shape = padded(weight.shape)
    q = frequencies(shape, canvas.step)
    use, mean = lit(field, model.optics), mean_vector(canvas)
    radius = np.hypot(q[..., 0], q[..., 1])
    span = canvas.step * min(weight.shape)
    limit = min(
        model.optics.semi_convergence_angle_rad / model.optics.wavelength_m, 0.45 / canvas.step
    )
    band = (radius > 1.2 / span) & (radius < limit)
    parts = [
        spectra(values, weight, use[part], mean, shape, _TAPER)[band]
        for part in chunks(len(use), shape)
    ]
    data = np.concatenate(parts, axis=1) / np.maximum(mean[use], 1e-30).astype(np.float32)
    where = np.full(field.box, -1)
    where.ravel()[field.keep[use]] = np.arange(len(use))
    angles = field.angles_rad(model.optics)[use]
    sector = ((np.arctan2(*angles.T) / (2 * np.pi) + 0.5) * _GROUPS).astype(int) % _GROUPS
    pixel = np.array(model.optics.angular_sampling_rad) * field.size
    crosses, lags = [], []
    for n in _LAGS:
        for axis in (0, 1):
            one = where[:-n] if axis == 0 else where[:, :-n]
            other = where[n:] if axis == 0 else where[:, n:]
            both = (one >= 0) & (other >= 0)
            if not both.any():
                continue
            one, other = one[both], other[both]
            cross = np.zeros((_GROUPS, data.shape[0]), np.complex128)
            for g in range(_GROUPS):
                mine = sector[one] == g
                cross[g] = (data[:, one[mine]] * data[:, other[mine]].conj()).sum(axis=1)
            crosses.append(cross)
            lags.append(n * pixel * (np.arange(2) == axis))
    if not crosses or not {0, 1} <= {int(np.argmax(lag)) for lag in lags}:
        raise ValueError("too few super-pixels lie side by side; give more bins_across")
    return np.array(crosses), np.array(lags), q[band]


def _matrix(
    crosses: np.ndarray,
    lags: np.ndarray,
    q: np.ndarray,
    groups: np.ndarray,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """Return the displacement (2, 2) per rad of tilt that fits all lags best."""
    total = crosses[:, groups].sum(axis=1)
    # a step well below the finest period, over what the coarsest frequency tells apart
    finest = 0.5 / float(np.hypot(*q.T).max())
    matrix = np.zeros((2, 2)) if start is None else start.copy()
    for axis in (0, 1):
        mine = [n for n in range(len(lags)) if lags[n, axis] > 0]
        known = start is not None
        for n in mine:
            lag = float(lags[n, axis])
            guess = matrix[:, axis] * lag
            if not known:
                guess = _coarse(total[n], q, finest / 3)
            known = True
            matrix[:, axis] = _peak(total[n], q, guess) / lag
    return matrix


def _coarse(cross: np.ndarray, q: np.ndarray, step: float) -> np.ndarray:
    """Return where the cross-correlation is largest, on a grid."""
    reach = 0.5 / float(np.hypot(*q.T).min())
    side = np.arange(-math.ceil(reach / step), math.ceil(reach / step) + 1) * step
    turns_y = np.exp(-2j * np.pi * np.outer(side, q[:, 0]))
    turns_x = np.exp(-2j * np.pi * np.outer(q[:, 1], side))
    height = np.real((turns_y * cross) @ turns_x)
    # the displacement of neighbours is small: of equal peaks of a crystal the nearest counts
    damped = height * np.exp(-(side[:, None] ** 2 + side**2) / (2 * (reach / 4) ** 2))
    y, x = np.unravel_index(int(np.argmax(damped)), damped.shape)
    return np.array([side[y], side[x]])


def _peak(cross: np.ndarray, q: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Climb from `start` to the maximum of the cross-correlation near it."""
    place = start.astype(float).copy()
    bound = 0.5 / float(np.hypot(*q.T).max())
    for _ in range(12):
        wave: np.ndarray = np.asarray(cross * np.exp(-2j * np.pi * (q @ place)))
        slope = 2 * np.pi * (q.T @ np.imag(wave))
        bend = (2 * np.pi) ** 2 * (q.T * np.real(wave)) @ q
        if np.linalg.eigvalsh(bend)[0] <= 0:  # on no hill yet: go up it
            move = bound / 4 * slope / max(float(np.linalg.norm(slope)), 1e-300)
        else:
            move = np.linalg.solve(bend, slope)
            move *= min(1.0, bound / 2 / max(float(np.linalg.norm(move)), 1e-300))
        place += move
        if float(np.linalg.norm(move)) < 1e-4 * bound:
            break
    return place


def _first_order(matrix: np.ndarray, sign: float) -> tuple[float, float, bool, float, float]:
    """Return C10, scan rotation, transposition, C12 and phi12 of a displacement matrix."""
    transposed = bool(np.linalg.det(matrix) < 0)
    left, stretch, right = np.linalg.svd(matrix)
    turned = sign * left @ right  # the scan's frame from the detector's
    symmetric = -sign * (right.T * stretch) @ right
    if transposed:
        turned = turned[:, ::-1]  # the swap comes first
    y, x = turned @ np.array([0.0, 1.0])
    rotation = -math.atan2(y, x)
    c10 = float(np.trace(symmetric)) / 2
    along = (symmetric[1, 1] - symmetric[0, 0]) / 2
    across = (symmetric[0, 1] + symmetric[1, 0]) / 2
    return (
        c10,
        rotation,
        transposed,
        float(math.hypot(along, across)),
        0.5 * math.atan2(float(across), float(along)),
    )
