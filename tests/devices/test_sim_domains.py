"""The simulated microscope on ferroelectric domains."""

import numpy as np
import pytest

import flyback as fb
from flyback.devices.column import Column
from flyback.devices.sim.beam import SimBeam
from flyback.devices.sim.camera import SimPixelDetector
from flyback.devices.sim.coils import SimBlanker, SimScanCoils
from flyback.devices.sim.domain_specimen import DomainSpecimen
from flyback.models.domains.patterns import Conditions, simulate_patterns
from flyback.plans import raster
from flyback.profiles.builtin import SIM_DOMAINS
from flyback.profiles.schema import read_profile
from flyback.tests.microscope import Microscope, close_engine, engine


def microscope(directory, **specimen):
    column = Column(
        name="column",
        semi_convergence_angle_mrad=1.5,
        angular_sampling_mrad=0.5,
        beam_current_pa=4.0,
    )
    lamella = DomainSpecimen(name="specimen", field_nm=20.0, **specimen)
    beam = SimBeam(name="beam", specimen=lamella, column=column, rate="max")
    blanker = SimBlanker(name="blanker", beam=beam)
    coils = SimScanCoils(
        name="scan_coils", beam=beam, blanker=blanker, directory=directory, readback_noise_nm=0.0
    )
    camera = SimPixelDetector(name="camera", beam=beam, directory=directory, pixels=64, ring_mb=8)
    return Microscope(column, lamella, beam, blanker, coils, camera)


def scan(scope, **kwargs):
    RE, documents = engine()
    try:
        RE(raster(scope.camera, scope.scan_coils, **{"fov_nm": 16, "step_nm": 2, **kwargs}))
    finally:
        close_engine(RE)
    return documents.check()


@pytest.mark.heavy
def test_every_frame_is_that_of_the_domain_where_the_beam_was(tmp_path):
    scope = microscope(
        tmp_path, variants=("+x", "-x", "+y"), width_nm=6.0, wall_nm=0.3, bend_mrad_per_nm=0.02
    )
    documents = scan(scope, dwell_ms=2.0)
    frames = documents.read("camera_frames").astype(float)
    places = documents.read("scan_coils_readback")
    truth = scope.specimen.truth(places)
    assert set(truth.label) == {0, 1, 2}
    local = scope.specimen.lamella.at(places)
    likeness = []
    for name in truth.classes:
        model = np.empty(frames.shape, np.float32)
        at = Conditions(
            thickness_nm=local.thickness_nm,
            tilt_mrad=local.tilt_mrad,
            dose_e_per_pattern=documents.start["dose_e_per_pattern"],
        )
        simulate_patterns("PbTiO3", [name] * len(frames), at, noise=False, out=model)
        bright = model > 3
        chi2 = np.where(bright, (frames - model) ** 2 / np.maximum(model, 1), 0)
        likeness.append(chi2.sum(axis=(1, 2)) / bright.sum(axis=(1, 2)))
    likeness = np.array(likeness)
    far = truth.wall_distance_nm > 0.9
    assert far.sum() > 20
    np.testing.assert_array_equal(likeness.argmin(axis=0)[far], truth.label[far])
    assert likeness.min(axis=0)[far].mean() == pytest.approx(1, abs=0.25)


def test_frames_carry_the_dose_and_are_the_same_for_the_same_seed(tmp_path):
    first, second = (scan(microscope(tmp_path), dwell_ms=0.5) for _ in range(2))
    frames = first.read("camera_frames")
    np.testing.assert_array_equal(frames, second.read("camera_frames"))
    share = frames.sum(axis=(1, 2)).mean() / first.start["dose_e_per_pattern"]
    assert 0.7 < share < 1


def test_a_blanked_beam_gives_dark_frames(tmp_path):
    scope = microscope(tmp_path)
    scope.scan_coils.blanker = None  # so that nobody opens it
    assert scan(scope).read("camera_frames").sum() == 0


def test_bad_stripes_are_refused_when_the_device_is_made():
    with pytest.raises(ValueError, match="variant must be one of"):
        DomainSpecimen(name="specimen", variants=("+x", "up"))


def test_the_profile_names_devices_that_exist():
    profile = read_profile(str(SIM_DOMAINS))
    assert profile.devices["specimen"]["plugin"] == "sim_domain_specimen"


@pytest.mark.heavy
def test_a_session_scans_domains(tmp_path):
    with fb.open("sim_domains", tmp_path, sample="PbTiO3", progress=False) as session:
        (uid,) = session.RE(
            raster(session.camera, session.scan_coils, fov_nm=24, step_nm=3, dwell_ms=0.5)
        )
        session.join()
        assert uid in session.catalog
    close_engine(session.RE)
