import numpy as np
import pytest

from flyback.models.base import Batch
from flyback.models.dose_map import DoseMap, probe_width_m
from flyback.models.experiment import Experiment, MissingMetadata
from flyback.models.trajectories import Fermat, Raster

METADATA = {
    "radiation": "electron",
    "energy_kev": 200.0,
    "semi_convergence_angle_mrad": 20.0,
    "dose_e_per_pattern": 1000.0,
}


def batch(path, rows=slice(None)):
    positions = path.positions * 1e-9
    frames = np.zeros((len(positions), 2, 2), np.uint16)
    index = np.arange(len(positions))
    return Batch(frames, index, {"positions_m": positions})[rows]


@pytest.mark.parametrize("kind", [Raster, Fermat])
def test_every_electron_is_somewhere_on_the_map(kind):
    path = kind(fov=2.0, step=0.05)
    result = DoseMap(Experiment.from_metadata(METADATA)).partial_fit(batch(path)).result_
    pixel_a2 = float(np.prod(result["image_pixel_m"].value)) * 1e20
    electrons = result["dose_e_per_a2"].value.astype(float).sum() * pixel_a2
    assert electrons == pytest.approx(1000.0 * path.n_points, rel=1e-3)


def test_the_middle_of_a_raster_has_the_mean_dose():
    path = Raster(fov=2.0, step=0.05)
    local = DoseMap(Experiment.from_metadata(METADATA)).partial_fit(batch(path)).result_
    dose = local["dose_e_per_a2"].value
    ny, nx = dose.shape
    middle = dose[ny // 3 : -ny // 3, nx // 3 : -nx // 3]
    assert middle.mean() == pytest.approx(1000.0 / 0.5**2, rel=0.01)


def test_batches_and_merging_change_nothing():
    path = Fermat(fov=1.0, step=0.05)
    experiment = Experiment.from_metadata(METADATA)
    whole = DoseMap(experiment).partial_fit(batch(path)).result_["dose_e_per_a2"].value
    first = DoseMap(experiment).partial_fit(batch(path, slice(0, 100)))
    second = DoseMap(experiment)
    for row in range(100, path.n_points):
        second.partial_fit(batch(path, slice(row, row + 1)))
    merged = second.merge(first).result_["dose_e_per_a2"].value
    np.testing.assert_array_equal(merged, whole)


def test_frames_without_positions_are_left_out():
    one = batch(Raster(fov=1.0, step=0.1))
    one.coordinates["positions_m"][3:5] = np.nan
    assert DoseMap(Experiment.from_metadata(METADATA)).partial_fit(one).result_[
        "n_frames"
    ].value == (98)
    none = Batch(np.zeros((1, 2, 2)), np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="needs positions_m"):
        DoseMap(Experiment.from_metadata(METADATA)).partial_fit(none)


def test_the_probe_is_limited_by_diffraction_and_defocus():
    in_focus = probe_width_m(Experiment.from_metadata(METADATA))
    assert in_focus == pytest.approx(0.51 * 2.508e-12 / 0.02, rel=1e-3)
    defocused = probe_width_m(Experiment.from_metadata(METADATA | {"defocus_nm": 50.0}))
    assert defocused == pytest.approx(2e-9, rel=0.01)


def test_what_is_missing_is_named():
    with pytest.raises(MissingMetadata, match="dose_e_per_pattern"):
        DoseMap(Experiment.from_metadata({}))
    with pytest.raises(MissingMetadata, match=r"step|trajectory"):
        DoseMap(Experiment.from_metadata({"dose_e_per_pattern": 10.0}))
