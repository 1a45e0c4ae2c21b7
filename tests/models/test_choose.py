import numpy as np
import pytest

from flyback.models.base import Converging, Mergeable, Model
from flyback.models.experiment import Experiment
from flyback.models.ptychography.choose import Ptychography, suits_single_sideband
from flyback.tests.models.chunk_law import check
from flyback.tests.models.scenes import scene


def test_focused_electrons_are_previewed_directly_and_finished_iteratively():
    view = scene()
    model = Ptychography(view.experiment(), iterations=2, eps=5e-3)
    assert isinstance(model, Model)
    assert isinstance(model, Mergeable)
    assert isinstance(model, Converging)
    assert model.result_ == {}
    model.partial_fit(view.batch(slice(0, 300)))
    assert model.result_["method"].value == "single_sideband"
    model.partial_fit(view.batch(slice(300, 576))).converge()
    assert model.result_["method"].value == "rpie"
    assert model.result_["n_frames"].value == 576


@pytest.mark.parametrize(
    ("changes", "direct"),
    [
        ({}, True),
        ({"defocus_nm": 2}, True),
        ({"defocus_nm": 20}, False),
        ({"radiation": "xray"}, False),
        ({"semi_convergence_angle_mrad": None}, False),
        ({"trajectory": {"units": "px"}}, False),
    ],
)
def test_auto_looks_at_the_experiment(changes, direct):
    assert suits_single_sideband(scene().experiment(**changes)) is direct


def test_a_given_probe_is_used():
    experiment = Experiment.from_metadata(scene().metadata, probe=np.ones((64, 64)))
    assert Ptychography(experiment).direct is None


@pytest.mark.parametrize("method", ["single_sideband", "rpie", "epie", "lsqml", "dm"])
@pytest.mark.heavy
def test_a_method_by_name(method):
    view = scene()
    settings = {} if method == "single_sideband" else {"iterations": 1}
    model = Ptychography(view.experiment(), method, **settings)
    result = model.partial_fit(view.batch(slice(0, 100))).converge().result_
    assert result["method"].value == method
    assert {"object", "object_phase", "object_pixel_m", "positions_m", "fourier_error"} <= set(
        result
    )
    assert {"n_frames", "trust", "trust_reasons", "scan_index"} <= set(result)


def test_the_chunk_law_holds():
    view = scene(n=16)
    check(
        lambda: Ptychography(view.experiment(), iterations=1),
        view.batch(slice(0, 40)),
        final=True,
        singles=False,
    )


def test_unknown_settings_are_named():
    experiment = scene().experiment()
    with pytest.raises(ValueError, match="method must be one of auto, single_sideband"):
        Ptychography(experiment, "hio")
    with pytest.raises(ValueError, match=r"unknown setting 'epsilon'; known are .*eps"):
        Ptychography(experiment, epsilon=1)
