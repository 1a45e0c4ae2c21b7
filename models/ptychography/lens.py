"""What the direct method's canvas tells of the lens, where the run does not: defocus and frame.

In focus the deflection of the beam tells the scan's frame (`Alignment`). Far from focus it is
blurred away, and the displacement of bright-field images tells it instead.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import scipy.stats

from ..experiment import Experiment
from .parallax import estimate_defocus
from .shifts import ShiftFit, fit_shifts
from .single_sideband import SingleSideband

_SURE = 3.0
_WIDEST_M = 400e-9
# a bright-field image displaced by more than this share of the field meets no other
_OVERLAP = 0.7


def refocused(known: Experiment, direct: SingleSideband) -> tuple[Experiment, str]:
    """Return the experiment with the defocus that its frames show, and what to say of it.

    Where they show none, it is left as it is known so far.

    Parameters
    ----------
    known : Experiment
        In its scan's frame, which `direct` has been told.
    direct : SingleSideband
        With all frames; its aberrations other than defocus are taken to be right.
    """
    angle = direct.optics.semi_convergence_angle_rad
    canvas, _ = direct.gathered()
    field_m = canvas.step * min(canvas.touched[1].shape)
    reach = min(_WIDEST_M, _OVERLAP * field_m / angle)
    found = estimate_defocus(direct, -reach, reach)
    if found is None and known.defocus_m:
        return known, f"estimated: defocus_nm {known.defocus_m * 1e9:.3g} from displaced images"
    if found is None:
        return known, "defocus unknown: the frames do not tell defocus_nm; taken as 0"
    words = f"estimated: defocus_nm {found.defocus_m * 1e9:.3g} +- {found.sigma_m * 1e9:.2g}"
    if abs(found.defocus_m) < _SURE * found.sigma_m:
        return replace(known, defocus_m=0.0), f"{words} and so taken as 0"
    return replace(known, defocus_m=found.defocus_m), f"{words}, from the bright field"


def framed(known: Experiment, direct: SingleSideband) -> tuple[Experiment, str] | None:
    """Return the experiment in its scan's frame as displaced images tell it, and what to say.

    Which side of focus the probe is on follows from a stated defocus, else from atoms being peaks
    of the phase.

    Returns
    -------
    (Experiment, str) or None
        None where images are not displaced enough to tell.
    """
    try:
        sides = [fit_shifts(direct, underfocus=under) for under in (True, False)]
    except (ValueError, np.linalg.LinAlgError):
        return None
    if not sides[0].trust:
        return None
    if known.defocus_stated and known.defocus_m:
        fit = sides[0 if known.defocus_m > 0 else 1]
        by = "the stated side of focus"
    else:
        peaks = [_peakedness(direct, side) for side in sides]
        fit = sides[int(np.argmax(peaks))]
        by = "peaks"
    words = (
        f"estimated: scan_rotation_deg {math.degrees(fit.scan_rotation_rad):.1f}"
        f" +- {math.degrees(fit.scan_rotation_sigma_rad):.1f},"
        f" transposed {str(fit.transposed).lower()}, from displaced bright-field images; its"
        f" sign from {by}"
    )
    turned = replace(
        known, scan_rotation_rad=fit.scan_rotation_rad, transposed=bool(fit.transposed)
    )
    if not known.defocus_stated:
        turned = replace(turned, defocus_m=fit.defocus_m)
    return turned, words


def _peakedness(direct: SingleSideband, fit: ShiftFit) -> float:
    """Return the skewness of the phase that a fit gives."""
    direct.set_optics(
        scan_rotation_rad=fit.scan_rotation_rad,
        transposed=fit.transposed,
        aberrations={"C10": direct.experiment.defocus_m - fit.defocus_m},
    )
    return float(scipy.stats.skew(direct.phase()[0].ravel()))
