"""Each reason not to trust a reconstruction: what calls it up, and that the good one has none."""

import numpy as np
import pytest

from flyback.models.base import Batch
from flyback.models.experiment import Experiment
from flyback.models.ptychography.forward import simulate_frames
from flyback.models.ptychography.iterative import IterativePtychography
from flyback.models.ptychography.probe import aberrated_probe
from flyback.tests.models.scenes import ALPHA_RAD, PIXEL_M, WAVELENGTH_M, scene
from flyback.tests.models.test_iterative_contrast import DENSE


def solved(view, frames=None, experiment=None, **settings):
    frames = view.frames if frames is None else frames
    batch = Batch(frames, np.arange(len(frames)), {"positions_m": view.positions_m})
    settings = {"preview": False, "iterations": 15} | settings
    model = IterativePtychography(experiment or view.experiment(), **settings)
    return model.partial_fit(batch).converge()


def reasons(model):
    return " | ".join(model.result_["trust_reasons"].value)


def test_a_good_one_has_none():
    assert reasons(solved(scene(**DENSE, dose=1e5))) == ""


def test_a_probe_whose_power_is_not_the_counts():
    """Only the product of probe and object can be seen."""
    view = scene(**DENSE, dose=1e5)
    model = solved(view)
    assert "probe power" not in reasons(model)
    model.probe_ = model.probe_ * np.float32(1.5)
    assert "probe power: probe and object give" in reasons(model)
    model.obj_ = model.obj_ / np.float32(1.5)
    assert "probe power" not in reasons(model)


def test_an_object_that_amplifies():
    view = scene(**DENSE, dose=1e5)
    model = solved(view)
    assert "amplitude" not in reasons(model)
    model.obj_ = model.obj_ * np.float32(1.4)
    model.probe_ = model.probe_ / np.float32(1.4)
    assert "amplitude: the object's mean is 1." in reasons(model)
    xrays = Experiment.from_metadata({"radiation": "xray", "trajectory": {"units": "nm"}})
    model.experiment = xrays
    assert "amplitude" not in reasons(model)


@pytest.mark.parametrize(("defocus_m", "larger"), [(10e-9, False), (40e-9, True)])
def test_a_probe_larger_than_its_box(defocus_m, larger):
    view = scene(**DENSE, dose=1e5)
    sampling = WAVELENGTH_M / (64 * PIXEL_M)
    probe = aberrated_probe((64, 64), WAVELENGTH_M, (sampling,) * 2, ALPHA_RAD, defocus_m)
    obj = np.exp(1j * view.phase).astype(np.complex64)
    frames = simulate_frames(obj, probe, view.positions_m / PIXEL_M, 1e5)
    model = solved(view, frames, view.experiment(defocus_nm=defocus_m * 1e9), iterations=3)
    assert ("probe larger than the box" in reasons(model)) == larger


def test_passes_that_still_gain():
    view = scene(**DENSE, dose=1e6)
    assert "not converged" in reasons(solved(view, iterations=2))
    assert "not converged" not in reasons(solved(view, iterations=20))


@pytest.mark.parametrize("energy_kev", [0.001, 2e5, -80, np.nan])
def test_an_absurd_energy_is_refused_before_any_frame(energy_kev):
    with pytest.raises(ValueError, match="energy_kev must"):
        Experiment.from_metadata({"radiation": "electron", "energy_kev": energy_kev})


@pytest.mark.parametrize(("radiation", "energy_kev"), [("electron", 30), ("xray", 8.0)])
def test_usual_energies_are_taken(radiation, energy_kev):
    known = Experiment.from_metadata({"radiation": radiation, "energy_kev": energy_kev})
    assert known.wavelength_m > 0


def test_energies_far_from_the_truth_do_not_fit():
    """Told 20 kV in place of 200, the pixel is wrong by three and the frames contradict it."""
    view = scene(**DENSE, dose=1e6)
    right, wrong = solved(view), solved(view, experiment=view.experiment(energy_kev=20.0))
    assert wrong.fourier_error_ > 3 * right.fourier_error_
