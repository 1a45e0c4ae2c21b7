"""One integrator for several analyses: each named frame once, the same numbers for all."""

import pickle
import threading

import numpy as np
import pytest

from flyback.callbacks.integration import integrator_maker
from flyback.models.base import Batch, Corrections
from flyback.models.diffraction.integrator import Integrator
from flyback.models.diffraction.shared_integrator import SharedIntegrator

SHAPE = (40, 48)
SAID = {"uid": "a", "energy_kev": 18.0, "detector_distance_m": 0.1, "detector_pixel_m": 2e-4}


@pytest.fixture
def counted(monkeypatch):
    """Return the frames that were really integrated."""
    seen, usual = [], Integrator.__call__

    def counting(self, frame):
        seen.append(frame)
        return usual(self, frame)

    monkeypatch.setattr(Integrator, "__call__", counting)
    return seen


def frames(n):
    return np.random.default_rng(0).poisson(9, (n, *SHAPE)).astype("u2")


def made(said=SAID, corrections=None, **settings):
    return integrator_maker(said, bins=100, **settings)(SHAPE, corrections or Corrections())


def test_analyses_that_want_the_same_get_the_same_and_others_do_not():
    first = made()
    assert made() is first
    bad = np.zeros(SHAPE, bool)
    bad[3] = True
    others = [
        made({**SAID, "uid": "b"}),
        made({**SAID, "energy_kev": 18.1}),
        made(split="no"),
        made(range=(0.1, 0.4)),
        made(corrections=Corrections(bad_pixels=bad)),
    ]
    assert len({id(each) for each in (first, *others)}) == 1 + len(others)
    assert made(corrections=Corrections(bad_pixels=bad.copy())) is others[-1]


def test_a_mask_that_was_written_anew_makes_another(tmp_path):
    path = tmp_path / "mask.npy"
    np.save(path, np.zeros(SHAPE, np.uint8))
    first = made(mask=str(path))
    again = np.zeros(SHAPE, np.uint8)
    again[5] = 1
    path.unlink()
    np.save(path, again)
    second = made(mask=str(path))
    assert second.pixels_used == first.pixels_used - SHAPE[1]


def test_threads_that_ask_for_one_frame_wait_for_one_integration(counted):
    shared, images = made({**SAID, "uid": "threads"}), frames(20)
    everyone = threading.Barrier(4)
    got = [[] for _ in range(4)]

    def ask(into):
        everyone.wait()
        into.extend(shared(image, ("r", row)) for row, image in enumerate(images))

    threads = [threading.Thread(target=ask, args=(into,)) for into in got]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(counted) == len(images)
    for row, image in enumerate(images):
        alone = Integrator.__call__(shared, image)
        for into in got:
            np.testing.assert_array_equal(into[row][0], alone[0])
            np.testing.assert_array_equal(into[row][1], alone[1])


def test_frames_without_a_name_are_integrated_each_time_however_alike(counted):
    shared, buffer = made({**SAID, "uid": "nameless"}), frames(1)[0]
    first = shared(buffer)
    buffer[:] = 0  # one buffer, another frame
    assert not np.array_equal(first[0], shared(buffer)[0])
    assert len(counted) == 2


def test_old_patterns_are_let_go(counted):
    shared, images = made({**SAID, "uid": "many"}), frames(1)
    for row in range(200):
        shared(images[0], row)
    shared(images[0], 199)
    assert len(counted) == 200
    shared(images[0], 0)
    assert len(counted) == 201


def test_it_goes_to_another_process_without_its_patterns():
    shared, images = made({**SAID, "uid": "far"}), frames(1)
    here = shared(images[0], "a")
    there = pickle.loads(pickle.dumps(shared))
    assert isinstance(there, SharedIntegrator)
    np.testing.assert_array_equal(there(np.zeros_like(images[0]), "a")[0][10:20], 0)
    np.testing.assert_array_equal(there(images[0], "b")[0], here[0])


def test_rows_of_a_batch_keep_their_names():
    images = frames(5)
    batch = Batch(images, np.arange(5), names=list("abcde"))
    assert list(batch[1:3].names) == ["b", "c"]
    assert list(batch[np.array([4, 0])].names) == ["e", "a"]
    assert list(batch[np.array([True, False, False, True, False])].names) == ["a", "d"]
    assert not Batch(images, np.arange(5))[1:3].names
