"""The simulated microscope: one truth, the same for the same seed."""

import numpy as np
import pytest

from flyback.devices.sim.specimen import Specimen, structure_path
from flyback.models.ptychography.forward import simulate_frames
from flyback.plans import raster
from flyback.tests.microscope import close_engine, engine, microscope


def scan(scope, **kwargs):
    RE, documents = engine()
    try:
        RE(raster(scope.camera, scope.scan_coils, **{"fov_nm": 3, "step_nm": 0.5, **kwargs}))
    finally:
        close_engine(RE)
    return documents.check()


def test_two_microscopes_with_one_seed_see_the_same(tmp_path):
    first, second, third = (
        scan(microscope(tmp_path, seed=seed)).read("camera_frames") for seed in (4, 4, 5)
    )
    assert np.array_equal(first, second)
    assert not np.array_equal(first, third)


def test_a_second_scan_has_its_own_noise(tmp_path):
    scope = microscope(tmp_path)
    assert not np.array_equal(scan(scope).read("camera_frames"), scan(scope).read("camera_frames"))


def test_frames_carry_the_dose_of_current_and_dwell(tmp_path):
    documents = scan(microscope(tmp_path), dwell_ms=0.4)
    electrons = 5e-12 * 0.4e-3 / 1.602176634e-19
    counts = documents.read("camera_frames").sum(axis=(1, 2), dtype=float)
    assert counts.mean() == pytest.approx(electrons, rel=0.05)
    assert documents.start["dose_e_per_pattern"] == pytest.approx(electrons)


def test_frames_are_those_of_the_object_at_the_read_back_place(tmp_path):
    scope = microscope(tmp_path, coils={"readback_noise_nm": 0.0})
    documents = scan(scope, dwell_ms=20.0)
    wavelength_nm, pixels = 1.9687e-3, 32
    pixel_nm = wavelength_nm / (pixels * 2.0e-3)
    obj = scope.specimen.transmission(*scope.specimen._made[0][:3])
    key = scope.specimen._made[0]
    assert key[0] == pytest.approx(pixel_nm, rel=1e-4)
    expected = simulate_frames(
        obj,
        scope.beam._probe[1],
        documents.read("scan_coils_readback") / key[0] + len(obj) // 2,
        documents.start["dose_e_per_pattern"],
        noise=False,
    )
    seen = documents.read("camera_frames").astype(float)
    chi2 = ((seen - expected) ** 2 / np.maximum(expected, 1)).mean()
    assert chi2 == pytest.approx(1.0, abs=0.25)


def test_coils_lag_and_the_camera_knows(tmp_path):
    scope = microscope(tmp_path, coils={"time_constant_ms": 1.0, "readback_noise_nm": 0.0})
    documents = scan(scope)
    off = documents.read("scan_coils_readback") - documents.read("scan_coils_commanded")
    # the first point of a line lags behind the flyback
    assert np.abs(off.reshape(6, 6, 2)[1:, 0, 1]).min() > 0.5
    assert np.abs(off.reshape(6, 6, 2)[1:, -1, 1]).max() < np.abs(off[:, 1]).max()


def test_a_blanked_beam_gives_dark_frames(tmp_path):
    scope = microscope(tmp_path)
    scope.scan_coils.blanker = None  # so that nobody opens it
    assert scan(scope).read("camera_frames").sum() == 0


def test_drift_moves_the_specimen_not_the_read_back(tmp_path):
    still, moving = microscope(tmp_path), microscope(tmp_path)
    moving.specimen.drift_nm_s[:] = (4.0, 0.0)
    one, other = scan(still, dwell_ms=5.0), scan(moving, dwell_ms=5.0)
    assert np.array_equal(one.read("scan_coils_readback"), other.read("scan_coils_readback"))
    assert not np.array_equal(one.read("camera_frames"), other.read("camera_frames"))


def test_descan_moves_the_pattern(tmp_path):
    documents = scan(microscope(tmp_path, descan_px_per_nm=2.0), dwell_ms=5.0)
    frames = documents.read("camera_frames").astype(float)
    x = np.arange(32) - 16
    com = (frames.sum(axis=1) * x).sum(axis=1) / frames.sum(axis=(1, 2))
    place = documents.read("scan_coils_readback")[:, 1]
    assert np.polyfit(place, com, 1)[0] == pytest.approx(2.0, rel=0.2)


def test_a_partly_coherent_source_blurs(tmp_path):
    sharp = scan(microscope(tmp_path), dwell_ms=20.0).read("camera_frames").astype(float)
    blurred = scan(microscope(tmp_path, source_nm=0.05), dwell_ms=20.0).read("camera_frames")
    assert blurred.astype(float).std(axis=0).sum() < sharp.std(axis=0).sum()


def test_lost_frames_are_gaps_in_the_index(tmp_path):
    scope = microscope(tmp_path, camera={"drop_fraction": 0.2, "allowed_drops": 0.5})
    documents = scan(scope)
    index = documents.read("camera_scan_index")
    assert 0 < 36 - len(index) == scope.camera.dropped.get()
    assert (np.diff(index) > 0).all()


def test_real_time_follows_the_dwell(tmp_path):
    documents = scan(microscope(tmp_path, rate="real"), dwell_ms=5.0)
    times = documents.read("camera_time")
    np.testing.assert_allclose(np.diff(times), 5e-3, rtol=1e-3, atol=1e-6)
    assert documents.stop["time"] - documents.start["time"] > 0.18


def test_structures_are_shipped():
    for name in ("DyScO3", "SrTiO3", "BaTiO3"):
        specimen = Specimen(cif=name, field_nm=2.0, domain_nm=1.0, vacancies_per_nm2=1.0)
        transmission = specimen.transmission(0.03, 32, 300.0)
        np.testing.assert_allclose(np.abs(transmission), 1, atol=1e-5)
        assert np.angle(transmission).std() > 0.01
        assert specimen.transmission(0.03, 32, 300.0) is transmission
    with pytest.raises(ValueError, match="shipped are BaTiO3, DyScO3, SrTiO3"):
        structure_path("Unobtainium")
