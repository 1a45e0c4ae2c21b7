"""Diffraction patterns of domains as a camera counts them, hundreds a second.

With a convergence angle so small that the disks do not overlap, each point of each disk is a
plane wave's business: the disk of beam g shows, over the incident direction, the intensity that a
perfect crystal diffracts into g. `tables.PatternTable` holds those intensities, by multislice on
one cell, over incident direction and thickness; a pattern is read out of it. The defocus, the
probe's place in the cell and the aberrations do not enter: they change the phases within a disk,
which no other disk is there to show. Without overlap the probe is wider than the cell.

The crystal is perfect and not strained, absorption and diffuse scattering are left out but for the
thermal factors and a smooth background.

Signs: a `tilt_mrad` of (y, x) says where the incident beam travels to, relative to the zone axis,
with the pattern brought back to the detector's middle (descanned). So the centre of the Laue
circle lies at -tilt on the detector. A crystal's tilt by a small angle is the same with the other
sign.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from ..physics import electron_wavelength_m
from .crystal import direction, variants
from .kernels import count, paint
from .tables import Placed, tables

BACKGROUND_WIDTH_MRAD = 8.0
_BATCH = 128
_PAIRS = ("tilt_mrad", "descan_px")


@dataclass(frozen=True, eq=False)
class Conditions:
    """How patterns are taken. Each may be one for all patterns or an array with one for each.

    Parameters
    ----------
    thickness_nm : float or (n,), nm
        Length of crystal along the beam.
    tilt_mrad : (2,) or (n, 2), mrad, yx
        Direction of the beam relative to the zone axis.
    dose_e_per_pattern : float or (n,)
        Electrons that meet the specimen; fewer reach the detector.
    energy_kev : float, keV
        One for all.
    semi_convergence_angle_mrad, angular_sampling_mrad : float or (n,), mrad
        Radius of a disk, and angle of one detector pixel.
    rotation_deg : float or (n,), deg
        Of the crystal from +x towards +y on the detector.
    descan_px : (2,) or (n, 2), detector pixels, yx
        Shift of the whole pattern.
    blur_px : float or (n,), detector pixels
        Standard deviation of the camera's point spread.
    background_fraction : float or (n,)
        Share of the electrons in a broad round background.
    """

    thickness_nm: float | np.ndarray = 20.0
    tilt_mrad: Sequence[float] | np.ndarray = (0.0, 0.0)
    dose_e_per_pattern: float | np.ndarray = 1e4
    energy_kev: float = 300.0
    semi_convergence_angle_mrad: float | np.ndarray = 1.5
    angular_sampling_mrad: float | np.ndarray = 0.5
    rotation_deg: float | np.ndarray = 0.0
    descan_px: Sequence[float] | np.ndarray = (0.0, 0.0)
    blur_px: float | np.ndarray = 0.0
    background_fraction: float | np.ndarray = 0.0

    @property
    def count(self) -> int:
        """How many patterns these conditions are for; 1 where all are one for all."""
        sizes = [1]
        for field in fields(self):
            values = np.asarray(getattr(self, field.name))
            if values.ndim == (2 if field.name in _PAIRS else 1):
                sizes.append(len(values))
        return max(sizes)

    def column(self, name: str, n: int, low: float, high: float) -> np.ndarray:
        """Return one quantity for each of `n` patterns, after a check of its range.

        Raises
        ------
        ValueError
            When it is out of range or has another length.
        """
        shape = (n, 2) if name in _PAIRS else (n,)
        values = np.asarray(getattr(self, name), float)
        try:
            values = np.ascontiguousarray(np.broadcast_to(values, shape))
        except ValueError:
            raise ValueError(
                f"{name} must be one for all or {shape} for {n} patterns, got {values.shape}"
            ) from None
        outside = ~((values >= low) & (values <= high))
        if outside.any():
            raise ValueError(
                f"{name} must lie between {low:g} and {high:g}, got {values[outside][0]:g}"
            )
        return values


def simulate_patterns(
    material: str,
    fractions: Mapping[str, float | np.ndarray] | Sequence[str],
    conditions: Conditions,
    *,
    pixels: int = 64,
    seed: int = 0,
    first_index: int = 0,
    noise: bool = True,
    out: np.ndarray | None = None,
    made: Mapping[str, Placed] | None = None,
) -> np.ndarray:
    """Return patterns of domains, and of mixtures of domains.

    Parameters
    ----------
    material : str
        PbTiO3, BaTiO3 or boracite.
    fractions : mapping of variant to float or (n,), or n variants
        Share of each variant in each pattern, an incoherent sum; or one variant for each pattern.
        Variants are `+x -x +y -y +z -z`. A single one holds for as many patterns as the
        conditions are for.
    conditions : Conditions
    pixels : int
        Side of a pattern.
    seed, first_index : int
        Of the noise: a pattern depends on the seed and its own index only.
    noise : bool
        False gives expected counts, rounded where `out` holds integers.
    out : (n, pixels, pixels) uint16 or float32, or None
        Filled and returned where given. uint16 clips at 65535.
    made : mapping or None
        `tables` whose limits hold these patterns; None makes or finds some.

    Returns
    -------
    (n, pixels, pixels) uint16, counts
        The undiffracted beam at ``[pixels // 2, pixels // 2]`` where it is not descanned away.

    Raises
    ------
    ValueError
        When a quantity is out of range, or disks overlap.
    """
    weights = _weights(fractions)
    n = len(next(iter(weights.values())))
    if n == 1 and conditions.count > 1:
        n = conditions.count
        weights = {name: np.repeat(share, n) for name, share in weights.items()}
    thickness = conditions.column("thickness_nm", n, 0, 500)
    tilt = conditions.column("tilt_mrad", n, -30, 30)
    dose = conditions.column("dose_e_per_pattern", n, 0, 1e12)
    radius = conditions.column("semi_convergence_angle_mrad", n, 1e-3, 20)
    sampling = conditions.column("angular_sampling_mrad", n, 1e-3, 10)
    rotation = np.deg2rad(conditions.column("rotation_deg", n, -360, 360))
    centre = conditions.column("descan_px", n, -pixels, pixels) + pixels // 2
    blur = conditions.column("blur_px", n, 0, pixels / 4)
    background = conditions.column("background_fraction", n, 0, 1)
    if n == 0:
        return np.zeros((0, pixels, pixels), np.uint16) if out is None else out
    _refuse_overlap(material, conditions.energy_kev, radius, sampling)
    angle = float((np.hypot(*tilt.T) + radius + sampling).max())
    edge = float(((pixels / 2 + np.abs(centre - pixels // 2).max(axis=1)) * sampling).max())
    edge = (edge + float(radius.max())) * (2**0.5 if rotation.any() else 1)
    placed = made or tables(
        material,
        float(conditions.energy_kev),
        _up(float(thickness.max()), 10.0),
        _up(angle, 1.0),
        _up(edge, 2.0),
    )
    _refuse_beyond(placed, float(thickness.max()), angle)
    frames = np.empty((n, pixels, pixels), np.uint16) if out is None else out
    if frames.shape != (n, pixels, pixels):
        raise ValueError(f"out must be {(n, pixels, pixels)}, got {frames.shape}")
    ceiling = float(np.iinfo(frames.dtype).max) if frames.dtype.kind in "iu" else np.inf
    starts = _starts(seed, first_index + np.arange(n))
    for part in (slice(i, i + _BATCH) for i in range(0, n, _BATCH)):
        ideal = np.zeros((len(dose[part]), pixels, pixels), np.float32)
        for variant, share in weights.items():
            table = placed[variant].table
            paint(
                table.intensity,
                table.g_mrad,
                table.step_mrad,
                table.cell_nm,
                placed[variant].quarters,
                share[part],
                thickness[part],
                tilt[part],
                rotation[part],
                centre[part],
                radius[part],
                sampling[part],
                ideal,
            )
        count(
            ideal,
            dose[part],
            blur[part],
            background[part],
            BACKGROUND_WIDTH_MRAD,
            centre[part],
            sampling[part],
            starts[part],
            noise,
            ceiling,
            frames[part],
        )
    return frames


def _weights(
    fractions: Mapping[str, float | np.ndarray] | Sequence[str],
) -> dict[str, np.ndarray]:
    if not len(fractions):
        raise ValueError("fractions must name at least one variant, such as {'+x': 1.0}")
    if not isinstance(fractions, Mapping):
        names = np.asarray(fractions, dtype=object)
        fractions = {str(name): (names == name).astype(float) for name in dict.fromkeys(names)}
    for name in fractions:
        direction(name)
    columns = np.broadcast_arrays(*(np.atleast_1d(share) for share in fractions.values()))
    weights = {
        name: np.ascontiguousarray(column, float)
        for name, column in zip(fractions, columns, strict=True)
    }
    whole = sum(weights.values()) if weights else np.zeros(1)
    if any((share < 0).any() for share in weights.values()) or not np.allclose(whole, 1):
        raise ValueError(
            "fractions must not be negative and must sum to 1 for each pattern, got sums from"
            f" {np.min(whole):g} to {np.max(whole):g}"
        )
    return weights


def _refuse_overlap(
    material: str, energy_kev: float, radius: np.ndarray, sampling: np.ndarray
) -> None:
    widest = max(float(edge) for cell in variants(material).values() for edge in cell.size_a[1:])
    period = widest / 2 if material == "boracite" else widest  # F-centred: h0 with h even
    limit = electron_wavelength_m(energy_kev) * 1e13 / period / 2
    if radius.max() > limit or (radius < sampling / 2).any():
        raise ValueError(
            f"semi_convergence_angle_mrad must lie between half of angular_sampling_mrad and"
            f" {limit:.2f}, where the disks of {material} at {energy_kev:g} keV would overlap and"
            f" interfere, got {radius.min():g} to {radius.max():g}; use"
            " models.ptychography.forward for overlapping disks"
        )


def _refuse_beyond(placed: Mapping[str, Placed], thickness_nm: float, angle_mrad: float) -> None:
    table = next(iter(placed.values())).table
    for name, value, limit in (
        ("thickness_nm", thickness_nm, table.thickness_limit_nm),
        ("tilt_mrad plus semi_convergence_angle_mrad", angle_mrad, table.angle_limit_mrad),
    ):
        if value > limit + 1e-9:
            raise ValueError(
                f"{name} must not exceed {limit:g}, for which the tables were made, got {value:g};"
                " make them with higher limits"
            )


def _up(value: float, step: float) -> float:
    return math.ceil(value / step - 1e-9) * step


def _starts(seed: int, index: np.ndarray) -> np.ndarray:
    """Return a state of random numbers for each index, (n,) uint64, scrambled by splitmix64."""
    with np.errstate(over="ignore"):
        z = index.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z ^= np.uint64(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
