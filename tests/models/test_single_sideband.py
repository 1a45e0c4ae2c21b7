import numpy as np
import pytest

from flyback.models.base import Batch, Corrections, Mergeable, Model
from flyback.models.experiment import Experiment, MissingMetadata
from flyback.models.ptychography.single_sideband import SingleSideband
from flyback.tests.models.chunk_law import check
from flyback.tests.models.scenes import correlation, sampled, scene


def score(model, view, margin=3):
    result = model.result_
    phase = result["object_phase"].value
    origin, pixel = result["object_origin_m"].value, result["object_pixel_m"].value
    return correlation(phase, sampled(view.phase, origin, pixel, phase.shape), margin)


@pytest.mark.parametrize("kind", ["raster", "serpentine", "spiral", "jittered"])
def test_the_phase_of_any_scan(kind):
    view = scene(kind, n=32)
    model = SingleSideband(view.experiment()).partial_fit(view.batch())
    assert isinstance(model, Model)
    assert isinstance(model, Mergeable)
    assert score(model, view) > 0.9
    result = model.result_
    phase = result["object_phase"].value
    assert phase.dtype == np.float32
    assert result["object"].value.dtype == np.complex64
    assert phase.max() > 2 * abs(phase.min())  # atoms are positive
    assert result["method"].value == "single_sideband"
    assert 0 < result["fourier_error"].value < 1
    assert result["trust"].value is True


@pytest.mark.parametrize("kind", ["raster", "spiral"])
def test_the_chunk_law_holds_bit_for_bit(kind):
    view = scene(kind)
    check(lambda: SingleSideband(view.experiment()), view.batch(slice(0, 300)))


def test_the_chunk_law_holds_on_a_growing_canvas():
    view = scene("spiral")
    experiment = view.experiment(trajectory={"extent": None})
    whole = check(lambda: SingleSideband(experiment), view.batch(slice(0, 300)), singles=False)
    assert np.isfinite(whole["object_phase"]).all()


def test_the_chunk_law_holds_with_corrections():
    view = scene()
    whole = view.batch(slice(0, 300))
    rng = np.random.default_rng(0)
    gain = rng.uniform(0.9, 1.1, whole.frames.shape[1:]).astype(np.float32)
    corrected = Batch(whole.frames, whole.scan_index, whole.coordinates, Corrections(None, gain))
    check(lambda: SingleSideband(view.experiment()), corrected, relative=1e-4, singles=False)


@pytest.mark.parametrize("rotation_deg", [90, 270])
def test_scan_rotation_lives_in_the_overlap_function(rotation_deg):
    still, turned = scene(n=32), scene(n=32, rotation_deg=rotation_deg)
    model = SingleSideband(turned.experiment()).partial_fit(turned.batch())
    assert score(model, still) > 0.9
    ignorant = SingleSideband(turned.experiment(scan_rotation_deg=0)).partial_fit(turned.batch())
    assert score(ignorant, still) < 0.5
    ignorant.set_optics(scan_rotation_rad=np.radians(rotation_deg))
    assert score(ignorant, still) == pytest.approx(score(model, still), abs=1e-6)


def test_defocus_is_corrected_with_its_sign():
    view = scene(n=32, defocus_m=4e-9)
    right = SingleSideband(view.experiment()).partial_fit(view.batch())
    none = SingleSideband(view.experiment(defocus_nm=0)).partial_fit(view.batch())
    wrong = SingleSideband(view.experiment(defocus_nm=-4)).partial_fit(view.batch())
    assert score(right, view) > 0.85
    assert score(right, view) > score(none, view) + 0.02 > score(wrong, view) + 0.04
    none.set_optics(aberrations={"C10": -4e-9})
    assert score(none, view) == pytest.approx(score(right, view), abs=1e-6)


def test_the_scale_is_the_true_one():
    view = scene(n=32, dose=1e6)
    model = SingleSideband(view.experiment(), eps=1e-4).partial_fit(view.batch())
    result = model.result_
    phase = result["object_phase"].value
    truth = sampled(
        view.phase, result["object_origin_m"].value, result["object_pixel_m"].value, phase.shape
    )
    gain = np.polyfit(truth[4:-4, 4:-4].ravel(), phase[4:-4, 4:-4].ravel(), 1)[0]
    assert gain == pytest.approx(1, abs=0.15)


def test_bad_pixels_are_left_out():
    view = scene(n=32)
    whole = view.batch()
    bad = np.random.default_rng(0).random(whole.frames.shape[1:]) < 0.05
    frames = whole.frames.copy()
    frames[:, bad] = 65535
    masked = Batch(frames, whole.scan_index, whole.coordinates, Corrections(bad_pixels=bad))
    model = SingleSideband(view.experiment()).partial_fit(masked)
    assert score(model, view) > 0.88
    assert model.result_["trust"].value


def test_dropped_frames_leave_the_rest_in_place():
    view = scene(n=32)
    rows = np.sort(np.random.default_rng(0).permutation(1024)[:900])
    assert score(SingleSideband(view.experiment()).partial_fit(view.batch(rows)), view) > 0.8


def test_reasons_not_to_trust():
    view = scene()
    few = SingleSideband(view.experiment()).partial_fit(view.batch(slice(0, 30)))
    assert "too few frames" in few.result_["trust_reasons"].value[0]
    coarse = SingleSideband(view.experiment(trajectory={"step": 0.1}))
    reasons = coarse.partial_fit(view.batch()).result_["trust_reasons"].value
    assert reasons[0].startswith("undersampled: the step of 0.1 nm")
    clipped = view.batch()
    clipped.frames[5, 32, 32] = 65535
    model = SingleSideband(view.experiment()).partial_fit(clipped)
    assert model.result_["trust_reasons"].value[0].startswith("clipped: 1 of 576")
    clipped.frames[5, 32, 32] = 0
    assert model.result_["trust"].value is False


def test_what_is_missing_is_asked_for():
    view = scene()
    with pytest.raises(MissingMetadata, match="semi_convergence_angle_mrad is needed"):
        SingleSideband(view.experiment(semi_convergence_angle_mrad=None))
    with pytest.raises(MissingMetadata, match=r"trajectory\.step"):
        SingleSideband(view.experiment(trajectory={"step": None, "extent": None}))
    with pytest.raises(MissingMetadata, match="positions in metres"):
        SingleSideband(Experiment.from_metadata({"trajectory": {"units": "px"}}))


def test_bad_input_is_named():
    view = scene()
    with pytest.raises(ValueError, match="eps must lie between 0 and 1"):
        SingleSideband(view.experiment(), eps=0)
    with pytest.raises(ValueError, match="bins_across"):
        SingleSideband(view.experiment(), bins_across=1)
    model = SingleSideband(view.experiment())
    assert model.result_ == {}
    with pytest.raises(ValueError, match="no frames"):
        model.phase()
    assert model.partial_fit(view.batch(slice(0, 0))).result_ == {}
    model.partial_fit(view.batch(slice(0, 4)))
    with pytest.raises(ValueError, match="frames changed shape"):
        model.partial_fit(Batch(np.zeros((1, 8, 8), np.uint16), np.arange(1)))
    frames = np.full((1, 64, 64), np.nan, np.float32)
    before = model.result_["object_phase"].value
    model.partial_fit(Batch(frames, np.arange(1), {"positions_m": np.zeros((1, 2))}))
    np.testing.assert_array_equal(model.result_["object_phase"].value, before)
    assert "1 frames hold NaN" in " ".join(model.result_["trust_reasons"].value)
    with pytest.raises(ValueError, match="do not add"):
        model.merge(SingleSideband(view.experiment(), bins_across=6).partial_fit(view.batch()))
