import numpy as np
import pytest

from flyback.models.base import Batch, Corrections, Mergeable, Model
from flyback.models.experiment import Experiment
from flyback.models.scan_image import integrate_gradient
from flyback.models.virtual_images import VirtualImages
from flyback.tests import naive
from flyback.tests.models.chunk_law import check
from flyback.tests.models.scenes import ALPHA_RAD, PIXEL_M, WAVELENGTH_M, correlation, scene

RNG = np.random.default_rng(0)
TRAJECTORY = {
    "units": "nm",
    "grid_shape": [5, 4],
    "scan_order": "raster",
    "extent": [[1, 2], [1.4, 2.3]],
    "step": 0.1,
}
METADATA = {
    "radiation": "electron",
    "energy_kev": 200,
    "semi_convergence_angle_mrad": 10,
    "angular_sampling_mrad": [1.0, 1.25],
    "scan_rotation_deg": 0,
    "trajectory": TRAJECTORY,
}


def images(frames, metadata=METADATA, corrections=None, index=None, **settings):
    index = np.arange(len(frames)) if index is None else index
    model = VirtualImages(Experiment.from_metadata(metadata), **settings)
    return model.partial_fit(Batch(frames, index, {}, corrections or Corrections()))


def masks(shape=(32, 30)):
    y, x = (np.arange(n) - n // 2 for n in shape)
    radius = np.hypot(y[:, None] * 1.0, x[None] * 1.25)
    return radius < 10, (radius >= 11) & (radius < 16)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int32, np.float32])
@pytest.mark.parametrize("corrected", [False, True])
def test_sums_and_centre_of_mass(dtype, corrected):
    frames = RNG.integers(0, 250, (20, 32, 30)).astype(dtype)
    dark = gain = bad = None
    counts = frames.astype(float)
    if corrected:
        dark = RNG.uniform(0, 5, frames.shape[1:]).astype(np.float32)
        gain = RNG.uniform(0.8, 1.2, frames.shape[1:]).astype(np.float32)
        bad = RNG.random(frames.shape[1:]) < 0.05
        counts = naive.corrected(frames, dark, gain, bad)
    result = images(frames, corrections=Corrections(dark, gain, bad)).result_
    everything = np.ones(frames.shape[1:], bool)
    bf, adf, total = naive.detector_sums(counts, [*masks(), everything]).T
    compare = np.testing.assert_array_equal
    if corrected:
        compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6)  # noqa: E731
    compare(result["bf"].value, bf.reshape(5, 4))
    compare(result["adf"].value, adf.reshape(5, 4))
    compare(result["sum"].value, total)
    com = naive.centre_of_mass(counts, everything)
    centre = com.mean(axis=0)
    np.testing.assert_allclose(result["centre_px"].value, centre, rtol=1e-6)
    np.testing.assert_allclose(
        result["com_mrad"].value, (com - centre) * (1.0, 1.25), atol=2e-5 if corrected else 1e-6
    )
    assert result["com_mrad"].dims == ("frame", "yx")


def test_bad_pixels_alone_keep_sums_exact():
    frames = RNG.integers(0, 65536, (20, 32, 30)).astype(np.uint16)
    bad = RNG.random(frames.shape[1:]) < 0.05
    result = images(frames, corrections=Corrections(bad_pixels=bad)).result_
    expected = naive.detector_sums(frames, [masks()[0] & ~bad])[:, 0]
    np.testing.assert_array_equal(result["bf"].value.ravel(), expected)


def test_extremes_are_of_good_pixels_and_of_raw_counts():
    frames = RNG.integers(3, 99, (20, 32, 30)).astype(np.int32)
    bad = np.zeros((32, 30), bool)
    bad[0, 0] = bad[5, 5:9] = True
    frames[:, bad] = -7
    frames[3, 6, 6] = -1
    dark = np.full((32, 30), 50, np.float32)
    result = images(frames, corrections=Corrections(dark, None, bad)).result_
    assert [f for f in result["flags"].value if "negative" in f] == [
        "1 of 20 frames are with negative counts"
    ]
    poisoned = frames.astype(np.float32)
    poisoned[:, bad] = np.nan
    clean = images(poisoned, corrections=Corrections(dark, None, bad)).result_
    np.testing.assert_allclose(clean["bf"].value, result["bf"].value)


def test_any_ring_or_mask():
    frames = RNG.integers(0, 99, (20, 32, 30)).astype(np.uint16)
    mask = RNG.random((32, 30)) < 0.5
    result = images(frames, detectors={"disk": (0, 10), "odd": mask}).result_
    sums = naive.detector_sums(frames, [masks()[0], mask])
    np.testing.assert_array_equal(result["disk"].value.ravel(), sums[:, 0])
    np.testing.assert_array_equal(result["odd"].value.ravel(), sums[:, 1])
    assert "bf" not in result
    narrow = images(frames, com_outer=10).result_
    com = naive.centre_of_mass(frames, masks()[0])
    np.testing.assert_allclose(narrow["centre_px"].value, com.mean(axis=0))


@pytest.mark.parametrize("kind", ["raster", "serpentine", "spiral"])
def test_the_chunk_law_holds_bit_for_bit(kind):
    view = scene(kind)
    check(lambda: VirtualImages(view.experiment()), view.batch(slice(0, 300)))


def test_the_chunk_law_holds_for_an_estimated_disk():
    view = scene("raster")
    experiment = view.experiment(semi_convergence_angle_mrad=None)
    whole = check(lambda: VirtualImages(experiment), view.batch(slice(0, 300)), merge=False)
    assert whole["flags"][0].startswith("estimated: the disk's radius of 15.")
    few = VirtualImages(experiment).partial_fit(view.batch(slice(0, 10)))
    assert "first 10 frames" in few.result_["flags"].value[0]
    assert few.n_frames == 10


def test_frames_of_a_serpentine_go_where_the_beam_was():
    frames = np.arange(20, dtype=np.uint16)[:, None, None] * np.ones((32, 30), np.uint16)
    metadata = METADATA | {"trajectory": TRAJECTORY | {"scan_order": "serpentine"}}
    grid = images(frames, metadata).result_["bf"].value / masks()[0].sum()
    assert grid[1].tolist() == [7, 6, 5, 4]
    assert grid[2].tolist() == [8, 9, 10, 11]


def test_a_dropped_frame_leaves_a_gap():
    frames = RNG.integers(0, 99, (20, 32, 30)).astype(np.uint16)
    whole = images(frames).result_["bf"].value
    kept = np.delete(np.arange(20), [3, 9])
    result = images(frames[kept], index=kept).result_
    assert np.isnan(result["bf"].value.ravel()[[3, 9]]).all()
    np.testing.assert_array_equal(result["bf"].value.ravel()[kept], whole.ravel()[kept])
    assert "missing: 2 of 20 pixels of the picture have no frame" in result["flags"].value
    assert np.isnan(result["idpc"].value).sum() == 2


def test_a_grid_in_another_order_is_placed_by_position():
    frames = np.arange(20, dtype=np.uint16)[:, None, None] * np.ones((32, 30), np.uint16)
    order = RNG.permutation(20)
    positions = np.stack(np.divmod(order, 4), 1) * 1e-10 + (1e-9, 2e-9)
    metadata = METADATA | {"trajectory": TRAJECTORY | {"scan_order": "multipass"}}
    model = VirtualImages(Experiment.from_metadata(metadata))
    model.partial_fit(Batch(frames, np.arange(20), {"positions_m": positions}))
    picture = model.result_["bf"].value / masks()[0].sum()
    np.testing.assert_array_equal(picture.ravel()[order], np.arange(20))


def test_a_canvas_for_any_positions():
    positions = RNG.uniform(0, 9, (600, 2))
    frames = np.rint(100 * positions[:, :1, None] + 50) * np.ones((32, 30))
    metadata = METADATA | {"trajectory": {"units": "px", "step": 1.0}}
    model = VirtualImages(Experiment.from_metadata(metadata))
    batch = Batch(frames.astype(np.uint16), np.arange(600), {"positions_px": positions})
    result = model.partial_fit(batch).result_
    picture = result["bf"].value / masks()[0].sum()
    y = np.arange(picture.shape[0]) + result["image_origin_px"].value[0]
    inner = picture[1:-1, 1:-1]
    assert np.nanmax(np.abs(inner - (100 * y[1:-1, None] + 50))) < 45
    assert result["image_pixel_px"].value.tolist() == [1.0, 1.0]
    bare = VirtualImages(Experiment.from_metadata({"trajectory": {"units": "px"}}))
    assert "bf" in bare.partial_fit(batch).result_


def test_without_grid_or_positions_there_is_no_picture():
    result = images(np.ones((3, 8, 8), np.uint16), {}).result_
    assert "bf" not in result
    assert result["sum"].value.tolist() == [64, 64, 64]
    assert result["com_px"].units == "px"
    assert any(flag.startswith("no picture") for flag in result["flags"].value)


def test_idpc_is_the_phase_and_atoms_are_positive():
    view = scene(n=32, dose=1e6, peak=0.05)
    result = VirtualImages(view.experiment()).partial_fit(view.batch()).result_
    positions = np.rint(view.positions_m / PIXEL_M).astype(int)
    # what iDPC can show: the phase seen by a focused probe
    size = view.phase.shape
    k = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n, PIXEL_M) for n in size), indexing="ij"))
    light = np.abs(np.fft.ifft2(k * WAVELENGTH_M < ALPHA_RAD)) ** 2
    seen = np.fft.ifft2(np.fft.fft2(view.phase) * np.fft.fft2(light / light.sum())).real
    truth = seen[positions[:, 0], positions[:, 1]].reshape(32, 32)
    picture = result["idpc"].value
    assert result["idpc"].units == "rad"
    # the mean deflection is taken as the centre of the detector: a plane stays unknown
    y, x = np.indices(truth.shape)
    terms = np.stack([truth.ravel(), np.ones(truth.size), y.ravel(), x.ravel()], axis=1)
    gain, *rest = np.linalg.lstsq(terms, picture.ravel(), rcond=None)[0]
    assert gain == pytest.approx(1, abs=0.1)
    plane = (terms[:, 1:] @ rest).reshape(truth.shape)
    assert correlation(picture - plane, truth, 3) > 0.96


def test_the_centre_of_mass_is_deflected_towards_atoms():
    view = scene(n=32, dose=1e6, peak=0.05)
    com = VirtualImages(view.experiment()).partial_fit(view.batch()).result_["com_mrad"].value
    gradient = np.stack(np.gradient(view.phase, PIXEL_M), -1)
    y, x = np.rint(view.positions_m / PIXEL_M).astype(int).T
    expected = WAVELENGTH_M / (2 * np.pi) * gradient[y, x] * 1e3
    assert np.corrcoef(com.ravel(), expected.ravel())[0, 1] > 0.8


@pytest.mark.parametrize("rotation_deg", [90, 180, 270])
def test_idpc_is_in_the_scans_frame(rotation_deg):
    still = scene(n=24)
    turned = scene(n=24, rotation_deg=rotation_deg)
    one, other = (
        VirtualImages(view.experiment()).partial_fit(view.batch()).result_["idpc"].value
        for view in (still, turned)
    )
    assert correlation(one, other) > 0.95  # the noise differs


def test_idpc_in_pixels_needs_no_scale():
    view = scene(n=24)
    metres = VirtualImages(view.experiment()).partial_fit(view.batch()).result_
    trajectory = view.metadata["trajectory"] | {"units": "px", "step": 1.0}
    metadata = {"scan_rotation_deg": 0, "trajectory": trajectory}
    pixels = VirtualImages(Experiment.from_metadata(metadata), detectors={"bf": (0, 15)})
    pixels = pixels.partial_fit(view.batch()).result_
    np.testing.assert_allclose(pixels["idpc"].value, metres["idpc"].value, atol=1e-9)
    unknown = view.experiment(radiation=None)
    result = VirtualImages(unknown).partial_fit(view.batch()).result_
    assert result["idpc"].units == ""
    assert any("not to scale" in flag for flag in result["flags"].value)


def test_integration_inverts_differentiation():
    y, x = np.mgrid[:40, :30]
    field = np.cos(np.pi * (y + 0.5) / 40 * 2) * np.cos(np.pi * (x + 0.5) / 30)
    gy = -np.pi / 20 * np.sin(np.pi * (y + 0.5) / 20) * np.cos(np.pi * (x + 0.5) / 30)
    gx = -np.pi / 30 * np.cos(np.pi * (y + 0.5) / 20) * np.sin(np.pi * (x + 0.5) / 30)
    np.testing.assert_allclose(integrate_gradient(gy, gx), field - field.mean(), atol=1e-9)
    nothing = np.full((4, 4), np.nan)
    assert np.isnan(integrate_gradient(nothing, nothing)).all()


def test_what_is_wrong_with_frames_is_flagged():
    frames = RNG.integers(1, 99, (20, 32, 30)).astype(np.float32)
    frames[2, 5, 5] = np.nan
    frames[4] = 0
    result = images(frames).result_
    assert "1 of 20 frames are not finite" in result["flags"].value
    assert "1 of 20 frames are dark or empty" in result["flags"].value
    assert np.isnan(result["com_mrad"].value[[2, 4]]).all()
    assert np.isfinite(result["centre_px"].value).all()
    full = RNG.integers(0, 99, (20, 32, 30)).astype(np.uint16)
    full[7, 1, 1] = 65535
    assert "1 of 20 frames are saturated" in images(full).result_["flags"].value
    bad = np.zeros((32, 30), bool)
    bad[1, 1] = True
    masked = images(full, corrections=Corrections(bad_pixels=bad)).result_
    assert masked["flags"].value == []
    negative = full.astype(np.int32)
    negative[3, 2, 2] = -5
    assert "1 of 20 frames are with negative counts" in images(negative).result_["flags"].value


@pytest.mark.parametrize(
    ("detectors", "words"),
    [
        ({}, "detectors must be a mapping"),
        ({"sum": (0, 1)}, "may not be named 'sum'"),
        ({"x": (3, 1)}, "must be .inner, outer."),
        ({"x": np.ones((2, 2))}, "the mask 'x' must be"),
        ({"x": (900, 901)}, "holds no pixel"),
    ],
)
def test_bad_detectors_are_named(detectors, words):
    with pytest.raises(ValueError, match=words):
        images(np.ones((2, 32, 30), np.uint16), detectors=detectors)


def test_bad_frames_are_named():
    model = images(np.ones((2, 32, 30), np.uint16))
    assert isinstance(model, Model)
    assert isinstance(model, Mergeable)
    with pytest.raises(ValueError, match="frames changed shape"):
        model.partial_fit(Batch(np.ones((1, 8, 8), np.uint16), np.arange(1)))
    with pytest.raises(ValueError, match="frames must be uint8"):
        model.partial_fit(Batch(np.ones((1, 32, 30)), np.arange(1)))
    with pytest.raises(ValueError, match="gain must be"):
        images(np.ones((2, 32, 30), np.uint16), corrections=Corrections(gain=np.ones((2, 2))))
    bad = np.ones((32, 30), bool)
    with pytest.raises(ValueError, match="bad pixels only"):
        images(np.ones((2, 32, 30), np.uint16), corrections=Corrections(bad_pixels=bad))
    with pytest.raises(ValueError, match="com_outer must be positive"):
        images(np.ones((2, 32, 30), np.uint16), com_outer=0)
    with pytest.raises(ValueError, match="different detectors do not add"):
        model.merge(images(np.ones((2, 32, 30), np.uint16), detectors={"bf": (0, 3)}))
    assert VirtualImages(Experiment()).result_ == {}
    empty = VirtualImages(Experiment())
    assert empty.merge(VirtualImages(Experiment())).n_frames == 0
