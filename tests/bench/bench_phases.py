"""Phase fits a second: three phases, 2000 bins, 12 parameters searched and 10 solved for.

A series of an operando cell: Pt turns to Li2Pt, then LiPt forms and its cell drifts; lines of the
aluminium window stand fixed. The same model, started from the same last fit, goes through lmfit,
whose derivatives are finite differences as its users have them.

    python -m pytest tests/bench/bench_phases.py
"""

from functools import partial

import numpy as np
import pytest

from flyback.models.diffraction.noise import weights
from flyback.models.diffraction.pattern_axis import Axis
from flyback.models.diffraction.pattern_model import PatternModel
from flyback.models.diffraction.phase_series import PhaseSeries
from flyback.models.diffraction.powder import read_phase
from flyback.models.diffraction.tracker import PhaseTracker

from .yardstick import cpu_seconds, record

BINS, FRAMES, COUNTS = 2000, 200, 3000
THEIR_FRAMES = (20, 110, 180)
Q = np.linspace(1.2, 7.2, BINS)
KINDS = ("cell", "size", "mixing", "zero")


@pytest.fixture(scope="module")
def phases(data_folder):
    folder = data_folder / "structures"
    return [
        read_phase(folder / f"{name}.cif", q_max_per_a=7.6, energy_kev=18.0)
        for name in ("Pt", "Li2Pt", "LiPt", "Al")
    ]


def sigmoid(x, centre, width):
    return 1 / (1 + np.exp(-(x - centre) / width))


@pytest.fixture(scope="module")
def series(phases):
    """Return patterns, true volumes (n, 3) and cells (n, 3, 6)."""
    rng = np.random.default_rng(20251116)
    model = PatternModel(phases, Axis(Q), width_per_a=0.03)
    way = np.linspace(0, 2, FRAMES)
    up = np.where(way < 1, way, 2 - way)
    patterns, volumes, cells, scale = [], [], [], None
    for at, x in zip(way, up, strict=True):
        li2 = 0.8 * sigmoid(at, 0.35, 0.06) * (1 - 0.85 * sigmoid(at, 1.2, 0.06))
        li = 0.05 * sigmoid(at, 0.6, 0.05) + 0.65 * sigmoid(at, 1.25, 0.06)
        volume = np.array([max(1 - li2 - li, 0.02), li2, li])
        volume /= volume.sum()
        theta = model.start.copy()
        theta[model.cell_rows(0)] *= 1 + 0.0012 * x
        theta[model.cell_rows(1)] *= [1 + 0.002 * (x - 0.5), 1 - 0.001 * (x - 0.5)]
        theta[model.cell_rows(2)] *= [1 + 0.006 * (x - 0.5), 1 + 0.009 * (x - 0.5)]
        for p, width in enumerate((0.022, 0.045, 0.035 + 0.01 * x, 0.012)):
            row = model.shape_row(p)
            theta[row : row + 3] = width**2, 0.0, 0.4 if p < 3 else 0.2
        theta[-1] = 2e-4 * np.sin(at * 4)
        ratio = np.array([model.volume_of_amount(theta, p) for p in range(4)])
        lines = (np.append(volume, 0.25) / ratio) @ model.columns(theta)
        scale = COUNTS / lines.max() if scale is None else scale
        under = 60 * np.exp(-(((Q - 1.9) / 1.1) ** 2)) + 25 + 8 * Q
        patterns.append(rng.poisson(scale * lines + under))
        volumes.append(volume)
        cells.append([model.cell(theta, p) for p in range(3)])
    return np.array(patterns, float), np.array(volumes), np.array(cells)


@pytest.fixture(scope="module")
def model(phases):
    made = PatternModel(phases, Axis(Q), width_per_a=0.03, background_terms=6)
    row = made.shape_row(3)
    made.start[row : row + 3] = 0.012**2, 0.0, 0.2
    return made


def free_rows(model):
    rows = model.free([0, 1, 2], KINDS)
    assert len(rows) == 12
    return rows


def track(model, patterns):
    """Return fits one after the other, each started from the last."""
    free, theta, fits = free_rows(model), model.start, []
    for pattern in patterns:
        fits.append(model.fit(*weights(pattern), theta, free))
        theta = fits[-1].theta
    return fits


def accuracy(model, fits, volumes, cells):
    theta = np.array([f.theta for f in fits])
    amount = np.array([f.x[:3] for f in fits])
    ratio = np.array([[model.volume_of_amount(t, p) for p in range(3)] for t in theta])
    volume = amount * ratio
    volume /= volume.sum(axis=1, keepdims=True)
    out = {"volume_rms": float(np.sqrt(((volume - volumes) ** 2).mean()))}
    sigma = np.array([np.sqrt(np.diag(f.covariance))[len(f.x) :] for f in fits])
    free = free_rows(model).tolist()
    for p, name in enumerate(("Pt", "Li2Pt", "LiPt")):
        strong = volumes[:, p] > 0.15
        for row, axis in zip(range(*model.cell_rows(p).indices(99)), (0, 2), strict=False):
            off = theta[strong, row] - cells[strong, p, axis]
            pull = off / sigma[strong, free.index(row)]
            key = f"{name}_{'abc'[axis]}"
            out[f"{key}_ppm"] = float(1e6 * np.sqrt((off**2).mean()) / cells[0, p, axis])
            out[f"{key}_pull"] = float(np.sqrt((pull**2).mean()))
    return out


def textbook_columns(model, theta):
    """Return unit patterns as users of lmfit write them: all lines over all bins, in numpy."""
    out = []
    form, strength, by_zero, _, _ = model.lines
    for p, phase in enumerate(model.phases):
        lines = slice(*model.layout[0][p : p + 2])
        metric = phase.lattice.metric(model.cell(theta, p))
        at = 2 * np.pi * np.sqrt(form[lines, : len(metric)] @ metric)
        row = model.shape_row(p)
        width = np.sqrt(theta[row] + theta[row + 1] * at**2)
        t = (model.q[:, None] - at - theta[-1] * by_zero[lines]) / width
        gauss = 2 * np.sqrt(np.log(2) / np.pi) * np.exp(-4 * np.log(2) * t * t)
        profile = (1 - theta[row + 2]) * gauss + theta[row + 2] * 2 / np.pi / (1 + 4 * t * t)
        out.append((profile / width) @ strength[lines])
    return np.array(out)


def bench_warm_fits_and_lmfit(benchmark, model, series):
    """At least 400 fits a CPU second, and 250 times lmfit on the same frames."""
    lmfit = pytest.importorskip("lmfit")
    patterns, volumes, cells = series
    track(model, patterns[:2])
    fits = benchmark.pedantic(lambda: track(model, patterns), rounds=3, iterations=1)
    seconds = cpu_seconds(lambda: track(model, patterns))
    ours = FRAMES / seconds
    free = free_rows(model)

    def theirs(frame, columns):
        y, w = weights(patterns[frame])
        start = fits[frame - 1]
        parameters = lmfit.Parameters()
        for j, row in enumerate(free):
            low, high = model.bounds[0][row], model.bounds[1][row]
            value = float(np.clip(start.theta[row], low, high))
            parameters.add(f"t{j}", value=value, min=low, max=high)
        for j, value in enumerate(start.x):
            parameters.add(f"x{j}", value=max(value, 1e-9) if j < 4 else value,
                           **({"min": 0.0} if j < 4 else {}))  # fmt: skip

        def residual(p):
            values = p.valuesdict()
            theta = model.start.copy()
            theta[free] = [values[f"t{j}"] for j in range(len(free))]
            x = np.array([values[f"x{j}"] for j in range(len(start.x))])
            return (x[:4] @ columns(theta) + x[4:] @ model.background - y) * w

        return lmfit.minimize(residual, parameters, method="leastsq", max_nfev=3000)

    found, peers = [], {}
    for name, columns in (
        ("lmfit", partial(textbook_columns, model)),
        ("lmfit_with_our_kernel", model.columns),
    ):
        found.clear()
        spent = cpu_seconds(lambda: found.extend(theirs(f, columns) for f in THEIR_FRAMES), 1)  # noqa: B023
        peers[name] = len(THEIR_FRAMES) / spent
    chi2 = [(fits[f].chi2, r.chisqr) for f, r in zip(THEIR_FRAMES, found, strict=True)]
    figures = {
        "fits_per_cpu_s": ours,
        **{f"{name}_fits_per_cpu_s": rate for name, rate in peers.items()},
        **{f"over_{name}": ours / rate for name, rate in peers.items()},
        "steps": float(np.mean([f.steps for f in fits])),
        "chi2_over_lmfit": float(max(a / b for a, b in chi2)),
        **accuracy(model, fits, volumes, cells),
    }
    record(benchmark, **figures)


def bench_tracker_with_all_it_does(benchmark, phases, series):
    """Onsets, strangers, lines without crystals and all: what the analysis does a frame."""
    patterns, _, _ = series
    tracker = PhaseTracker(phases, Axis(Q), window=[3])
    tracker.add(patterns[0])
    rest = iter(np.concatenate([patterns[1:]] * 40))
    benchmark.pedantic(lambda: tracker.add(next(rest)), rounds=300, iterations=1)
    whole = PhaseSeries(lambda q, e: phases, window=["Al"])
    seconds = cpu_seconds(
        lambda: [whole.add(p, i, None, {"q_per_a": Q}) for i, p in enumerate(patterns)], repeats=1
    )
    record(benchmark, series_frames_per_cpu_s=FRAMES / seconds)
