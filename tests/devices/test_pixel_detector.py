"""The camera's composition, with drivers that behave and drivers that do not."""

import time

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import h5py
import hdf5plugin  # noqa: F401
import numpy as np
import pytest
from bluesky.utils import FailedStatus
from ophyd.utils import WaitTimeoutError

from flyback.devices.pixel_detector import PixelDetector
from flyback.tests.microscope import local


class Canned:
    """Frames that hold their own index; can drop some, fall silent, or raise."""

    def __init__(self, *, block=10, drop=(), silent_after=None, fail_after=None, arm_fails=False):
        self.shape, self.dtype = (8, 8), np.dtype("<u2")
        self.block, self.drop = block, set(drop)
        self.silent_after, self.fail_after, self.arm_fails = silent_after, fail_after, arm_fails
        self.armed = self.disarmed = 0

    def connect(self):
        pass

    def disconnect(self):
        pass

    def arm(self, n_frames, exposure_s, *, first_index, trigger):
        self.armed += 1
        if self.arm_fails:
            raise OSError("the camera's power is off")
        self.todo = (n_frames, first_index)

    def blocks(self):
        n, first = self.todo
        for start in range(0, n, self.block):
            if self.silent_after is not None and start >= self.silent_after:
                while True:
                    time.sleep(0.01)
                    yield None
            if self.fail_after is not None and start >= self.fail_after:
                raise OSError("the cable was pulled")
            rows = np.arange(start, min(start + self.block, n))
            rows = np.array([row for row in rows if row not in self.drop], int) + first
            if len(rows):
                frames = np.ones((len(rows), 8, 8), "<u2") * rows[:, None, None].astype("<u2")
                yield rows, np.full(len(rows), time.time()), frames

    def disarm(self):
        self.disarmed += 1


def camera(tmp_path, driver=None, **kwargs):
    return PixelDetector(name="cam", driver=driver or Canned(), directory=tmp_path, **kwargs)


def flight(cam, n, prepare=None):
    @bpp.stage_decorator([cam])
    @bpp.run_decorator()
    def plan():
        yield from bps.prepare(cam, prepare or {"n_frames": n, "trigger": "internal"}, wait=True)
        yield from bps.declare_stream(cam, name="primary", collect=True)
        yield from bps.kickoff_all(cam, wait=True)
        yield from bps.collect_while_completing([cam], [cam], 0.02, "primary")

    return plan()


def test_a_flight_announces_every_frame_with_its_index_and_time(tmp_path, run_engine):
    RE, documents = run_engine
    cam = camera(tmp_path, Canned(block=7))
    RE(flight(cam, 100))
    documents.check()
    assert documents.stop["exit_status"] == "success"
    frames = documents.read("cam_frames")
    assert np.array_equal(frames[:, 0, 0], np.arange(100))
    assert np.array_equal(documents.read("cam_scan_index"), np.arange(100))
    assert np.ptp(documents.read("cam_time")) < 60
    (descriptor,) = documents.of("descriptor")
    keys = descriptor["data_keys"]
    assert set(keys) == {"cam_frames", "cam_scan_index", "cam_time"}
    assert keys["cam_frames"]["shape"] == [8, 8]
    assert keys["cam_frames"]["units"] == "counts"
    assert all(key["external"] == "STREAM:" and key["dtype_numpy"] for key in keys.values())
    configuration = descriptor["configuration"]["cam"]["data"]
    assert list(configuration["cam_frame_shape"]) == [8, 8]
    assert configuration["cam_exposure_s"] == pytest.approx(1e-3)


def test_data_is_on_disk_before_it_is_announced_and_in_the_ring(tmp_path, run_engine):
    RE, documents = run_engine
    cam = camera(tmp_path, Canned(block=5))
    seen = []

    def look(name, doc):
        if name != "stream_datum":
            return
        (resource,) = [
            r for r in documents.of("stream_resource") if r["uid"] == doc["stream_resource"]
        ]
        start, stop = doc["indices"]["start"], doc["indices"]["stop"]
        with h5py.File(local(resource["uri"]), "r", libver="latest", swmr=True) as file:
            stored = file[resource["parameters"]["dataset"]][start:stop]
        assert len(stored) == stop - start
        assert np.array_equal(stored, cam.ring.read(resource["uid"], start, stop))
        if resource["data_key"] == "cam_frames":
            assert np.array_equal(stored[:, 0, 0], np.arange(start, stop))
            seen.append(stop - start)

    RE.subscribe(look)
    RE(flight(cam, 200))
    assert sum(seen) == 200


def test_dropped_frames_leave_gaps_and_are_counted(tmp_path, run_engine):
    RE, documents = run_engine
    cam = camera(tmp_path, Canned(drop={3, 4, 99}))
    RE(flight(cam, 100))
    documents.check()
    assert cam.dropped.get() == 3
    index = documents.read("cam_scan_index")
    assert set(range(100)) - set(index) == {3, 4, 99}
    assert np.array_equal(documents.read("cam_frames")[:, 0, 0], index)


def test_too_many_dropped_frames_fail_the_run(tmp_path, run_engine):
    RE, documents = run_engine
    cam = camera(tmp_path, Canned(drop=range(40, 60)))
    with pytest.raises(FailedStatus) as caught:
        RE(flight(cam, 100))
    assert "80 of 100 frames" in str(caught.value.__cause__)
    assert documents.stop["exit_status"] == "fail"
    assert cam.dropped.get() == 20


@pytest.mark.parametrize(
    ("driver", "reason"),
    [
        (Canned(silent_after=30), "heard nothing for"),
        (Canned(fail_after=30), "cable was pulled"),
        (Canned(arm_fails=True), "power is off"),
    ],
)
def test_a_camera_that_fails_fails_the_run_soon_and_says_why(tmp_path, run_engine, driver, reason):
    RE, documents = run_engine
    cam = camera(tmp_path, driver, timeout_s=0.3)
    with pytest.raises(FailedStatus) as caught:
        RE(flight(cam, 100))
    assert reason in str(caught.value.__cause__)
    assert documents.stop["exit_status"] == "fail"
    assert driver.disarmed
    documents.check()


def test_a_full_disk_ends_the_run(tmp_path, run_engine):
    RE, documents = run_engine
    cam = camera(tmp_path, Canned())
    plan = flight(cam, 100)

    opened = cam._open

    def tight(chunk_rows):
        opened(chunk_rows)
        cam._writer.reserve_bytes = 10**18

    cam._open = tight
    with pytest.raises(FailedStatus) as caught:
        RE(plan)
    assert "is full" in str(caught.value.__cause__)
    assert documents.stop["exit_status"] == "fail"
    assert documents.of("stream_datum") == []


def test_step_scans_give_one_frame_an_event(tmp_path, run_engine):
    RE, documents = run_engine
    cam = camera(tmp_path)
    RE(bp.count([cam], num=4))
    documents.check()
    assert [event["seq_num"] for event in documents.of("event")] == [1, 2, 3, 4]
    data = documents.data(documents.resource("cam_frames"))
    assert [d["seq_nums"] for d in data] == [{"start": i, "stop": i + 1} for i in range(1, 5)]
    assert np.array_equal(documents.read("cam_frames")[:, 0, 0], range(4))
    assert documents.of("event")[2]["data"]["cam_total"] == 2 * 64
    assert cam.hints == {"fields": ["cam_total"]}


def test_two_flights_in_one_run_go_on_counting(tmp_path, run_engine):
    RE, documents = run_engine
    cam = camera(tmp_path)

    @bpp.stage_decorator([cam])
    @bpp.run_decorator()
    def plan():
        yield from bps.declare_stream(cam, name="primary", collect=True)
        for _ in range(2):
            yield from bps.prepare(cam, {"n_frames": 20, "trigger": "internal"}, wait=True)
            yield from bps.kickoff_all(cam, wait=True)
            yield from bps.collect_while_completing([cam], [cam], 0.02, "primary")

    RE(plan())
    documents.check()
    assert np.array_equal(documents.read("cam_scan_index"), np.arange(40))


def test_corrections_go_into_the_file(tmp_path, run_engine):
    RE, documents = run_engine
    cam = camera(tmp_path)
    cam.corrections = {"dark": np.ones((8, 8), "<f4"), "bad_pixels": np.eye(8, dtype=bool)}
    RE(flight(cam, 10))
    path = local(documents.resource("cam_frames")["uri"])
    with h5py.File(path) as file:
        assert file["/entry/instrument/detector/dark"][()].sum() == 64
        assert file["/entry/instrument/detector/bad_pixels"][()].sum() == 8


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (0, "at least one frame"),
        ({"n_frames": 5, "trigger": "later"}, "'internal' or 'external'"),
        ({"n_frames": 5, "speed": 3}, "cannot prepare speed"),
        ({"n_frames": 5, "exposure_s": -1.0}, "outside"),
    ],
)
def test_prepare_refuses_nonsense(tmp_path, value, sentence):
    with pytest.raises(ValueError, match=sentence):
        camera(tmp_path).prepare(value)


def test_what_must_come_first_is_said(tmp_path):
    cam = camera(None)
    with pytest.raises(RuntimeError, match=r"set cam\.directory"):
        cam.stage()
    cam.directory = tmp_path
    cam.stage()
    with pytest.raises(RuntimeError, match="prepare it"):
        cam.kickoff()
    with pytest.raises(RuntimeError, match="not kicked off"):
        cam.complete()
    cam.unstage()


def test_stop_ends_a_silent_camera_at_once(tmp_path):
    cam = camera(tmp_path, Canned(silent_after=0), timeout_s=60)
    cam.stage()
    cam.prepare(10)
    cam.kickoff().wait(5)
    done = cam.complete()
    cam.stop()
    done.wait(5)
    assert done.success
    assert cam.dropped.get() == 0
    cam.unstage()


def test_a_pause_is_not_a_silence(tmp_path):
    cam = camera(tmp_path, Canned(silent_after=0), timeout_s=0.1)
    cam.stage()
    cam.prepare(10)
    cam.kickoff().wait(5)
    cam.pause()
    with pytest.raises(WaitTimeoutError):
        cam.complete().wait(0.5)
    cam.resume()
    with pytest.raises(TimeoutError, match="heard nothing"):
        cam.complete().wait(5)
    cam.unstage()
