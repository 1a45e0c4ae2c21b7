import itertools

import numpy as np
import pytest
import scipy.ndimage

from flyback.models.base import Batch
from flyback.models.experiment import Experiment
from flyback.models.ptychography.alignment import Alignment
from flyback.models.ptychography.choose import Ptychography
from flyback.models.ptychography.forward import simulate_frames
from flyback.models.ptychography.probe import aberrated_probe
from flyback.models.trajectories import Archimedean, Fermat, Multipass, Random
from flyback.tests.models.scenes import (
    ALPHA_RAD,
    PIXEL_M,
    WAVELENGTH_M,
    atoms,
    correlation,
    sampled,
    scene,
)

STEP_NM = PIXEL_M * 1e9
FIELD = {"fov": 40 * STEP_NM, "step": STEP_NM}


def drifting(path, total_px, dose=1e4, box=64):
    """Frames of a scan over a specimen that moves evenly; what a run would say of them."""
    sampling = WAVELENGTH_M / (box * PIXEL_M)
    probe = aberrated_probe((box, box), WAVELENGTH_M, (sampling, sampling), ALPHA_RAD)
    margin = box // 2 + 12
    pixels = path.positions / STEP_NM
    origin = pixels.min(axis=0) - margin
    time = np.arange(len(pixels)) / len(pixels)
    true = pixels - origin + (time[:, None] - 0.5) * np.array(total_px)
    side = int(true.max()) + margin
    phase = atoms((side, side), 0.3)
    obj = np.exp(1j * phase).astype(np.complex64)
    frames = simulate_frames(obj, probe, true, dose, seed=1)
    metadata = {
        "radiation": "electron",
        "energy_kev": 200.0,
        "semi_convergence_angle_mrad": ALPHA_RAD * 1e3,
        "angular_sampling_mrad": sampling * 1e3,
        "defocus_nm": 0.0,
        "scan_rotation_deg": 0.0,
        "transposed": False,
        "trajectory": path.to_dict(),
    }
    coordinates = {"positions_m": path.positions * 1e-9, "time_s": time}
    batch = Batch(frames, np.arange(len(frames)), coordinates)
    return batch, Experiment.from_metadata(metadata), phase, origin * PIXEL_M


def quality(result, phase, origin_m):
    """Correlation with the truth within the scanned field."""
    origin, pixel = result["object_origin_m"].value - origin_m, result["object_pixel_m"].value
    ours = result["object_phase"].value
    truth = sampled(phase, origin, pixel, ours.shape)
    places = result["positions_m"].value - origin_m
    low, high = places.min(axis=0), places.max(axis=0)
    a, b = (np.rint((low * w + high * (1 - w) - origin) / pixel).astype(int) for w in (0.85, 0.15))
    window = np.s_[a[0] : b[0], a[1] : b[1]]
    return correlation(ours[window], truth[window])


def middle_quality(result, view):
    """Correlation with the truth in the middle of the object, which lies on any scan's axes."""
    origin, pixel = result["object_origin_m"].value, result["object_pixel_m"].value
    ours = result["object_phase"].value
    truth = sampled(view.phase, origin, pixel, ours.shape)
    middle = np.s_[ours.shape[0] // 2 - 14 : ours.shape[0] // 2 + 14]
    return correlation(ours[middle, middle], truth[middle, middle])


def run(batch, experiment, size=256, **settings):
    model = Ptychography(experiment, **{"iterations": 8} | settings)
    for first in range(0, len(batch), size):
        model.partial_fit(batch[slice(first, first + size)])
    return model.converge()


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("rotation_deg", [0, 90, 180])
def test_rotation_and_transposition_that_are_not_stated_are_found(rotation_deg, transposed):
    view = scene(n=32, rotation_deg=rotation_deg)
    frames = view.frames.transpose(0, 2, 1) if transposed else view.frames
    batch = view.batch()
    batch = Batch(np.ascontiguousarray(frames), batch.scan_index, batch.coordinates)
    model = run(batch, view.experiment(scan_rotation_deg="auto"))
    result = model.result_
    turn = (result["scan_rotation_deg"].value - rotation_deg + 180) % 360 - 180
    assert abs(turn) < 2
    assert result["transposed"].value is transposed
    assert result["flags"].value[0].startswith("estimated: scan_rotation_deg")
    assert result["trust"].value
    assert middle_quality(result, view) > 0.93


@pytest.mark.parametrize(
    "path",
    [
        Multipass(**FIELD, passes=4, order="interleaved"),
        Archimedean(**FIELD, passes=4),
        Fermat(**FIELD, passes=4),
        Random(**FIELD),
    ],
    ids=lambda path: path.type,
)
@pytest.mark.heavy
def test_positions_follow_a_drift(path):
    batch, experiment, phase, origin = drifting(path, (6, -4))
    still = quality(run(batch, experiment, drift="off").result_, phase, origin)
    model = run(batch, experiment)
    result = model.result_
    assert quality(result, phase, origin) > max(0.85, still + 0.1)
    assert result["flags"].value[0].startswith("drift: ")
    spread = np.ptp(result["drift_m"].value, axis=0) / PIXEL_M
    assert np.all(spread > 0.6 * np.array([6, 4]))
    assert np.all(spread < 1.3 * np.array([6, 4]))
    assert len(result["drift_time_s"].value) == len(result["drift_m"].value)


def best_quality(result, phase, origin_m):
    """Quality at the best displacement: a live picture may lie where the first pass saw it."""
    shifts = itertools.product(np.arange(-3, 3.1, 0.5), np.arange(-2, 2.1, 0.5))
    return max(
        quality(result, scipy.ndimage.shift(phase, shift, order=1, mode="nearest"), origin_m)
        for shift in shifts
    )


@pytest.mark.parametrize(
    ("path", "gain"),
    [
        (Multipass(**FIELD, passes=4, order="interleaved"), 0.12),
        (Archimedean(**FIELD, passes=4), 0.08),
        (Random(**FIELD), 0.04),
    ],
    ids=lambda value: getattr(value, "type", ""),
)
@pytest.mark.heavy
def test_the_live_picture_follows_a_drift(path, gain):
    batch, experiment, phase, origin = drifting(path, (6, -4))
    still = Ptychography(experiment, method="single_sideband", drift="off").partial_fit(batch)
    blurred = best_quality(still.result_, phase, origin)
    model = Ptychography(experiment, method="single_sideband").partial_fit(batch)
    live = model.result_
    assert best_quality(live, phase, origin) > blurred + gain
    (said,) = (text for text in live["flags"].value if text.startswith("drift"))
    assert "positions follow it from frame" in said
    # the last frame, against the middle of the first pass, within the drift's half step
    moved = live["positions_m"].value[-1] - batch.coordinates["positions_m"][-1]
    assert np.all(np.abs(moved / PIXEL_M) > np.array([2, 1.3]))
    assert np.all(np.sign(moved) == [1, -1])
    model.converge()
    assert any("keeps frames where they were first put" in r for r in reasons(model))


def reasons(model):
    return model.result_["trust_reasons"].value


@pytest.mark.heavy
def test_where_drift_is_looked_for_does_not_depend_on_batches():
    batch, experiment, _, _ = drifting(Multipass(**FIELD, passes=4, order="interleaved"), (6, -4))
    kept = np.random.default_rng(0).random(len(batch)) > 0.05  # dropped frames leave gaps
    batch = batch[np.flatnonzero(kept)]
    places = []
    for size in (1, 97, len(batch)):
        model = Ptychography(experiment, method="single_sideband")
        for first in range(0, len(batch), size):
            model.partial_fit(batch[slice(first, first + size)])
        places.append(model.result_["positions_m"].value)
        assert model.live_drift.since is not None
    assert np.array_equal(places[0], places[1])
    assert np.array_equal(places[0], places[2])


def test_a_part_that_did_not_see_the_beginning_leaves_positions():
    batch, experiment, _, _ = drifting(Multipass(**FIELD, passes=4, order="interleaved"), (6, -4))
    late = Ptychography(experiment, method="single_sideband").partial_fit(batch[slice(600, None)])
    assert late.live_drift.since is None
    early = Ptychography(experiment, method="single_sideband").partial_fit(batch[slice(0, 600)])
    assert early.merge(late).result_["n_frames"].value == len(batch)


@pytest.mark.parametrize(
    "path",
    [
        Multipass(**FIELD, passes=4, order="interleaved"),
        Fermat(**FIELD),
        Archimedean(**FIELD, passes=3),
    ],
    ids=lambda path: path.type,
)
def test_where_nothing_drifts_nothing_moves(path):
    batch, experiment, _, _ = drifting(path, (0, 0), dose=1e3)
    result = run(batch, experiment, iterations=1).result_
    assert "drift_m" not in result
    assert np.array_equal(result["positions_m"].value, batch.coordinates["positions_m"])


@pytest.mark.heavy
def test_the_order_of_batches_and_merging_change_nothing():
    batch, experiment, _, _ = drifting(Multipass(**FIELD, passes=4, order="interleaved"), (6, -4))
    whole = run(batch, experiment, iterations=2).result_
    one, other = Ptychography(experiment, iterations=2), Ptychography(experiment, iterations=2)
    other.partial_fit(batch[slice(800, None)])
    one.partial_fit(batch[slice(0, 800)]).merge(other).converge()
    assert np.array_equal(one.result_["drift_m"].value, whole["drift_m"].value)
    assert np.array_equal(one.result_["object"].value, whole["object"].value)
    # a model that has not decided yet takes over, and hands on
    early, late = Ptychography(experiment, iterations=2), Ptychography(experiment, iterations=2)
    early.partial_fit(batch[slice(0, 20)])
    late.partial_fit(batch[slice(20, None)])
    early.merge(late).converge()
    assert early.result_["n_frames"].value == len(batch)
    tail = Ptychography(experiment, iterations=2).partial_fit(batch[slice(0, 20)])
    late = Ptychography(experiment, iterations=2).partial_fit(batch[slice(20, None)])
    assert late.merge(tail).converge().result_["n_frames"].value == len(batch)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="drift must be one of auto, off, got 'yes'"):
        Alignment(scene().experiment(), "yes")


def test_a_stated_rotation_that_the_frames_speak_against_is_doubted():
    view = scene(n=32, rotation_deg=90)
    result = run(view.batch(), view.experiment(scan_rotation_deg=30.0), iterations=1).result_
    assert result["scan_rotation_deg"].value == pytest.approx(30)
    assert any(
        "the stated scan_rotation_deg 30.0 leaves" in r for r in result["trust_reasons"].value
    )


@pytest.mark.parametrize(
    ("defocus_nm", "rotation_deg", "transposed"), [(10, 90, True), (-20, 0, False)]
)
@pytest.mark.heavy
def test_defocus_and_the_frame_far_from_focus(defocus_nm, rotation_deg, transposed):
    view = scene(n=32, peak=0.2, defocus_m=defocus_nm * 1e-9, rotation_deg=rotation_deg)
    frames = view.frames.transpose(0, 2, 1) if transposed else view.frames
    batch = view.batch()
    batch = Batch(np.ascontiguousarray(frames), batch.scan_index, batch.coordinates)
    unknown = {"scan_rotation_deg": "auto", "defocus_nm": "auto"}
    model = run(batch, view.experiment(**unknown), iterations=12)
    result = model.result_
    assert result["defocus_nm"].value == pytest.approx(defocus_nm, abs=0.7)
    turn = (result["scan_rotation_deg"].value - rotation_deg + 180) % 360 - 180
    assert abs(turn) < 2
    assert result["transposed"].value is transposed
    assert any("from displaced bright-field images" in text for text in result["flags"].value)
    assert any(text.startswith("estimated: defocus_nm") for text in result["flags"].value)
    assert middle_quality(result, view) > 0.9


def test_a_defocus_that_is_stated_is_obeyed():
    view = scene(n=32, defocus_m=10e-9)
    result = run(view.batch(), view.experiment(defocus_nm=0.0), iterations=1).result_
    assert result["defocus_nm"].value == 0
    assert not any("defocus" in text for text in result["flags"].value)


def test_no_defocus_where_none_can_be_told():
    view = scene(n=32, dose=20)
    result = run(view.batch(), view.experiment(defocus_nm="auto"), iterations=1).result_
    assert result["defocus_nm"].value == 0
    assert any(
        "defocus" in text for text in (*result["flags"].value, *result["trust_reasons"].value)
    )
