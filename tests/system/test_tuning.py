"""Tuning plans in a session: the fit reads the run back, and later runs know what it found."""

import numpy as np
import pytest

import flyback as fb
from flyback.models.physics import wavelength_m
from flyback.profiles.commands import run_plan
from flyback.profiles.schema import parse_profile
from flyback.tests.small_microscope import MICROSCOPE

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def lagging():
    devices = MICROSCOPE["devices"]
    coils = devices["scan_coils"] | {"time_constant_ms": 0.3}
    return parse_profile("lagging", MICROSCOPE | {"devices": devices | {"scan_coils": coils}})


@pytest.fixture(scope="module")
def session(lagging, tmp_path_factory):
    with fb.open(lagging, tmp_path_factory.mktemp("tuning"), progress=False) as session:
        yield session


def tuned(session, plan):
    answer = []

    def told():
        answer.append((yield from plan))

    session.RE(told())
    session.join(120)
    return answer[0]


def start_of_a_scan(session, **metadata):
    plan = session.plans.raster([session.camera], session.scan_coils, fov_nm=0.4, step_nm=0.1)
    (uid,) = session.RE(plan, **metadata)
    session.join(120)
    return session.catalog[uid].metadata["start"]


def test_what_tuning_finds_is_in_every_later_start_document(session):
    session.column.scan_rotation_deg.put(25.0)
    found = tuned(
        session,
        session.plans.tune_rotation([session.camera], session.scan_coils, fov_nm=2.4, step_nm=0.08),
    )
    assert found["scan_rotation_deg"] == pytest.approx(25, abs=4)
    assert session.RE.md["calibration"]["scan_rotation_deg"] == found["scan_rotation_deg"]
    assert "tuned_by" not in session.RE.md["calibration"]
    start = start_of_a_scan(session)
    assert start["scan_rotation_deg"] == found["scan_rotation_deg"]  # not the column's word
    assert start["calibration"]["transposed"] is False
    assert start_of_a_scan(session, scan_rotation_deg=7.0)["scan_rotation_deg"] == 7.0


def test_the_coils_and_the_camera(session):
    coils = tuned(session, session.plans.tune_coils([session.camera], session.scan_coils))
    assert coils["coil_time_constant_ms"] == pytest.approx(0.3, rel=0.1)
    camera = tuned(session, session.plans.tune_camera([session.camera], session.scan_coils))
    sampling = session.column.angular_sampling_mrad.get()
    np.testing.assert_allclose(camera["angular_sampling_mrad"], sampling, rtol=0.06)
    known = start_of_a_scan(session)
    assert known["coil_time_constant_ms"] == coils["coil_time_constant_ms"]


def test_the_defocus(session):
    session.column.scan_rotation_deg.put(0.0)
    session.RE.md.pop("calibration", None)
    session.column.defocus_nm.put(6.0)
    angle = session.column.semi_convergence_angle_mrad.get() * 1e-3
    step_nm = 0.9 * wavelength_m("electron", 200.0) / (4 * angle) * 1e9
    plan = session.plans.tune_defocus(
        [session.camera], session.scan_coils, fov_nm=30 * step_nm, step_nm=step_nm
    )
    assert tuned(session, plan)["defocus_nm"] == pytest.approx(6, abs=2.5)


def test_a_plan_by_name(tmp_path):
    settings = {"fov_nm": 0.6, "step_nm": 0.1}
    report = run_plan("sim_microscope", "tune_camera", settings=settings, directory=tmp_path)
    assert not report.failed
    with fb.open("sim_microscope", tmp_path, progress=False) as again:
        assert "angular_sampling_mrad" in again.RE.md["calibration"]
