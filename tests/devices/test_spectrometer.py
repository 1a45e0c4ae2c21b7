"""Spectrometers: what goes into the run, and that the simulated ones show their specimen."""

import h5py
import numpy as np
import pytest
from bluesky.plans import count

from flyback.devices.sim.spectra import (
    Film,
    Interphase,
    SimEnergyLossSpectrometer,
    SimFluorescenceDetector,
)
from flyback.models.spectra.simulate import emission
from flyback.plans import raster
from flyback.tests.microscope import close_engine, engine, microscope


def run(plan):
    RE, documents = engine()
    try:
        RE(plan)
    finally:
        close_engine(RE)
    return documents.check()


def x_rays(tmp_path, **settings):
    film = Film(masses_ug_cm2={"Pt": 214.5, "Cu": 20.0})
    return film, SimFluorescenceDetector(
        name="xrf", specimen=film, rate="max", directory=tmp_path, exposure_s=1.0, **settings
    )


def test_a_count_of_spectra_with_their_axis(tmp_path):
    film, detector = x_rays(tmp_path, energy_step_kev=0.012, channels=1024)
    documents = run(count([detector], 3))
    frames = documents.read("xrf_frames")
    assert frames.shape == (3, 1024)
    (key,) = [d["data_keys"]["xrf_frames"] for d in documents.of("descriptor")]
    assert key["dims"] == ["channel"]
    expected = 100 * film.element_masses()["Pt"] * emission("Pt", "L", 18.0) / 100
    platinum = frames[:, 760:1023].sum(axis=1)
    assert platinum.mean() == pytest.approx(expected, rel=0.2)
    assert not np.array_equal(frames[0], frames[1])
    (path,) = tmp_path.glob("*.h5")
    with h5py.File(path) as file:
        axis = file["/entry/instrument/detector/energy_kev_axis"][()]
    np.testing.assert_allclose(axis, 0.012 * np.arange(1024))


def test_the_specimen_is_asked_at_each_exposure(tmp_path):
    film, detector = x_rays(tmp_path)
    first = run(count([detector], 2)).read("xrf_frames").sum()
    film.masses_ug_cm2["Pt"] /= 2
    assert run(count([detector], 2)).read("xrf_frames").sum() < 0.8 * first


def test_a_scan_cannot_time_a_spectrometer_without_a_beam(tmp_path):
    _, detector = x_rays(tmp_path)
    with pytest.raises(RuntimeError, match="keeps its own time"):
        detector.driver.arm(3, 0.1, first_index=0, trigger="external")


def test_energy_losses_follow_the_beam(tmp_path):
    scope = microscope(tmp_path)
    detector = SimEnergyLossSpectrometer(
        name="eels", beam=scope.beam, directory=tmp_path, channels=200, seed=3
    )
    documents = run(raster([detector], scope.scan_coils, fov_nm=4, step_nm=0.5, dwell_ms=1))
    frames = documents.read("eels_frames").astype(float)
    at = documents.read("scan_coils_readback")
    assert frames.shape == (64, 200)
    share = Interphase(seed=3).fluoride(at)
    # at 61.8 eV fluoride has a peak that carbonate has not
    assert np.corrcoef(frames[:, 60:68].sum(axis=1), share)[0, 1] > 0.5


def test_one_seed_one_spectrum_however_it_comes_in_blocks(tmp_path):
    scope = microscope(tmp_path)
    driver = SimEnergyLossSpectrometer(
        name="eels", beam=scope.beam, directory=tmp_path, channels=50
    ).driver
    places = np.random.default_rng(0).uniform(0, 4, (10, 2))
    whole = driver._counts(places, 0.01, 5)
    np.testing.assert_array_equal(whole[6:], driver._counts(places[6:], 0.01, 11))
