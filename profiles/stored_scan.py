"""All frames of a stored run at once, and the map of its domains by any probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..callbacks.frames import FrameSource
from ..callbacks.metadata import experiment_of
from ..models.base import Quantity
from ..models.corrections import corrected
from ..models.domains.walls import find_walls, kind_of
from ..models.experiment import Experiment
from ..models.ptychography.geometry import median_spacing
from ..models.scan_image import place
from .archive import Archive
from .session import uid_of
from .store.places import inside_only

DIRECTIONS_DEG = {"+x": 0.0, "+y": 90.0, "-x": 180.0, "-y": 270.0}


@dataclass(frozen=True, eq=False)
class StoredScan:
    """All frames of a stored run.

    Parameters
    ----------
    uid : str
    frames : (n, h, w) counts
        With the camera's corrections.
    scan_index : (n,) int64
    positions : (n, 2) float64, yx, or None
    experiment : Experiment
    """

    uid: str
    frames: np.ndarray
    scan_index: np.ndarray
    positions: np.ndarray | None
    experiment: Experiment


def read_scan(archive: Archive, which: str) -> StoredScan:
    """Read a stored run's frames and positions back, in order of scan index.

    Raises
    ------
    ValueError
        When it has no two-dimensional frames.
    """
    uid = uid_of(archive.find(which))
    documents = inside_only(archive.documents(uid), archive.readable)
    _, start = next(documents)
    source = FrameSource(start)
    frames, index, positions = [], [], []
    experiment = experiment_of(start, {})
    key = f"positions_{experiment.units}"
    try:
        for name, doc in documents:
            for batch in source(name, doc):
                frames.append(corrected(batch))
                index.append(batch.scan_index)
                positions.append(batch.coordinates.get(key))
    finally:
        source.close()
    if not frames or frames[0].ndim != 3:
        raise ValueError(f"run {uid[:8]} has no diffraction patterns to label")
    places = None
    if all(one is not None for one in positions):
        places = np.concatenate(positions).astype(np.float64)  # type: ignore[arg-type]
    order = np.argsort(np.concatenate(index), kind="stable")
    return StoredScan(
        uid,
        np.concatenate(frames)[order],
        np.concatenate(index)[order],
        None if places is None else places[order],
        experiment,
    )


def domains_of(
    scan: StoredScan, classes: Sequence[str], probability: np.ndarray, silent: np.ndarray
) -> dict[str, Quantity]:
    """Return the map of domains, with pictures where the scan has positions or a grid.

    Parameters
    ----------
    scan : StoredScan
    classes : sequence of str
    probability : (n, k) float64
        Of each class.
    silent : (n,) bool
        Patterns that say nothing: their domain is -1.

    Returns
    -------
    dict of Quantity
        ``domain``, ``domain_probability``, ``classes``, ``scan_index``; with positions those,
        ``wall`` and ``wall_points_m``, and pictures, as of `DomainMap.result_`.
    """
    domain = probability.argmax(axis=1).astype(np.int64)
    domain[silent] = -1
    found = {
        "domain": Quantity(domain, "", ("frame",)),
        "domain_probability": Quantity(probability, "", ("frame", "class")),
        "classes": Quantity(list(classes), "", ("class",)),
        "scan_index": Quantity(scan.scan_index, "", ("frame",)),
    }
    image = place(scan.experiment, scan.scan_index, scan.positions)
    if image is not None:
        shares = np.stack([image((domain == k).astype(float)) for k in range(len(classes))])
        seen = np.isfinite(shares[0]) & (shares.sum(axis=0) > 0)
        best = np.nan_to_num(shares).argmax(axis=0)
        found |= {
            "domain_image": Quantity(np.where(seen, best, np.nan), "", ("y", "x")),
            "domain_probability_image": Quantity(image(probability.max(axis=1)), "", ("y", "x")),
            f"image_pixel_{image.units}": Quantity(image.pixel, image.units, ("yx",)),
            f"image_origin_{image.units}": Quantity(image.origin, image.units, ("yx",)),
        }
    if scan.positions is not None:
        whole = scan.positions[np.isfinite(scan.positions).all(axis=1)]
        step = scan.experiment.step or (median_spacing(whole) if len(whole) > 1 else 0.0)
        directions = {name: d for name, d in DIRECTIONS_DEG.items() if name in classes}
        walls = find_walls(scan.positions, step, domain, probability, kind_of(classes, directions))
        unit = scan.experiment.units
        found[f"positions_{unit}"] = Quantity(scan.positions, unit, ("frame", "yx"))
        found["wall"] = Quantity(walls.wall, "", ("frame",))
        if len(walls.points):
            found[f"wall_points_{unit}"] = Quantity(walls.points, unit, ("point", "yx"))
    return found
