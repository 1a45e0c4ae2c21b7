"""The specimen behind every simulated detector: a thin crystal with faults, seen from a CIF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ophyd import Component as Cpt
from ophyd import Device
from scipy.ndimage import zoom

from ...models.potential import projected_phase
from ..signals import UnitSignal

STRUCTURES = Path(__file__).parent / "structures"


def structure_path(name: str) -> Path:
    """Return the CIF of a shipped structure or of a path.

    Raises
    ------
    ValueError
        When there is neither.
    """
    shipped = STRUCTURES / f"{name}.cif"
    path = shipped if shipped.is_file() else Path(name)
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in STRUCTURES.glob("*.cif")))
        raise ValueError(f"no structure {name!r}: shipped are {known}; else give a CIF's path.")
    return path


class Specimen(Device):
    """A phase object made from a crystal structure.

    Parameters
    ----------
    name : str
    cif : str
        DyScO3, SrTiO3, BaTiO3, or the path of a CIF.
    thickness_nm : float, nm
        Mean thickness; the real one undulates by a quarter of it over the field.
    field_nm : float, nm
        The beam finds crystal within this square.
    vacancies_per_nm2 : float, 1/nm2
        Atomic columns that are largely missing.
    domain_nm : float, nm
        Width of stripes that are shifted by half a cell; 0 for a single crystal.
    drift_y_nm_s, drift_x_nm_s : float, nm/s
        How fast the specimen moves under the beam.
    seed : int
        Of the faults.
    """

    thickness_nm = Cpt(UnitSignal, value=4.0, units="nm", limits=(0.01, 100.0), kind="normal")
    structure = Cpt(UnitSignal, value="DyScO3", kind="normal")

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str = "specimen",
        cif: str = "DyScO3",
        thickness_nm: float = 4.0,
        field_nm: float = 24.0,
        vacancies_per_nm2: float = 0.1,
        domain_nm: float = 0.0,
        drift_y_nm_s: float = 0.0,
        drift_x_nm_s: float = 0.0,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(prefix, name=name, **kwargs)
        self.path = structure_path(cif)
        self.structure.put(cif)
        self.thickness_nm.put(thickness_nm)
        self.field_nm = float(field_nm)
        self.vacancies_per_nm2 = float(vacancies_per_nm2)
        self.domain_nm = float(domain_nm)
        self.drift_nm_s = np.array([drift_y_nm_s, drift_x_nm_s])
        self.seed = int(seed)
        self._made: tuple[tuple[float, ...], np.ndarray] | None = None

    def transmission(self, pixel_nm: float, box: int, energy_kev: float) -> np.ndarray:
        """Return the object; its centre pixel ``[n // 2, n // 2]`` lies on the axis.

        Parameters
        ----------
        pixel_nm : float, nm
        box : int
            Pixels of the probe's box, for which room is left around the field.
        energy_kev : float, keV

        Returns
        -------
        (n, n) complex64
        """
        thickness = float(self.thickness_nm.get())
        key = (pixel_nm, box, energy_kev, thickness)
        if self._made is None or self._made[0] != key:
            self._made = (key, self._make(pixel_nm, box, energy_kev, thickness))
        return self._made[1]

    def _make(self, pixel_nm: float, box: int, energy_kev: float, thickness: float) -> np.ndarray:
        n = 2 * (int(np.ceil(self.field_nm / pixel_nm / 2 * 1.05)) + box // 2 + 2)
        phase = projected_phase(
            self.path, (n, n), pixel_nm * 1e-9, thickness * 1e-9, energy_kev
        ).astype(np.float32)
        rng = np.random.default_rng(self.seed)
        if self.domain_nm > 0:
            shifted = projected_phase(
                self.path,
                (n, n),
                pixel_nm * 1e-9,
                thickness * 1e-9,
                energy_kev,
                origin_m=(0.0, 0.2e-9),
            )
            y, x = (np.arange(n) - n // 2) * pixel_nm * np.ones((2, 1))
            stripe = np.floor((x[None] + 0.5 * y[:, None]) / self.domain_nm).astype(int) % 2
            phase = np.where(stripe == 1, shifted, phase)
        coarse = rng.standard_normal((6, 6))
        hills = np.asarray(zoom(coarse, n / 6, order=3), np.float32)[:n, :n]
        phase *= 1 + 0.25 * np.clip(hills / 2, -1, 1)
        self._remove_columns(phase, rng, pixel_nm)
        return np.exp(1j * phase).astype(np.complex64)

    def _remove_columns(self, phase: np.ndarray, rng: Any, pixel_nm: float) -> None:
        n = len(phase)
        reach, sigma = max(2, round(0.15 / pixel_nm)), 0.06 / pixel_nm
        for _ in range(round(self.vacancies_per_nm2 * (n * pixel_nm) ** 2)):
            y, x = rng.integers(2 * reach, n - 2 * reach, 2)
            # the nearest column is the brightest place in the neighbourhood
            near = phase[y - reach : y + reach + 1, x - reach : x + reach + 1]
            dy, dx = np.unravel_index(near.argmax(), near.shape)
            y, x = y - reach + dy, x - reach + dx
            around = np.s_[y - reach : y + reach + 1, x - reach : x + reach + 1]
            gy, gx = np.mgrid[-reach : reach + 1, -reach : reach + 1] / sigma
            floor = phase[around].min()
            hole = 0.8 * np.exp(-(gy**2 + gx**2) / 2)
            phase[around] -= hole * (phase[around] - floor)
