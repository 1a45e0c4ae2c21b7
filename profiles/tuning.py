"""The fits that a session hands to the tuning plans, and where what they find is kept.

A fit reads the tuning run back from the journal, as any replay would. What it finds goes into
``RE.md["calibration"]`` and from there into the start document of every later run, flat, so that
analyses read it like any other metadata; what a plan or ``--set`` states has precedence.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..callbacks.assets import AssetReader
from ..callbacks.frames import FrameSource
from ..callbacks.metadata import experiment_of
from ..callbacks.positions import COMMANDED, READBACK
from ..models.base import Batch
from ..models.calibration import fit_descan, fit_lag
from ..models.calibration_disk import fit_disk
from ..models.calibration_frame import MAX_CURL
from ..models.corrections import corrected, tables
from ..models.ptychography.parallax import estimate_defocus
from ..models.ptychography.single_sideband import SingleSideband
from ..models.virtual_images import VirtualImages
from .archive import Archive

CALIBRATION = "calibration"
_OF_THE_FIT = ("tuned_by",)
_WANDER_PX, _SURE = 0.5, 5.0


def with_fits(
    plans: Mapping[str, Callable[..., Any]], archive: Archive, metadata: MutableMapping[str, Any]
) -> dict[str, Callable[..., Any]]:
    """Return the plans, those that tune bound to their fits.

    Parameters
    ----------
    plans : mapping of str to plan
    archive : Archive
        Where the tuning runs are.
    metadata : mapping
        ``RE.md``; gets what was found.
    """
    bound = dict(plans)
    for name, fit in FITS.items():
        if name in plans:
            bound[name] = _bound(plans[name], functools.partial(fit, archive), metadata)
    return bound


def found_so_far(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tuning has found, for the start documents of runs."""
    return dict(metadata.get(CALIBRATION) or {})


def _bound(
    plan: Callable[..., Any], fit: Callable[[str], Mapping[str, Any]], metadata: Any
) -> Callable[..., Any]:
    @functools.wraps(plan)
    def tuned(*args: Any, **kwargs: Any) -> Any:
        own_fit = kwargs.get("fit") is not None or len(args) > 2
        found = yield from plan(*args, **kwargs if own_fit else {**kwargs, "fit": fit})
        known = {key: value for key, value in found.items() if key not in _OF_THE_FIT}
        metadata[CALIBRATION] = {**found_so_far(metadata), **known}
        return found

    return tuned


def fit_rotation(archive: Archive, uid: str) -> dict[str, Any]:
    """Find ``scan_rotation_deg`` and ``transposed`` of a run.

    Raises
    ------
    ValueError
        When the deflection is no gradient, so that there is no telling.
    """
    start, batches = _run(archive, uid)
    model = VirtualImages(experiment_of(start, {"scan_rotation_deg": "auto", "transposed": "auto"}))
    for batch in batches:
        model.partial_fit(batch)
    result = model.result_
    unknown = [text for text in result["flags"].value if "unknown" in text]
    if unknown:
        raise ValueError(f"{unknown[0]} (at most {MAX_CURL:.0%} is wanted); take a longer dwell")
    return {
        "scan_rotation_deg": float(result["scan_rotation_deg"].value),
        "transposed": bool(result["transposed"].value),
    }


def fit_camera(archive: Archive, uid: str) -> dict[str, Any]:
    """Find ``angular_sampling_mrad``, the disk of a run, and how it moves with the beam.

    Raises
    ------
    ValueError
        When there is no disk, or the run does not state its convergence angle.
    """
    start, batches = _run(archive, uid)
    angle = experiment_of(start, {}).need("semi_convergence_angle_rad")
    total, n, good = np.zeros(()), 0, None
    # in pixels: the scale is what is looked for
    deflection = VirtualImages(replace(experiment_of(start, {}), angular_sampling_rad=None))
    positions = []
    for batch in batches:
        total = total + corrected(batch).sum(axis=0, dtype=np.float64)
        n += len(batch)
        good = tables(batch.corrections, batch.frames.shape[1:])[2]
        deflection.partial_fit(batch)
        positions.append(batch.coordinates["positions_m"])
    found = fit_disk(total / max(n, 1), good).to_metadata(angle * 1e3)
    places = np.concatenate(positions)
    descan = fit_descan(deflection.result_["com_px"].value, places)
    wander = float(np.abs(np.array(descan.slope_px) @ np.ptp(places, axis=0)).max())
    if wander > max(_WANDER_PX, _SURE * descan.sigma_px):
        found |= descan.to_metadata()
    return found


def fit_defocus(archive: Archive, uid: str) -> dict[str, Any]:
    """Find ``defocus_nm`` of a run; what the run states of it is left out of account.

    Raises
    ------
    ValueError
        When the defocus cannot be told from these frames.
    """
    start, batches = _run(archive, uid)
    model = SingleSideband(experiment_of(start, {"defocus_nm": 0.0}))
    for batch in batches:
        model.partial_fit(batch)
    found = estimate_defocus(model)
    if found is None:
        raise ValueError("the defocus cannot be told from this scan; take finer steps or more dose")
    return found.to_metadata()


def fit_coils(archive: Archive, uid: str) -> dict[str, Any]:
    """Find ``coil_time_constant_ms`` of a run whose coils read back where the beam was.

    Raises
    ------
    ValueError
        When the coils do not read back.
    """
    documents = list(archive.documents(uid, source="journal"))
    start = documents[0][1]
    tables_of = _coils(documents)
    if READBACK not in tables_of:
        raise ValueError("the scan coils do not read back their positions; their lag is unknown")
    lag = fit_lag(tables_of[COMMANDED], tables_of[READBACK], float(start["dwell_ms"]) * 1e-3)
    return lag.to_metadata()


FITS: dict[str, Callable[[Archive, str], dict[str, Any]]] = {
    "tune_rotation": fit_rotation,
    "tune_camera": fit_camera,
    "tune_defocus": fit_defocus,
    "tune_coils": fit_coils,
}


def _run(archive: Archive, uid: str) -> tuple[Mapping[str, Any], Iterator[Batch]]:
    documents = iter(archive.documents(uid, source="journal"))
    _, start = next(documents)
    source = FrameSource(start)

    def batches() -> Iterator[Batch]:
        for name, doc in documents:
            yield from source(name, doc)

    return start, batches()


def _coils(documents: list[tuple[str, Any]]) -> dict[str, np.ndarray]:
    """Return the tables of the coils' stream, by the last part of their keys."""
    reader = AssetReader()
    parts: dict[str, list[np.ndarray]] = {}
    try:
        for name, doc in documents:
            if name == "stream_resource":
                reader.add(doc)
            elif name == "stream_datum":
                key = reader.key(doc["stream_resource"])
                suffix = next((s for s in (COMMANDED, READBACK) if key.endswith(s)), None)
                if suffix is not None:
                    rows = doc["indices"]["start"], doc["indices"]["stop"]
                    part = reader.read(doc["stream_resource"], *rows)
                    parts.setdefault(suffix, []).append(part)
    finally:
        reader.close()
    return {suffix: np.concatenate(rows) for suffix, rows in parts.items()}
