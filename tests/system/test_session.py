"""One scan from the beam to the catalogue, live, and back again by replay."""

import threading

import numpy as np
import pytest

import flyback as fb
from flyback.callbacks.live import LiveCallback
from flyback.profiles.schema import ProfileError
from flyback.tests.small_microscope import SCAN


def assert_same(live, again):
    assert sorted(live) == sorted(again)
    for key, quantity in live.items():
        a, b = np.asarray(quantity.value), np.asarray(again[key].value)
        assert a.dtype == b.dtype, key
        np.testing.assert_array_equal(a, b, err_msg=key)


@pytest.fixture(scope="module")
def session(microscope, tmp_path_factory):
    with fb.open(microscope, tmp_path_factory.mktemp("session"), progress=False) as session:
        yield session


@pytest.fixture(scope="module")
def scanned(session):
    """A raster scan: its uid, and what the analyses came to."""
    (uid,) = session.RE(
        session.plans.raster([session.camera], session.scan_coils, **SCAN), sample="DyScO3"
    )
    return uid, {c.publisher.start["analysis"]: c for c in session.join(60)}


def test_a_scan_is_stored_with_every_frame(session, scanned):
    uid, _ = scanned
    run = session.catalog[uid]
    start = run.metadata["start"]
    assert run.metadata["stop"]["exit_status"] == "success"
    assert start["sample"] == "DyScO3"
    assert start["energy_kev"] == 200.0
    assert start["trajectory"]["type"] == "raster"
    assert start["dose_e_per_a2"] > 0
    frames = run["primary"]["camera_frames"]
    assert frames.shape == (900, 32, 32)
    assert frames.dtype == np.uint16
    assert np.asarray(frames[:4]).sum() > 0


def test_the_beam_is_blanked_after_a_scan(session, scanned):
    assert session.blanker.position == "closed"


def test_live_results_become_derived_runs(session, scanned):
    uid, live = scanned
    stored = session.analyses(uid)
    assert set(stored) == {"virtual_images", "ptychography"}
    derived = stored["ptychography"]
    start = derived.metadata["start"]
    assert start["parents"] == [uid]
    assert start["parameters"] == {"iterations": 3}
    np.testing.assert_array_equal(
        np.asarray(derived["result"]["object"].read())[0],
        live["ptychography"].final["object"].value,
    )
    assert np.isfinite(derived["primary"]["fourier_error"].read()[-1])


@pytest.mark.parametrize("name", ["virtual_images", "ptychography"])
@pytest.mark.parametrize("source", ["catalogue", "journal"])
def test_replay_gives_the_same_bits_as_live(session, scanned, name, source):
    uid, live = scanned
    again = fb.replay(uid, name, session=session, source=source)
    assert_same(live[name].final, again.result)
    assert session.catalog[uid] is not None
    stored = session.archive.catalog.analysis[again.uid].metadata["start"]
    assert "replay_of" in stored


def test_replay_with_other_settings_differs_and_says_so(session, scanned):
    uid, live = scanned
    again = fb.replay(session.catalog[uid], "ptychography", rpie_alpha=0.5)
    assert not np.array_equal(again["object"], live["ptychography"].final["object"].value)
    stored = session.archive.catalog.analysis[again.uid].metadata["start"]
    assert stored["parameters"]["rpie_alpha"] == 0.5


def test_replay_takes_other_metadata_as_a_setting(session, scanned):
    uid, _ = scanned
    again = fb.replay(
        uid,
        "ptychography",
        session=session,
        method="single_sideband",
        semi_convergence_angle_mrad=18.0,
    )
    assert again["method"] == "single_sideband"


def test_live_attributes_are_the_newest_result(session, scanned):
    _, live = scanned
    np.testing.assert_array_equal(
        session.live.ptychography.object_phase_, live["ptychography"].final["object_phase"].value
    )


def test_pictures_are_saved_without_a_display(session, scanned):
    assert {p.name.split("-")[1] for p in session.pictures.saved} >= {
        "virtual_images.png",
        "ptychography.png",
    }
    for picture in session.pictures.saved:
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_databroker_sees_the_same_run(session, scanned):
    uid, _ = scanned
    header = session.db[uid]
    assert header.start["uid"] == uid
    assert next(name for name, _ in header.documents()) == "start"


def test_a_step_scan_is_analysed_too(session):
    from bluesky.plans import grid_scan

    coils = session.scan_coils
    session.RE(grid_scan([session.camera], coils.y, -0.1, 0.1, 3, coils.x, -0.1, 0.1, 4))
    (callback,) = (c for c in session.join(60) if c.publisher.start["analysis"] == "virtual_images")
    assert callback.frames == 12


@pytest.mark.heavy
def test_a_spiral_is_reconstructed(session):
    session.RE(session.plans.spiral([session.camera], session.scan_coils, **SCAN))
    done = {c.publisher.start["analysis"]: c for c in session.join(60)}
    assert done["ptychography"].final["n_frames"].value > 500
    assert done["ptychography"].error is None


@pytest.mark.heavy
def test_scan_ids_go_on_and_runs_are_found_in_a_new_session(microscope, tmp_path):
    uids = []
    for expected in (1, 2):
        with fb.open(microscope, tmp_path, progress=False) as session:
            uids += session.RE(session.plans.points([session.camera], session.scan_coils, [[0, 0]]))
            session.join(60, check=False)
            assert session.catalog[uids[-1]].metadata["start"]["scan_id"] == expected
    with fb.open(microscope, tmp_path, progress=False) as session:
        assert [run.metadata["start"]["uid"] for run in session.archive.newest(5)] == uids


class Gate:
    """A watcher that holds its analysis at a gate."""

    def __init__(self):
        self.reached, self.open = threading.Event(), threading.Event()

    def __call__(self, callback):
        self.reached.set()
        assert self.open.wait(60)


@pytest.mark.heavy
def test_a_run_completes_while_an_analysis_is_blocked(microscope, tmp_path):
    with fb.open(microscope, tmp_path, progress=False) as session:
        gate = Gate()
        session.live.virtual_images.watchers.insert(0, gate)
        (uid,) = session.RE(session.plans.raster([session.camera], session.scan_coils, **SCAN))
        assert gate.reached.wait(30)
        assert session.offloads["virtual_images"].lag > 0
        session.archive.wait(30)
        run = session.catalog[uid]
        assert run.metadata["stop"]["exit_status"] == "success"
        assert run["primary"]["camera_frames"].shape[0] == 900
        gate.open.set()
        done = {c.publisher.start["analysis"]: c for c in session.join(60)}
        assert done["virtual_images"].frames == 900  # what the ring forgot came from the file


def test_a_run_succeeds_while_an_analysis_raises(microscope, tmp_path, monkeypatch):
    def broken(self, batch):
        raise ArithmeticError("one and one is three")

    monkeypatch.setattr(LiveCallback, "_fit", broken)
    with fb.open(microscope, tmp_path, progress=False) as session:
        (uid,) = session.RE(session.plans.raster([session.camera], session.scan_coils, **SCAN))
        with pytest.raises(ExceptionGroup, match="several analyses failed") as caught:
            session.join(60)
        assert all(isinstance(e, ArithmeticError) for e in caught.value.exceptions)
        stop = session.catalog[uid].metadata["stop"]
        assert stop["exit_status"] == "success"
        assert session.catalog[uid]["primary"]["camera_frames"].shape[0] == 900
        failed = session.analyses(uid)["ptychography"].metadata["stop"]
        assert failed["exit_status"] == "fail"
        assert "one and one is three" in failed["reason"]


def test_a_wrong_setting_is_refused_before_anything_is_opened(tmp_path):
    with pytest.raises(ProfileError, match=r"no analysis to set 'ptychograph'.*'ptychography'"):
        fb.open("sim_microscope", tmp_path / "x", settings={"ptychograph.alpha": 1})
    assert not (tmp_path / "x").exists()


@pytest.mark.heavy
def test_a_single_frame_is_stored_whole_with_what_came_of_it(microscope, tmp_path):
    from bluesky.plans import count

    with fb.open(microscope, tmp_path, progress=False) as session:
        (uid,) = session.RE(count([session.camera]))
        (callback,) = session.join(60)
        assert session.archive.problems == []
        stored = session.analyses(uid)["virtual_images"]["result"]
        assert np.asarray(stored["sum"].read()).ravel() == callback.final["sum"].value
        assert np.asarray(stored["com_mrad"].read()).shape == (1, 1, 2)
