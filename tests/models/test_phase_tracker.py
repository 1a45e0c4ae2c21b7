"""Phases followed through series whose truth is known."""

import numpy as np
import pytest

from flyback.models.base import Batch
from flyback.models.diffraction.detection import Evidence, alarm_level, evidence
from flyback.models.diffraction.pattern_axis import Axis
from flyback.models.diffraction.peaks import find_lines, fit_line, unknown_lines
from flyback.models.diffraction.phase_series import PhaseSeries
from flyback.models.diffraction.tracker import PhaseTracker
from flyback.tests.models.powder_scene import Q, Scene, background, read


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("gemmi")
    return tmp_path_factory.mktemp("cif")


@pytest.fixture(scope="module")
def phases(folder):
    return read(folder, "Pt", "LiPt")


def series(scene, volumes, strains, seed=0):
    rng = np.random.default_rng(seed)
    return np.array(
        [rng.poisson(scene.mean(v, s)) for v, s in zip(volumes, strains, strict=True)], float
    )


def feed(model, patterns, index=None, **axes):
    axes = axes or {"q_per_a": Q}
    index = np.arange(len(patterns)) if index is None else index
    return model.partial_fit(Batch(np.asarray(patterns), index, {}, axes=axes))


def test_volumes_and_cells_come_back_within_their_sigmas(phases):
    scene, n = Scene(phases, zero=3e-4), 24
    part = np.linspace(0.15, 0.85, n)
    strain = 0.004 * np.linspace(-0.5, 0.5, n)
    truth = np.stack([1 - part, part], 1)
    patterns = series(scene, truth, np.stack([strain / 4, strain], 1))
    model = feed(PhaseSeries(lambda q, e: phases), patterns)
    result = {k: q.value for k, q in model.result_.items()}
    pull = (result["volume"] - truth)[:, 0] / result["volume_sigma"][:, 0]
    assert np.sqrt(((result["volume"] - truth) ** 2).mean()) < 0.01
    assert 0.5 < np.sqrt((pull**2).mean()) < 1.5
    for phase, factor, ppm in ((0, 0.25, 150), (1, 1.0, 400)):
        truth_a = phases[phase].cell[0] * (1 + factor * strain)
        off = result["lattice_angstrom"][:, phase, 0] - truth_a
        assert 1e6 * np.sqrt((off**2).mean()) / truth_a[0] < ppm
        pull = off / result["lattice_angstrom_sigma"][:, phase, 0]
        assert 0.5 < np.sqrt((pull**2).mean()) < 1.6
    assert result["lattice_angstrom"].shape == (n, 2, 6)
    assert result["names"] == ["Pt", "LiPt"]
    assert not result["unknown"].any()
    assert (result["onset_index"] == 0).all()


def test_the_volume_of_a_faint_phase_with_broad_lines_is_not_too_small(phases):
    """Lines twice as broad as the others': by those a third of them would be missing."""

    class Broad(Scene):
        def theta(self, strains):
            theta = super().theta(strains)
            theta[self.model.shape_row(1)] = 0.05**2
            return theta

    n = 40
    truth = np.array([0.92, 0.08])
    patterns = series(Broad(phases, width=0.024), [truth] * n, np.zeros((n, 2)), seed=4)
    result = feed(PhaseSeries(lambda q, e: phases), patterns).result_
    volume, sigma = result["volume"].value[:, 1], result["volume_sigma"].value[:, 1]
    assert (result["evidence"].value[:, 1] < 12).any()  # in which widths were not fitted once
    assert volume.mean() == pytest.approx(truth[1], rel=0.1)
    assert 0.7 < np.sqrt((((volume - truth[1]) / sigma) ** 2).mean()) < 1.4


def test_volumes_of_cells_that_differ_from_the_cifs_are_those_of_the_scattering_law(phases):
    """Lines by V |F|^2 / Vc^2 / q^2 with the cell as it is, not as the fit has it."""
    volumes, scales = np.array([0.6, 0.4]), (1.0, 0.985)
    pattern = 3.0 + np.zeros_like(Q)
    for phase, volume, scale in zip(phases, volumes, scales, strict=True):
        q = phase.q_per_a / scale
        area = volume * phase.intensity / (phase.volume_a3 * scale**3) ** 2 / q**2
        for at, each in zip(q, area, strict=True):
            pattern += 4e3 * each * np.exp(-0.5 * ((Q - at) / 0.01) ** 2)
    sigma = np.sqrt(pattern / 1e4)
    model = PhaseSeries(lambda q, e: phases)
    model.partial_fit(
        Batch(pattern[None], np.arange(1), {"sigma": sigma[None]}, axes={"q_per_a": Q})
    )
    found = model.result_["volume"].value[0]
    np.testing.assert_allclose(found, volumes, atol=5e-4)


@pytest.mark.parametrize("lost", [0.0, 0.06])
def test_platinum_in_the_crystals_is_conserved_or_told_to_be_lost(phases, lost):
    """Pt becomes LiPt, whose cell changes; 4 atoms in a cell of the one, 1 in the other's."""
    assert [phase.atoms["Pt"] for phase in phases] == [pytest.approx(4), pytest.approx(1)]
    scene, n = Scene(phases), 30
    part, strain = np.linspace(0.1, 0.9, n), 0.01 * np.linspace(-1, 1, n)
    per_atom = np.stack(
        [np.full(n, phases[0].volume_a3 / 4), phases[1].volume_a3 * (1 + strain) ** 3], 1
    )
    atoms = np.stack([1 - part, part], 1) * (1 - lost * np.linspace(0, 1, n))[:, None]
    patterns = series(scene, 0.08 * atoms * per_atom, np.stack([np.zeros(n), strain], 1))
    model = PhaseSeries(lambda q, e: phases, mass="Pt", mass_first=3)
    times = {"time_s": 1e9 + 60.0 * np.arange(n)}
    model.partial_fit(Batch(patterns, np.arange(n), times, axes={"q_per_a": Q}))
    result = {key: each.value for key, each in model.result_.items()}
    pull = (result["mass_ratio"] - atoms.sum(1)) / result["mass_ratio_sigma"]
    assert np.sqrt((pull[3:] ** 2).mean()) < 2
    assert np.abs(result["mass_ratio"] - atoms.sum(1)).max() < 0.03
    assert (abs(result["mass_drift_sigmas"]) > 5) == (lost > 0)


def test_an_element_that_no_crystal_holds_is_refused(phases):
    model = PhaseSeries(lambda q, e: phases, mass="Fe")
    with pytest.raises(ValueError, match="mass names Fe, which none of Pt, LiPt holds"):
        feed(model, series(Scene(phases), [[0.5, 0.5]], [[0, 0]]))


def test_a_phase_appears_within_two_frames_and_goes(phases):
    scene = Scene(phases)
    new = np.array([0.0] * 6 + [0.04] * 4 + [0.1] * 4 + [0.0] * 6)
    truth = np.stack([1 - new, new], 1)
    patterns = series(scene, truth, np.zeros_like(truth))
    model = feed(PhaseSeries(lambda q, e: phases), patterns, 100 + np.arange(len(new)))
    onset = model.result_["onset_index"].value
    gone = model.result_["gone_index"].value
    assert onset[0] == 100
    assert 106 <= onset[1] <= 107
    assert 114 <= gone[1] <= 118
    assert [(e.kind, e.subject) for e in model.events_] == [
        ("phase_onset", "Pt"),
        ("phase_onset", "LiPt"),
        ("phase_gone", "LiPt"),
    ]


def test_lines_of_a_stranger_are_told_of_and_not_absorbed(folder, phases):
    """Al stands for what nobody expects; its 111 lies under LiPt's 100."""
    strange = Scene(read(folder, "Pt", "LiPt", "Al"))
    rng = np.random.default_rng(5)
    mean = strange.mean([0.7, 0.0, 0.0]) + 0.2 * strange.scale * strange.columns([0, 0, 0])[2] * 9
    model = feed(PhaseSeries(lambda q, e: phases), rng.poisson(mean, (4, len(Q))).astype(float))
    result = {k: q.value for k, q in model.result_.items()}
    assert result["unknown"].all()
    assert (result["onset_index"] == [0, -1]).all()
    assert (result["volume"][:, 1] < 0.05).all()
    expected = read(folder, "Al")[0].q_per_a
    seen = result["unknown_lines"][0]
    seen = seen[np.isfinite(seen)]
    assert np.abs(seen[:, None] - expected).min(axis=1).max() < 0.02
    assert any(event.kind == "unknown_line" for event in model.events_)
    at = np.argmin(np.abs(Q - expected[1]))
    assert result["residual"][0][at - 3 : at + 4].mean() > 20


def test_a_lost_lock_is_found_again(phases):
    """The cell jumps by more than a line's width between two frames."""
    scene = Scene(phases[:1], width=0.015)
    strains = np.array([[0.0]] * 3 + [[0.018]] * 3)
    patterns = series(scene, np.ones((6, 1)), strains)
    tracker = PhaseTracker(phases[:1], Axis(Q))
    found = [tracker.add(p) for p in patterns]
    a = np.array([f.cell[0, 0] for f in found])
    np.testing.assert_allclose(a, phases[0].cell[0] * (1 + strains[:, 0]), rtol=2e-4)
    assert any(f.restarted for f in found[3:])
    assert tracker.onset[0] == 0


def test_cells_that_are_a_per_cent_off_are_locked_to(folder, phases):
    scene = Scene(phases, width=0.02)
    patterns = series(scene, [[0.5, 0.5]] * 2, np.zeros((2, 2)))
    off = read(folder, "Pt", "LiPt", scale=1.012)
    tracker = PhaseTracker(off, Axis(Q))
    found = [tracker.add(p) for p in patterns][-1]
    np.testing.assert_allclose(found.cell[0, :3], phases[0].cell[:3], rtol=5e-4)
    np.testing.assert_allclose(found.cell[1, :3], phases[1].cell[:3], rtol=1e-3)


def test_batches_do_not_matter_and_missing_bins_neither(phases):
    scene = Scene(phases)
    patterns = series(scene, [[0.6, 0.4]] * 5, np.zeros((5, 2)))
    patterns[:, 300:340] = np.nan
    whole = feed(PhaseSeries(lambda q, e: phases), patterns).result_
    parts = PhaseSeries(lambda q, e: phases)
    for row in range(5):
        feed(parts, patterns[row : row + 1], np.array([row]))
    for key, quantity in parts.result_.items():
        if isinstance(quantity.value, np.ndarray):
            np.testing.assert_array_equal(quantity.value, whole[key].value)
    assert np.isnan(whole["residual"].value[0, 310])
    assert np.isfinite(whole["volume"].value).all()


def test_an_axis_in_two_theta_needs_the_wavelength_only_for_phases(phases):
    scene, wavelength = Scene(phases), 0.6888
    patterns = series(scene, [[0.6, 0.4]] * 2, np.zeros((2, 2)))
    two_theta = 2 * np.degrees(np.arcsin(Q * wavelength / (4 * np.pi)))
    lines = feed(PhaseSeries(), patterns, two_theta_deg=two_theta).result_
    pt = 2 * np.degrees(np.arcsin(phases[0].q_per_a[0] * wavelength / (4 * np.pi)))
    assert np.nanmin(np.abs(lines["peak_tracks"].value - pt)) < 0.005
    assert lines["verdict"].value == "undecided"
    with pytest.raises(ValueError, match="energy"):
        feed(PhaseSeries(lambda q, e: phases), patterns, two_theta_deg=two_theta)
    model = PhaseSeries(lambda q, e: phases, wavelength_a=wavelength)
    result = feed(model, patterns, two_theta_deg=two_theta).result_
    assert abs(result["volume"].value[1, 0] - 0.6) < 0.03
    with pytest.raises(ValueError, match="patterns of one line"):
        feed(PhaseSeries(), np.zeros((2, 8, 8)))


def test_evidence_is_rare_as_stated():
    """Scores of pure noise pass the level as seldom as the rate says."""
    assert evidence(3.0, 0.0) == pytest.approx(3.0, abs=1e-6)
    assert evidence(3.0, 2.0) < 3.0
    assert evidence(60.0, 3.0) > 50
    rng = np.random.default_rng(3)
    rate, runs, length = 0.01, 200, 400
    alarms = 0
    for _ in range(runs):
        rising = Evidence(alarm_level(rate))
        for z in rng.normal(size=length):
            if rising.add(z):
                alarms += 1
                rising.total = 0.0
    assert alarms / (runs * length) == pytest.approx(rate, rel=0.35)
    with pytest.raises(ValueError, match="false_alarm_rate"):
        alarm_level(0.5)


def test_lines_are_found_fitted_and_the_rest_is_noise():
    rng = np.random.default_rng(4)
    q = np.linspace(1, 5, 1500)
    truth = [(1.6, 0.03, 2000), (2.5, 0.05, 800), (4.0, 0.02, 400)]
    mean = background(q)
    for at, width, height in truth:
        mean = mean + height * np.exp(-4 * np.log(2) * ((q - at) / width) ** 2)
    y = rng.poisson(mean).astype(float)
    weight = 1 / np.sqrt(mean)
    found = find_lines(y, weight)
    assert sorted(q[at] for at, _, _ in found) == pytest.approx([1.6, 2.5, 4.0], abs=0.01)
    for at, width, height in truth:
        line = fit_line(q, y, weight, at + 0.3 * width, 1.3 * width)
        assert abs(line.at - at) < 4 * line.at_sigma
        assert abs(line.width - width) < 5 * line.width_sigma
        assert line.area == pytest.approx(height * width * 1.0645, rel=0.08)
    none, _ = unknown_lines(q, rng.normal(size=len(q)), np.zeros(len(q)), 0.03)
    assert len(none) == 0


def test_a_window_stands_beside_the_volumes_and_a_wrong_name_is_said(folder):
    both = read(folder, "Pt", "Al")
    scene = Scene(both)
    patterns = series(scene, [[0.5, 0.5]] * 2, np.zeros((2, 2)))
    result = feed(PhaseSeries(lambda q, e: both, window=["Al"]), patterns).result_
    np.testing.assert_allclose(result["volume"].value[:, 0], 1.0)
    assert np.isnan(result["volume"].value[:, 1]).all()
    assert result["amount"].value[1, 1] > 0
    with pytest.raises(ValueError, match="window names 'Cu'"):
        feed(PhaseSeries(lambda q, e: both, window=["Cu"]), patterns)


@pytest.mark.parametrize(("kind", "verdict"), [("two", "two_phase"), ("moves", "solid_solution")])
def test_the_verdict_at_four_per_mille_and_300_counts(phases, kind, verdict):
    """0.4 % between the cells, 300 counts in the strongest line."""
    scene, n, d = Scene(phases[1:], width=0.035, counts=300), 16, 0.004
    ends = [scene.mean([1.0], [s]) for s in (-d / 2, d / 2)]
    part = (np.arange(n) + 0.5) / n
    rng = np.random.default_rng(6)
    if kind == "two":
        means = [(1 - f) * ends[0] + f * ends[1] for f in part]
    else:
        means = [scene.mean([1.0], [d * (f - 0.5)]) for f in part]
    model = feed(PhaseSeries(lambda q, e: phases[1:]), rng.poisson(means).astype(float))
    assert model.result_["verdict"].value == "undecided"
    result = model.converge().result_
    assert result["verdict"].value == verdict
    assert result["verdict_phase"].value == "LiPt"


def front(scene, n, d):
    """All cells from the first to one that moves, each as often."""
    cells = [np.linspace(-d / 2, d * (f - 0.5), 9) for f in (np.arange(n) + 0.5) / n]
    return [np.mean([scene.mean([1.0], [s]) for s in strains], axis=0) for strains in cells]


@pytest.mark.parametrize(("strain", "verdict"), [(0.01, "continuous"), (0.004, "undecided")])
def test_a_front_has_all_cells_behind_it(phases, strain, verdict):
    """At 0.4 % its patterns could as well be those of one cell that moves."""
    scene = Scene(phases[1:], width=0.035, counts=300)
    patterns = np.random.default_rng(3).poisson(front(scene, 16, strain)).astype(float)
    result = feed(PhaseSeries(lambda q, e: phases[1:]), patterns).converge().result_
    assert result["verdict"].value == verdict


def test_the_verdict_follows_a_run_of_which_each_half_is_another_reaction(phases):
    scene, d = Scene(phases[1:], width=0.035, counts=1000), 0.008
    part = (np.arange(16) + 0.5) / 16
    ends = [scene.mean([1.0], [s]) for s in (-d / 2, d / 2)]
    moves = [scene.mean([1.0], [d * (f - 0.5)]) for f in part]
    exchanged = [f * ends[0] + (1 - f) * ends[1] for f in part]
    patterns = np.random.default_rng(5).poisson(moves + exchanged).astype(float)
    model = PhaseSeries(lambda q, e: phases[1:], verdict_every=8, verdict_window=16)
    result = feed(model, patterns).converge().result_
    found = list(result["window_verdict"].value)
    assert found[1] == "solid_solution"
    assert found[3] == "two_phase"
    assert result["window_end_index"].value.tolist() == [7, 15, 23, 31]
    told = [e for e in model.events_ if e.kind == "verdict"]
    assert [e.subject for e in told] == [
        name for name, before in zip(found, ["undecided", *found], strict=False) if name != before
    ]
    assert {e.says["phase"] for e in told if e.subject != "undecided"} == {"LiPt"}
    again = PhaseSeries(lambda q, e: phases[1:], verdict_every=8, verdict_window=16)
    assert list(feed(again, patterns).converge().result_["window_verdict"].value) == found


def test_what_does_not_change_is_undecided_and_an_exchange_is_two_phases(phases):
    scene = Scene(phases)
    still = series(scene, [[0.5, 0.5]] * 6, np.zeros((6, 2)))
    model = feed(PhaseSeries(lambda q, e: phases), still).converge()
    assert model.result_["verdict"].value == "undecided"
    part = np.linspace(0.2, 0.8, 8)
    exchange = series(scene, np.stack([1 - part, part], 1), np.zeros((8, 2)))
    model = feed(PhaseSeries(lambda q, e: phases), exchange).converge()
    assert model.result_["verdict"].value == "two_phase"
    assert model.result_["verdict_phase"].value == "Pt, LiPt"


def test_a_phase_that_was_refused_is_tried_less_often_but_at_once_where_it_is_clearer(phases):
    scene, tried = Scene(phases), []
    tracker = PhaseTracker(phases, Axis(Q))
    faint, clear = scene.mean([0.97, 0.03]), scene.mean([0.5, 0.5])
    tracker.add(scene.mean([1.0, 0.0]))
    tracker._try = lambda *given: tried.append(tracker.n_frames)  # refuses whatever it is shown
    for _ in range(40):
        tracker.add(faint)
    assert 1 <= sum(frame > 10 for frame in tried) <= 4
    tracker.add(clear)
    assert tried[-1] == 41
