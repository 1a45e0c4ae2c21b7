"""Azimuthal integration against naive sums, against pyFAI, and on real images."""

import numpy as np
import pytest
from PIL import Image

from flyback.callbacks.integration import integration
from flyback.models.base import Batch, Corrections
from flyback.models.diffraction.detector_image import read_detector_image
from flyback.models.diffraction.geometry import (
    GeometryError,
    geometry_from_distance,
    geometry_from_poni,
)
from flyback.models.diffraction.integration import Integration
from flyback.models.diffraction.integrator import Integrator
from flyback.models.diffraction.shared_integrator import SharedIntegrator

SHAPE = (61, 57)
PONI = """Distance: 0.1
Poni1: 0.0031
Poni2: 0.0026
Rot1: 0.03
Rot2: -0.02
Rot3: 0.01
PixelSize1: 0.0001
PixelSize2: 0.00012
Wavelength: 5e-11
"""


@pytest.fixture
def poni(tmp_path):
    path = tmp_path / "a.poni"
    path.write_text(PONI, encoding="utf-8")
    return path


def geometry(poni, **kwargs):
    return geometry_from_poni(poni, SHAPE, **kwargs)


def frame(dtype, seed=0):
    return np.random.default_rng(seed).poisson(40, SHAPE).astype(dtype)


def naive(geo, image, bins, *, split, mask=None, dark=None, flat=None):
    """Pixel by pixel and bin by bin, in float64."""
    used = np.ones(SHAPE, bool) if mask is None else ~mask
    reach = geo.half_width if split == "bbox" else np.zeros(SHAPE)
    low = max((geo.radial - reach)[used].min(), 0)
    high = (geo.radial + reach)[used].max() * (1 + np.finfo(np.float32).eps)
    width = (high - low) / bins
    signal, variance, norm = np.zeros(bins), np.zeros(bins), np.zeros(bins)
    share = geo.solid_angle * geo.polarisation * (1 if flat is None else flat)
    for y, x in zip(*np.nonzero(used), strict=True):
        value = float(image[y, x])
        a, b = geo.radial[y, x] - reach[y, x], geo.radial[y, x] + reach[y, x]
        for k in range(bins):
            left, right = low + k * width, low + (k + 1) * width
            if split == "bbox":
                left = left if k else min(a, left)  # what would lie below 0
                weight = max(0.0, min(b, right) - max(a, left)) / (b - a)
            else:
                weight = float(left <= a < right or (k == bins - 1 and a == high))
            if weight:
                signal[k] += weight * (value - (0 if dark is None else dark[y, x]))
                variance[k] += weight**2 * value
                norm[k] += weight * share[y, x]
    with np.errstate(invalid="ignore", divide="ignore"):
        return signal / norm, np.sqrt(variance) / norm


@pytest.mark.parametrize("split", ["no", "bbox"])
@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_sums_are_those_of_a_naive_loop(poni, split, dtype):
    rng = np.random.default_rng(1)
    geo = geometry(poni, polarisation_factor=0.95)
    image, mask = frame(dtype), rng.random(SHAPE) < 0.1
    dark, flat = rng.uniform(0, 3, SHAPE), rng.uniform(0.8, 1.2, SHAPE)
    given = {"mask": mask, "dark": dark, "flat": flat}
    intensity, sigma, lost = Integrator(geo, bins=40, split=split, **given)(image)
    expected = naive(geo, image, 40, split=split, **given)
    assert lost == 0
    np.testing.assert_allclose(intensity, expected[0], rtol=2e-6)
    np.testing.assert_allclose(sigma, expected[1], rtol=2e-6)


@pytest.mark.parametrize("split", ["no", "bbox"])
@pytest.mark.parametrize(
    ("dtype", "broken"),
    [(np.uint16, 65535), (np.int32, -2), (np.float32, np.nan), (np.float32, np.inf)],
)
def test_pixels_that_are_not_to_be_believed_are_as_if_masked(poni, split, dtype, broken):
    geo = geometry(poni)
    bad = np.random.default_rng(2).random(SHAPE) < 0.05
    bad[0], bad[:, 0] = False, False  # the limits stay
    bad[-1], bad[:, -1] = False, False
    image = frame(dtype)
    image[bad] = broken
    dark = np.full(SHAPE, 1.5)
    intensity, sigma, lost = Integrator(geo, bins=40, split=split, dark=dark)(image)
    masked = Integrator(geo, bins=40, split=split, dark=dark, mask=bad)(frame(dtype))
    assert lost == bad.sum()
    np.testing.assert_allclose(intensity, masked[0], rtol=1e-9)
    np.testing.assert_allclose(sigma, masked[1], rtol=1e-9)


@pytest.mark.parametrize(("split", "tolerance"), [("no", 1e-5), ("bbox", 1e-3)])
@pytest.mark.parametrize("unit", ["q_per_a", "two_theta_deg"])
def test_pyfai_says_the_same(poni, split, tolerance, unit):
    import pyFAI

    geo = geometry(poni, unit=unit, polarisation_factor=0.9)
    image = frame(np.uint16)
    ours = Integrator(geo, bins=50, split=split)
    intensity, sigma, _ = ours(image)
    theirs = pyFAI.load(str(poni)).integrate1d_ng(
        image,
        50,
        unit={"q_per_a": "q_A^-1", "two_theta_deg": "2th_deg"}[unit],
        method=(split, "csr", "cython"),
        polarization_factor=0.9,
        error_model="poisson",
    )
    np.testing.assert_allclose(ours.axis, theirs.radial, rtol=1e-5)
    close = np.abs(intensity / theirs.intensity - 1) < tolerance
    # pyFAI rounds positions to single precision: a pixel on an edge may fall to the other side
    assert close.mean() >= 0.95
    np.testing.assert_allclose(np.median(sigma / theirs.sigma), 1, rtol=1e-3)


@pytest.mark.parametrize("flip", ["vertical", "horizontal", "both"])
def test_a_flipped_image_has_the_same_pattern(poni, flip):
    image = frame(np.uint16)
    turned = {"vertical": image[::-1], "horizontal": image[:, ::-1], "both": image[::-1, ::-1]}
    straight = Integrator(geometry(poni), bins=60)(image)[0]
    there = Integrator(geometry(poni, flip=flip), bins=60)(turned[flip])[0]
    np.testing.assert_allclose(there, straight, rtol=1e-6)


def test_counts_are_conserved_between_bins(poni):
    geo = geometry(poni)
    image = frame(np.uint16)
    for split in ("no", "bbox"):
        integrator = Integrator(geo, bins=70, split=split)
        intensity, _, _ = integrator(image)
        total = np.nansum(intensity * integrator.norm)
        assert total == pytest.approx(image.sum(), rel=1e-6)


def test_a_bin_without_counts_has_no_variance_left_of_those_below_it(poni):
    """Where counts end, what rounding leaves of them must not look like a small sigma."""
    image = np.random.default_rng(3).poisson(1000, SHAPE)
    geo = geometry(poni)
    image[geo.radial > np.median(geo.radial)] = 0
    integrator = Integrator(geo, bins=300, split="bbox")
    intensity, sigma, _ = integrator(image.astype("u4"))
    _, everywhere, _ = integrator(np.full(SHAPE, 1, "u4"))
    dark = integrator.axis > (geo.radial + geo.half_width)[image > 0].max()
    assert dark.sum() > 50
    assert not sigma[dark & np.isfinite(intensity)].any()
    counted = np.isfinite(sigma) & (sigma > 0)
    # no sigma is less than that of the smallest share of one count that any pixel gives
    assert (sigma[counted] * integrator.norm[counted]).min() > 1e-6
    assert (everywhere[np.isfinite(everywhere)] > 0).all()


def test_limits_cut_the_axis_and_pixels_outside_count_for_nothing(poni):
    geo = geometry(poni)
    q = geo.radial
    low, high = np.quantile(q, [0.3, 0.6])
    for split in ("no", "bbox"):
        part = Integrator(geo, bins=20, split=split, limits=(low, high))
        assert low < part.axis[0] < part.axis[-1] < high
        np.testing.assert_allclose(part(np.full(SHAPE, 7, np.uint16))[0].mean(), 7, rtol=0.02)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"bins": 0}, "bins must lie"),
        ({"split": "full"}, "split must be"),
        ({"mask": np.zeros((3, 3), bool)}, "the mask has shape"),
        ({"mask": np.ones(SHAPE, bool)}, "no pixel is left"),
        ({"dark": np.zeros(5)}, "the dark has shape"),
        ({"limits": (3, 2)}, "the lower first"),
        ({"limits": (900, 901)}, "outside the detector"),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(poni, arguments, words):
    with pytest.raises(ValueError, match=words):
        Integrator(geometry(poni), **arguments)


def test_geometries_that_cannot_be_are_refused(poni, tmp_path):
    with pytest.raises(GeometryError, match=r"no \.poni file"):
        geometry_from_poni(tmp_path / "gone.poni", SHAPE)
    other = tmp_path / "b.poni"
    other.write_text(PONI.replace("Wavelength: 5e-11\n", ""), encoding="utf-8")
    with pytest.raises(GeometryError, match="no wavelength"):
        geometry_from_poni(other, SHAPE)
    other.write_text(
        "poni_version: 2\nDetector: Pilatus1M\nDetector_config: {}\n" + PONI, encoding="utf-8"
    )
    with pytest.raises(GeometryError, match="1043 x 981"):
        geometry_from_poni(other, SHAPE)
    with pytest.raises(GeometryError, match="unit must be"):
        geometry_from_poni(poni, SHAPE, unit="q")
    with pytest.raises(GeometryError, match="between -1 and 1"):
        geometry_from_poni(poni, SHAPE, polarisation_factor=2)
    with pytest.raises(GeometryError, match="distance_m must be positive"):
        geometry_from_distance(SHAPE, wavelength_a=0.7, distance_m=0, pixel_m=(1e-4, 1e-4))


def test_an_upright_detector_has_the_angles_of_plain_trigonometry():
    geo = geometry_from_distance(
        SHAPE, wavelength_a=0.7, distance_m=0.1, pixel_m=(1e-4, 2e-4), unit="two_theta_deg"
    )
    y, x = np.indices(SHAPE)
    radius = np.hypot((y - 30) * 1e-4, (x - 28) * 2e-4)
    np.testing.assert_allclose(geo.radial, np.degrees(np.arctan(radius / 0.1)), atol=1e-9)


def test_a_run_is_integrated_the_same_however_its_frames_come(poni):
    images = np.stack([frame(np.uint16, seed) for seed in range(7)])

    def fed(*cuts):
        model, first = Integration(lambda shape, c: SharedIntegrator(geometry(poni), bins=30)), 0
        for stop in [*cuts, 7]:
            rows = slice(first, stop)
            times = {"time_s": 1e9 + np.arange(first, stop)}
            model.partial_fit(Batch(images[rows], np.arange(first, stop), times))
            first = stop
        return model.result_

    whole, cut = fed(), fed(1, 4)
    for key in ("q_per_a", "intensity", "sigma", "time_s", "scan_index"):
        np.testing.assert_array_equal(cut[key].value, whole[key].value)
    parts = [
        Integration(lambda shape, c: SharedIntegrator(geometry(poni), bins=30)) for _ in range(2)
    ]
    parts[0].partial_fit(Batch(images[4:], np.arange(4, 7)))
    parts[1].partial_fit(Batch(images[:4], np.arange(4)))
    merged = parts[0].merge(parts[1]).result_
    np.testing.assert_array_equal(merged["intensity"].value, whole["intensity"].value)


def test_frames_that_are_empty_or_mostly_broken_are_flagged(poni):
    images = np.stack([frame(np.int32), np.zeros(SHAPE, np.int32), frame(np.int32)])
    images[2, :40] = -1
    model = Integration(lambda shape, c: SharedIntegrator(geometry(poni), bins=30))
    flags = model.partial_fit(Batch(images, np.arange(3))).result_["flags"].value
    assert [flag[:11] for flag in flags] == ["1 of 3 fram"] * 2
    with pytest.raises(ValueError, match="patterns already"):
        model.partial_fit(Batch(np.zeros((2, 100)), np.arange(2)))


def test_the_cameras_own_dark_gain_and_bad_pixels_are_used(poni):
    dark, gain = np.full(SHAPE, 5.0, np.float32), np.full(SHAPE, 2.0, np.float32)
    bad = np.zeros(SHAPE, bool)
    bad[10:20] = True
    image = np.full((1, *SHAPE), 25, np.uint16)
    image[0, 10:20] = 60000
    callback = integration({"uid": "x"}, lambda: None, poni=str(poni), bins=20)
    model = callback._build(None)
    model.partial_fit(Batch(image, np.arange(1), {}, Corrections(dark, gain, bad)))
    solid = Integrator(geometry(poni), bins=20)
    flat_field = solid(np.full(SHAPE, 1000, np.uint16))[0] / 1000
    np.testing.assert_allclose(model.result_["intensity"].value[0], 40 * flat_field, rtol=2e-3)


def test_settings_are_checked_before_the_run(tmp_path):
    for table, words in (
        ({"poni": "gone.poni"}, r"poni = gone\.poni"),
        ({"flip": "upside"}, "flip must be"),
        ({"unit": "d"}, "unit must be"),
    ):
        with pytest.raises(ValueError, match=words):
            integration.check(table)
    callback = integration({"uid": "x"}, lambda: None)
    batch = Batch(np.ones((1, *SHAPE), np.uint16), np.arange(1))
    with pytest.raises(GeometryError, match="energy_kev, detector_distance_m, detector_pixel_m"):
        callback.rehearse(batch)


def test_masks_are_read_from_the_files_of_beamlines(tmp_path):
    mask = np.zeros(SHAPE, np.uint8)
    mask[3] = 1
    np.save(tmp_path / "m.npy", mask)
    Image.fromarray(mask).save(tmp_path / "m.tif")
    for name in ("m.npy", "m.tif"):
        np.testing.assert_array_equal(
            read_detector_image(tmp_path / name, SHAPE, "mask") != 0, mask != 0
        )
    with pytest.raises(ValueError, match="has shape"):
        read_detector_image(tmp_path / "m.npy", (2, 2), "mask")
    (tmp_path / "bad.npy").write_bytes(b"no array")
    with pytest.raises(ValueError, match="cannot be read"):
        read_detector_image(tmp_path / "bad.npy", SHAPE, "mask")
    with pytest.raises(ValueError, match="no mask at"):
        read_detector_image(tmp_path / "gone.npy", SHAPE, "mask")


@pytest.mark.data
@pytest.mark.parametrize("split", ["no", "bbox"])
def test_ceria_on_a_pilatus_is_as_pyfai_has_it(data_folder, split):
    folder = data_folder / "xrd2d" / "ceo2_pilatus1m"
    image = np.asarray(Image.open(folder / "CeO2_Pilatus1M.tif"))
    reference = np.load(folder / "reference_pyfai.npz")
    geo = geometry_from_poni(folder / "CeO2_Pilatus1M.poni", image.shape, flip="vertical")
    assert Integrator(geo, split=split)(image)[2] == reference["mask_pixels"]
    integrator = Integrator(geo, split=split, mask=image < 0)
    intensity, sigma, _ = integrator(image)
    assert np.isfinite(sigma).mean() > 0.99
    there = np.interp(reference["q_invA"], integrator.axis, intensity)
    apart = np.abs(there / reference["I_q"] - 1)
    # the reference was split; without, bins of few pixels differ by their noise
    assert np.nanmedian(apart) < (0.02 if split == "no" else 1e-5)
    assert split == "no" or np.nanquantile(apart, 0.99) < 1e-3
    # lattice: every strong line of ceria where a = 5.41165 angstrom puts it
    hkl = reference["line_hkl"]
    q = 2 * np.pi * np.sqrt((hkl**2).sum(axis=1)) / 5.41165
    for line in q[:8]:
        near = np.abs(integrator.axis - line) < 0.03
        x, y = integrator.axis[near], intensity[near]
        y = np.clip(y - np.percentile(y, 20), 0, None)
        assert (x * y).sum() / y.sum() == pytest.approx(line, abs=0.003)


@pytest.mark.parametrize("unit", ["q_per_a", "two_theta_deg"])
@pytest.mark.parametrize("method", ["csr", "csc", "lut", "histogram"])
def test_around_the_beam_every_bin_is_as_pyfai_has_it(poni, unit, method):
    """Pixels under the beam span 0, and what would lie below it is in the first bin."""
    import pyFAI

    poni.write_text(PONI.replace("Rot1: 0.03", "Rot1: 0.0").replace("Rot2: -0.02", "Rot2: 0.0"))
    geo = geometry(poni, unit=unit)
    assert (geo.radial - geo.half_width).min() < 0
    image = frame(np.int32)
    intensity, sigma, _ = Integrator(geo, bins=40, split="bbox")(image)
    theirs = pyFAI.load(str(poni)).integrate1d_ng(
        image.astype(float), 40, unit={"q_per_a": "q_A^-1", "two_theta_deg": "2th_deg"}[unit],
        method=("bbox", method, "cython"), error_model="poisson",
    )  # fmt: skip
    np.testing.assert_allclose(intensity, theirs.intensity, rtol=1e-6)
    np.testing.assert_allclose(sigma, theirs.sigma, rtol=1e-6)
