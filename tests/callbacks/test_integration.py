"""The analysis `integration`: its settings, and a recorded image from end to end."""

import numpy as np
import pytest

from flyback.callbacks.integration import integration
from flyback.models.base import Batch
from flyback.profiles.play import run_play

STATED = {
    "uid": "u",
    "energy_kev": 18.0,
    "detector_distance_m": 0.1,
    "detector_pixel_m": [1e-3, 1e-3],
}
IMAGES = np.random.default_rng(0).poisson(50, (3, 40, 36)).astype(np.uint16)


def result(start=STATED, coordinates=None, images=IMAGES, **settings):
    callback = integration(start, lambda: None, bins=20, **settings)
    batch = Batch(images, np.arange(len(images)), coordinates or {})
    return callback._build(batch).partial_fit(batch).result_


def test_a_monitor_divides_frames_and_their_sigmas():
    plain, current = result(), np.array([1.0, 2.0, 0.0])
    divided = result(coordinates={"monitor": current})
    for name in ("intensity", "sigma"):
        np.testing.assert_allclose(divided[name].value[1], plain[name].value[1] / 2)
    assert np.isnan(divided["intensity"].value[2]).all()
    assert any("monitor" in flag for flag in divided["flags"].value)


def test_axes_have_the_names_of_the_field():
    assert result()["q_per_a"].units == "1/angstrom"
    assert result(unit="two_theta")["two_theta_deg"].units == "degree"
    cut = result(range=(0.5, 1.0))["q_per_a"].value
    assert 0.5 < cut[0] < cut[-1] < 1.0


def test_saturated_pixels_are_left_out_and_told():
    images = IMAGES.copy()
    images[1, 5, 5:8] = 60000
    found = result(images=images, saturation_counts=50000)
    assert found["pixels_lost"].value.tolist() == [0, 3, 0]
    assert "saturated" in found["flags"].value[0]
    stated = result(STATED | {"saturation_counts": 50000.0}, images=images)
    assert stated["pixels_lost"].value.tolist() == [0, 3, 0]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"split": "full"}, "split must be"),
        ({"polarisation": 2}, "between -1 and 1"),
        ({"range": [3, 1]}, "lower number first"),
        ({"range": 3}, "two numbers"),
    ],
)
def test_settings_out_of_range_are_refused(table, words):
    with pytest.raises(ValueError, match=words):
        integration.check(table)


@pytest.mark.data
@pytest.mark.heavy
def test_ceria_played_from_its_file_is_as_pyfai_has_it(data_folder, tmp_path):
    folder = data_folder / "xrd2d" / "ceo2_pilatus1m"
    settings = {
        "integration.poni": str(folder / "CeO2_Pilatus1M.poni"),
        "integration.flip": "vertical",
    }
    save = tmp_path / "out.npz"
    run_play(
        folder / "CeO2_Pilatus1M.tif",
        ["integration"],
        settings=settings,
        save=save,
        directory=tmp_path / "archive",
    )
    reference = np.load(folder / "reference_pyfai.npz")
    with np.load(save) as out:
        np.testing.assert_allclose(out["integration.q_per_a"], reference["q_invA"], rtol=1e-6)
        np.testing.assert_allclose(out["integration.intensity"][0], reference["I_q"], rtol=1e-6)
        assert out["integration.sigma"].shape == (1, 2000)
