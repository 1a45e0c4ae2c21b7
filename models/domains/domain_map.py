"""The map of domains: the class of every frame, how sure it is, and the walls, while it is scanned.

Every frame is asked about alone and pictures and walls are made when a result is wanted, so that
batching changes nothing beyond the last bits of the network's sums.
"""

from __future__ import annotations

from typing import Self

import numpy as np

from ..base import Batch, Corrections, Quantity
from ..corrections import check_frames, tables
from ..dose_map import probe_width_m
from ..experiment import Experiment
from ..ptychography.geometry import median_spacing
from ..scan_image import NearestImage, ScanImage, nearest, place
from .classifier import Classifier
from .frame_kernels import bin_frames, donors_of
from .steering import next_positions
from .walls import KINDS, Walls, find_walls, kind_of

UNKNOWN = -1
BLOCK = 256
_SCALE_AGREES = 0.15


class DomainMap:
    """Domains and their walls on any trajectory.

    Parameters
    ----------
    experiment : Experiment
        Positions, grid and step for pictures and walls; its angular sampling is compared with the
        network's.
    classifier : Classifier
    threshold : float or None
        Least probability at which a class is believed; None is the card's.

    Raises
    ------
    ValueError
        For a threshold that is no probability.
    """

    def __init__(
        self, experiment: Experiment, classifier: Classifier, *, threshold: float | None = None
    ) -> None:
        if threshold is not None and not 0 <= threshold <= 1:
            raise ValueError(f"threshold must lie between 0 and 1, got {threshold:g}")
        self.experiment, self.classifier = experiment, classifier
        self.threshold = classifier.card.threshold if threshold is None else threshold
        self._shape: tuple[int, int] | None = None
        self._prepared: tuple[Corrections, tuple] | None = None
        self._rows: list[dict[str, np.ndarray]] = []
        self._done: tuple[int, dict[str, Quantity]] | None = None

    def partial_fit(self, batch: Batch) -> Self:
        """Take in the next frames.

        Parameters
        ----------
        batch : Batch
            Frames of the network's shape, or larger by a whole factor.

        Raises
        ------
        ValueError
            When frames do not fit the network, or changed their shape.
        """
        if len(batch) == 0:
            return self
        shape = check_frames(batch, self._shape)
        factor = self._factor(shape)
        self._shape = shape
        if self._prepared is None or self._prepared[0] is not batch.corrections:
            dark, gain, good = tables(batch.corrections, shape)
            correct = batch.corrections.dark is not None or batch.corrections.gain is not None
            prepared = dark, gain, *donors_of(good), correct
            self._prepared = batch.corrections, prepared
        frames = np.ascontiguousarray(batch.frames)
        asked = [
            self._ask(frames[i : i + BLOCK], factor, *self._prepared[1])
            for i in range(0, len(frames), BLOCK)
        ]
        rows = {
            "index": np.array(batch.scan_index, np.int64),
            "probability": np.concatenate([one for one, _ in asked]),
            "counts": np.concatenate([one for _, one in asked]),
        }
        name = f"positions_{self.experiment.units}"
        if name in batch.coordinates:
            rows["positions"] = np.array(batch.coordinates[name], np.float64)
        self._rows.append(rows)
        return self

    def merge(self, other: Self) -> Self:
        """Take in what `other` has learnt from other frames.

        Raises
        ------
        ValueError
            When the two asked different networks.
        """
        if other.classifier.card != self.classifier.card:
            raise ValueError("maps of different networks do not add; use one network for all parts")
        self._rows += other._rows
        self._shape = self._shape or other._shape
        return self

    @property
    def result_(self) -> dict[str, Quantity]:
        """What is known so far.

        Returns
        -------
        dict of Quantity
            ``domain`` (frame), index into ``classes`` or -1 for unknown; ``domain_probability``
            (frame, class), NaN for a frame without counts or that is not finite; ``wall``
            (frame), True at a wall; ``scan_index``; ``unknown_fraction`` and ``n_frames``.

            With positions, pictures (y, x): ``domain_image``, NaN where nothing was seen,
            ``domain_probability_image``, of the likeliest class, and ``wall_map``; their grid
            ``image_pixel_m`` and ``image_origin_m``; ``wall_points_m`` (point, yx), where walls
            cross between positions, and ``wall_point_kind``, index into ``wall_kinds``;
            ``wall_density_per_m``, length of walls by area, and ``wall_density_by_kind_per_m``
            (all with ``_px`` where the scale is unknown). ``flags``, what to be wary of.
        """
        if not self._rows:
            return {}
        n = sum(len(rows["index"]) for rows in self._rows)
        if self._done is None or self._done[0] != n:
            self._done = n, self._result()
        return dict(self._done[1])

    def next_positions(self, n_points: int, *, seed: int = 0) -> tuple[np.ndarray, float]:
        """Return where to measure next to place the walls, and how well they are placed.

        Parameters
        ----------
        n_points : int
        seed : int

        Returns
        -------
        positions : (m, 2) float64, yx, in the unit of the run's positions
        error : float
            See `steering.next_positions`.

        Raises
        ------
        ValueError
            When there are no positions, or too few.
        """
        joined = self._joined()
        if "positions" not in joined or self.experiment.extent is None:
            raise ValueError("there are no positions yet, or no extent of the field, to steer by")
        finest = 0.5 * probe_width_m(self.experiment)
        return next_positions(
            joined["positions"],
            joined["probability"],
            np.array(self.experiment.extent),
            n_points,
            min_distance=finest,
            seed=seed,
        )

    def _joined(self) -> dict[str, np.ndarray]:
        """Return all that was kept of the frames, in order of the scan index."""
        names = set.intersection(*(set(rows) for rows in self._rows)) if self._rows else set()
        joined = {name: np.concatenate([rows[name] for rows in self._rows]) for name in names}
        if joined:
            order = np.argsort(joined["index"], kind="stable")
            self._rows = [{name: values[order] for name, values in joined.items()}]
        return self._rows[0] if self._rows else {}

    def _factor(self, shape: tuple[int, int]) -> int:
        wanted, name = self.classifier.card.input_shape, self.classifier.path.name
        factor = max(1, shape[0] // wanted[0])
        if shape != (factor * wanted[0], factor * wanted[1]):
            raise ValueError(
                f"{name} takes frames of {wanted[0]} x {wanted[1]} pixels or a whole multiple, got"
                f" {shape[0]} x {shape[1]}; crop the camera or train a network on such frames"
            )
        mine, its = self.experiment.angular_sampling_rad, self.classifier.card.angular_sampling_mrad
        if mine is not None and its is not None:
            ratio = np.array(mine) * 1e3 * factor / its
            if np.any(np.abs(np.log(ratio)) > _SCALE_AGREES):
                raise ValueError(
                    f"{name} takes {its:g} mrad a pixel, these frames have"
                    f" {mine[0] * 1e3 * factor:.4g} after binning by {factor}; change the camera"
                    " length or train a network on such frames"
                )
        return factor

    def _ask(
        self,
        frames: np.ndarray,
        factor: int,
        dark: np.ndarray,
        gain: np.ndarray,
        bad: np.ndarray,
        donors: np.ndarray,
        donor_counts: np.ndarray,
        correct: bool,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilities (n, k), NaN where a frame says nothing, and counts (n,)."""
        binned = np.empty((len(frames), *self.classifier.card.input_shape), np.float32)
        bin_frames(frames, factor, dark, gain, bad, donors, donor_counts, correct, binned)
        counts = binned.sum(axis=(1, 2), dtype=np.float64)
        says = np.isfinite(counts) & (counts >= self.classifier.card.least_counts)
        if not says.all():
            binned[~says] = 1  # the network is not shown what could spoil it
        probability = self.classifier(binned)
        probability[~says] = np.nan
        return probability, counts

    def _result(self) -> dict[str, Quantity]:
        joined = self._joined()
        card, probability = self.classifier.card, joined["probability"]
        silent = np.isnan(probability[:, 0])
        likely = np.where(np.isnan(probability), 0, probability)
        best = likely.argmax(axis=1).astype(np.int64)
        believed = ~silent & (likely.max(axis=1) >= self.threshold)
        domain = np.where(believed, best, UNKNOWN)
        flags = self._flags(silent, joined["counts"], domain)
        result = {
            "domain": Quantity(domain, "", ("frame",)),
            "domain_probability": Quantity(probability, "", ("frame", "class")),
            "classes": Quantity(list(card.classes), "", ("class",)),
            "scan_index": Quantity(joined["index"], "", ("frame",)),
            "unknown_fraction": Quantity(float(np.mean(~believed))),
            "n_frames": Quantity(len(domain)),
            "network": Quantity(self.classifier.path.name),
            "network_sha256": Quantity(self.classifier.sha256),
        }
        places, step, unit = self._places(joined)
        kinds = kind_of(card.classes, card.directions_deg)
        adaptive = self.experiment.trajectory_type == "adaptive"
        walls = find_walls(places, step, domain, likely, kinds, uneven=adaptive)
        result["wall"] = Quantity(walls.wall, "", ("frame",))
        if adaptive and "positions" in joined:
            finest = 0.5 * probe_width_m(self.experiment)
            image = nearest(self.experiment, joined["positions"], max(finest, step / 16))
        else:
            image = place(self.experiment, joined["index"], joined.get("positions"))
        if image is None:
            flags.append("no positions and no grid: there are no pictures and no walls")
        else:
            result |= _pictures(image, domain, likely, silent, walls.wall)
        if image is not None:
            result |= _wall_quantities(walls, unit)
            if unit == "pixel":
                flags.append("the scan's step is unknown: walls are in pixels of the grid")
        result["flags"] = Quantity(flags, "", ("flag",))
        return result

    def _places(self, joined: dict[str, np.ndarray]) -> tuple[np.ndarray, float, str]:
        """Return positions (n, 2), their step and the unit: "m", "px" or "pixel" of the grid."""
        positions = joined.get("positions")
        if positions is not None and np.isfinite(positions).any():
            whole = positions[np.isfinite(positions).all(axis=1)]
            step = self.experiment.step or (median_spacing(whole) if len(whole) > 1 else 0.0)
            return positions, step, self.experiment.units
        cells = self.experiment.grid_rows_columns(joined["index"])
        if cells is None:
            return np.full((len(joined["index"]), 2), np.nan), 0.0, "pixel"
        return np.stack(cells, axis=1).astype(np.float64), 1.0, "pixel"

    def _flags(self, silent: np.ndarray, counts: np.ndarray, domain: np.ndarray) -> list[str]:
        flags, n = [], len(domain)
        broken = int(np.count_nonzero(~np.isfinite(counts)))
        if broken:
            flags.append(f"{broken} of {n} frames are not finite, and unknown")
        dark = int(np.count_nonzero(silent)) - broken
        if dark > 0:
            flags.append(f"{dark} of {n} frames are dark or empty, and unknown")
        doubtful = int(np.count_nonzero((domain == UNKNOWN) & ~silent))
        if doubtful:
            flags.append(
                f"{doubtful} of {n} frames are unknown: no class has a probability of"
                f" {self.threshold:.2f}"
            )
        return flags


def _pictures(
    image: ScanImage | NearestImage,
    domain: np.ndarray,
    likely: np.ndarray,
    silent: np.ndarray,
    wall: np.ndarray,
) -> dict[str, Quantity]:
    shares = np.stack([image(np.where(domain == k, 1.0, 0.0)) for k in range(-1, likely.shape[1])])
    seen = np.isfinite(shares[0])
    best = np.where(seen, np.argmax(np.nan_to_num(shares), axis=0) - 1.0, np.nan)
    certainty = image(np.where(silent, np.nan, likely.max(axis=1)))
    return {
        "domain_image": Quantity(best, "", ("y", "x")),
        "domain_probability_image": Quantity(certainty, "", ("y", "x")),
        "wall_map": Quantity(image(wall.astype(np.float64)), "", ("y", "x")),
        f"image_pixel_{image.units}": Quantity(image.pixel, image.units, ("yx",)),
        f"image_origin_{image.units}": Quantity(image.origin, image.units, ("yx",)),
    }


def _wall_quantities(walls: Walls, unit: str) -> dict[str, Quantity]:
    suffix = "m" if unit == "m" else "px"
    density = walls.length / walls.area if walls.area > 0 else np.full(len(KINDS), np.nan)
    found = {
        f"wall_density_per_{suffix}": Quantity(float(density.sum()), f"1/{suffix}"),
        f"wall_density_by_kind_per_{suffix}": Quantity(density, f"1/{suffix}", ("wall_kind",)),
        "wall_kinds": Quantity(list(KINDS), "", ("wall_kind",)),
    }
    if len(walls.points):
        found[f"wall_points_{suffix}"] = Quantity(walls.points, suffix, ("point", "yx"))
        found["wall_point_kind"] = Quantity(walls.kind, "", ("point",))
    return found
