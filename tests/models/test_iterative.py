import numpy as np
import pytest

from flyback.models.base import Batch, Converging, Corrections, Mergeable, Model
from flyback.models.experiment import Experiment, MissingMetadata
from flyback.models.ptychography.forward import partially_coherent, simulate_frames
from flyback.models.ptychography.iterative import IterativePtychography
from flyback.models.ptychography.probe import aberrated_probe
from flyback.tests.models.chunk_law import check
from flyback.tests.models.scenes import (
    ALPHA_RAD,
    PIXEL_M,
    WAVELENGTH_M,
    atoms,
    correlation,
    sampled,
    scene,
)

DEFOCUSED = {"kind": "jittered", "n": 12, "step_px": 3.0, "defocus_m": 10e-9, "peak": 0.5}


def scanned(result, view):
    """The reconstruction and the truth where the beam has been."""
    phase, pixel = result["object_phase"].value, result["object_pixel_m"].value
    origin = result["object_origin_m"].value
    truth = sampled(view.phase, origin, pixel, phase.shape)
    low, high = (
        np.rint((edge - origin) / pixel).astype(int)
        for edge in (view.positions_m.min(axis=0), view.positions_m.max(axis=0))
    )
    window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    return phase[window], truth[window]


@pytest.mark.parametrize("method", ["rpie", "epie"])
def test_defocused_electrons(method):
    view = scene(**DEFOCUSED)
    model = IterativePtychography(view.experiment(), method=method, iterations=15)
    for rows in (slice(0, 60), slice(60, 144)):
        model.partial_fit(view.batch(rows))
    assert isinstance(model, Model)
    assert isinstance(model, Mergeable)
    assert isinstance(model, Converging)
    preview = model.result_
    assert preview["trust_reasons"].value[0].startswith("preview")
    assert correlation(*scanned(preview, view)) > 0.8
    result = model.converge().result_
    assert correlation(*scanned(result, view)) > 0.97
    assert result["fourier_error"].value < 0.02
    assert model.errors_[-1] < model.errors_[0]
    assert result["method"].value == method
    assert result["n_frames"].value == 144
    assert result["probe"].value.shape == (1, 64, 64)
    assert result["object_phase"].value.dtype == np.float32
    phase, _ = scanned(result, view)
    assert phase.max() > 2 * abs(phase.min())  # atoms are positive


def test_the_wrong_sign_of_defocus_fits_worse():
    view = scene(**DEFOCUSED)
    settings = {"iterations": 5, "update_probe": False, "preview": False}
    right, wrong = (
        IterativePtychography(view.experiment(defocus_nm=defocus), **settings)
        .partial_fit(view.batch())
        .converge()
        for defocus in (10, -10)
    )
    assert right.errors_[-1] < 0.75 * wrong.errors_[-1]


def test_the_chunk_law_holds_bit_for_bit_once_converged():
    view = scene(**DEFOCUSED)
    whole = check(
        lambda: IterativePtychography(view.experiment(), iterations=2),
        view.batch(slice(0, 60)),
        final=True,
    )
    assert np.isfinite(whole["object"]).all()


def test_converging_twice_gives_the_same():
    view = scene(**DEFOCUSED)
    model = IterativePtychography(view.experiment(), iterations=2, probe_modes=2)
    first = model.partial_fit(view.batch()).converge().result_["object"].value
    np.testing.assert_array_equal(first, model.converge().result_["object"].value)
    other = IterativePtychography(view.experiment(), iterations=2, probe_modes=2, seed=1)
    assert np.any(first != other.partial_fit(view.batch()).converge().result_["object"].value)


@pytest.mark.parametrize("rotation_deg", [90, 180])
def test_the_object_comes_out_in_the_scans_frame(rotation_deg):
    still = scene(**DEFOCUSED)
    turned = scene(**DEFOCUSED, rotation_deg=rotation_deg)
    model = IterativePtychography(turned.experiment(), iterations=12)
    result = model.partial_fit(turned.batch()).converge().result_
    assert correlation(*scanned(result, still)) > 0.95


@pytest.mark.parametrize("rotation_deg", [0, 90])
def test_a_transposed_detector_gives_the_same_object(rotation_deg):
    still = scene(**DEFOCUSED)
    turned = scene(**DEFOCUSED, rotation_deg=rotation_deg)
    batch = turned.batch()
    batch = Batch(batch.frames.transpose(0, 2, 1), batch.scan_index, batch.coordinates)
    model = IterativePtychography(turned.experiment(transposed=True), iterations=12)
    result = model.partial_fit(batch).converge().result_
    assert correlation(*scanned(result, still)) > 0.95


def test_what_is_learnt_of_the_scan_later_gives_what_knowing_it_would_have():
    view = scene(**DEFOCUSED, rotation_deg=90)
    known = IterativePtychography(view.experiment(), iterations=3)
    known.partial_fit(view.batch()).converge()
    learnt = IterativePtychography(view.experiment(scan_rotation_deg="auto"), iterations=3)
    learnt.partial_fit(view.batch()).align(view.experiment(), view.positions_m).converge()
    for key in ("object", "probe", "positions_m"):
        assert np.array_equal(learnt.result_[key].value, known.result_[key].value)
    with pytest.raises(ValueError, match="positions must be"):
        learnt.align(view.experiment(), view.positions_m[:3])


def test_xrays_need_positions_in_pixels_and_a_probe_only():
    probe = aberrated_probe((64, 64), WAVELENGTH_M, (6e-4, 6e-4), 0.01, 60e-9)
    rng = np.random.default_rng(0)
    obj = np.exp(1j * atoms((160, 160), 0.6)).astype(np.complex64)
    grid = np.stack(np.mgrid[:10, :10], -1).reshape(-1, 2) * 5.0 + 55
    positions = grid + rng.uniform(-1, 1, grid.shape)
    frames = simulate_frames(obj, probe, positions, 1e6)
    experiment = Experiment.from_metadata(
        {"radiation": "xray", "trajectory": {"units": "px"}}, probe=probe
    )
    model = IterativePtychography(experiment, iterations=12)
    model.partial_fit(Batch(frames, np.arange(100), {"positions_px": positions}))
    result = model.converge().result_
    assert np.isnan(result["object_pixel_m"].value).all()
    origin = result["object_origin_px"].value.astype(int)
    window = np.s_[60:100, 60:100]
    ours = np.roll(result["object"].value, origin, (0, 1))[window]
    assert correlation(np.angle(ours), np.angle(obj)[window]) > 0.97


def test_probe_modes_explain_partial_coherence():
    view = scene(**DEFOCUSED)
    sampling = WAVELENGTH_M / (64 * PIXEL_M)
    probe = aberrated_probe((64, 64), WAVELENGTH_M, (sampling, sampling), ALPHA_RAD, 10e-9)
    obj = np.exp(1j * view.phase).astype(np.complex64)
    frames = simulate_frames(
        obj, partially_coherent(probe, 2.0, 4), view.positions_m / PIXEL_M, 1e7
    )
    batch = Batch(frames, np.arange(144), {"positions_m": view.positions_m})
    errors = {}
    for modes in (1, 3):
        model = IterativePtychography(view.experiment(), iterations=10, probe_modes=modes)
        result = model.partial_fit(batch).converge().result_
        errors[modes] = result["fourier_error"].value
    assert errors[3] < 0.8 * errors[1]
    flat = result["probe"].value.reshape(3, -1)
    gram = flat.conj() @ flat.T
    assert np.abs(gram - np.diag(np.diag(gram))).max() < 1e-3 * abs(gram[0, 0])
    assert np.all(np.diff(np.diag(gram).real) <= 0)


def test_bad_pixels_and_gain():
    view = scene(**DEFOCUSED)
    whole = view.batch()
    rng = np.random.default_rng(0)
    bad = rng.random(whole.frames.shape[1:]) < 0.03
    frames = (whole.frames * 2 + 10).astype(np.uint16)
    frames[:, bad] = 60000
    corrections = Corrections(
        dark=np.full(bad.shape, 10, np.float32),
        gain=np.full(bad.shape, 0.5, np.float32),
        bad_pixels=bad,
    )
    model = IterativePtychography(view.experiment(), iterations=12, preview=False)
    model.partial_fit(Batch(frames, whole.scan_index, whole.coordinates, corrections))
    assert correlation(*scanned(model.converge().result_, view)) > 0.96


def test_merged_parts_show_before_they_converge():
    view = scene(**DEFOCUSED)
    one, other = (
        IterativePtychography(view.experiment()).partial_fit(view.batch(rows))
        for rows in (slice(0, 70), slice(70, 144))
    )
    assert one.merge(other).n_frames == 144
    assert one.result_["object"].value.shape[0] > 64
    empty = IterativePtychography(view.experiment())
    assert empty.merge(IterativePtychography(view.experiment())).n_frames == 0
    small = IterativePtychography(view.experiment(semi_convergence_angle_mrad=5))
    frames = np.ones((1, 32, 32), np.uint16)
    small.partial_fit(Batch(frames, np.arange(1), {"positions_m": np.zeros((1, 2))}))
    with pytest.raises(ValueError, match="do not join"):
        one.merge(small)


def test_reasons_not_to_trust():
    view = scene(**DEFOCUSED)
    batch = view.batch(slice(0, 10))
    batch.frames[0, 32, 32] = 65535
    model = IterativePtychography(view.experiment(), iterations=1).partial_fit(batch).converge()
    batch.frames[0, 32, 32] = 0
    reasons = " | ".join(model.result_["trust_reasons"].value)
    assert "too few frames: 10" in reasons
    assert "clipped: 1 of 10" in reasons
    sparse = view.experiment(defocus_nm=0)
    model = IterativePtychography(sparse, iterations=3, update_probe=False)
    model.partial_fit(view.batch(slice(0, None, 2))).converge()
    assert "overlap" in " | ".join(model.result_["trust_reasons"].value)
    assert model.result_["trust"].value is False


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "hio"}, "method must be one of rpie, epie, lsqml, dm"),
        ({"likelihood": "gauss"}, "likelihood must be one of"),
        ({"held_out": 0.6}, "held_out must lie between 0 and 0.5"),
        ({"position_bound_px": 20}, "position_bound_px must lie between 0 and 16"),
        ({"position_bound_px": 1, "method": "dm"}, "position_bound_px is for rpie, epie and lsqml"),
        ({"workers": 0}, "workers must lie between 1 and 256"),
        ({"iterations": 0}, "iterations must lie"),
        ({"probe_modes": 5}, "probe_modes must lie between 1 and 4"),
        ({"rpie_alpha": 0}, "rpie_alpha must lie above 0"),
    ],
)
def test_bad_settings_are_named(settings, words):
    with pytest.raises(ValueError, match=words):
        IterativePtychography(Experiment(), **settings)


def test_bad_frames_are_named():
    view = scene(**DEFOCUSED)
    model = IterativePtychography(view.experiment())
    assert model.result_ == {}
    with pytest.raises(ValueError, match="no frames to reconstruct"):
        model.converge()
    frames = np.full((1, 64, 64), np.nan, np.float32)
    with pytest.raises(ValueError, match="NaN or infinity"):
        model.partial_fit(Batch(frames, np.arange(1), {"positions_m": np.zeros((1, 2))}))
    with pytest.raises(ValueError, match="scan_index must be"):
        model.partial_fit(Batch(np.ones((2, 64, 64), np.uint16), np.arange(1)))
    with pytest.raises(ValueError, match="real numbers"):
        model.partial_fit(Batch(np.ones((2, 64, 64), complex), np.arange(2)))
    with pytest.raises(MissingMetadata, match="positions_m"):
        model.partial_fit(Batch(np.ones((2, 64, 64), np.uint16), np.arange(2)))
