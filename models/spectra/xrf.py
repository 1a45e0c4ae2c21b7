"""Areas of elements' X-ray lines in every spectrum of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from ..base import Quantity
from ..experiment import Experiment, MissingMetadata
from ..mass_balance import mass_balance
from .calibration import find
from .detector_fit import DetectorFit, Scatter
from .lines import Family, parse, visible
from .response import Response
from .spectra_model import Rows, SpectraModel, geometry

MONITOR, LIVE_TIME = "monitor", "live_time_s"
_LOWEST_KEV = 0.8
_LEAST_TO_FIND = 3000.0
_DEFAULT_RANGE_KEV = (_LOWEST_KEV, 25.0)


class Fluorescence(SpectraModel):
    """Fit each spectrum by the lines of elements, never negative, with one scale a detector.

    While frames arrive the scale comes from the spectra so far (made anew each time their counts
    have doubled) and the areas are a preview; `converge` refines offset, slope and width once on
    the sum of all spectra, and fits all of them with it.

    Parameters
    ----------
    experiment : Experiment
        Its `energy_kev` says which edges are excited; where it is unknown, all.
    elements : sequence of str
        Such as "Fe", or "Pt_L" for one family. By default the innermost family whose strongest
        line lies on the axis.
    energy_kev_axis : (channels,) or (detectors, channels) float64, keV, or None
        None, and no `slope_kev`: found from the elements, of which there must be two.
    offset_kev, slope_kev : float, keV, optional
        Take the place of the axis.
    also : sequence of str
        Elements whose lines are there and whose areas are not wanted, such as Ar.
    detector : "Si" or "Ge"
    tail, tail_kev, shelf : float
        Of the lines; see `response.Response`.
    escape, pileup, refine : bool
        Whether lines have escape peaks, pairs of photons may be counted as one, and the scale
        is refined.
    scatter_angle_deg : float, deg
        Between beam and detector, for the Compton peak.
    mass : str, optional
        An element whose mass is compared with its first value: its area, over the coordinates
        ``monitor`` and ``live_time_s`` where frames have these.
    mass_first : int
        Frames whose mean is the first value.
    mass_ug_cm2 : float, ug/cm2, optional
        Areal density at the beginning, where it is known.

    Raises
    ------
    ElementError
        For what is no element, or one without lines on the axis.
    MissingMetadata
        When there is no axis and it cannot be found.
    """

    coordinates = (*SpectraModel.coordinates, MONITOR, LIVE_TIME)

    def __init__(
        self,
        experiment: Experiment,
        elements: Sequence[str],
        energy_kev_axis: np.ndarray | None = None,
        *,
        offset_kev: float | None = None,
        slope_kev: float | None = None,
        also: Sequence[str] = (),
        detector: str = "Si",
        tail: float = 0.0,
        tail_kev: float = 0.3,
        shelf: float = 0.0,
        escape: bool = True,
        pileup: bool = True,
        refine: bool = True,
        scatter_angle_deg: float = 90.0,
        mass: str | None = None,
        mass_first: int = 1,
        mass_ug_cm2: float | None = None,
    ) -> None:
        super().__init__(experiment)
        self.excitation_kev = experiment.energy_kev
        self._axis = None if energy_kev_axis is None else np.asarray(energy_kev_axis, float)
        self._offset, self._slope = offset_kev, slope_kev
        start = Response(
            *(0.0, 0.0),
            tail=float(tail),
            tail_kev=float(tail_kev),
            shelf=float(shelf),
            material=detector,
            escape=bool(escape),
        )
        self._start, self._pileup, self._refine = start, bool(pileup), bool(refine)
        self._scatter = (
            None
            if self.excitation_kev is None
            else Scatter(self.excitation_kev, float(scatter_angle_deg))
        )
        self.elements = [_label(name) for name in elements]
        if not elements:
            raise ValueError("elements are needed, such as --set fluorescence.elements=Ca,Fe,Cu")
        if len(set(self.elements)) != len(self.elements):
            raise ValueError(f"elements are to be named once each, got {', '.join(elements)}")
        if slope_kev is not None and not 1e-4 <= slope_kev <= 0.5:
            raise ValueError(
                f"energy_slope_kev must lie between 0.0001 and 0.5 keV a channel, got {slope_kev:g}"
            )
        if self._axis is None and slope_kev is None and len(elements) + len(also) < 2:
            raise MissingMetadata(
                "the energy axis",
                "--set fluorescence.energy_slope_kev=0.01 (and energy_offset_kev), or with a "
                "second element, from which it is found",
            )
        self._names, self._also = list(elements), list(also)
        self.mass = None if mass is None else _label(mass)
        if self.mass is not None and self.mass not in self.elements:
            raise ValueError(f"mass={mass} must be one of the elements {', '.join(self.elements)}")
        self._mass_first, self._mass_known = mass_first, mass_ug_cm2
        for name in self._also:
            parse(name)
        self._fits: list[DetectorFit] = []
        self._guess = start

    def merge(self, other: Self) -> Self:
        """Take in what `other` has learnt from other spectra."""
        super().merge(other)
        self._fits = self._fits or other._fits
        if self._guess.slope_kev <= 0:
            self._guess = other._guess
        return self

    def _look(self) -> None:
        enough = float(self._held.total.sum()) >= _LEAST_TO_FIND
        if enough and not any(fit.refined.response.slope_kev > 0 for fit in self._fits):
            raise ValueError(
                f"no energy scale was stated, and none makes the spectrum that of "
                f"{', '.join(self.elements)}; give it with "
                "--set fluorescence.energy_slope_kev=0.01 (and energy_offset_kev)"
            )

    @property
    def result_(self) -> dict[str, Quantity]:
        """What is known so far.

        Returns
        -------
        dict of Quantity
            In order of scan index: ``area`` and ``area_sigma`` (frame, element) counts, summed
            over detectors; ``elements``; ``families`` with ``family_area`` (frame, family);
            ``chi2`` (frame) reduced; ``scan_index``. Of the run: ``mean``, ``fitted`` and
            ``residual`` (detector, channel), ``energy_offset_kev``, ``energy_slope_kev``,
            ``energy_shift_ev``, ``fwhm_ev`` at Mn Ka (detector), ``unexplained`` peaks, ``flags``;
            ``area_image`` (element, y, x) where there is a scan; ``mass_...`` where asked for, and
            ``exposure`` (frame), what its area was divided by.
        """
        if not self._fitted_rows:
            return {}
        rows, found = self._ordered()
        k = len(self.elements)
        area, sigma = found["area"][:, :k], np.sqrt(found["variance"][:, :k])
        result = {
            "area": Quantity(area, "counts", ("frame", "element")),
            "area_sigma": Quantity(sigma, "counts", ("frame", "element")),
            "elements": Quantity(list(self.elements), "", ("element",)),
            "family_area": Quantity(found["area"], "counts", ("frame", "family")),
            "families": Quantity([each.name for each in self._everything()], "", ("family",)),
            "chi2": Quantity(found["chi2"], "", ("frame",)),
            "scan_index": Quantity(rows["index"], "", ("frame",)),
            "refined": Quantity(self._final),
        }
        result |= self._times(rows) | self._of_the_run(rows)
        result |= self._images(rows, area)
        if self.mass is not None:
            column = self.elements.index(self.mass)
            by = _exposure(rows)
            values = area[:, column] / by
            if np.nansum(values[: self._mass_first]) > 0:
                result["exposure"] = Quantity(by, "", ("frame",))
                result |= mass_balance(
                    values,
                    sigma[:, column] / by,
                    rows.get("time_s"),
                    first=self._mass_first,
                    known=self._mass_known,
                )
        return result

    def _range_kev(self) -> tuple[float, float]:
        """Return the energies between which lines are looked for."""
        if self._slope is not None and self._held.shape is not None:
            top = (self._offset or 0.0) + self._slope * self._held.shape[1]
        elif self._axis is not None:
            top = float(self._axis.max())
        else:
            top = _DEFAULT_RANGE_KEV[1]
        return _LOWEST_KEV, min(top, self.excitation_kev or np.inf)

    def _families(self) -> tuple[list[Family], list[Family]]:
        """Return the families asked for and the others."""
        low, high = self._range_kev()
        asked: list[Family] = []
        others: list[Family] = []
        for name in self._names:
            found = visible(name, low, high, self.excitation_kev)
            asked.append(found[0])
            others += found[1:]
        for name in self._also:
            others += visible(name, low, high, self.excitation_kev)
        return asked, others

    def _everything(self) -> list[Family]:
        asked, others = self._families()
        return [*asked, *others]

    def _stated(self, detector: int) -> Response:
        """Return the scale that the run or the settings state; its slope is 0 where none is."""
        if self._slope is not None:
            return replace(
                self._start, offset_kev=self._offset or 0.0, slope_kev=float(self._slope)
            )
        if self._axis is None or self._held.shape is None:
            return self._start
        axis = self._axis if self._axis.ndim == 1 else self._axis[detector]
        if axis.shape != (self._held.shape[1],):
            raise ValueError(
                f"the energy axis has {axis.shape[-1]} channels, the spectra "
                f"{self._held.shape[1]}; give --set fluorescence.energy_slope_kev=0.01"
            )
        slope, offset = np.polyfit(np.arange(len(axis)), axis, 1)
        if not slope > 0:
            raise ValueError("the energy axis must ascend")
        return replace(self._start, offset_kev=float(offset), slope_kev=float(slope))

    def _make(self) -> None:
        asked, others = self._families()
        stated = [self._stated(detector) for detector in range(len(self._held.total))]
        if stated[0].slope_kev <= 0:
            stated = [self._found(asked, others)] * len(stated)
        self._fits = [
            DetectorFit(
                total,
                len(self._held),
                start,
                asked,
                others,
                scatter=self._scatter,
                refine_scale=self._refine,
                pileup=self._pileup,
            )
            for start, total in zip(stated, self._held.total, strict=True)
        ]

    def _found(self, asked: list[Family], others: list[Family]) -> Response:
        """Return the scale of the detector that counted most; the others' are near it."""
        if self._guess.slope_kev <= 0:
            counts = self._held.total.sum(axis=1)
            if float(counts.max()) >= _LEAST_TO_FIND:
                families = asked if len(asked) > 1 else asked + others
                best = find(self._held.total[int(np.argmax(counts))], families, self._start)
                self._guess = best or self._start
        return self._guess

    def _fit(self, spectra: np.ndarray) -> dict[str, np.ndarray]:
        """Return areas, variances and chi2 of spectra, summed over detectors."""
        names = [each.name for each in self._everything()]
        area, variance = np.zeros((2, len(spectra), len(names)))
        chi2, degrees = np.zeros(len(spectra)), 0
        for detector, fit in enumerate(self._fits):
            if fit.linear is None:
                continue
            done = fit.linear.fit(spectra[:, detector])
            columns = [names.index(each.name) for each in fit.families]
            area[:, columns] += done.coefficients[:, : len(columns)]
            variance[:, columns] += done.variance[:, : len(columns)]
            chi2 += done.chi2 * fit.linear.n_used
            degrees += fit.linear.n_used
        if not degrees:
            area[:], variance[:] = np.nan, np.nan
        return {"area": area, "variance": variance, "chi2": chi2 / max(degrees, 1)}

    def _of_the_run(self, rows: dict[str, np.ndarray]) -> dict[str, Quantity]:
        mean = self._held.mean()
        n, channels = len(self._held), mean.shape[1]
        fitted, unexplained = np.full_like(mean, np.nan), set()
        for detector, fit in enumerate(self._fits):
            if fit.linear is None:
                continue
            coefficients = fit.linear.fit(mean[detector][None]).coefficients
            fitted[detector] = fit.spectrum(coefficients, channels)
            if detector == 0:
                unexplained.update(fit.residual_lines(mean[detector], n, fitted[detector]))
        responses = [fit.refined.response for fit in self._fits]
        per_detector: dict[str, tuple[list[Any], str]] = {
            "energy_offset_kev": ([r.offset_kev for r in responses], "keV"),
            "energy_slope_kev": ([r.slope_kev for r in responses], "keV"),
            "energy_shift_ev": ([f.refined.shift_kev * 1e3 for f in self._fits], "eV"),
            "fwhm_ev": ([r.fwhm_kev() * 1e3 for r in responses], "eV"),
        }
        out = {
            "mean": Quantity(mean, "counts", ("detector", "channel")),
            "fitted": Quantity(fitted, "counts", ("detector", "channel")),
            "residual": Quantity(mean - fitted, "counts", ("detector", "channel")),
            "unexplained": Quantity([f"{e:.3f} keV" for e in sorted(unexplained)], "", ("peak",)),
            "flags": Quantity(self._flags(rows), "", ("flag",)),
        }
        return out | {
            name: Quantity(np.array(values), units, ("detector",))
            for name, (values, units) in per_detector.items()
        }

    def _flags(self, rows: dict[str, np.ndarray]) -> list[str]:
        flags = self._broken(rows)
        for detector, fit in enumerate(self._fits):
            if fit.refined.why_not:
                flags.append(f"detector {detector}: {fit.refined.why_not}; the scale is as stated")
        return flags

    def _images(self, rows: dict[str, np.ndarray], area: np.ndarray) -> dict[str, Quantity]:
        image = self._place(rows)
        if image is None:
            return {}
        maps = np.stack([image(values) for values in area.T])
        return {
            "area_image": Quantity(maps, "counts", ("element", "y", "x")),
            **geometry(image),
        }


def _exposure(rows: Rows) -> np.ndarray:
    """Return what the beam and the live time gave each frame, over the first; 1 where unknown."""
    out = np.ones(len(rows["index"]))
    for name in (MONITOR, LIVE_TIME):
        values = np.asarray(rows.get(name, ()), float)
        good = np.isfinite(values) & (values > 0)
        if good.any():
            out[good] *= values[good] / values[good][0]
            out[~good] = np.nan
    return out


def _label(name: str) -> str:
    symbol, shell = parse(name)
    return symbol if shell is None else f"{symbol} {shell}"
