import numpy as np
import pytest

from flyback.models.base import Batch
from flyback.models.calibration import find_defocus, fit_lag
from flyback.models.calibration_disk import fit_disk
from flyback.models.experiment import Experiment
from flyback.models.ptychography.single_sideband import SingleSideband
from flyback.models.virtual_images import VirtualImages
from flyback.plans import (
    TuningError,
    found_into_start_wrapper,
    raster,
    tune_camera,
    tune_coils,
    tune_defocus,
    tune_rotation,
)
from flyback.plans.preprocessors import column_into_start_wrapper
from flyback.tests.microscope import microscope


def told(plan, answer):
    """Run a plan and keep what it returns."""
    answer.append((yield from plan))


def run(RE, scope, plan):
    answer = []
    RE(column_into_start_wrapper(told(plan, answer), scope.column))
    return answer[0]


def frames_of(documents):
    frames = documents.read("camera_frames")
    index = documents.read("camera_scan_index")
    places = documents.read("scan_coils_readback")[index] * 1e-9
    return Batch(frames, index, {"positions_m": places})


def test_rotation(run_engine, scope):
    RE, documents = run_engine
    scope.column.scan_rotation_deg.put(25.0)
    scope.column.defocus_nm.put(0.0)

    def fit(uid):
        assert uid == documents.start["uid"]
        model = VirtualImages(Experiment.from_metadata(documents.start))
        result = model.partial_fit(frames_of(documents)).result_
        return {
            "scan_rotation_deg": float(result["scan_rotation_deg"].value),
            "transposed": result["transposed"].value,
        }

    plan = tune_rotation(
        [scope.camera], scope.scan_coils, fit, column=scope.column, fov_nm=2.4, step_nm=0.06
    )
    found = run(RE, scope, plan)
    documents.check()
    assert documents.start["purpose"] == "tuning"
    assert documents.start["scan_rotation_deg"] == "auto"
    assert found["scan_rotation_deg"] == pytest.approx(25, abs=3)
    assert found["transposed"] is False
    assert found["tuned_by"] == documents.start["uid"]
    assert scope.column.scan_rotation_deg.get() == found["scan_rotation_deg"]
    later = raster([scope.camera], scope.scan_coils, fov_nm=1, step_nm=0.5)
    run(RE, scope, found_into_start_wrapper(later, found))
    assert documents.start["scan_rotation_deg"] == found["scan_rotation_deg"]
    assert documents.start["tuned_by"] == found["tuned_by"]


def test_the_cameras_scale(run_engine, scope):
    RE, documents = run_engine

    def fit(uid):
        disk = fit_disk(documents.read("camera_frames").mean(axis=0))
        return disk.to_metadata(documents.start["semi_convergence_angle_mrad"])

    plan = tune_camera([scope.camera], scope.scan_coils, fit, column=scope.column)
    found = run(RE, scope, plan)
    np.testing.assert_allclose(found["angular_sampling_mrad"], 2.0, rtol=0.05)
    assert scope.column.angular_sampling_mrad.get() == pytest.approx(2.0, rel=0.05)
    assert "disk_radius_sigma_px" in found


def test_the_coils_lag(run_engine, tmp_path):
    RE, documents = run_engine
    scope = microscope(tmp_path, coils={"time_constant_ms": 0.3})

    def fit(uid):
        commanded = documents.read("scan_coils_commanded")
        readback = documents.read("scan_coils_readback")
        return fit_lag(commanded, readback, documents.start["dwell_ms"] * 1e-3).to_metadata()

    found = run(RE, scope, tune_coils([scope.camera], scope.scan_coils, fit, fov_nm=3.0))
    assert found["coil_time_constant_ms"] == pytest.approx(0.3, rel=0.05)
    assert documents.start["trajectory"]["type"] == "archimedean"


def test_defocus(run_engine, scope):
    RE, documents = run_engine
    scope.specimen.thickness_nm.put(0.4)

    def fit(uid):
        model = SingleSideband(Experiment.from_metadata({**documents.start, "defocus_nm": 0.0}))
        model.partial_fit(frames_of(documents))
        return find_defocus(model, -12e-9, 12e-9, 13).to_metadata()

    plan = tune_defocus([scope.camera], scope.scan_coils, fit, fov_nm=1.2, step_nm=0.04)
    found = run(RE, scope, plan)
    assert found["defocus_nm"] == pytest.approx(5, abs=1.5)  # where the column stands
    assert scope.column.defocus_nm.get() == 5.0  # no column was given to be set


def bad_fit(uid):
    raise ValueError("nothing to see")


@pytest.mark.parametrize(
    ("fit", "words"),
    [
        (bad_fit, "the fit failed: nothing to see"),
        (lambda uid: None, "must return a mapping"),
        (lambda uid: {}, "did not find a finite scan_rotation_deg"),
        (lambda uid: {"scan_rotation_deg": float("nan")}, "did not find a finite"),
    ],
)
def test_a_fit_that_fails_sets_nothing(run_engine, scope, fit, words):
    RE, documents = run_engine
    plan = tune_rotation(
        [scope.camera], scope.scan_coils, fit, column=scope.column, fov_nm=1, step_nm=0.5
    )
    with pytest.raises(TuningError, match=words):
        RE(plan)
    assert scope.column.scan_rotation_deg.get() == 0
    assert documents.stop["exit_status"] == "success"


def test_without_a_fit_only_the_scan_is_taken(run_engine, scope):
    RE, documents = run_engine
    plan = tune_coils([scope.camera], scope.scan_coils, fov_nm=1, step_nm=0.5)
    assert run(RE, scope, plan) == {"tuned_by": documents.start["uid"]}
    with pytest.raises(TypeError, match="fit must be a callable"):
        RE(tune_coils([scope.camera], scope.scan_coils, 3))


def test_the_queue_server_lists_them(scope):
    profile_ops = pytest.importorskip("bluesky_queueserver.manager.profile_ops")
    names = ("tune_rotation", "tune_camera", "tune_defocus", "tune_coils")
    import flyback.plans

    namespace = {name: getattr(flyback.plans, name) for name in names}
    namespace |= {
        "camera": scope.camera,
        "scan_coils": scope.scan_coils,
        "column": scope.column,
    }
    plans, devices, *_ = profile_ops.existing_plans_and_devices_from_nspace(nspace=namespace)
    assert set(names) <= set(plans)
    for name in names:
        item = {
            "name": name,
            "item_type": "plan",
            "user_group": "root",
            "args": [["camera"], "scan_coils"],
            "kwargs": {"column": "column", "fov_nm": 2.0},
        }
        ok, message = profile_ops.validate_plan(item, allowed_plans=plans, allowed_devices=devices)
        assert ok, message
        parameters = {p["name"]: p for p in plans[name]["parameters"]}
        assert parameters["column"]["convert_device_names"]
