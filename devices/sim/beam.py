"""The one truth behind the simulated microscope: where the beam is, when, and whether it is on."""

from __future__ import annotations

from typing import Any

import numpy as np
from ophyd import Device

from ...models.physics import electron_wavelength_m, electrons_per_dwell
from ...models.ptychography.forward import partially_coherent, simulate_frames
from ...models.ptychography.probe import aberrated_probe
from ..clock import ScanClock
from ..column import Column
from .domain_specimen import DomainSpecimen
from .specimen import Specimen


class SimBeam(Device):
    """A beam on a specimen.

    Parameters
    ----------
    name : str
    specimen : Specimen or DomainSpecimen
    column : Column
        Energy, aperture, defocus, camera and current are read from it at each scan.
    rate : "real", "max" or float, Hz
        Pace of the scans: that of the dwell, as fast as the cameras can, or a given one.
    source_nm : float, nm
        Standard deviation of the source's image on the specimen; 0 is fully coherent.
    descan_px_per_nm : float, detector pixels / nm
        How far the pattern wanders on the camera when the beam is deflected.
    c12_nm, phi12_rad, c30_nm : float
        Astigmatism, its axis, and spherical aberration.
    seed : int
        Of the shot noise.
    workers : int
        Threads that compute frames.
    """

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str = "beam",
        specimen: Specimen | DomainSpecimen,
        column: Column,
        rate: float | str = "real",
        source_nm: float = 0.0,
        descan_px_per_nm: float = 0.0,
        c12_nm: float = 0.0,
        phi12_rad: float = 0.0,
        c30_nm: float = 0.0,
        seed: int = 0,
        workers: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(prefix, name=name, **kwargs)
        self.specimen, self.column = specimen, column
        self.clock = ScanClock(rate)
        self.source_nm = float(source_nm)
        self.descan_px_per_nm = float(descan_px_per_nm)
        self.aberrations = {
            "C12": c12_nm * 1e-9,
            "phi12": float(phi12_rad),
            "C30": c30_nm * 1e-9,
        }
        self.seed, self.workers = int(seed), int(workers)
        self.positions_nm = np.zeros((1, 2))
        self.parked_nm = np.zeros(2)
        self.dwell_s = 1e-3
        self.exposed_s = 0.0
        self._switched: list[tuple[int, bool]] = [(0, False)]
        self._probe: tuple[tuple[float, ...], np.ndarray] | None = None

    @property
    def on(self) -> bool:
        """Whether the beam reaches the specimen now."""
        return self._switched[-1][1]

    def switch(self, on: bool) -> None:
        """Let the beam through, or blank it."""
        self._switched.append((self.clock.progress, on))

    def scan(self, positions_nm: np.ndarray, dwell_s: float, first_index: int) -> None:
        """Start to move over the specimen.

        Parameters
        ----------
        positions_nm : (n, 2) float, nm, yx
            Where the beam really is during each dwell.
        dwell_s : float, s
        first_index : int
        """
        self.exposed_s += len(self.positions_nm) * self.dwell_s
        self._switched = [(0, self.on)]
        self.positions_nm, self.dwell_s = positions_nm, dwell_s
        self.clock.start(np.arange(1, len(positions_nm) + 1) * dwell_s, first_index)

    def park(self, position_nm: tuple[float, float]) -> None:
        """Move to a place (y, x) in nm and stay."""
        self.parked_nm = np.asarray(position_nm, float)

    def lit(self, rows: np.ndarray) -> np.ndarray:
        """Return whether the beam was on at points of the scan, (n,) bool."""
        since = np.array([row for row, _ in self._switched])
        state = np.array([on for _, on in self._switched])
        return state[np.searchsorted(since, rows, side="right") - 1]

    def expose_scan(self, rows: np.ndarray, pixels: int) -> np.ndarray:
        """Return the frames of some points of the scan.

        Parameters
        ----------
        rows : (n,) int64
            Points, counted from the start of the scan.
        pixels : int
            Side of a frame.

        Returns
        -------
        frames : (n, pixels, pixels) uint16, counts
            Zero where the beam was blanked.
        """
        lit = self.lit(rows)
        time_s = self.exposed_s + (rows + 0.5) * self.dwell_s
        positions = self.positions_nm[rows] + time_s[:, None] * self.specimen.drift_nm_s
        frames = self._frames(positions, self.dwell_s, pixels, int(rows[0]), self.clock.runs)
        frames[~lit] = 0
        return frames

    def expose_parked(self, count: int, exposure_s: float, pixels: int, shot: int) -> np.ndarray:
        """Return frames of the place where the beam is parked.

        Parameters
        ----------
        count : int
        exposure_s : float, s
        pixels : int
        shot : int
            Number of the exposure, for the noise.
        """
        if not self.on:
            self.exposed_s += count * exposure_s
            return np.zeros((count, pixels, pixels), np.uint16)
        time_s = self.exposed_s + (np.arange(count) + 0.5) * exposure_s
        self.exposed_s += count * exposure_s
        positions = self.parked_nm + time_s[:, None] * self.specimen.drift_nm_s
        return self._frames(positions, exposure_s, pixels, shot, -1)

    def warm(self, pixels: int) -> None:
        """Make the object and the probe, and compile the kernels."""
        self._frames(np.zeros((1, 2)), 1e-3, pixels, 0, 0)

    def _frames(
        self, positions_nm: np.ndarray, dwell_s: float, pixels: int, first: int, run: int
    ) -> np.ndarray:
        settings = self.column.metadata()
        turn = np.deg2rad(settings["scan_rotation_deg"])
        turned = positions_nm @ np.array(
            [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        )
        dose = electrons_per_dwell(settings.get("beam_current_pa", 0.0), dwell_s)
        seed = (self.seed * 1_000_003 + run + 2) & 0xFFFFFFFF
        descan_px = positions_nm * self.descan_px_per_nm
        if isinstance(self.specimen, DomainSpecimen):
            return self.specimen.expose(
                turned, settings, dose, pixels, seed=seed, first_index=first, descan_px=descan_px
            )
        wavelength_nm = electron_wavelength_m(settings["energy_kev"]) * 1e9
        sampling = settings["angular_sampling_mrad"] * 1e-3
        pixel_nm = wavelength_nm / (pixels * sampling)
        obj = self.specimen.transmission(pixel_nm, pixels, settings["energy_kev"])
        return simulate_frames(
            obj,
            self._probe_modes(settings, wavelength_nm, pixels, pixel_nm),
            turned / pixel_nm + len(obj) // 2,
            dose,
            seed=seed,
            first_index=first,
            descan_px=descan_px,
            workers=self.workers,
        )

    def _probe_modes(
        self, settings: dict[str, Any], wavelength_nm: float, pixels: int, pixel_nm: float
    ) -> np.ndarray:
        alpha = settings["semi_convergence_angle_mrad"] * 1e-3
        sampling = settings["angular_sampling_mrad"] * 1e-3
        key = (alpha, sampling, settings["defocus_nm"], wavelength_nm, pixels, self.source_nm)
        if self._probe is None or self._probe[0] != key:
            probe = aberrated_probe(
                (pixels, pixels),
                wavelength_nm * 1e-9,
                (sampling, sampling),
                alpha,
                settings["defocus_nm"] * 1e-9,
                self.aberrations,
            )
            if self.source_nm > 0:
                modes = partially_coherent(probe, self.source_nm / pixel_nm)
            else:
                modes = probe[None]
            self._probe = (key, modes)
        return self._probe[1]
