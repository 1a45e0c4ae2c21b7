"""Simulated spectrometers: X-ray fluorescence of a film, energy losses of an interphase."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from ophyd import Device

from ...models.spectra.dead_time import output_rate
from ...models.spectra.lines import parse
from ...models.spectra.response import Response
from ...models.spectra.simulate import LossSpectra, film_spectrum
from ..pixel_detector import Block, Trigger
from ..spectrometer import Spectrometer
from .beam import SimBeam

Rates = Callable[[np.ndarray], np.ndarray]
"""Positions (n, 2) in nm to expected count rates (n, channels) in counts/s."""


class MassSpecimen(Protocol):
    """What a fluorescence detector asks of a specimen, such as a simulated cell."""

    def element_masses(self) -> Mapping[str, float]:
        """Return the areal densities that the beam sees now, ug/cm2, by element."""
        ...


class LossSpecimen(Protocol):
    """What an energy-loss spectrometer asks of a specimen."""

    names: tuple[str, ...]

    def amounts(self, positions_nm: np.ndarray) -> np.ndarray:
        """Return count rates (n, names) of edges and compounds at places (n, 2), counts/s."""
        ...


class Film(Device):
    """A film of given areal densities.

    Parameters
    ----------
    name : str
    masses_ug_cm2 : mapping of element to float, ug/cm2
        They may be changed between exposures.

    Raises
    ------
    ElementError
        For what is no element.
    ValueError
        For a negative mass.
    """

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str = "film",
        masses_ug_cm2: Mapping[str, float],
        **kwargs: Any,
    ) -> None:
        super().__init__(prefix, name=name, **kwargs)
        self.masses_ug_cm2 = {parse(e)[0]: float(mass) for e, mass in masses_ug_cm2.items()}
        if min(self.masses_ug_cm2.values(), default=0.0) < 0:
            raise ValueError(f"masses_ug_cm2 must not be negative, got {dict(masses_ug_cm2)}.")

    def element_masses(self) -> Mapping[str, float]:
        """Return the areal densities, ug/cm2, by element."""
        return dict(self.masses_ug_cm2)


class Interphase:
    """Grains of LiF in Li2CO3 on platinum, the same for the same seed.

    Parameters
    ----------
    grain_nm : float, nm
        Distance of grains.
    counts_per_s : float, counts/s
        Of one compound where it is alone.
    seed : int
    """

    names = ("Pt_O", "Pt_N", "Li2CO3", "LiF")

    def __init__(self, grain_nm: float = 4.0, counts_per_s: float = 5e6, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.counts_per_s = float(counts_per_s)
        angle = rng.uniform(0, 2 * np.pi, 6)
        turns = 2 * np.pi / (grain_nm * rng.uniform(0.8, 1.6, 6))
        self._waves = np.stack([np.sin(angle), np.cos(angle)], axis=1) * turns[:, None]
        self._phases = rng.uniform(0, 2 * np.pi, 6)

    def fluoride(self, positions_nm: np.ndarray) -> np.ndarray:
        """Return the share of LiF at places (n, 2), between 0 and 1."""
        waves = np.sin(np.asarray(positions_nm) @ self._waves.T + self._phases).sum(axis=1)
        return 0.5 * (1 + np.tanh(1.5 * waves))

    def amounts(self, positions_nm: np.ndarray) -> np.ndarray:
        """Return count rates (n, names) at places (n, 2), counts/s."""
        share = self.fluoride(positions_nm)
        steady = np.full(len(share), 0.3)
        parts = np.stack([steady, 0.5 * steady, 1 - share, share], axis=1)
        return self.counts_per_s * parts


class SimSpectrumDriver:
    """Draws the counts of spectra, at the scan's pace or its own.

    Parameters
    ----------
    channels : int
    rates : callable
    beam : SimBeam or None
        Whose scans time the spectra; without one the spectrometer keeps its own time.
    rate : "real" or "max"
        Whether an exposure takes its time where there is no beam.
    seed : int
    """

    def __init__(
        self, channels: int, rates: Rates, beam: SimBeam | None, rate: str, seed: int
    ) -> None:
        self.shape = (int(channels),)
        self.dtype = np.dtype("<u4")
        self.beam, self.rates, self.seed = beam, rates, int(seed)
        self._real = rate != "max" if beam is None else not math.isinf(beam.clock.rate)
        self._armed: tuple[int, float, int, Trigger] = (0, 0.0, 0, "internal")
        self._off = threading.Event()
        self._shots = 0

    def connect(self) -> None:
        """Do nothing: it is always there."""

    def disconnect(self) -> None:
        """Do nothing."""

    def arm(self, n_frames: int, exposure_s: float, *, first_index: int, trigger: Trigger) -> None:
        """Make ready.

        Raises
        ------
        RuntimeError
            When a scan is to time it and there is no beam.
        """
        if trigger == "external" and self.beam is None:
            raise RuntimeError("a spectrometer without a beam keeps its own time; step-scan it.")
        self._armed = (n_frames, exposure_s, first_index, trigger)
        self._off.clear()
        self._counts(np.zeros((1, 2)), 1e-3, 0)  # compute what takes time before the clock runs
        if trigger == "external" and self.beam is not None:
            self.beam.clock.join(self)

    def blocks(self) -> Iterator[Block | None]:
        """Yield spectra as they come."""
        n_frames, exposure_s, first, trigger = self._armed
        if trigger == "external" and self.beam is not None:
            yield from self._with_scan(self.beam, n_frames, first)
        else:
            yield from self._alone(n_frames, exposure_s, first)

    def _with_scan(self, beam: SimBeam, n_frames: int, first: int) -> Iterator[Block | None]:
        while not self._off.is_set():
            taken = beam.clock.take(self, 64, 0.2)
            if taken is None:
                yield None
                continue
            rows, times = taken
            time_s = beam.exposed_s + (rows + 0.5) * beam.dwell_s
            places = beam.positions_nm[rows] + time_s[:, None] * beam.specimen.drift_nm_s
            frames = self._counts(places, beam.dwell_s, int(rows[0]) + first)
            frames[~beam.lit(rows)] = 0
            yield rows + first, times, frames
            if int(rows[-1]) + 1 >= n_frames:
                return

    def _alone(self, n_frames: int, exposure_s: float, first: int) -> Iterator[Block | None]:
        for frame in range(n_frames):
            until = time.monotonic() + exposure_s
            while self._real and (left := until - time.monotonic()) > 0:
                if self._off.wait(min(left, 0.5)):
                    return
                if left > 0.5:
                    yield None
            if self._off.is_set():
                return
            self._shots += 1
            place = np.zeros((1, 2)) if self.beam is None else self.beam.parked_nm[None]
            dark = self.beam is not None and not self.beam.on
            counts = self._counts(place, exposure_s, 1_000_000_000 + self._shots)
            yield np.array([first + frame]), np.array([time.time()]), counts * (not dark)

    def _counts(self, positions_nm: np.ndarray, exposure_s: float, first: int) -> np.ndarray:
        # every spectrum has a seed of its own: how they come in blocks changes nothing
        expected = self.rates(positions_nm) * exposure_s
        rows = [
            np.random.default_rng([self.seed, first + row]).poisson(mean)
            for row, mean in enumerate(expected)
        ]
        return np.stack(rows).astype(self.dtype)

    def disarm(self) -> None:
        """End the acquisition."""
        self._off.set()
        if self.beam is not None:
            self.beam.clock.leave(self)


class SimFluorescenceDetector(Spectrometer):
    """An energy-dispersive X-ray detector before a thin film or a simulated cell.

    Argon of the air, escape peaks, pile-up, scattering and Poisson statistics included.

    Parameters
    ----------
    name : str
    specimen : MassSpecimen
        Asked for its masses at each exposure.
    beam : SimBeam or None
    channels : int
    excitation_kev : float, keV
    counts_per_ug : float
        See `models.spectra.simulate.film_spectrum`.
    argon_ug_cm2 : float, ug/cm2
    scattered_per_s : float, counts/s
    pileup_us : float, us
    noise_kev : float, keV
    tail, tail_kev, shelf : float
        Of the lines; see `models.spectra.response.Response`.
    true_start_kev, true_step_kev : float, keV, optional
        The scale as it is, where the stated one is wrong.
    rate : "real" or "max"
    seed : int
    **kwargs
        As of `Spectrometer`.
    """

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        specimen: MassSpecimen,
        beam: SimBeam | None = None,
        channels: int = 2048,
        excitation_kev: float = 18.0,
        counts_per_ug: float = 100.0,
        argon_ug_cm2: float = 20.0,
        scattered_per_s: float = 2000.0,
        pileup_us: float = 0.3,
        noise_kev: float = 0.1,
        tail: float = 0.0,
        tail_kev: float = 0.3,
        shelf: float = 0.0,
        true_start_kev: float | None = None,
        true_step_kev: float | None = None,
        rate: str = "real",
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        self.specimen = specimen
        self.excitation_kev = float(excitation_kev)
        start = kwargs.get("energy_start_kev", 0.0) if true_start_kev is None else true_start_kev
        step = kwargs.get("energy_step_kev", 0.01) if true_step_kev is None else true_step_kev
        response = Response(
            *(float(start), float(step)),
            noise_kev=float(noise_kev),
            tail=float(tail),
            tail_kev=float(tail_kev),
            shelf=float(shelf),
        )
        air = {"Ar": float(argon_ug_cm2)}

        def rates(positions_nm: np.ndarray) -> np.ndarray:
            spectrum = film_spectrum(
                {**air, **specimen.element_masses()},
                response,
                channels,
                self.excitation_kev,
                counts_per_ug=counts_per_ug,
                scattered=scattered_per_s,
                pileup_s=pileup_us * 1e-6,
            )
            # photons are lost alike in all channels while the detector is dead
            arriving = max(float(spectrum.sum()), 1e-300)
            counted = output_rate(
                arriving,
                float(kwargs.get("dead_time_us", 0.0)) * 1e-6,
                kwargs.get("dead_time", "extending"),
            )
            spectrum = spectrum * (float(counted) / arriving)
            return np.broadcast_to(spectrum, (len(positions_nm), channels))

        driver = SimSpectrumDriver(channels, rates, beam, rate, seed)
        super().__init__(prefix, name=name, driver=driver, **kwargs)


class SimEnergyLossSpectrometer(Spectrometer):
    """An energy-loss spectrometer under the simulated beam.

    Parameters
    ----------
    name : str
    beam : SimBeam
    specimen : LossSpecimen, optional
        By default an `Interphase`.
    channels : int
    offset_ev : float, eV
        True minus stated energy.
    resolution_ev : float, eV
    background_per_s : float, counts/s
        A channel, at 50 eV.
    seed : int
    **kwargs
        As of `Spectrometer`.
    """

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        beam: SimBeam,
        specimen: LossSpecimen | None = None,
        channels: int = 1500,
        offset_ev: float = 0.0,
        resolution_ev: float = 1.0,
        background_per_s: float = 1e6,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("energy_start_kev", 0.03)
        kwargs.setdefault("energy_step_kev", 0.0005)
        self.specimen = specimen or Interphase(seed=seed)
        stated = kwargs["energy_start_kev"] + kwargs["energy_step_kev"] * np.arange(channels)
        spectra = LossSpectra(
            stated * 1e3,
            self.specimen.names,
            offset_ev=offset_ev,
            resolution_ev=resolution_ev,
            background=background_per_s,
        )
        found = self.specimen

        def rates(positions_nm: np.ndarray) -> np.ndarray:
            return spectra(found.amounts(positions_nm))

        driver = SimSpectrumDriver(channels, rates, beam, "real", seed)
        super().__init__(prefix, name=name, driver=driver, **kwargs)
