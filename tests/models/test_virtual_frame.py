import numpy as np
import pytest

from flyback.models.base import Batch, Corrections
from flyback.models.experiment import Experiment
from flyback.models.virtual_frame import MeanPattern
from flyback.models.virtual_images import VirtualImages
from flyback.tests.models.chunk_law import check
from flyback.tests.models.scenes import correlation, scene


def result(view, **changes):
    return VirtualImages(view.experiment(**changes)).partial_fit(view.batch()).result_


def transposed(view):
    batch = view.batch()
    frames = np.ascontiguousarray(batch.frames.swapaxes(1, 2))
    return Batch(frames, batch.scan_index, batch.coordinates)


@pytest.mark.parametrize("rotation_deg", [0, 90, 180, 270])
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("unstated", [None, "auto"])
def test_an_unstated_rotation_is_found(rotation_deg, swapped, unstated):
    view = scene(n=24, rotation_deg=rotation_deg, peak=0.3)
    known = result(scene(n=24, peak=0.3))
    model = VirtualImages(view.experiment(scan_rotation_deg=unstated))
    found = model.partial_fit(transposed(view) if swapped else view.batch()).result_
    assert found["transposed"].value is swapped
    apart = (found["scan_rotation_deg"].value - rotation_deg + 180) % 360 - 180
    assert abs(apart) < 3
    assert any(f.startswith("estimated: scan_rotation_deg") for f in found["flags"].value)
    assert correlation(found["idpc"].value, known["idpc"].value) > 0.95


def test_a_stated_rotation_is_obeyed_and_doubted():
    view = scene(n=24, peak=0.3)
    found = result(view, scan_rotation_deg=90)
    assert found["scan_rotation_deg"].value == pytest.approx(90)
    assert found["transposed"].value is False
    assert any("the stated scan_rotation_deg 90.0 leaves" in f for f in found["flags"].value)
    assert result(view)["flags"].value == []
    both = result(view, scan_rotation_deg=90, transposed=True)
    assert both["transposed"].value is True
    assert both["flags"].value == []


def test_the_chunk_law_holds_for_what_is_found():
    view = scene("raster", peak=0.3)
    experiment = view.experiment(scan_rotation_deg=None)
    whole = check(lambda: VirtualImages(experiment), view.batch())
    assert abs(whole["scan_rotation_deg"]) < 3
    assert whole["disk_radius_px"] == pytest.approx(15.3, abs=0.3)
    assert whole["ellipticity"] == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(whole["disk_centre_px"], 32, atol=0.1)


def test_the_mean_pattern_does_not_know_the_order():
    rng = np.random.default_rng(0)
    frames = rng.uniform(0, 9, (64, 8, 8)).astype(np.float32)
    frames[3, 2, 2] = np.nan
    index, order = np.arange(64), rng.permutation(64)
    one, other, third = (MeanPattern((8, 8), 64) for _ in range(3))
    one.add(frames, index)
    other.add(frames[order[:20]], index[order[:20]])
    third.add(frames[order[20:]], index[order[20:]])
    other.merge(third)
    np.testing.assert_array_equal(one.total, other.total)
    np.testing.assert_allclose(one.total / one.scale, np.nansum(frames, axis=0), atol=0.05)
    assert MeanPattern((8, 8), 25600).stride == 400


@pytest.mark.parametrize("n", [1, 5])
def test_few_frames_are_flagged(n):
    view = scene("raster")
    experiment = view.experiment(scan_rotation_deg=None)
    found = VirtualImages(experiment).partial_fit(view.batch(slice(0, n))).result_
    assert any(f.startswith("scan rotation unknown, taken as 0") for f in found["flags"].value)
    assert found["scan_rotation_deg"].value == 0


def test_frames_without_a_disk():
    flat = np.full((300, 16, 16), 7, np.uint16)
    model = VirtualImages(Experiment(), detectors={"bf": (0, 3)})
    found = model.partial_fit(Batch(flat, np.arange(300), {}, Corrections())).result_
    assert np.isnan(found["disk_radius_px"].value)
    assert "scan_rotation_deg" not in found


def test_words_that_are_no_statement():
    assert not Experiment.from_metadata({}).scan_rotation_stated
    assert not Experiment.from_metadata({"scan_rotation_deg": "auto"}).scan_rotation_stated
    assert Experiment.from_metadata({"scan_rotation_deg": 0}).scan_rotation_stated
    assert Experiment.from_metadata({"transposed": "auto"}).transposed is None
    assert Experiment.from_metadata({"transposed": True}).transposed is True
    with pytest.raises(ValueError, match="transposed must be true, false"):
        Experiment.from_metadata({"transposed": 3})
