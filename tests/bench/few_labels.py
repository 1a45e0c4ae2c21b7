"""How many labels a scan needs: patterns chosen near walls, by uncertainty, or at random.

    python -m flyback.tests.bench.few_labels [--map test_map.npz] [--figure OUT.png] [--seeds 10]

Prints rows of a Markdown table and draws accuracy against the number of labels. Half of a scan's
patterns, drawn anew for each seed, may be labelled, five at a time; accuracy is of the other half.
Simulated scans are new for each seed, too: counting noise and the walls' places. The truth of a
pattern across a wall is the class of the greater part. Wall patterns have a neighbour within 1.5
steps of another true class. "Needed" is the first number of labels at which the accuracy on wall
patterns is 95 % of that of a classifier with all labels of the first half; intervals are 95 %, by
bootstrap over the seeds, for the ratio over pairs of one seed. A run that does not get there with
200 labels counts as 200.

Two yardsticks beside the strategies: "near walls alone" is the same without the uncertainty, and
"true walls" draws evenly from patterns at true walls, as if another picture had shown them.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.spatial import KDTree

from flyback.models.domains.few_labels import FewLabels
from flyback.models.domains.pattern_features import pattern_features
from flyback.models.domains.patterns import Conditions, simulate_patterns
from flyback.models.domains.sampling import (
    STRATEGIES,
    by_diversity,
    choose,
    diverse,
    wall_proximity,
)
from flyback.models.domains.specimen import Lamella, probe_radius_nm
from flyback.models.physics import electron_wavelength_m

BATCH, MOST, SIDE, STEP_NM, TARGET, DRAWS = 5, 200, 48, 1.25, 0.95, 4000
MARKS = np.arange(BATCH, MOST + 1, BATCH)
FIVE = ("+x", "-x", "+y", "-y", "+z")
SIX = ("+x", "-x", "+z", "+y", "-y", "-z")
BENT = {"normal_deg": 60.0, "thickness_nm": 24.0, "wedge": (0.15, 0.1), "bend_deg": 75.0}
SCANS = {
    "PbTiO3, 180° walls": (
        {"variants": ("+x", "-x"), "width_nm": 6.0, "bend_mrad_per_nm": 0.08, **BENT},
        1e3,
    ),
    "PbTiO3, 180° and 90° walls": (
        {"variants": FIVE, "width_nm": 7.0, "bend_mrad_per_nm": 0.05, **BENT},
        1e3,
    ),
    "the same, 300 electrons": (
        {"variants": FIVE, "width_nm": 7.0, "bend_mrad_per_nm": 0.05, **BENT},
        3e2,
    ),
    "the same, strongly bent": (
        {"variants": FIVE, "width_nm": 7.0, "bend_mrad_per_nm": 0.1, **BENT},
        1e3,
    ),
    "boracite, six variants": (
        {"material": "boracite", "variants": SIX, "width_nm": 7.0, "bend_mrad_per_nm": 0.05} | BENT,
        1e3,
    ),
}
COLOURS = {
    "random": "0.3",
    "diverse": "tab:green",
    "uncertainty": "tab:blue",
    "walls": "tab:red",
    "near walls alone": "tab:orange",
    "true walls": "tab:purple",
}


def near_walls_alone(pool, n, rng):
    """A strategy: wall proximity without the uncertainty."""
    if pool.probability is None:
        return by_diversity(pool, n, rng)
    return diverse(pool, wall_proximity(pool.positions, pool.probability), n, rng)


def at_true_walls(wall):
    """Return a strategy that knows the walls and draws evenly there."""

    def strategy(pool, n, rng):
        free = rng.permutation(np.flatnonzero(pool.open))
        return free[np.argsort(~wall[free], kind="stable")][:n]  # others where walls are used up

    return strategy


def simulated(lamella, dose, seed):
    """Return patterns, positions and labels of one scan."""
    rng = np.random.default_rng([seed, 7])
    specimen = Lamella(offset_nm=float(rng.uniform(0, 40)), **lamella)
    along = (np.arange(SIDE) - (SIDE - 1) / 2) * STEP_NM
    positions = np.stack(np.meshgrid(along, along, indexing="ij"), axis=-1).reshape(-1, 2)
    local = specimen.at(positions, probe_radius_nm(1.5, electron_wavelength_m(300.0) * 1e9))
    conditions = Conditions(
        thickness_nm=local.thickness_nm,
        tilt_mrad=local.tilt_mrad,
        dose_e_per_pattern=dose,
        background_fraction=0.1,
    )
    patterns = simulate_patterns(specimen.material, local.fractions, conditions, seed=seed)
    return patterns, positions, specimen.truth(positions).label.astype(np.int64), STEP_NM


def recorded(path):
    """Return the same of a file with `data` (ny, nx, h, w) and `label` (ny, nx)."""
    with np.load(path) as file:
        data, label = file["data"], file["label"]
    positions = np.stack(np.mgrid[: label.shape[0], : label.shape[1]], axis=-1).reshape(-1, 2)
    return data.reshape(-1, *data.shape[2:]), positions.astype(float), label.ravel().astype(int), 1


def curves(patterns, positions, label, step, seed):
    """Return accuracy (strategy, labels, all | wall) and that with all labels (all | wall)."""
    features = pattern_features(patterns)
    classes = [str(k) for k in range(label.max() + 1)]
    pairs = KDTree(positions).query_pairs(1.5 * step, output_type="ndarray")
    wall = np.zeros(len(label), bool)
    wall[pairs[label[pairs[:, 0]] != label[pairs[:, 1]]].ravel()] = True
    order = np.random.default_rng([seed, 11]).permutation(len(label))
    own, held = order[::2], order[1::2]
    skipped = np.zeros(len(label), bool)
    skipped[held] = True

    def accuracy(model):
        right = model.probability_.argmax(axis=1)[held] == label[held]
        return right.mean(), right[wall[held]].mean()

    full = accuracy(FewLabels(features, classes).partial_fit(own, label[own]))
    strategies = dict(STRATEGIES)
    strategies |= {"near walls alone": near_walls_alone, "true walls": at_true_walls(wall)}
    rows = []
    for strategy in strategies.values():
        model = FewLabels(features, classes)
        row = []
        for m in MARKS:
            chosen = choose(
                strategy,
                features,
                model.labelled,
                BATCH,
                probability=model.probability_,
                positions=positions,
                skipped=skipped,  # may be looked at, as neighbours, but not asked about
                seed=1000 * seed + int(m),
            )
            model.partial_fit(chosen, label[chosen])
            row.append(accuracy(model))
        rows.append(row)
    return np.array(rows), np.array(full), list(strategies)


def needed(wall_accuracy, full):
    """Return the labels needed (seed, strategy), the most where they do not suffice."""
    there = wall_accuracy >= TARGET * full[:, None, None]
    return np.where(there.any(axis=2), MARKS[there.argmax(axis=2)], MOST)


def interval(values):
    """Return the 95 % interval of what was drawn."""
    return tuple(np.percentile(values, (2.5, 97.5)))


def report(name, names, got, full):
    """Print a row for each strategy; return the labels needed."""
    counts = needed(got[..., 1], full[:, 1])
    rng = np.random.default_rng(0)
    draws = rng.integers(len(counts), size=(DRAWS, len(counts)))
    means = counts[draws].mean(axis=1)
    ratios = means / means[:, [names.index("random")]]
    for k, strategy in enumerate(names):
        low, high = interval(means[:, k])
        some = got[:, k, np.searchsorted(MARKS, 40)]
        missed = np.count_nonzero(got[:, k, :, 1].max(axis=1) < TARGET * full[:, 1])
        ratio = counts[:, k].mean() / counts[:, names.index("random")].mean()
        a, b = interval(ratios[:, k])
        short = f" ({missed} of {len(counts)} not within {MOST})" if missed else ""
        print(
            f"| {name} | {strategy} | {some[:, 0].mean():.3f} | {some[:, 1].mean():.3f} ±"
            f" {some[:, 1].std():.3f} | {counts[:, k].mean():.0f} [{low:.0f}, {high:.0f}]{short}"
            f" | {ratio:.2f} [{a:.2f}, {b:.2f}] |",
            flush=True,
        )
    print(f"| {name} | all labels | {full[:, 0].mean():.3f} | {full[:, 1].mean():.3f} | | |")
    return counts


def draw(path, found, names):
    """Draw accuracy against labels: mean, and the spread of two strategies."""
    figure = Figure(figsize=(2.2 * len(found), 4.6), layout="constrained")
    axes = figure.subplots(2, len(found), sharex=True, squeeze=False)
    for column, (name, (got, full)) in enumerate(found.items()):
        for row, what in enumerate(("all patterns", "wall patterns")):
            ax = axes[row][column]
            for k, strategy in enumerate(names):
                mean, spread = got[:, k, :, row].mean(axis=0), got[:, k, :, row].std(axis=0)
                bold = strategy in ("random", "walls")
                ax.plot(MARKS, mean, color=COLOURS[strategy], lw=1.8 if bold else 0.9,
                        label=strategy)  # fmt: skip
                if bold:
                    ax.fill_between(MARKS, mean - spread, mean + spread, alpha=0.2, lw=0,
                                    color=COLOURS[strategy])  # fmt: skip
            level = full[:, row].mean()
            ax.axhline(level, color="k", lw=0.6, ls=":")
            if row:
                ax.axhline(TARGET * level, color="k", lw=0.6, ls="--")
                ax.set_xlabel("labels")
            else:
                ax.set_title(name, fontsize=9)
            ax.set_ylim(0.4, 1.01)
            ax.tick_params(labelsize=7)
            if column == 0:
                ax.set_ylabel(f"accuracy, {what}", fontsize=8)
    axes[1][-1].legend(fontsize=6, loc="lower right")
    figure.savefig(path, dpi=100)


def main():
    """Run it all."""
    parser = argparse.ArgumentParser(description="How many labels a scan needs.")
    folder = os.environ.get("FLYBACK_TEST_DATA")
    default = Path(folder) / "domains" / "test_map.npz" if folder else None
    parser.add_argument("--map", type=Path, default=default, help="data and label of a map")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    given = parser.parse_args()
    sources = {name: lambda seed, scan=scan: simulated(*scan, seed) for name, scan in SCANS.items()}
    if given.map is not None:
        sources["recorded map"] = lambda seed: recorded(given.map)
    print("| scan | strategy | all, 40 labels | wall, 40 labels | needed | of random's |")
    print("|---|---|---|---|---|---|")
    found, counts, names = {}, [], []
    for name, source in sources.items():
        began, parts = time.monotonic(), []
        for seed in range(given.seeds):
            got, full, names = curves(*source(seed), seed)
            parts.append((got, full))
        found[name] = np.array([p[0] for p in parts]), np.array([p[1] for p in parts])
        counts.append(report(name, names, *found[name]))
        print(f"<!-- {time.monotonic() - began:.0f} s -->", flush=True)
    together(np.array(counts), names)
    if given.figure is not None:
        draw(given.figure, found, names)


def together(counts, names):
    """Print the geometric mean over scans of each strategy's ratio to random."""
    rng = np.random.default_rng(1)
    n_scans, n = counts.shape[:2]
    draws = rng.integers(n, size=(DRAWS, n_scans, n))
    means = counts[np.arange(n_scans)[:, None], draws].mean(axis=2)  # (draw, scan, strategy)
    random = names.index("random")
    for k, strategy in enumerate(names):
        whole = counts.mean(axis=1)
        ratio = np.exp(np.log(whole[:, k] / whole[:, random]).mean())
        a, b = interval(np.exp(np.log(means[:, :, k] / means[:, :, random]).mean(axis=1)))
        print(f"| all scans, geometric mean | {strategy} | | | | {ratio:.2f} [{a:.2f}, {b:.2f}] |")


if __name__ == "__main__":
    main()
