import numpy as np
import pytest

from flyback.models.experiment import Experiment, MissingMetadata

TRAJECTORY = {
    "units": "nm",
    "extent": [[0, 0], [2, 3]],
    "grid_shape": [3, 4],
    "scan_order": "serpentine",
    "step": 1.0,
    "n_points": 12,
}


def test_everything_is_si():
    experiment = Experiment.from_metadata(
        {
            "radiation": "electron",
            "energy_kev": 200,
            "semi_convergence_angle_mrad": 21,
            "angular_sampling_mrad": [0.5, 0.6],
            "defocus_nm": 10,
            "scan_rotation_deg": 90,
            "dose_e_per_pattern": 5e4,
            "trajectory": TRAJECTORY,
        },
        probe=np.ones((4, 4)),
    )
    assert experiment.wavelength_m == pytest.approx(2.5079e-12, rel=1e-4)
    assert experiment.semi_convergence_angle_rad == pytest.approx(0.021)
    assert experiment.angular_sampling_rad == pytest.approx((5e-4, 6e-4))
    assert experiment.defocus_m == pytest.approx(1e-8)
    assert experiment.scan_rotation_rad == pytest.approx(np.pi / 2)
    assert experiment.extent == ((0, 0), pytest.approx((2e-9, 3e-9)))
    assert experiment.step == pytest.approx(1e-9)
    assert experiment.grid_shape == (3, 4)
    assert experiment.probe.shape == (1, 4, 4)
    assert experiment.probe.dtype == np.complex64
    assert experiment.need("dose_e_per_pattern") == 5e4


def test_angular_sampling_from_the_detector():
    experiment = Experiment.from_metadata(
        {"detector_distance_m": 2.0, "detector_pixel_m": [75e-6, 55e-6]}
    )
    assert experiment.angular_sampling_rad == pytest.approx((3.75e-5, 2.75e-5))


def test_nothing_is_needed_until_it_is():
    experiment = Experiment.from_metadata({})
    assert experiment.units == "m"
    with pytest.raises(MissingMetadata, match=r"radiation and energy_kev is needed.*--set"):
        experiment.need("wavelength_m")


def test_serpentine_rows_run_back():
    experiment = Experiment.from_metadata({"trajectory": TRAJECTORY})
    rows, columns = experiment.grid_rows_columns(np.arange(8))
    assert rows.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert columns.tolist() == [0, 1, 2, 3, 3, 2, 1, 0]


def test_other_orders_are_placed_by_position():
    experiment = Experiment.from_metadata({"trajectory": TRAJECTORY | {"scan_order": "multipass"}})
    assert experiment.grid_rows_columns(np.arange(8)) is None


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"radiation": "light"}, "radiation must be"),
        ({"energy_kev": "fast"}, "energy_kev must be a number"),
        ({"energy_kev": 0}, "energy_kev must lie between 0.01"),
        ({"semi_convergence_angle_mrad": 900}, "semi_convergence_angle_mrad must lie"),
        ({"angular_sampling_mrad": [1, 2, 3]}, "angular_sampling_mrad must be one or two"),
        ({"angular_sampling_mrad": -1}, "angular_sampling_mrad must be one or two positive"),
        ({"trajectory": {"units": "feet"}}, "trajectory.units"),
        ({"trajectory": {"extent": [1, 2]}}, "trajectory.extent"),
    ],
)
def test_bad_metadata_is_named(metadata, words):
    with pytest.raises(ValueError, match=words):
        Experiment.from_metadata(metadata)


@pytest.mark.parametrize("probe", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.ones(4)])
def test_a_probe_must_be_one(probe):
    with pytest.raises(ValueError, match="probe must be finite, not all zero, of shape"):
        Experiment.from_metadata({}, probe=probe)
