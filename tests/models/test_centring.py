import numpy as np
import pytest

from flyback.models.base import Batch, Corrections
from flyback.models.ptychography.centring import FIRST_FRAMES, Centring
from flyback.tests.models.scenes import scene


def shifted(view, dy, dx, **corrections):
    frames = np.roll(view.frames, (dy, dx), axis=(1, 2))
    return Batch(
        frames, np.arange(len(frames)), view.batch().coordinates, Corrections(**corrections)
    )


def through(centring, batch, size=25):
    out = []
    for first in range(0, len(batch), size):
        out += centring.take(batch[slice(first, first + size)])
    return out + centring.flush()


@pytest.mark.parametrize("off", [(0, 0), (3, -2), (-1, 4)])
def test_frames_are_moved_to_the_disks_centre_by_whole_pixels(off):
    view = scene()
    centring = Centring(view.experiment())
    batches = through(centring, shifted(view, *off))
    assert centring.offset_px == off
    frames = np.concatenate([b.frames for b in batches])
    assert np.array_equal(frames, view.frames)
    assert [i for b in batches for i in b.scan_index] == list(range(len(view.frames)))
    assert bool(centring.notes) == bool(any(off))


def test_what_comes_round_the_edge_was_not_measured():
    view = scene()
    dark = np.arange(64 * 64, dtype=np.float32).reshape(64, 64) * 0
    dark[5, 6] = 3
    centring = Centring(view.experiment())
    batch = through(centring, shifted(view, 3, -2, dark=dark))[0]
    bad = batch.corrections.bad_pixels
    assert bad[-3:].all()
    assert bad[:, :2].all()
    assert not bad[:-3, 2:].any()
    assert batch.corrections.dark[2, 8] == 3
    assert batch.corrections.gain is None


def test_the_first_frames_wait_until_there_are_enough():
    view = scene()
    centring = Centring(view.experiment())
    assert centring.take(view.batch(slice(0, FIRST_FRAMES - 1))) == []
    assert len(centring.held) == 1
    (first, last) = centring.take(view.batch(slice(FIRST_FRAMES - 1, 80)))
    assert len(first) + len(last) == 80
    assert len(centring.take(view.batch(slice(80, 90)))) == 1


def test_the_disk_gives_the_scale_that_is_not_stated():
    view = scene()
    truth = view.experiment()
    centring = Centring(view.experiment(angular_sampling_mrad=None))
    through(centring, view.batch())
    assert centring.experiment.angular_sampling_rad == pytest.approx(
        truth.angular_sampling_rad, rel=0.03
    )
    centring = Centring(view.experiment(semi_convergence_angle_mrad=None))
    through(centring, view.batch())
    assert centring.experiment.semi_convergence_angle_rad == pytest.approx(0.02, rel=0.03)
    assert centring.notes[0].startswith("estimated: semi_convergence_angle_mrad")


def test_a_wrong_camera_length_is_said():
    view = scene()
    centring = Centring(view.experiment(semi_convergence_angle_mrad=15))
    through(centring, view.batch())
    assert centring.reasons[0].startswith("camera length: the bright field has a radius of 19")
    assert not Centring(view.experiment()).reasons


def test_xrays_and_patterns_without_a_disk_pass_as_they_are():
    view = scene()
    centring = Centring(view.experiment(radiation="xray"))
    batch = view.batch(slice(0, 10))
    assert centring.take(batch) == [batch]
    centring = Centring(view.experiment())
    flat = Batch(np.ones((70, 64, 64), np.uint16), np.arange(70))
    assert np.array_equal(centring.take(flat)[0].frames, flat.frames)
    assert centring.offset_px == (0, 0)
    assert centring.flush() == []


def test_descan_is_undone_by_whole_pixels():
    view = scene()
    slope = [[1.5, 0.0], [-0.8, 2.0]]
    experiment = view.experiment(descan_px_per_nm=slope)
    middle = np.mean(experiment.extent, axis=0)
    moved = np.rint((view.positions_m - middle) * 1e9 @ np.array(slope).T).astype(int)
    assert np.abs(moved).max() >= 1
    frames = np.stack(
        [np.roll(frame, move, axis=(0, 1)) for frame, move in zip(view.frames, moved, strict=True)]
    )
    dark = np.full((64, 64), 2, np.float32)
    for added, corrections in ((0, Corrections()), (2, Corrections(dark=dark))):
        batch = Batch(
            frames + np.uint16(added), np.arange(len(frames)), view.batch().coordinates, corrections
        )
        batches = through(Centring(experiment), batch)
        assert np.array_equal(np.concatenate([b.frames for b in batches]), view.frames)
        reach = np.abs(moved).max(axis=0)
        inner = np.s_[reach[0] : -reach[0], reach[1] : -reach[1]]
        assert not any(b.corrections.bad_pixels[inner].any() for b in batches if b.corrections)
        assert any(b.corrections.bad_pixels.any() for b in batches if b.corrections)


def test_descan_must_be_four_numbers():
    with pytest.raises(ValueError, match=r"descan_px_per_nm must be \[\[yy, yx\], \[xy, xx\]\]"):
        scene().experiment(descan_px_per_nm=[1, 2])
