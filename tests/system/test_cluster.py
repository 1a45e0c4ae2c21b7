"""Stored runs analysed again by processes of a cluster: the same numbers, whoever dies."""

import os
import signal
import threading
import time

import numpy as np
import pytest

import flyback as fb
from flyback.profiles import cluster_tasks as tasks
from flyback.profiles.archive import Archive
from flyback.profiles.cluster import ClusterError, client_of, replay_on
from flyback.profiles.registry import SettingError
from flyback.tests.small_microscope import SCAN

distributed = pytest.importorskip("distributed")

# dask and tornado of the versions around leave sockets to the collector
pytestmark = [
    pytest.mark.heavy,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
DETECTORS = {"bf": [0.0, 15.0], "adf": [25.0, 50.0]}


@pytest.fixture(scope="module")
def recorded(microscope, tmp_path_factory):
    """An archive with two runs."""
    root = tmp_path_factory.mktemp("archive")
    with fb.open(microscope, root, progress=False) as session:
        uids = [
            session.RE(session.plans.raster([session.camera], session.scan_coils, **SCAN))[0]
            for _ in range(2)
        ]
        session.join(120)
    return root, uids


@pytest.fixture(scope="module")
def cluster():
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield cluster.scheduler_address, client


def same(one, other):
    assert one.result.keys() == other.result.keys()
    for key, quantity in one.result.items():
        again = other.result[key]
        assert (again.units, again.dims) == (quantity.units, quantity.dims), key
        if isinstance(quantity.value, np.ndarray):
            assert again.value.dtype == quantity.value.dtype, key
        np.testing.assert_array_equal(again.value, quantity.value, err_msg=key)


def test_many_runs_give_the_serial_numbers(recorded, cluster):
    root, uids = recorded
    with Archive(root) as archive:
        done = replay_on(uids, "virtual_images", on=cluster[0], archive=archive)
        assert [each.parent for each in done] == uids
        for uid, each in zip(uids, done, strict=True):
            same(fb.replay(uid, "virtual_images", session=archive), each)
            stored = archive.find(each.uid)
            assert stored.metadata["stop"]["exit_status"] == "success"
            assert stored.metadata["start"]["replay_of"]
            np.testing.assert_array_equal(stored["result"]["bf"].read()[0], each["bf"])
        assert archive.problems == []


@pytest.mark.parametrize(
    ("name", "settings", "joined"),
    [
        ("virtual_images", {"detectors": DETECTORS}, True),
        ("virtual_images", {}, False),  # each part finds its own disk
        ("dose_map", {}, True),
    ],
)
def test_one_run_in_parts_gives_the_same_bits(
    recorded, cluster, monkeypatch, name, settings, joined
):
    root, (uid, _) = recorded
    if joined:  # by its parts alone
        monkeypatch.setattr(tasks, "whole", None)
    with Archive(root) as archive:
        (done,) = replay_on([uid], name, on=cluster[0], archive=archive, settings=settings, parts=3)
        same(fb.replay(uid, name, session=archive, **settings), done)


def test_single_side_band_in_parts_is_the_same_to_rounding(recorded, cluster):
    """Canvases are summed in single precision: in parts, in another order."""
    root, (uid, _) = recorded
    settings = {"method": "single_sideband"}
    with Archive(root) as archive:
        (done,) = replay_on(
            [uid], "ptychography", on=cluster[0], archive=archive, settings=settings, parts=3
        )
        serial = fb.replay(uid, "ptychography", session=archive, **settings)
        scale = np.abs(serial["object"]).max()
        np.testing.assert_allclose(done["object"], serial["object"], atol=1e-4 * scale, rtol=0)


def test_a_worker_that_is_killed_costs_nothing(recorded, cluster):
    root, (uid, other) = recorded
    address, client = cluster
    done = {}
    with Archive(root) as archive:

        def work():
            done["all"] = replay_on(
                [uid, other],
                "virtual_images",
                on=address,
                archive=archive,
                settings={"detectors": DETECTORS},
                parts=12,
            )

        pids = client.run(os.getpid)
        thread = threading.Thread(target=work)
        thread.start()
        deadline = time.monotonic() + 60
        busy = []
        while not busy and thread.is_alive() and time.monotonic() < deadline:
            busy = [worker for worker, keys in client.processing().items() if keys]
        assert busy
        os.kill(pids[busy[0]], signal.SIGKILL)
        thread.join(120)
        for each in done["all"]:
            serial = fb.replay(each.parent, "virtual_images", session=archive, detectors=DETECTORS)
            same(serial, each)
        assert archive.problems == []


def test_the_command(recorded, cluster, flyback, monkeypatch):
    root, (uid, other) = recorded
    monkeypatch.setenv("FLYBACK_DIRECTORY", str(root))
    status, out, err = flyback("replay", f"{uid},{other}", "dose_map", "--on", cluster[0], "--json")
    assert status == 0, err
    assert out.count('"success"') == 4


def test_what_cannot_be_is_said(recorded, cluster):
    root, (uid, _) = recorded
    with Archive(root) as archive:
        with pytest.raises(ClusterError, match="does not answer"), client_of("tcp://127.0.0.1:9"):
            pass
        with pytest.raises(SettingError, match="nothing"):
            replay_on([uid], "dose_map", on=cluster[0], archive=archive, settings={"nothing": 1})
        with pytest.raises(ValueError, match="at least 1"):
            replay_on([uid], "dose_map", on=cluster[0], archive=archive, parts=0)
