"""Measurements as they must not be: refused by name, or reconstructed and not trusted."""

import numpy as np
import pytest

from flyback.models.base import Batch, Corrections
from flyback.models.experiment import Experiment
from flyback.models.ptychography.choose import Ptychography
from flyback.models.ptychography.pattern_check import dead_lines
from flyback.models.ptychography.stripes import Seams
from flyback.models.ptychography.usable import usable
from flyback.models.ptychography.visits import field_reasons, noise_reasons, visit_reasons
from flyback.models.scan_image import MOST_PX, place
from flyback.models.virtual_images import VirtualImages
from flyback.tests.models.scenes import scene

DENSE = {"kind": "jittered", "n": 14, "step_px": 2.0, "defocus_m": 10e-9, "peak": 0.5}
FOCUS = {"n": 24, "box": 48, "dose": 1e5, "peak": 0.3}
ITERATIVE = {"iterations": 4, "frc": False}


def fed(view, frames=None, positions=None, index=None, experiment=None, corrections=None, **given):
    """Return the reasons not to trust what all frames give, and the result."""
    frames = view.frames if frames is None else frames
    positions = view.positions_m if positions is None else positions
    index = np.arange(len(frames)) if index is None else index
    given = given if given.get("method") == "single_sideband" else ITERATIVE | given
    model = Ptychography(experiment or view.experiment(), **given)
    corrections = corrections or Corrections()
    for a in range(0, len(frames), 64):
        rows = slice(a, a + 64)
        coordinates = {"positions_m": positions[rows]}
        model.partial_fit(Batch(frames[rows], index[rows], coordinates, corrections))
    result = model.converge().result_
    assert np.isfinite(result["object"].value).all()
    assert result["trust"].value == (not result["trust_reasons"].value)
    return " | ".join(result["trust_reasons"].value), result


def changed(array, rows, value, dtype=None):
    array = np.array(array, dtype or array.dtype)
    array[rows] = value
    return array


def test_nothing_is_said_of_a_good_one():
    view = scene(**FOCUS)
    assert fed(view, method="single_sideband")[0] == ""


@pytest.mark.parametrize("method", ["single_sideband", "auto"])
@pytest.mark.heavy
def test_frames_with_nan_and_frames_without_a_place_are_left_out(method):
    view = scene(**FOCUS)
    frames = changed(view.frames, (5, 3, 4), np.nan, np.float32)
    positions = changed(view.positions_m, 9, np.nan)
    reasons, result = fed(view, frames, positions, method=method)
    assert "not finite: 2 frames hold NaN or infinity, or have no finite position" in reasons
    assert result["n_frames"].value == len(frames) - 2


def test_a_pixel_that_is_never_finite_wants_a_mask():
    view = scene(**FOCUS)
    frames = changed(view.frames, (slice(None), 3, 4), np.nan, np.float32)
    with pytest.raises(ValueError, match=r"no frame can be used: 576 hold NaN.*bad_pixels"):
        fed(view, frames)
    bad = changed(np.zeros((48, 48), bool), (3, 4), True)
    reasons, _ = fed(
        view, frames, corrections=Corrections(bad_pixels=bad), method="single_sideband"
    )
    assert reasons == ""


def test_which_frames_can_be_used():
    frames = np.ones((3, 8, 8), np.float32)
    frames[1, 2, 3], frames[2] = np.inf, 0
    positions = np.zeros((3, 2))
    batch = Batch(frames, np.arange(3), {"positions_m": positions, "time_s": np.arange(3.0)})
    kept, lost, empty = usable(batch, "m")
    assert (kept.scan_index.tolist(), lost, empty) == ([0, 2], 1, 1)
    assert kept.coordinates["time_s"].tolist() == [0, 2]
    whole = Batch(frames[:1], np.arange(1), {"positions_m": positions[:1]})
    assert usable(whole, "m") == (whole, 0, 0)


@pytest.mark.parametrize("method", ["single_sideband", "auto"])
def test_a_blanked_beam_is_told(method):
    view = scene(**FOCUS)
    reasons, _ = fed(view, changed(view.frames, slice(0, 100), 0), method=method)
    assert "dark frames: 100 hold no counts" in reasons


@pytest.mark.parametrize("method", ["auto", "rpie", "lsqml", "dm"])
def test_no_counts_at_all_are_refused(method):
    view = scene(**DENSE)
    for frames in (view.frames * 0, -view.frames.astype(np.float32)):
        with pytest.raises(ValueError, match="the frames hold no counts"):
            fed(view, frames, method=method)


def test_no_counts_at_all_are_told_by_the_direct_method():
    view = scene(**FOCUS)
    assert "no counts" in fed(view, view.frames * 0, method="single_sideband")[0]


def test_vacuum_is_not_trusted():
    view = scene(**FOCUS | {"dose": 1e4, "peak": 1e-9})
    assert "noise: the phase explains" in fed(view, method="single_sideband")[0]
    assert noise_reasons(0.9, 200) == []


@pytest.mark.parametrize("method", ["auto", "lsqml"])
def test_the_wrong_side_of_focus_is_told(method):
    view = scene(**DENSE)
    assert "defocus" not in fed(view, method=method)[0]
    reasons, _ = fed(view, experiment=view.experiment(defocus_nm=-10.0), method=method)
    assert "defocus: the frames are explained better by defocus_nm 10 than" in reasons


@pytest.mark.parametrize("factor", [0.5, 1.1, 2.0])
def test_a_wrong_camera_length_is_told_by_every_method(factor):
    view = scene(**DENSE)
    sampling = factor * view.metadata["angular_sampling_mrad"]
    reasons, _ = fed(view, experiment=view.experiment(angular_sampling_mrad=sampling))
    assert "camera length: the bright field has a radius of" in reasons
    assert "defocus" not in reasons


def test_places_too_far_apart_are_reconstructed_and_told():
    """Stripes may be empty then."""
    view = scene(**DENSE | {"step_px": 40.0, "n": 7})
    assert "undersampled: overlap is low" in fed(view)[0]


def test_an_empty_stripe_has_an_empty_window():
    parts = [np.array([0]), np.empty(0, int), np.array([1])]
    seams = Seams((20, 8), np.ones((8, 8), "f4"), np.array([[0, 0], [12, 0]]), parts)
    assert seams.windows[1] == (slice(0, 0), slice(0, 0))


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("kind", [DENSE, FOCUS])
def test_one_frame_or_a_few_on_a_line(kind, rows):
    """Neither has a step of its own: the direct method steps back."""
    view = scene(**kind)
    line = {"step": None, "n_points": rows, "grid_shape": None, "scan_order": "free"}
    line["extent"] = (view.positions_m[[0, rows - 1]] * 1e9).tolist()
    experiment = view.experiment(trajectory=line)
    reasons, _ = fed(view, view.frames[:rows], view.positions_m[:rows], experiment=experiment)
    assert f"too few frames: {rows}" in reasons


def test_what_is_odd_about_places():
    y, x = np.divmod(np.arange(100), 10)
    places = np.stack([y, x], 1) * 1.0
    index = np.arange(100)
    assert visit_reasons(index, places) == []
    assert visit_reasons(index[:0], places[:0]) == []
    assert "duplicate frames: 1 of" in visit_reasons(np.r_[index[:-1], 0], places)[0]
    (gone,) = visit_reasons(index[index % 3 > 0], places[index % 3 > 0])
    assert "missing frames: 33 of 99" in gone or "missing frames: 32 of 98" in gone
    pairs = places[index // 2 * 2]
    assert "duplicate positions: 50 of 100" in visit_reasons(index, pairs)[0]
    assert visit_reasons(index, pairs, index % 2) == []
    (far,) = visit_reasons(index, changed(places, 4, 500.0))
    assert "positions outside: 1 of 100" in far


def test_a_scan_smaller_than_the_probe():
    places = np.random.default_rng(0).random((50, 2))
    assert "check energy_kev" in field_reasons(places, 4.0)[0]
    assert field_reasons(100 * places, 4.0) == []


def test_dead_lines_side_by_side():
    total = np.full((20, 20), 100.0)
    total[:, [7, 8]] = total[:, :3] = 0
    good = np.ones((20, 20), bool)
    assert dead_lines(total, good, 0) == [7, 8]
    assert dead_lines(total, good, 1) == []
    good[:, 7:9] = False
    assert dead_lines(total, good, 0) == []


@pytest.mark.parametrize(
    ("radiation", "energy_kev"), [("electron", 0.2), ("electron", 6000.0), ("xray", 5000.0)]
)
def test_energies_that_go_through_nothing(radiation, energy_kev):
    with pytest.raises(ValueError, match=f"energy_kev must lie between .* for {radiation}s"):
        Experiment.from_metadata({"radiation": radiation, "energy_kev": energy_kev})


def test_a_probe_of_nothing_is_refused():
    for value in (0, np.nan):
        with pytest.raises(ValueError, match="probe must be finite, not all zero"):
            Experiment.from_metadata({}, probe=np.full((8, 8), value, "c8"))


def free(view):
    return view.experiment(
        trajectory={"type": "points", "grid_shape": None, "scan_order": "free", "extent": None}
    )


@pytest.mark.parametrize("far_m", [1e-6, 1.0, np.nan])
def test_pictures_leave_out_a_position_far_away(far_m):
    view = scene(**FOCUS)
    positions = changed(view.positions_m, 7, far_m)
    model = VirtualImages(free(view))
    model.partial_fit(Batch(view.frames, np.arange(576), {"positions_m": positions}))
    result = model.result_
    assert result["bf"].value.shape == (24, 24)
    assert "1 of 576 frames have none or lie far" in " | ".join(result["flags"].value)


def test_pictures_of_two_clusters_are_coarser():
    view = scene(**FOCUS)
    positions = view.positions_m.copy()
    positions[288:] += 1e-6
    image = place(free(view), np.arange(576), positions)
    assert image is not None
    assert image.shape[0] * image.shape[1] <= 1.1 * MOST_PX
    assert image.left_out == 0
    assert place(free(view), np.arange(3), np.full((3, 2), np.nan)) is None


def test_a_disk_is_estimated_without_the_frames_that_are_not_finite():
    view = scene(**FOCUS)
    known = view.experiment(semi_convergence_angle_mrad=None)
    batch = view.batch()
    broken = Batch(changed(view.frames, 3, np.nan, "f4"), batch.scan_index, batch.coordinates)
    radii = [
        VirtualImages(known).partial_fit(each).result_["flags"].value[0] for each in (batch, broken)
    ]
    assert radii[0][:45] == radii[1][:45]
