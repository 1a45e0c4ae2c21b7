"""Edges and compounds in every energy-loss spectrum, with their uncertainties."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..models.base import Batch
from ..models.spectra.edges import COMPOUNDS, edge
from ..models.spectra.eels import EnergyLoss
from .fluorescence import listed
from .live import LiveCallback
from .metadata import METADATA_KEYS, experiment_of
from .publish import Publisher


def energy_loss(
    start: Mapping[str, Any],
    publisher: Callable[[], Publisher],
    *,
    edges: str | Sequence[str] = (),
    references: str | Sequence[str] = (),
    energy_start_ev: float | None = None,
    energy_step_ev: float | None = None,
    offset_ev: float | None = None,
    resolution_ev: float = 1.0,
    collection_mrad: float | None = None,
    counts_per_electron: float | None = None,
    **metadata: Any,
) -> LiveCallback:
    """Build the analysis `energy_loss` for a run of spectra.

    Parameters
    ----------
    start : mapping
        The run's start document.
    publisher : callable () -> Publisher
    edges : str or sequence of str
        "Ti_L,O_K".
    references : str or sequence of str
        Compounds such as "Li2CO3,LiF", or files of two columns (eV, intensity without
        background).
    energy_start_ev, energy_step_ev : float, eV
        The axis where the run states none.
    offset_ev, resolution_ev, collection_mrad, counts_per_electron
        Of `models.spectra.eels.EnergyLoss`.
    **metadata
        Keys that take the place of those in the start document, such as ``energy_kev``.

    Raises
    ------
    ValueError
        When a reference cannot be read.
    """
    compounds, spectra = _references(listed(references))
    dwell_ms = metadata.get("dwell_ms", start.get("dwell_ms"))

    def build(batch: Batch) -> EnergyLoss:
        axis = batch.axes.get("energy_kev_axis")
        if energy_step_ev is not None:
            channels = np.arange(batch.frames.shape[-1])
            axis = ((energy_start_ev or 0.0) + energy_step_ev * channels) * 1e-3
        return EnergyLoss(
            experiment_of(start, metadata),
            listed(edges),
            axis,
            references=compounds,
            spectra=spectra,
            offset_ev=offset_ev,
            resolution_ev=resolution_ev,
            collection_mrad=collection_mrad,
            counts_per_electron=counts_per_electron,
            dwell_s=None if not dwell_ms else float(dwell_ms) * 1e-3,
        )

    return LiveCallback(start, publisher, build)


def _references(names: Sequence[str]) -> tuple[list[str], dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Return which references are known compounds, and the spectra of those that are files."""
    compounds, spectra = [], {}
    for name in names:
        if name in COMPOUNDS:
            compounds.append(name)
            continue
        path = Path(name)
        if not path.is_file():
            raise ValueError(
                f"the reference {name!r} is neither a file nor one of {', '.join(COMPOUNDS)}"
            )
        try:
            table = np.loadtxt(path, delimiter="," if path.suffix == ".csv" else None, ndmin=2)
        except ValueError as error:
            raise ValueError(
                f"the reference {path.name} is no table of numbers: {error}"
            ) from error
        known = table.ndim == 2 and table.shape[1] >= 2 and len(table) > 3
        if not known or not np.all(np.diff(table[:, 0]) > 0) or not np.isfinite(table).all():
            raise ValueError(
                f"the reference {path.name} must have two columns of finite numbers, energy in eV "
                "that ascends and intensity"
            )
        spectra[path.stem] = (table[:, 0], np.maximum(table[:, 1], 0.0))
    return compounds, spectra


def check(table: Mapping[str, Any]) -> None:
    """Look at the edges and references that a profile's table names.

    Raises
    ------
    ValueError
        When there are none, or one is none.
    """
    edges, references = listed(table.get("edges", ())), listed(table.get("references", ()))
    if not edges and not references:
        raise ValueError("edges or references are needed, such as --set energy_loss.edges=Ti_L,O_K")
    for name in edges:
        edge(name)
    _references(references)


energy_loss.also_accepts = METADATA_KEYS  # type: ignore[attr-defined]
energy_loss.check = check  # type: ignore[attr-defined]
