"""How far off walls are placed, by dose: positions that follow the walls against rasters.

    python -m flyback.tests.bench.follow_walls [--model NAME] [--seeds 10] [--picture FILE.png]

Simulated PbTiO3 at 300 keV and 1.5 mrad over a field of 60 nm: stripes whose direction, place,
thickness, wedge, tilt and bend change with the seed. Every position takes the same electrons. A
raster begins at 5 nm and gets finer; the adaptive scan begins with that of 5 nm and goes on in
rounds of 32 (`models.domains.steering`). Classes come from the network that `flyback` uses live.

The error is the area that a map gives to the wrong class over the length of the true walls, so the
mean distance between the walls found and the true ones. It is judged within the outermost positions
of the raster of 5 nm: beyond them neither scan looks on purpose. The map is the class of largest
probability, interpolated linearly between positions: the same for both scans.
"""

import argparse
import itertools

import numpy as np
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator

from flyback.models.base import Batch
from flyback.models.domains.classifier import Classifier, find
from flyback.models.domains.domain_map import DomainMap
from flyback.models.domains.patterns import Conditions, simulate_patterns
from flyback.models.domains.specimen import Lamella, probe_radius_nm
from flyback.models.experiment import Experiment
from flyback.models.physics import wavelength_m

FIELD_NM, COARSE_NM, ROUND = 60.0, 5.0, 32
ENERGY_KEV, ALPHA_MRAD, SAMPLING_MRAD, ELECTRONS = 300.0, 1.5, 0.5, 4000.0
STEPS_NM = (5.0, 4.0, 3.0, 2.5, 2.0, 1.5, 1.2)
ADAPTIVE_ROUNDS = 40
SPECIMENS = {
    "180°": ("+x", "-x"),
    "90°": ("+x", "+y"),
    "five classes": ("+x", "-x", "+y", "-y", "+z"),
}
FINE_NM = 0.4


class Specimen:
    """A lamella, what the camera sees of it, and where its walls are."""

    def __init__(self, variants, seed, *, material="PbTiO3"):
        rng = np.random.default_rng(seed)
        self.seed = seed
        self.lamella = Lamella(
            material=material,
            variants=variants,
            width_nm=rng.uniform(12, 18),
            normal_deg=rng.uniform(0, 180),
            offset_nm=rng.uniform(0, 100),
            thickness_nm=rng.uniform(14, 26),
            wedge=tuple(rng.uniform(-0.06, 0.06, 2)),
            tilt_mrad=tuple(rng.uniform(-0.5, 0.5, 2)),
            bend_mrad_per_nm=rng.uniform(0, 0.02),
            bend_deg=rng.uniform(0, 180),
        )
        self.probe_nm = probe_radius_nm(ALPHA_MRAD, wavelength_m("electron", ENERGY_KEV) * 1e9, 0.0)
        self.fine = raster(FINE_NM)
        self.fine = self.fine[np.abs(self.fine).max(axis=1) <= (FIELD_NM - COARSE_NM) / 2]
        truth = self.lamella.truth(self.fine)
        self.truth = np.array(truth.classes)[truth.label]
        side = round(len(self.fine) ** 0.5)
        label = truth.label.reshape(side, side)
        # a straight line at any angle crosses so many pixel edges along each axis
        crossed = (np.count_nonzero(np.diff(label, axis=k)) for k in (0, 1))
        self.wall_nm = FINE_NM * float(np.hypot(*crossed))

    def frames(self, positions_nm, first_index):
        local = self.lamella.at(positions_nm, self.probe_nm)
        conditions = Conditions(
            thickness_nm=local.thickness_nm,
            tilt_mrad=local.tilt_mrad,
            dose_e_per_pattern=ELECTRONS,
            energy_kev=ENERGY_KEV,
            semi_convergence_angle_mrad=ALPHA_MRAD,
            angular_sampling_mrad=SAMPLING_MRAD,
            background_fraction=0.02,
        )
        return simulate_patterns(
            self.lamella.material,
            local.fractions,
            conditions,
            seed=self.seed,
            first_index=first_index,
        )

    def error_nm(self, model):
        """Mean distance of the walls found from the true ones."""
        rows = model._joined()
        places, chance = rows["positions"] * 1e9, rows["probability"]
        good = np.isfinite(chance).all(axis=1)
        inside = LinearNDInterpolator(places[good], chance[good])(self.fine)
        rim = ~np.isfinite(inside[:, 0])  # an unknown frame at the rim
        inside[rim] = NearestNDInterpolator(places[good], chance[good])(self.fine[rim])
        classes = np.array(model.classifier.card.classes)
        wrong = classes[inside.argmax(axis=1)] != self.truth
        return float(np.count_nonzero(wrong) * FINE_NM**2 / self.wall_nm)


def raster(step_nm):
    line = np.arange(step_nm / 2, FIELD_NM, step_nm) - FIELD_NM / 2
    return np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)


def experiment():
    half = FIELD_NM / 2
    return Experiment.from_metadata(
        {
            "radiation": "electron",
            "energy_kev": ENERGY_KEV,
            "semi_convergence_angle_mrad": ALPHA_MRAD,
            "angular_sampling_mrad": SAMPLING_MRAD,
            "trajectory": {
                "type": "adaptive",
                "units": "nm",
                "n_points": 10_000,
                "step": COARSE_NM,
                "grid_shape": None,
                "extent": [[-half, -half], [half, half]],
            },
        }
    )


def take(model, specimen, positions_nm, first_index):
    frames = specimen.frames(positions_nm, first_index)
    index = np.arange(first_index, first_index + len(frames))
    model.partial_fit(Batch(frames, index, {"positions_m": positions_nm * 1e-9}))


def uniform(specimen, classifier):
    out = []
    for step in STEPS_NM:
        model = DomainMap(experiment(), classifier)
        take(model, specimen, raster(step), 0)
        out.append((len(raster(step)), specimen.error_nm(model)))
    return np.array(out)


def adaptive(specimen, classifier):
    model = DomainMap(experiment(), classifier)
    take(model, specimen, raster(COARSE_NM), 0)
    done, out, said = len(raster(COARSE_NM)), [], []
    for number in range(ADAPTIVE_ROUNDS):
        positions_m, error_m = model.next_positions(ROUND, seed=number)
        out.append((done, specimen.error_nm(model)))
        said.append(error_m * 1e9)
        if not len(positions_m):
            break
        take(model, specimen, positions_m * 1e9, done)
        done += len(positions_m)
    return np.array(out), np.array(said)


def dose_for(curve, error_nm):
    """Fewest positions with which a curve reaches an error; infinite where it never does."""
    n, error = curve.T
    best = np.minimum.accumulate(error)
    if best[-1] > error_nm:
        return np.inf
    k = int(np.argmax(best <= error_nm))
    if k == 0:
        return n[0]
    share = np.log(best[k - 1] / error_nm) / np.log(best[k - 1] / max(best[k], 1e-9))
    return float(np.exp(np.log(n[k - 1]) * (1 - share) + np.log(n[k]) * share))


def interval(values):
    """Median with the 95 % interval of a bootstrap over seeds; never reached is infinite."""
    values = np.asarray(values)
    rng = np.random.default_rng(0)
    medians = np.sort(np.median(rng.choice(values, (2000, len(values))), axis=1))
    low, high = medians[[49, 1949]]
    return f"{np.median(values):.2f} ({low:.2f}-{high:.2f})"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="PbTiO3")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--picture")
    given = parser.parse_args()
    classifier = Classifier(find(given.model), threads=1)
    per_point = ELECTRONS / (FIELD_NM * 10) ** 2
    print(
        "| walls | raster of | e/Å² | its error, nm | dose that follows the walls needs, of that |"
    )
    print("|---|---|---|---|---|")
    curves = {}
    for name, variants in SPECIMENS.items():
        pairs = []
        for seed in range(given.seeds):
            specimen = Specimen(variants, seed)
            pairs.append((uniform(specimen, classifier), adaptive(specimen, classifier)[0]))
        curves[name] = pairs
        for k, step in itertools.islice(enumerate(STEPS_NM), 2, None):
            ratios = [dose_for(a, u[k, 1]) / u[k, 0] for u, a in pairs]
            errors = [u[k, 1] for u, _ in pairs]
            dose = pairs[0][0][k, 0] * per_point
            cells = (name, f"{step:g} nm", f"{dose:.3g}", f"{np.median(errors):.2f}")
            print("|", *(f"{cell} |" for cell in (*cells, interval(ratios))), flush=True)
    if given.picture:
        draw(curves, per_point, given.picture)


def draw(curves, per_point, path):
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FixedLocator, NullLocator

    figure, axes = plt.subplots(1, len(curves), figsize=(11, 3.6), sharey=True, layout="tight")
    for axis, (name, pairs) in zip(axes, curves.items(), strict=True):
        for which, label, colour in (
            (0, "raster", "tab:gray"),
            (1, "follows the walls", "tab:red"),
        ):
            for pair in pairs:
                axis.loglog(pair[which][:, 0] * per_point, pair[which][:, 1], color=colour, lw=0.5)
            n = min(len(pair[which]) for pair in pairs)
            middle = np.median([pair[which][:n] for pair in pairs], axis=0)
            axis.loglog(middle[:, 0] * per_point, middle[:, 1], color=colour, lw=2.5, label=label)
        axis.set(title=f"{name} walls" if "°" in name else name, xlabel="mean dose, e/Å²")
        for ruler, ticks in ((axis.xaxis, (2, 5, 10, 20)), (axis.yaxis, (0.1, 0.2, 0.5, 1))):
            ruler.set_major_locator(FixedLocator(ticks))
            ruler.set_major_formatter("{x:g}")
            ruler.set_minor_locator(NullLocator())
    axes[0].set_ylabel("mean distance of walls from the truth, nm")
    axes[0].legend()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
