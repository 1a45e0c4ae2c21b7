"""Defocus, rotation and the tilt-corrected image against simulated truth."""

import numpy as np
import pytest

from flyback.models.ptychography.parallax import estimate_defocus, parallax
from flyback.models.ptychography.shifts import fit_shifts
from flyback.models.ptychography.single_sideband import SingleSideband
from flyback.tests.models.wide_scene import wide_scene


def model_of(*arguments, **settings):
    experiment, batch = wide_scene(*arguments, **settings)
    return SingleSideband(experiment).partial_fit(batch)


@pytest.mark.parametrize(
    ("defocus_nm", "step_nm", "rotation_deg", "transposed", "dose"),
    [
        (-60, 0.3, 0, False, 1e3),
        (0, 0.06, 37, True, 1e5),
        (60, 0.3, 37, True, 1e3),
        pytest.param(200, 0.6, 37, False, 1e5, marks=pytest.mark.heavy),
        pytest.param(200, 0.35, 0, True, 1e3, marks=pytest.mark.heavy),
        pytest.param(-5, 0.06, 0, False, 1e5, marks=pytest.mark.heavy),
    ],
)
@pytest.mark.heavy
def test_defocus_from_a_wide_range(defocus_nm, step_nm, rotation_deg, transposed, dose):
    model = model_of(
        defocus_nm * 1e-9,
        step_nm * 1e-9,
        box=160 if defocus_nm < 100 else 224,
        rotation_deg=rotation_deg,
        transposed=transposed,
        dose_e_per_a2=dose,
    )
    found = estimate_defocus(model)
    assert found is not None
    assert found.defocus_m * 1e9 == pytest.approx(defocus_nm, rel=0.03, abs=0.7)
    assert 0 < found.sigma_m < 3e-9
    assert found.contrast > 0.1


@pytest.mark.parametrize(("rotation_deg", "transposed"), [(0, False), (37, True)])
@pytest.mark.heavy
def test_displacements_tell_defocus_and_the_scans_frame(rotation_deg, transposed):
    model = model_of(60e-9, 0.3e-9, rotation_deg=rotation_deg, transposed=transposed)
    found = fit_shifts(model)
    assert found.trust
    assert found.transposed is transposed
    assert found.defocus_m == pytest.approx(60e-9, rel=0.1)
    assert np.degrees(found.scan_rotation_rad) == pytest.approx(rotation_deg, abs=5)
    assert found.to_metadata()["transposed"] is transposed
    other = fit_shifts(model, underfocus=False)
    apart = np.degrees(other.scan_rotation_rad - found.scan_rotation_rad) % 360
    assert apart == pytest.approx(180, abs=1e-6)


@pytest.mark.heavy
def test_images_put_back_in_place_have_more_contrast():
    model = model_of(60e-9, 0.3e-9)
    canvas, field = model.gathered()
    contrast = {}
    for defocus_m in (-60e-9, 0.0, 60e-9):
        model.set_optics(aberrations={"C10": -defocus_m})
        contrast[defocus_m] = parallax(canvas, field, model.optics).std()
    assert contrast[60e-9] > 1.5 * max(contrast[0.0], contrast[-60e-9])


def test_noise_tells_no_defocus():
    experiment, batch = wide_scene(60e-9, 0.3e-9)
    noise = np.random.default_rng(1).poisson(batch.frames.mean(axis=0), batch.frames.shape)
    noise = noise.astype(np.uint16)
    model = SingleSideband(experiment)
    model.partial_fit(type(batch)(noise, batch.scan_index, batch.coordinates))
    assert estimate_defocus(model) is None
    with pytest.raises(ValueError, match="low_m must be below"):
        estimate_defocus(model, 1e-9, -1e-9)
