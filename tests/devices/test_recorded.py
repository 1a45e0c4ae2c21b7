"""Playing a recording: the same documents as a scan."""

import bluesky.plan_stubs as bps
import h5py
import numpy as np
import pytest
from bluesky.utils import FailedStatus

from flyback.devices.recorded import Recording, RecordingError, play
from flyback.plans import points
from flyback.tests.microscope import need_data


@pytest.fixture
def recorded(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "scan.npz"
    np.savez(
        path,
        frames=rng.integers(0, 99, (50, 12, 12)).astype("<u2"),
        positions_m=rng.random((50, 2)) * 1e-8,
        energy_kev=80.0,
        radiation="electron",
        time_s=1e9 + np.cumsum(np.full(50, 4e-3)),
        dark=np.ones((12, 12)),
        probe=np.ones((12, 12), complex),
    )
    return Recording(path)


@pytest.mark.parametrize("rate", ["max", 500.0, "real"])
def test_what_was_recorded_comes_out_again(tmp_path, run_engine, recorded, rate):
    RE, documents = run_engine
    camera, coils, md = play(recorded, tmp_path / "out", rate=rate)
    RE(points(camera, coils, md=md))
    documents.check()
    assert documents.stop["exit_status"] == "success"
    assert np.array_equal(documents.read("camera_frames"), recorded.frames[0:50])
    assert np.array_equal(documents.read("scan_coils_readback"), recorded.positions)
    start = documents.start
    assert start["energy_kev"] == 80.0
    assert start["dwell_ms"] == pytest.approx(4.0, rel=1e-3)
    assert start["trajectory"]["units"] == "nm"
    assert np.load(start["probe_file"]).shape == (1, 12, 12)
    elapsed = documents.stop["time"] - start["time"]
    if rate != "max":
        assert elapsed > (0.1 if rate == 500.0 else 0.2)


def test_positions_in_pixels_stay_in_pixels(tmp_path, run_engine):
    RE, documents = run_engine
    with Recording(need_data("ptycho/siemens_star.h5")) as star:
        camera, coils, md = play(star, tmp_path, rate="max")
        RE(points(camera, coils, md=md))
        documents.check()
        assert np.array_equal(documents.read("scan_coils_commanded"), star.positions)
    coil_keys = next(d for d in documents.of("descriptor") if d["name"] == "scan_coils")
    assert coil_keys["data_keys"]["scan_coils_commanded"]["units"] == "px"
    assert documents.start["dose_e_per_a2"] is None
    assert documents.start["radiation"] == "xray"


def test_lines_can_be_played(tmp_path, run_engine):
    RE, documents = run_engine
    path = tmp_path / "series.npz"
    np.savez(path, patterns=np.arange(600.0).reshape(6, 100), q_per_a=np.arange(100.0))
    camera, coils, md = play(Recording(path), tmp_path, rate="max")
    RE(points(camera, coils, md=md))
    documents.check()
    assert documents.read("camera_frames").shape == (6, 100)


def test_more_frames_than_recorded_are_refused(tmp_path, recorded, run_engine):
    RE, documents = run_engine
    camera, coils, _ = play(recorded, tmp_path, rate="max")
    more = np.zeros((60, 2)).tolist()
    with pytest.raises(FailedStatus) as caught:
        RE(points(camera, coils, more))
    assert isinstance(caught.value.__cause__, RecordingError)
    assert "holds 50 frames; 60 were asked for" in str(caught.value.__cause__)
    assert documents.stop["exit_status"] == "fail"


def test_step_scans_take_the_frames_in_turn(tmp_path, recorded, run_engine):
    import bluesky.plans as bp

    RE, documents = run_engine
    camera, _, _ = play(recorded, tmp_path, rate="max")
    RE(bp.count([camera], num=3))
    documents.check()
    assert np.array_equal(documents.read("camera_frames"), recorded.frames[0:3])
    RE(bps.null())


def test_a_damaged_recording_fails_the_run_with_the_reason(tmp_path, recorded, run_engine):
    RE, documents = run_engine
    camera, coils, _ = play(recorded, tmp_path, rate="max")

    def torn(start, stop):
        raise OSError("truncated")

    recorded.frames._read = torn
    with pytest.raises(FailedStatus) as caught:
        RE(points(camera, coils))
    assert "cut short" in str(caught.value.__cause__)
    assert documents.stop["exit_status"] == "fail"


def test_recordings_of_one_name_do_not_share_a_probe(tmp_path):
    files = []
    for folder, scale in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "scan.npz"
        np.savez(
            path, frames=np.ones((3, 8, 8), "<u2"), probe=np.full((8, 8), scale, complex), step_m=1
        )
        with Recording(path) as recording:
            files.append(play(recording, tmp_path / "out", rate="max")[2]["probe_file"])
    assert files[0] != files[1]
    assert [np.load(file)[0, 0, 0].real for file in files] == [1, 2]


def test_axes_lie_beside_the_frames(tmp_path, run_engine):
    RE, documents = run_engine
    path = tmp_path / "series.npz"
    np.savez(path, patterns=np.ones((6, 100)), two_theta_deg=np.arange(100.0))
    camera, coils, md = play(Recording(path), tmp_path, rate="max")
    RE(points(camera, coils, md=md))
    documents.check()
    assert documents.start["frame_dims"] == ["bin"]
    (written,) = tmp_path.glob("camera_*.h5")
    with h5py.File(written) as file:
        assert np.array_equal(file["/entry/instrument/detector/two_theta_deg"], np.arange(100.0))
