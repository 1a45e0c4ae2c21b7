"""A simulated area detector behind a powder, such as the electrode of a simulated cell."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ...models.diffraction.geometry import geometry_from_distance
from ...models.diffraction.known_phases import find_cif
from ...models.diffraction.powder import read_phase
from ...models.diffraction.powder_image import PowderImage
from ..pixel_detector import Block, PixelDetector, Trigger

_ANGSTROM_KEV = 12.398419843320026


class PowderSpecimen(Protocol):
    """What the detector asks of a specimen, such as a simulated cell."""

    def phases(self) -> Sequence[tuple[str, float, float]]:
        """Return (phase name, share of the volume, cell lengths relative to the CIF's) now."""
        ...


class SimDiffractionDriver:
    """Draws the counts of images at its own pace.

    Parameters
    ----------
    image : PowderImage
    specimen : PowderSpecimen
        Asked at the beginning of each exposure; its ``swelling``, where it has one, multiplies
        all volumes.
    counts_per_s : float, counts/s
        In a pixel where the first phase alone would be brightest.
    dark_per_s : float, counts/s
        In every pixel.
    current : callable () -> float
        Of the beam, relative to the nominal one.
    real : bool
        Whether an exposure takes its time.
    seed : int
    """

    def __init__(
        self,
        image: PowderImage,
        specimen: PowderSpecimen,
        *,
        counts_per_s: float,
        dark_per_s: float,
        current: Any,
        real: bool,
        seed: int,
    ) -> None:
        self.image, self.specimen = image, specimen
        self.counts_per_s, self.dark_per_s = float(counts_per_s), float(dark_per_s)
        self._current, self._real, self._seed = current, real, int(seed)
        h, w = image.geometry.shape
        self.shape, self.dtype = (int(h), int(w)), np.dtype("<u4")
        self._armed: tuple[int, float, int] = (0, 0.0, 0)
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
            When a scan is to time it: it keeps its own time.
        """
        if trigger == "external":
            raise RuntimeError("a simulated diffraction detector keeps its own time; step-scan it.")
        self._armed = (n_frames, exposure_s, first_index)
        self._off.clear()

    def blocks(self) -> Iterator[Block | None]:
        """Yield images as they come."""
        n_frames, exposure_s, first = self._armed
        for frame in range(n_frames):
            until = time.monotonic() + exposure_s
            expected = self._expected(exposure_s)
            while self._real and (left := until - time.monotonic()) > 0:
                if self._off.wait(min(left, 0.5)):
                    return
                if left > 0.5:
                    yield None
            if self._off.is_set():
                return
            self._shots += 1
            rng = np.random.default_rng([self._seed, self._shots])
            counts = rng.poisson(expected).astype(self.dtype)
            counts[self.image.geometry.mask] = np.iinfo(self.dtype).max
            yield np.array([first + frame]), np.array([time.time()]), counts[None]

    def _expected(self, exposure_s: float) -> np.ndarray:
        swelling = float(getattr(self.specimen, "swelling", 1.0))
        state = {name: (share * swelling, scale) for name, share, scale in self.specimen.phases()}
        beam = self.counts_per_s * exposure_s * float(self._current())
        return self.image.expected(state) * beam + self.dark_per_s * exposure_s

    def disarm(self) -> None:
        """End the acquisition."""
        self._off.set()


class SimDiffractionDetector(PixelDetector):
    """An area detector that stands upright behind a powder.

    Parameters
    ----------
    name : str
    specimen : PowderSpecimen
    phases : sequence of str
        Names of structures that come with flyback, or CIFs. The specimen names them so.
    windows : mapping of str to float
        The same for what stands in the beam besides, with volumes relative to the specimen's.
    pixels : int
        Side of the square detector.
    pixel_um : float, um
    distance_mm : float, mm
    energy_kev : float, keV
    counts_per_s : float, counts/s
        In a pixel where the first phase alone would be brightest.
    dark_per_s : float, counts/s
        In every pixel.
    gap_px : (first, last), optional
        Rows without pixels.
    beam : device with ``current_pa``, optional
        Its reading over that when the detector was made multiplies the counts.
    width_per_a, size_a, strain, background, grains
        As of `PowderImage`.
    rate : "real" or "max"
        Whether an exposure takes its time.
    seed : int
    **kwargs
        As of `PixelDetector`.
    """

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        specimen: PowderSpecimen,
        phases: Sequence[str] = ("Pt", "LiPt", "Li2Pt"),
        windows: Mapping[str, float] | None = None,
        pixels: int = 512,
        pixel_um: float = 172.0,
        distance_mm: float = 100.0,
        energy_kev: float = 18.0,
        counts_per_s: float = 2000.0,
        dark_per_s: float = 0.1,
        gap_px: Sequence[int] | None = None,
        beam: Any = None,
        width_per_a: float = 0.008,
        size_a: float = 400.0,
        strain: float = 5e-4,
        background: float = 0.02,
        grains: float = 0.0,
        rate: str = "real",
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        if rate not in ("real", "max"):
            raise ValueError(f"rate must be 'real' or 'max', got {rate!r}.")
        self._about = {
            "radiation": "xray",
            "energy_kev": float(energy_kev),
            "detector_distance_m": float(distance_mm) * 1e-3,
            "detector_pixel_m": float(pixel_um) * 1e-6,
        }
        geometry = geometry_from_distance(
            (int(pixels), int(pixels)),
            wavelength_a=_ANGSTROM_KEV / float(energy_kev),
            distance_m=self._about["detector_distance_m"],
            pixel_m=(float(pixel_um) * 1e-6, float(pixel_um) * 1e-6),
        )
        if gap_px is not None:
            geometry.mask[int(gap_px[0]) : int(gap_px[1])] = True
        farthest = float(geometry.radial.max()) * 1.1

        def read(which: str) -> Any:
            return read_phase(find_cif(which), q_max_per_a=farthest, energy_kev=float(energy_kev))

        image = PowderImage(
            geometry,
            [read(which) for which in phases],
            windows=[(read(which), float(v)) for which, v in (windows or {}).items()],
            width_per_a=width_per_a,
            size_a=size_a,
            strain=strain,
            background=background,
            grains=grains,
            seed=seed,
        )
        nominal = None if beam is None else float(beam.current_pa.get())

        def current() -> float:
            return 1.0 if beam is None else float(beam.current_pa.get()) / (nominal or 1.0)

        driver = SimDiffractionDriver(
            image,
            specimen,
            counts_per_s=counts_per_s,
            dark_per_s=dark_per_s,
            current=current,
            real=rate == "real",
            seed=seed,
        )
        super().__init__(prefix, name=name, driver=driver, **kwargs)
        if geometry.mask.any():
            self.corrections["bad_pixels"] = geometry.mask

    def metadata(self) -> dict[str, Any]:
        """Return what the start documents of runs are to say."""
        return dict(self._about)
