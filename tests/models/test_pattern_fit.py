"""The fit of one pattern: against a naive profile, finite differences and scipy's minimum."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares, nnls

from flyback.models.diffraction.blunting import Blunting, box_cumulants
from flyback.models.diffraction.cell_kernels import cell_metric
from flyback.models.diffraction.dense_kernels import cholesky_solve, inverse, non_negative
from flyback.models.diffraction.lattice import SETTINGS, Lattice
from flyback.models.diffraction.noise import gain_of, weights
from flyback.models.diffraction.pattern_axis import Axis
from flyback.models.diffraction.pattern_model import PatternModel
from flyback.tests.models.powder_scene import Q, Scene, read
from flyback.tests.models.test_powder import CELLS


@pytest.fixture(scope="module")
def phases(tmp_path_factory):
    pytest.importorskip("gemmi")
    return read(tmp_path_factory.mktemp("cif"), "Pt", "LiPt")


@pytest.fixture(scope="module")
def scene(phases):
    return Scene(phases, zero=4e-4)


def naive_column(phase, q, strain, width, mixing, zero):
    """Every line over the whole pattern, written as in a textbook."""
    cell = phase.cell * np.array([1 + strain] * 3 + [1] * 3)
    total = np.zeros_like(q)
    for at, intensity in zip(phase.q_at(cell), phase.intensity, strict=True):
        t = (q - at - zero) / np.sqrt(width**2 + 1e-6 * at**2)
        w = np.sqrt(width**2 + 1e-6 * at**2)
        gauss = 2 * np.sqrt(np.log(2) / np.pi) * np.exp(-4 * np.log(2) * t * t)
        lorentz = 2 / np.pi / (1 + 4 * t * t)
        total += intensity / at**2 * ((1 - mixing) * gauss + mixing * lorentz) / w
    return total / phase.volume_a3**2


def test_a_column_is_the_textbook_sum_of_pseudo_voigts(scene, phases):
    columns = scene.columns([0.003, -0.002])
    for column, phase, strain in zip(columns, phases, (0.003, -0.002), strict=True):
        naive = naive_column(phase, Q, strain, scene.width, scene.mixing, scene.zero)
        # lines end 30 widths away, their strength is that of the cell in the file
        np.testing.assert_allclose(column, naive, rtol=0, atol=0.01 * naive.max())


@pytest.mark.parametrize("mixing", [0.0, 1.0, 0.37])
def test_each_line_is_exact_up_to_where_it_ends(phases, mixing):
    model = PatternModel(phases, Axis(Q), width_per_a=0.03)
    theta = model.start.copy()
    theta[model.shape_row(0) :][:3] = 0.03**2, 1e-6, mixing
    lines = model.line_columns(theta, 0)
    form, strength, _, _, _ = (each[: model.layout[0][1]] for each in model.lines)
    n = len(phases[0].lattice.free)
    metric = phases[0].lattice.metric(model.cell(theta, 0))
    at = 2 * np.pi * np.sqrt(form[:, :n] @ metric)[:, None]
    width = np.sqrt(0.03**2 + 1e-6 * at**2)
    t = (Q - at) / width
    gauss = 2 * np.sqrt(np.log(2) / np.pi) * np.exp(-4 * np.log(2) * t**2) * (np.abs(t) < 2.6)
    tail = 2 / np.pi * (1 / (1 + 4 * t**2) - 1 / 3601) * (np.abs(t) < 30)
    expected = strength[:, None] / width * ((1 - mixing) * gauss + mixing * tail)
    atol = 1e-10 * expected.max(axis=1, keepdims=True)
    assert (np.abs(lines - expected) <= 1e-10 * expected + 1e-3 * atol).all()


@pytest.mark.parametrize("blunted", [False, True])
def test_slopes_are_those_of_finite_differences(phases, scene, blunted):
    model, theta = scene.model, scene.theta([0.001, 0.002])
    if blunted:
        pixels = Blunting(Q, *box_cumulants(np.linspace(0.05, 0.03, len(Q))))
        model = PatternModel(phases, Axis(Q, blunting=pixels), width_per_a=scene.width)
    slopes, by_zero = model.slopes(theta)
    for j in range(model.n_parameters):
        step = 1e-6 * max(abs(theta[j]), 1e-4)
        ends = []
        for sign in (1, -1):
            moved = theta.copy()
            moved[j] += sign * step
            ends.append(model.columns(moved))
        expected = (ends[0] - ends[1]) / (2 * step)
        if j == model.n_parameters - 1:
            np.testing.assert_allclose(by_zero, expected, atol=1e-6 * np.abs(expected).max())
        else:
            p = int(np.searchsorted(model.layout[1], j, side="right")) - 1
            np.testing.assert_allclose(slopes[j], expected[p], atol=1e-6 * np.abs(slopes[j]).max())


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_reciprocal_cell_and_its_slope_follow_any_kind_of_cell(setting):
    cell, lattice = np.array(CELLS[setting], float), Lattice(setting)
    free, n = lattice.free_of(cell), len(lattice.free)

    def kernel(at):
        metric, slope = np.empty(n), np.empty((n, n))
        cell_metric(at, lattice.tie, cell, np.array(lattice.picked), metric, slope)
        return metric, slope

    metric, slope = kernel(free)
    np.testing.assert_allclose(metric, lattice.metric(cell), rtol=1e-10, atol=1e-14)
    for m in range(n):
        step = np.zeros(n)
        step[m] = 1e-5 * free[m]
        expected = (kernel(free + step)[0] - kernel(free - step)[0]) / (2 * step[m])
        np.testing.assert_allclose(slope[:, m], expected, rtol=1e-5, atol=1e-10)


@pytest.mark.heavy
def test_the_minimum_is_that_of_scipy_over_all_parameters_at_once(scene):
    rng = np.random.default_rng(1)
    y = rng.poisson(scene.mean([0.6, 0.4], [0.001, -0.001])).astype(float)
    model = scene.model
    _, weight = weights(y)
    free = model.free([0, 1])
    fit = model.fit(y, weight, model.start, free, tolerance=1e-6, steps=60)
    centre, stiffness = model.prior
    spread = 1 / np.sqrt(stiffness[free])

    def residual(unknown):
        theta = model.start.copy()
        theta[free] = unknown[: len(free)]
        x = unknown[len(free) :]
        calculated = x[:2] @ model.columns(theta) + x[2:] @ model.background
        return np.append((y - calculated) * weight, (theta[free] - centre[free]) / spread)

    start = np.concatenate([fit.theta[free] + 0.02 * spread, fit.x * 1.01])
    lower = np.concatenate([model.bounds[0][free], [0, 0], np.full(len(fit.x) - 2, -np.inf)])
    upper = np.concatenate([model.bounds[1][free], np.full(len(fit.x), np.inf)])
    start = np.clip(start, lower + 1e-12, upper - 1e-12)
    scale = np.concatenate([spread, np.abs(fit.x) + 1e-9])
    theirs = least_squares(residual, start, bounds=(lower, upper), x_scale=scale, max_nfev=200)
    prior = float((((fit.theta - centre) ** 2) * stiffness)[free].sum())
    assert fit.chi2 + prior == pytest.approx(2 * theirs.cost, abs=0.05)
    sigma = np.sqrt(np.diag(fit.covariance))
    ours = np.append(fit.x, fit.theta[free])
    other = np.append(theirs.x[len(free) :], theirs.x[: len(free)])
    assert np.abs((ours - other) / sigma).max() < 0.1
    jacobian = theirs.jac
    covariance = np.linalg.inv(jacobian.T @ jacobian)
    expected = np.sqrt(np.diag(covariance))
    expected = np.append(expected[len(free) :], expected[: len(free)])
    np.testing.assert_allclose(sigma, expected, rtol=0.02)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 7), st.integers(0, 7))
def test_amounts_above_zero_are_those_of_nnls(seed, n, positive):
    rng = np.random.default_rng(seed)
    positive = min(positive, n)
    rows = rng.normal(size=(n, 30))
    y = rng.normal(size=30)
    x = np.empty(n)
    assert non_negative(rows @ rows.T, rows @ y, positive, x)
    # nnls knows no free unknowns: each becomes a difference of two
    both = np.concatenate([rows, -rows[positive:]]).T
    expected = nnls(both, y)[1]
    assert (x[:positive] >= 0).all()
    assert np.linalg.norm(y - x @ rows) == pytest.approx(expected, rel=1e-6)


def test_dense_systems_are_solved_and_what_is_not_definite_is_said():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(5, 9))
    matrix, right = a @ a.T, rng.normal(size=(5, 2))
    solved = right.copy()
    assert cholesky_solve(matrix.copy(), solved)
    np.testing.assert_allclose(solved, np.linalg.solve(matrix, right))
    np.testing.assert_allclose(inverse(matrix), np.linalg.inv(matrix), rtol=1e-6)
    assert not cholesky_solve(-np.eye(2), np.ones((2, 1)))
    matrix[2] = matrix[:, 2] = 0
    assert inverse(matrix)[2, 2] == np.inf


def test_sigmas_come_from_counts_statements_or_scatter():
    rng = np.random.default_rng(2)
    counts = rng.poisson(np.full(4000, 100.0)).astype(float)
    assert gain_of(counts) == 1.0
    assert gain_of(counts / 50) == pytest.approx(1 / 50, rel=0.1)
    assert gain_of(np.zeros(100)) == 1.0
    counts[5] = np.nan
    intensity, weight = weights(counts)
    assert weight[5] == 0
    assert np.isfinite(intensity).all()
    assert 1 / weight[100:].mean() == pytest.approx(10, rel=0.05)
    stated = np.full(4000, 3.0)
    stated[7] = 0
    assert weights(counts, stated)[1][[5, 6, 7]].tolist() == [0, 1 / 3, 0]


def test_a_phase_out_of_range_and_too_few_bins_are_refused(phases):
    with pytest.raises(ValueError, match="Pt has no line between"):
        PatternModel(phases, Axis(np.linspace(0.3, 1.0, 100)))
    with pytest.raises(ValueError, match="bins cannot fix"):
        PatternModel(phases, Axis(np.linspace(1.2, 6, 20)))
    with pytest.raises(ValueError, match="must ascend"):
        PatternModel(phases, Axis(np.linspace(6, 1, 200)))
