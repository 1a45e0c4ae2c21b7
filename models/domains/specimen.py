"""A ferroelectric lamella with domains: what the beam meets at each place.

Domains are stripes of equal width whose variants follow each other in turn. The lamella may be a
wedge and may be bent about one axis, so that thickness and tilt vary over the field. All of it is
known exactly, which makes it the truth that a map of domains is held against.

Approximations: in a wall of finite width the polarization does not turn, the one variant is
replaced by the other as a hyperbolic tangent (an Ising wall seen edge on), and the pattern is the
incoherent sum of the two variants' patterns. So is that of a probe whose tails reach over the
wall, as if its two parts did not interfere; the width of the probe and that of the wall are added
in quadrature. The small turn of the lattice across a 90 degree wall is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .crystal import MATERIALS, class_of, direction

_REACH = 3  # stripes to either side whose tails are counted


@dataclass(frozen=True)
class Local:
    """What lies at some places.

    Parameters
    ----------
    fractions : dict of variant to (n,) float64
        Shares; they sum to 1.
    thickness_nm : (n,) float64, nm
    tilt_mrad : (n, 2) float64, mrad, yx
        Of the beam relative to the zone axis.
    """

    fractions: dict[str, np.ndarray]
    thickness_nm: np.ndarray
    tilt_mrad: np.ndarray


@dataclass(frozen=True)
class Truth:
    """What a map of domains should find.

    Parameters
    ----------
    label : (n,) int8
        Class of the domain in which a place lies.
    classes : tuple of str
    wall_distance_nm : (n,) float64, nm
        To the nearest wall between two classes; infinite where there is none.
    """

    label: np.ndarray
    classes: tuple[str, ...]
    wall_distance_nm: np.ndarray


@dataclass(frozen=True)
class Lamella:
    """Stripes of domains in a crystal that may be a wedge and bent.

    Parameters
    ----------
    material : str
        PbTiO3, BaTiO3 or boracite.
    variants : tuple of str
        Of the stripes in turn: ("+x", "-x") has 180 degree walls, ("+x", "+y") 90 degree walls.
    width_nm : float, nm
        Of a stripe.
    normal_deg : float, deg
        Direction across the stripes, from +x towards +y. A wall without charge lies along the
        polarization (180 degrees: `normal_deg` 90 for +x and -x) or halfway (90 degrees: 135 for
        +x and +y).
    offset_nm : float, nm
        Distance from the origin to the first stripe's beginning, across the stripes.
    wall_nm : float, nm
        Half width of a wall: polarization goes as tanh(distance / wall_nm).
    thickness_nm : float, nm
        At the origin.
    wedge : (2,) float, nm / nm, yx
        Gradient of the thickness, which never falls below zero.
    tilt_mrad : (2,) float, mrad, yx
        Of the beam relative to the zone axis, at the origin.
    bend_mrad_per_nm : float, mrad / nm
        How fast the lamella bends.
    bend_deg : float, deg
        Direction along which it does, from +x towards +y. A bend contour lies across it, where
        the tilt along it is zero.

    Raises
    ------
    ValueError
        When a quantity is out of range.
    """

    material: str = "PbTiO3"
    variants: tuple[str, ...] = ("+x", "-x")
    width_nm: float = 20.0
    normal_deg: float = 90.0
    offset_nm: float = 0.0
    wall_nm: float = 0.5
    thickness_nm: float = 20.0
    wedge: tuple[float, float] = (0.0, 0.0)
    tilt_mrad: tuple[float, float] = (0.0, 0.0)
    bend_mrad_per_nm: float = 0.0
    bend_deg: float = 0.0

    def __post_init__(self) -> None:
        if self.material not in MATERIALS:
            raise ValueError(
                f"material must be one of {', '.join(MATERIALS)}, got {self.material!r}"
            )
        if not self.variants:
            raise ValueError("variants must name at least one, such as ('+x', '-x')")
        for variant in self.variants:
            direction(variant)
        for name, low, high in (
            ("width_nm", 0.1, 1e6),
            ("wall_nm", 0, 1e3),
            ("thickness_nm", 0, 500),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must lie between {low:g} and {high:g}, got {value:g}")
        if self.wall_nm > self.width_nm / 2:
            raise ValueError(
                f"wall_nm must not exceed half of width_nm ({self.width_nm:g}), got"
                f" {self.wall_nm:g}; make the stripes wider"
            )

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that occur, in the order of their first stripe."""
        return tuple(dict.fromkeys(class_of(variant) for variant in self.variants))

    def at(self, positions_nm: np.ndarray, probe_nm: float = 0.0) -> Local:
        """Return what the beam meets.

        Parameters
        ----------
        positions_nm : (n, 2) float, nm, yx
        probe_nm : float, nm
            Radius of the probe, see `probe_radius_nm`.
        """
        positions = _checked(positions_nm)
        along_bend = positions @ _unit(self.bend_deg)
        bend = self.bend_mrad_per_nm * along_bend[:, None] * _unit(self.bend_deg)
        return Local(
            self._fractions(self._across(positions), float(np.hypot(self.wall_nm, probe_nm))),
            np.maximum(self.thickness_nm + positions @ np.asarray(self.wedge, float), 0.0),
            np.asarray(self.tilt_mrad, float) + bend,
        )

    def truth(self, positions_nm: np.ndarray) -> Truth:
        """Return the class at each place and how far the next wall is.

        Parameters
        ----------
        positions_nm : (n, 2) float, nm, yx
        """
        place = self._across(_checked(positions_nm)) / self.width_nm
        stripe = np.floor(place).astype(int)
        classes = self.classes
        kinds = np.array([classes.index(class_of(variant)) for variant in self.variants], np.int8)
        n = len(kinds)
        walls = np.flatnonzero(kinds != np.roll(kinds, 1))  # a wall where stripe k begins
        distance = np.full(len(place), np.inf)
        for wall in walls:
            away = (place - wall + n / 2) % n - n / 2
            np.minimum(distance, np.abs(away) * self.width_nm, out=distance)
        return Truth(kinds[stripe % n], classes, distance)

    def limits(self, field_nm: float) -> tuple[float, float]:
        """Return the largest thickness, nm, and tilt, mrad, within a square about the origin."""
        half = field_nm / 2
        corners = np.array([(y, x) for y in (-half, half) for x in (-half, half)])
        local = self.at(corners)
        return float(local.thickness_nm.max()), float(np.hypot(*local.tilt_mrad.T).max())

    def _across(self, positions: np.ndarray) -> np.ndarray:
        return positions @ _unit(self.normal_deg) - self.offset_nm

    def _fractions(self, across_nm: np.ndarray, soft_nm: float) -> dict[str, np.ndarray]:
        n = len(self.variants)
        shares = {name: np.zeros(len(across_nm)) for name in dict.fromkeys(self.variants)}
        stripe = np.floor(across_nm / self.width_nm).astype(int)
        for step in range(-_REACH, _REACH + 1):
            begin = (stripe + step) * self.width_nm
            share = _step(across_nm - begin, soft_nm) - _step(
                across_nm - begin - self.width_nm, soft_nm
            )
            which = (stripe + step) % n
            for k, name in enumerate(self.variants):
                shares[name] += np.where(which == k, share, 0.0)
        whole = sum(shares.values())
        return {name: share / whole for name, share in shares.items()}


def probe_radius_nm(
    semi_convergence_angle_mrad: float, wavelength_nm: float, defocus_nm: float = 0.0
) -> float:
    """Return about how far a probe reaches from its centre.

    Parameters
    ----------
    semi_convergence_angle_mrad : float, mrad
    wavelength_nm : float, nm
    defocus_nm : float, nm

    Returns
    -------
    float, nm
        The Airy disk's radius at half intensity, .26 wavelength / angle, and half of the
        geometric disk of a defocused beam, added in quadrature.
    """
    alpha = semi_convergence_angle_mrad * 1e-3
    return float(np.hypot(0.26 * wavelength_nm / alpha, 0.5 * abs(defocus_nm) * alpha))


def _checked(positions_nm: np.ndarray) -> np.ndarray:
    positions = np.asarray(positions_nm, float)
    if positions.ndim != 2 or positions.shape[1] != 2 or not np.isfinite(positions).all():
        raise ValueError(
            f"positions_nm must be finite and (n, 2) yx, got shape {positions.shape};"
            " leave out frames without a position"
        )
    return positions


def _unit(angle_deg: float) -> np.ndarray:
    """Return the unit vector y, x at an angle from +x towards +y."""
    angle = np.deg2rad(angle_deg)
    return np.array([np.sin(angle), np.cos(angle)])


def _step(distance_nm: np.ndarray, soft_nm: float) -> np.ndarray:
    if soft_nm == 0:
        return (distance_nm >= 0).astype(float)
    return 0.5 * (1 + np.tanh(distance_nm / soft_nm))
