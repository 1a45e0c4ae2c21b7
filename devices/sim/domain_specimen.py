"""A ferroelectric lamella on the simulated microscope: every frame is the pattern of its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ophyd import Component as Cpt
from ophyd import Device

from ...models.domains.patterns import Conditions, simulate_patterns
from ...models.domains.specimen import Lamella, Truth, probe_radius_nm
from ...models.domains.tables import Placed, tables
from ...models.physics import electron_wavelength_m
from ..signals import UnitSignal


class DomainSpecimen(Device):
    """Stripes of ferroelectric domains, see `models.domains.specimen.Lamella`.

    The crystal's axes and the positions are in the detector's frame.

    Parameters
    ----------
    name : str
    material : str
        PbTiO3, BaTiO3 or boracite.
    variants : sequence of str
        Of the stripes in turn: directions of the polarization, `+x -x +y -y +z -z`.
    thickness_nm : float, nm
        At the middle of the field.
    field_nm : float, nm
        The beam finds crystal within this square.
    background_fraction : float
        Share of the electrons in a broad background.
    drift_y_nm_s, drift_x_nm_s : float, nm/s
        How fast the specimen moves under the beam.
    width_nm, normal_deg, offset_nm, wall_nm, wedge, tilt_mrad, bend_mrad_per_nm, bend_deg
        As of `Lamella`.
    """

    thickness_nm = Cpt(UnitSignal, value=20.0, units="nm", limits=(0.0, 200.0), kind="normal")
    tilt_y_mrad = Cpt(UnitSignal, value=0.0, units="mrad", limits=(-20.0, 20.0), kind="normal")
    tilt_x_mrad = Cpt(UnitSignal, value=0.0, units="mrad", limits=(-20.0, 20.0), kind="normal")
    structure = Cpt(UnitSignal, value="PbTiO3", kind="normal")

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str = "specimen",
        material: str = "PbTiO3",
        variants: Sequence[str] = ("+x", "-x"),
        thickness_nm: float = 20.0,
        field_nm: float = 80.0,
        background_fraction: float = 0.0,
        drift_y_nm_s: float = 0.0,
        drift_x_nm_s: float = 0.0,
        width_nm: float = 20.0,
        normal_deg: float = 90.0,
        offset_nm: float = 0.0,
        wall_nm: float = 0.5,
        wedge: Sequence[float] = (0.0, 0.0),
        tilt_mrad: Sequence[float] = (0.0, 0.0),
        bend_mrad_per_nm: float = 0.0,
        bend_deg: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(prefix, name=name, **kwargs)
        self.stripes = {
            "material": material,
            "variants": tuple(variants),
            "width_nm": float(width_nm),
            "normal_deg": float(normal_deg),
            "offset_nm": float(offset_nm),
            "wall_nm": float(wall_nm),
            "wedge": (float(wedge[0]), float(wedge[1])),
            "bend_mrad_per_nm": float(bend_mrad_per_nm),
            "bend_deg": float(bend_deg),
        }
        self.structure.put(material)
        self.thickness_nm.put(float(thickness_nm))
        self.tilt_y_mrad.put(float(tilt_mrad[0]))
        self.tilt_x_mrad.put(float(tilt_mrad[1]))
        self.field_nm = float(field_nm)
        self.background_fraction = float(background_fraction)
        self.drift_nm_s = np.array([drift_y_nm_s, drift_x_nm_s])
        _ = self.lamella  # refuses what is out of range now, not at the first frame

    @property
    def lamella(self) -> Lamella:
        """The specimen as its signals say it is now."""
        return Lamella(
            **self.stripes,
            thickness_nm=float(self.thickness_nm.get()),
            tilt_mrad=(float(self.tilt_y_mrad.get()), float(self.tilt_x_mrad.get())),
        )

    def truth(self, positions_nm: np.ndarray) -> Truth:
        """Return the class at each place and how far the next wall is.

        Parameters
        ----------
        positions_nm : (n, 2) float, nm, yx
            On the specimen, in the detector's frame.
        """
        return self.lamella.truth(positions_nm)

    def expose(
        self,
        positions_nm: np.ndarray,
        settings: Mapping[str, Any],
        dose_e_per_frame: float,
        pixels: int,
        *,
        seed: int,
        first_index: int,
        descan_px: np.ndarray,
    ) -> np.ndarray:
        """Return the frames of some places.

        Parameters
        ----------
        positions_nm : (n, 2) float, nm, yx
        settings : mapping
            Of the column: `energy_kev`, `semi_convergence_angle_mrad`, `angular_sampling_mrad`,
            `defocus_nm`.
        dose_e_per_frame : float
        pixels : int
            Side of a frame.
        seed, first_index : int
            Of the noise.
        descan_px : (n, 2) float, detector pixels, yx

        Returns
        -------
        (n, pixels, pixels) uint16, counts
        """
        lamella = self.lamella
        energy, alpha = settings["energy_kev"], settings["semi_convergence_angle_mrad"]
        sampling = settings["angular_sampling_mrad"]
        probe = probe_radius_nm(alpha, electron_wavelength_m(energy) * 1e9, settings["defocus_nm"])
        local = lamella.at(positions_nm, probe)
        return simulate_patterns(
            lamella.material,
            local.fractions,
            Conditions(
                thickness_nm=local.thickness_nm,
                tilt_mrad=local.tilt_mrad,
                dose_e_per_pattern=dose_e_per_frame,
                energy_kev=energy,
                semi_convergence_angle_mrad=alpha,
                angular_sampling_mrad=sampling,
                descan_px=descan_px,
                background_fraction=self.background_fraction,
            ),
            pixels=pixels,
            seed=seed,
            first_index=first_index,
            made=self._tables(lamella, energy, alpha, sampling, pixels),
        )

    def _tables(
        self, lamella: Lamella, energy_kev: float, alpha: float, sampling: float, pixels: int
    ) -> Mapping[str, Placed]:
        """Return tables that hold for the whole field and beyond, so that none is made midway."""
        thickness, tilt = lamella.limits(2 * self.field_nm)
        return tables(
            lamella.material,
            energy_kev,
            10.0 * np.ceil(thickness / 10.0),
            float(np.ceil(tilt + alpha + sampling)),
            2.0 * np.ceil((pixels / 2 * sampling + 2 * alpha) / 2.0),
        )
