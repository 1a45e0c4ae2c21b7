"""The history of the cell of every run: charge, x in LixPt, dQ/dV and its peaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..models.base import Batch
from ..models.cell_history import CellHistory
from ..models.electrochemistry import platinum_mol
from .cell_samples import SampleSource
from .live import LiveCallback
from .publish import Publisher


def cell_history(
    start: Mapping[str, Any],
    publisher: Callable[[], Publisher],
    *,
    thickness_nm: float | None = None,
    area_cm2: float = 1.0,
    x_start: float = 0.0,
    bin_v: float = 0.01,
    peak_over_mean: float = 2.0,
    rest_ma: float = 0.0,
) -> LiveCallback:
    """Build the analysis `cell_history` for a run.

    Parameters
    ----------
    start : mapping
        The run's start document.
    publisher : callable () -> Publisher
    thickness_nm : float, nm, optional
        Of the platinum film; x in LixPt is given where it is known.
    area_cm2 : float, square centimetres
    x_start : float
        x at the first sample.
    bin_v, peak_over_mean, rest_ma
        As of `CellHistory`.

    Raises
    ------
    ValueError
        For a setting out of its range.
    """
    settings = {
        "x_start": x_start,
        "bin_v": bin_v,
        "peak_over_mean": peak_over_mean,
        "rest_ma": rest_ma,
    }

    def build(batch: Batch | None = None) -> CellHistory:
        film = None if thickness_nm is None else platinum_mol(thickness_nm, area_cm2)
        return CellHistory(n_pt_mol=film, **settings)

    build()  # what is wrong is said before the run
    return LiveCallback(start, publisher, build, source=SampleSource())
