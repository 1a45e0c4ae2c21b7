"""Scanning plans: the runs they make and what they refuse."""

import json

import numpy as np
import pytest
from bluesky.callbacks.best_effort import BestEffortCallback
from ophyd.utils import LimitError

from flyback.models.trajectories import TrajectoryError, from_dict
from flyback.plans import (
    column_into_start_wrapper,
    multipass,
    points,
    random,
    raster,
    serpentine,
    spiral,
)
from flyback.tests.microscope import microscope

PLANS = {
    "raster": (raster, {}),
    "serpentine": (serpentine, {}),
    "archimedean": (spiral, {"kind": "archimedean"}),
    "fermat": (spiral, {"kind": "fermat"}),
    "multipass": (multipass, {"passes": 4}),
    "sequential": (multipass, {"passes": 3, "order": "sequential"}),
    "random": (random, {"seed": 3}),
}


@pytest.mark.parametrize("kind", sorted(PLANS))
def test_every_frame_meets_its_place(scope, run_engine, kind):
    RE, documents = run_engine
    plan, more = PLANS[kind]
    RE(plan([scope.camera], scope.scan_coils, fov_nm=4, step_nm=0.4, dwell_ms=0.5, **more))
    documents.check()
    start, stop = documents.start, documents.stop
    assert stop["exit_status"] == "success"
    assert {d["name"] for d in documents.of("descriptor")} == {"primary", "scan_coils"}
    path = from_dict(start["trajectory"])
    n = path.n_points
    assert start["num_points"] == start["trajectory"]["n_points"] == n
    for key in ("camera_scan_index", "scan_coils_scan_index"):
        assert np.array_equal(documents.read(key), np.arange(n))
    assert np.array_equal(documents.read("scan_coils_commanded"), path.positions)
    assert np.abs(documents.read("scan_coils_readback") - path.positions).max() < 0.5
    assert documents.read("camera_frames").shape == (n, 32, 32)
    assert documents.read("camera_frames").sum(axis=(1, 2)).min() > 100
    keys = documents.of("descriptor")[1]["data_keys"]
    assert keys.get("scan_coils_commanded", {}).get("units", "nm") == "nm"
    assert not scope.beam.on


def test_the_start_document_says_what_was_asked_for(scope, run_engine):
    RE, documents = run_engine
    plan = raster(
        scope.camera, scope.scan_coils, fov_nm=4, step_nm=0.4, dwell_ms=0.5, md={"operator": "me"}
    )
    RE(column_into_start_wrapper(plan, scope.column), sample="a lamella")
    start = documents.start
    json.dumps(start, allow_nan=False)
    assert start["plan_name"] == "raster"
    assert start["shape"] == start["trajectory"]["grid_shape"] == [10, 10]
    assert start["trajectory"]["fov_nm"] == [4.0, 4.0]
    assert start["trajectory"]["step_nm"] == 0.4
    assert start["trajectory"]["scan_order"] == "raster"
    assert start["dwell_ms"] == 0.5
    electrons = 5e-12 * 0.5e-3 / 1.602176634e-19
    assert start["dose_e_per_a2"] == pytest.approx(electrons / 16)
    assert start["dose_e_per_a2"] < start["dose_max_e_per_a2"] < 2 * start["dose_e_per_a2"]
    assert start["revisit_interval_s"] is None
    assert start["energy_kev"] == 300.0
    assert start["defocus_nm"] == 5.0
    assert (start["operator"], start["sample"]) == ("me", "a lamella")
    assert start["plan_args"]["fov_nm"] == [4.0, 4.0]
    assert start["hints"]["dimensions"] == [[["scan_coils_commanded"], "scan_coils"]]


def test_without_a_known_current_there_is_no_dose(scope, run_engine):
    RE, documents = run_engine
    scope.column.beam_current_pa.put(0.0)
    RE(raster(scope.camera, scope.scan_coils, fov_nm=1))
    assert documents.start["dose_e_per_a2"] is None
    assert documents.start["dose_max_e_per_a2"] is None


def test_listed_points(scope, run_engine):
    RE, documents = run_engine
    where = [[0.0, 0.5], [1.0, -1.0], [0.0, 0.5]]
    RE(points([scope.camera], scope.scan_coils, where, dwell_ms=2.0))
    documents.check()
    assert documents.read("scan_coils_commanded").tolist() == where
    assert documents.start["revisit_interval_s"] == pytest.approx(4e-3)


def test_two_cameras_share_the_stream(tmp_path, run_engine):
    from flyback.devices.sim.camera import SimPixelDetector

    RE, documents = run_engine
    scope = microscope(tmp_path)
    second = SimPixelDetector(name="second", beam=scope.beam, pixels=16, directory=tmp_path)
    scope.column.angular_sampling_mrad.put(4.0)
    RE(raster([scope.camera, second], scope.scan_coils, fov_nm=3, step_nm=0.5))
    documents.check()
    assert len(documents.read("camera_frames")) == len(documents.read("second_frames")) == 36


def test_a_best_effort_callback_survives(scope, run_engine):
    RE, _ = run_engine
    bec = BestEffortCallback()
    bec.disable_plots()
    RE.subscribe(bec)
    RE(raster(scope.camera, scope.scan_coils, fov_nm=1))


@pytest.mark.parametrize(
    ("plan", "error", "sentence"),
    [
        (lambda s: raster([], s.scan_coils), ValueError, "at least one detector"),
        (lambda s: raster(["camera"], s.scan_coils), TypeError, "'camera' is not a detector"),
        (lambda s: raster(s.blanker, s.scan_coils), TypeError, "blanker is not a detector"),
        (lambda s: raster(s.camera, "coils"), TypeError, "not scan coils"),
        (lambda s: raster(s.camera, s.scan_coils, fov_nm=50), LimitError, "limited to 3 nm"),
        (lambda s: raster(s.camera, s.scan_coils, step_nm=0), TrajectoryError, "positive"),
        (lambda s: raster(s.camera, s.scan_coils, dwell_ms=-1), ValueError, "dwell_ms"),
        (lambda s: raster(s.camera, s.scan_coils, dwell_ms=float("nan")), ValueError, "dwell_ms"),
        (lambda s: spiral(s.camera, s.scan_coils, kind="square"), ValueError, "'archimedean' or"),
        (lambda s: points(s.camera, s.scan_coils), ValueError, "no positions of its own"),
        (
            lambda s: points(s.camera, s.scan_coils, [[0, 0]], units="px"),
            TrajectoryError,
            "give it in nm",
        ),
    ],
)
def test_what_cannot_be_scanned_is_refused_before_a_run_opens(
    scope, run_engine, plan, error, sentence
):
    RE, documents = run_engine
    with pytest.raises(error, match=sentence):
        RE(plan(scope))
    assert documents.all == []
    assert not scope.beam.on
