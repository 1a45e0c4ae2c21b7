"""Edges and reference compounds in every energy-loss spectrum of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.signal import find_peaks

from ..base import Quantity
from ..experiment import Experiment, MissingMetadata
from .edges import edge
from .gain import Gain, estimate
from .linear_fit import LinearFit
from .loss_columns import Asked, Columns, Spectrum, build
from .spectra_model import Rows, SpectraModel, geometry

_LARGEST_OFFSET_EV = 8.0
_NEAR_EV = 35.0
_MOST_PASSES = 32


class EnergyLoss(SpectraModel):
    """Fit each spectrum by edges, references and power laws under them, never negative.

    The energy offset is found once on the mean spectrum (from the zero-loss peak where the axis
    has it, else where edges and peaks fit best) and kept for the run.

    Parameters
    ----------
    experiment : Experiment
    edges : sequence of str
        Such as "Ti_L".
    energy_kev_axis : (channels,) float64, keV
        Energy loss.
    references : sequence of str
        Compounds of `edges.COMPOUNDS`, such as "LiF".
    spectra : mapping of name to (energy_ev, intensity), optional
        Measured references without their background.
    offset_ev : float, eV, or None
        True minus stated energy; None is found.
    resolution_ev : float, eV
    collection_mrad : float, optional
        Collection semi-angle.
    counts_per_electron : float or None
        Variance a count, for cameras that do not count single electrons; None is estimated from
        the scatter of the spectra before the first edge.
    dwell_s : float, s, optional
        Of one frame, where frames do not state their own.

    Raises
    ------
    ElementError
        For what is no edge and no reference.
    MissingMetadata
        Without an energy axis.
    """

    def __init__(
        self,
        experiment: Experiment,
        edges: Sequence[str],
        energy_kev_axis: np.ndarray | None,
        *,
        references: Sequence[str] = (),
        spectra: Mapping[str, Spectrum] | None = None,
        offset_ev: float | None = None,
        resolution_ev: float = 1.0,
        collection_mrad: float | None = None,
        counts_per_electron: float | None = None,
        dwell_s: float | None = None,
    ) -> None:
        super().__init__(experiment)
        if energy_kev_axis is None:
            raise MissingMetadata(
                "the energy axis",
                "a file that states it, or --set energy_loss.energy_start_ev=350 and "
                "energy_loss.energy_step_ev=0.25",
            )
        self.energy_ev = np.asarray(energy_kev_axis, float).reshape(-1) * 1e3
        if len(self.energy_ev) < 16 or not np.all(np.diff(self.energy_ev) > 0):
            raise ValueError("the energy axis must ascend and have at least 16 channels")
        if not (edges or references or spectra):
            raise ValueError(
                "edges or references are needed, such as --set energy_loss.edges=Ti_L,O_K"
            )
        given = counts_per_electron
        if (given is not None and not 0 < given < np.inf) or not resolution_ev > 0:
            raise ValueError("counts_per_electron and resolution_ev must be positive")
        self._asked = Asked(
            [edge(name) for name in edges],
            list(references),
            dict(spectra or {}),
            float(resolution_ev),
            experiment.energy_kev,
            collection_mrad,
        )
        self.names = self._asked.names
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"edges and references are to be named once, got {self.names}")
        self._given_offset = offset_ev
        self._given_gain = None if given is None else Gain(float(given), np.nan, "given")
        self.gain = self._given_gain or Gain(1.0, np.nan, "unknown", known=False)
        self._dwell_s = dwell_s
        self.offset_ev = 0.0
        self._flags: list[str] = []
        build(self._asked, self.energy_ev, np.ones(len(self.energy_ev)), 0.0)
        self._columns: Columns | None = None
        self._linear: LinearFit | None = None

    def _make(self) -> None:
        mean = self._mean()
        if self._held.shape is not None and self._held.shape[1] != len(self.energy_ev):
            raise ValueError(
                f"the energy axis has {len(self.energy_ev)} channels, the spectra "
                f"{self._held.shape[1]}"
            )
        self._flags = []
        self.offset_ev = self._offset(mean)
        self._columns = build(self._asked, self.energy_ev, mean, self.offset_ev)
        self.gain = self._given_gain or self._estimated_gain(mean)
        if not self.gain.known and mean.any():
            self._flags.append(
                f"counts_per_electron is {self.gain.source}, so that sigmas are too small where a "
                "camera counts no single electrons; give it with "
                "--set energy_loss.counts_per_electron=1"
            )
        self._linear = self._fit_of(self._columns, mean)

    def _estimated_gain(self, mean: np.ndarray) -> Gain:
        before = self._before(self.energy_ev + self.offset_ev) & (mean > 0)
        rows = self._held.rows()
        order = np.argsort(rows["index"], kind="stable")
        order = order[~rows["broken"][order]]
        return estimate(map(_summed, self._held.blocks()), order, before)

    def _before(self, true_ev: np.ndarray) -> np.ndarray:
        """Return the channels before the first edge, without the zero loss and plasmons."""
        first = min(self._asked.onsets_ev())
        return (true_ev < first - 3 * self._asked.resolution_ev) & (true_ev > 0.5 * first)

    def _fit_of(self, columns: Columns, mean: np.ndarray) -> LinearFit:
        return LinearFit(
            columns.values, mean, use=columns.use, own_variance=self.gain.value, sums=columns.sums
        )

    def _mean(self) -> np.ndarray:
        return np.maximum(self._held.mean().sum(axis=0), 0.0)

    def _offset(self, mean: np.ndarray) -> float:
        """Return true minus stated energy."""
        if self._given_offset is not None:
            return float(self._given_offset)
        if not mean.any():
            self._flags.append("the spectra are empty; the energy scale is as stated")
            return 0.0
        step = float(np.median(np.diff(self.energy_ev)))
        highest = int(np.argmax(mean))
        if self.energy_ev[0] < -2 and abs(self.energy_ev[highest]) < 3 * _LARGEST_OFFSET_EV:
            near = slice(max(highest - 3, 0), highest + 4)
            return -float(np.average(self.energy_ev[near], weights=mean[near]))
        coarse = np.arange(-_LARGEST_OFFSET_EV, _LARGEST_OFFSET_EV + 1e-9, max(2 * step, 0.4))
        best = coarse[int(np.argmin([self._misfit(mean, each) for each in coarse]))]
        fine = best + step / 2 * np.arange(-6, 7)
        misfits = [self._misfit(mean, each) for each in fine]
        best = float(fine[int(np.argmin(misfits))])
        if abs(best) > _LARGEST_OFFSET_EV - step:
            self._flags.append(
                f"no energy offset up to {_LARGEST_OFFSET_EV:g} eV fits the edges; the energy "
                "scale is as stated"
            )
            return 0.0
        return best

    def _misfit(self, mean: np.ndarray, offset_ev: float) -> float:
        columns = build(self._asked, self.energy_ev, mean, float(offset_ev))
        return float(self._fit_of(columns, mean).fit(mean[None]).chi2[0])

    def _fit(self, spectra: np.ndarray) -> Rows:
        if self._linear is None:
            raise RuntimeError("no columns were made")
        done = self._linear.fit(_summed(spectra))
        return {"area": done.sums, "variance": done.sums_variance, "chi2": done.chi2}

    @property
    def result_(self) -> dict[str, Quantity]:
        """What is known so far.

        Returns
        -------
        dict of Quantity
            In order of scan index: ``area`` and ``area_sigma`` (frame, edge) counts in the
            windows, ``chi2``, ``scan_index``. ``edges``, ``energy_offset_ev``;
            ``counts_per_electron`` with sigma and how it was found; of the mean
            spectrum ``energy_ev`` (with the offset), ``mean``, ``background``, ``fitted``
            (channel), and the near-edge peaks it has: ``peak_ev``, ``peak_stated_ev`` without the
            offset, ``peak_edge``. With a scan ``area_image`` and ``rate_image`` (edge, y, x), the
            latter in counts a second, each place by the time spent there; with several passes
            ``pass_area`` (pass, edge) with sigma and ``pass_image`` (pass, edge, y, x).
        """
        if not self._fitted_rows or self._linear is None or self._columns is None:
            return {}
        rows, found = self._ordered()
        result = {
            "area": Quantity(found["area"], "counts", ("frame", "edge")),
            "area_sigma": Quantity(np.sqrt(found["variance"]), "counts", ("frame", "edge")),
            "chi2": Quantity(found["chi2"], "", ("frame",)),
            "scan_index": Quantity(rows["index"], "", ("frame",)),
            "edges": Quantity(list(self.names), "", ("edge",)),
            "energy_offset_ev": Quantity(self.offset_ev, "eV"),
            "counts_per_electron": Quantity(self.gain.value, "counts"),
            "counts_per_electron_sigma": Quantity(self.gain.sigma, "counts"),
            "counts_per_electron_source": Quantity([self.gain.source], "", ("source",)),
            "refined": Quantity(self._final),
            "flags": Quantity(self._flags + self._broken(rows), "", ("flag",)),
        }
        mean = self._mean()
        coefficients = self._linear.fit(mean[None]).coefficients[0]
        use = self._columns.use
        level = np.where(self._columns.background, coefficients, 0.0)
        background = self._linear.model(level)[0]
        fitted = self._linear.model(coefficients)[0]
        result |= {
            "energy_ev": Quantity(self.energy_ev + self.offset_ev, "eV", ("channel",)),
            "mean": Quantity(mean, "counts", ("channel",)),
            "background": Quantity(np.where(use, background, np.nan), "counts", ("channel",)),
            "fitted": Quantity(np.where(use, fitted, np.nan), "counts", ("channel",)),
        }
        result |= self._times(rows) | self._peaks(mean, background)
        return result | self._images(rows, found)

    def _peaks(self, mean: np.ndarray, background: np.ndarray) -> dict[str, Quantity]:
        """Return the near-edge peaks of the mean spectrum, to a fraction of a channel."""
        n = max(len(self._held), 1)
        signal, true_ev = mean - background, self.energy_ev + self.offset_ev
        noise = np.sqrt(self.gain.value * np.maximum(mean, 0) / n)
        stated, names = [], []
        excess = self._excess(signal, noise, true_ev)
        for each in self._asked.edges:
            near = (true_ev > each.onset_ev - 6) & (true_ev < each.onset_ev + _NEAR_EV)
            others = [e.onset_ev for e in self._asked.edges if e.onset_ev > each.onset_ev]
            near &= true_ev < min(others, default=np.inf) - 6
            if near.sum() < 8:
                continue
            first = int(np.flatnonzero(near)[0])
            least = 4 * excess * float(np.median(noise[near]))
            least = max(least, 0.02 * float(signal[near].max()))
            at, _ = find_peaks(signal[near], prominence=least)
            for top in at + first:
                a, b, c = signal[top - 1 : top + 2]
                shift = 0.5 * (a - c) / (a - 2 * b + c)
                step = self.energy_ev[top + 1] - self.energy_ev[top]
                stated.append(float(self.energy_ev[top] + shift * step))
                names.append(each.name)
        if not stated:
            return {}
        return {
            "peak_stated_ev": Quantity(np.array(stated), "eV", ("peak",)),
            "peak_ev": Quantity(np.array(stated) + self.offset_ev, "eV", ("peak",)),
            "peak_edge": Quantity(names, "", ("peak",)),
        }

    def _excess(self, signal: np.ndarray, noise: np.ndarray, true_ev: np.ndarray) -> float:
        """Return how much noisier than counting a camera is, from what lies before the edges."""
        first = min((each.onset_ev for each in self._asked.edges), default=0.0)
        before = self._columns.use & (true_ev < first - 8) if self._columns is not None else None
        if before is None or before.sum() < 16:
            return 1.0
        rough = float(np.std(np.diff(signal[before], 2))) / np.sqrt(6)
        return max(1.0, rough / max(float(np.median(noise[before])), 1e-300))

    def _dwells(self, rows: Rows) -> np.ndarray | None:
        """Return the time of each frame in seconds, where it is known."""
        if "dwell_s" in rows:
            return rows["dwell_s"]
        return None if self._dwell_s is None else np.full(len(rows["index"]), float(self._dwell_s))

    def _images(self, rows: Rows, found: Rows) -> dict[str, Quantity]:
        image = self._place(rows)
        if image is None:
            return {}
        area, dwell = found["area"], self._dwells(rows)
        dims = ("edge", "y", "x")
        maps = np.stack([image(values) for values in area.T])
        out = {"area_image": Quantity(maps, "counts", dims), **geometry(image)}
        if dwell is not None:
            with np.errstate(invalid="ignore", divide="ignore"):
                rates = maps / image(dwell)
            out["rate_image"] = Quantity(rates, "counts/s", dims)
        return out | self._passes(rows, found, dwell)

    def _passes(self, rows: Rows, found: Rows, dwell: np.ndarray | None) -> dict[str, Quantity]:
        """Return areas pass by pass: what the dose of the earlier ones has changed."""
        passes = self.experiment.passes
        image = self._place(rows)
        if passes is None or image is None or rows["index"].max() >= len(passes):
            return {}
        of_frame = passes[rows["index"]]
        n = int(of_frame.max()) + 1
        if n > _MOST_PASSES:
            return {}
        time = np.ones(len(of_frame)) if dwell is None else dwell
        units = "counts" if dwell is None else "counts/s"
        rate, sigma, maps = [], [], []
        for each in range(n):
            mine = (of_frame == each) & np.isfinite(found["area"]).all(axis=1)
            spent = max(float(time[mine].sum()), 1e-300)
            rate.append(found["area"][mine].sum(axis=0) / spent)
            sigma.append(np.sqrt(found["variance"][mine].sum(axis=0)) / spent)
            only = np.where(mine[:, None], found["area"] / time[:, None], np.nan)
            maps.append(np.stack([image(values) for values in only.T]))
        dims = ("pass", "edge")
        return {
            "pass_area": Quantity(np.stack(rate), units, dims),
            "pass_area_sigma": Quantity(np.stack(sigma), units, dims),
            "pass_image": Quantity(np.stack(maps), units, (*dims, "y", "x")),
        }


def _summed(spectra: np.ndarray) -> np.ndarray:
    """Return the sum over detectors, (n, channels)."""
    return spectra[:, 0] if spectra.shape[1] == 1 else spectra.sum(axis=1, dtype=np.float32)
