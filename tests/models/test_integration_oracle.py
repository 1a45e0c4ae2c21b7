"""Integration of real images against sums in float64, pyFAI bin by bin, and Dioptas' patterns."""

import re
from pathlib import Path

import numpy as np
import pytest

from flyback.models.diffraction.detector_image import read_detector_image
from flyback.models.diffraction.geometry import geometry_from_poni
from flyback.models.diffraction.integrator import Integrator

pytestmark = pytest.mark.data
UNITS = {"q_per_a": "q_A^-1", "two_theta_deg": "2th_deg"}
POLARISATION = 0.99
SHAPES = {"ceria": (1043, 981), "magnetite": (1043, 981)}


def ceria(data_folder):
    folder = data_folder / "xrd2d" / "ceo2_pilatus1m"
    image = read_detector_image(folder / "CeO2_Pilatus1M.tif", SHAPES["ceria"], "image")
    return folder / "CeO2_Pilatus1M.poni", image


def magnetite(data_folder, tmp_path, number=1):
    """Return the geometry that is in the header of Dioptas' pattern, an image, and the pattern."""
    folder = data_folder / "xrd2d" / "fe3o4_map"
    path = folder / f"Fe3O4C_M1_map_{number}_P1_E1_001.tif"
    text = path.with_suffix(".xy").read_text()
    distance = re.search(r"Sample to Detector: (\S+) m", text)[1]
    first, second = re.search(r"PONI: (\S+), (\S+) m", text).groups()
    rotations = re.search(r"Rotations: (\S+) (\S+) (\S+) rad", text).groups()
    lines = [f"Distance: {distance}", f"Poni1: {first}", f"Poni2: {second}"]
    lines += [f"Rot{k}: {value}" for k, value in enumerate(rotations, 1)]
    lines += ["PixelSize1: 0.000172", "PixelSize2: 0.000172", "Wavelength: 3.344e-11"]
    poni = tmp_path / "dioptas.poni"
    poni.write_text("\n".join(lines) + "\n", encoding="utf-8")
    image = read_detector_image(path, SHAPES["magnetite"], "image")
    return poni, image, np.loadtxt(path.with_suffix(".xy"))


def exact(poni, unit):
    """Return axis, solid angle and polarisation of a flat detector's pixels, in float64.

    Kieffer and Karkoulis, J. Phys. Conf. Ser. 425 (2013) 202012, written out once more.
    """
    said = dict(re.findall(r"^(\w+): (\S+)$", Path(poni).read_text(), re.M))
    pixel, distance = float(said["PixelSize1"]), float(said["Distance"])
    rows, columns = np.indices(SHAPES["ceria"], float) + 0.5
    y, x = rows * pixel - float(said["Poni1"]), columns * pixel - float(said["Poni2"])
    (c1, s1), (c2, s2), (c3, s3) = (
        (np.cos(float(said[f"Rot{k}"])), np.sin(float(said[f"Rot{k}"]))) for k in (1, 2, 3)
    )
    t1 = y * c2 * c3 + x * (c3 * s1 * s2 - c1 * s3) - distance * (c1 * c3 * s2 + s1 * s3)
    t2 = y * c2 * s3 + x * (c1 * c3 + s1 * s2 * s3) - distance * (c1 * s2 * s3 - c3 * s1)
    t3 = y * s2 - x * c2 * s1 + distance * c1 * c2
    angle, around = np.arctan2(np.hypot(t1, t2), t3), np.arctan2(t1, t2)
    cos2 = np.cos(angle) ** 2
    solid_angle = (distance / np.sqrt(distance**2 + x**2 + y**2)) ** 3
    polarisation = 0.5 * (1 + cos2 - POLARISATION * np.cos(2 * around) * (1 - cos2))
    q = 4e-10 * np.pi * np.sin(angle / 2) / float(said["Wavelength"])
    return q if unit == "q_per_a" else np.degrees(angle), solid_angle, polarisation


def sample(name, data_folder, tmp_path):
    poni, image = ceria(data_folder) if name == "ceria" else magnetite(data_folder, tmp_path)[:2]
    return poni, np.ascontiguousarray(image[::-1])


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("name", SHAPES)
def test_every_bin_is_the_sum_in_float64(data_folder, tmp_path, name, unit):
    poni, image = sample(name, data_folder, tmp_path)
    mask = image < 0
    radial, solid_angle, polarisation = exact(poni, unit)
    geo = geometry_from_poni(poni, image.shape, unit=unit, polarisation_factor=POLARISATION)
    for ours, theirs in (
        (geo.radial, radial),
        (geo.solid_angle, solid_angle),
        (geo.polarisation, polarisation),
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    integrator = Integrator(geo, split="no", mask=mask)
    intensity, sigma, _ = integrator(image)
    width = integrator.axis[1] - integrator.axis[0]
    edges = np.append(integrator.axis - width / 2, integrator.axis[-1] + width / 2)
    # a pixel within rounding of an edge may be on either side of it, also in float64
    bins = np.digitize(radial[~mask], edges) - 1
    bins[radial[~mask] >= edges[-1]] = 1999
    counts = np.bincount(bins, image[~mask].astype(float), 2000)[:2000]
    norm = np.bincount(bins, (solid_angle * polarisation)[~mask], 2000)[:2000]
    there = norm > 0
    np.testing.assert_array_equal(np.isfinite(intensity), there)
    np.testing.assert_allclose(intensity[there], counts[there] / norm[there], rtol=1e-12)
    np.testing.assert_allclose(sigma[there], np.sqrt(counts[there]) / norm[there], rtol=1e-12)


@pytest.mark.parametrize("method", ["csr", pytest.param("csc", marks=pytest.mark.heavy)])
@pytest.mark.parametrize(("split", "tolerance"), [("no", 1e-6), ("bbox", 1e-6)])
@pytest.mark.parametrize("name", SHAPES)
def test_every_bin_is_as_pyfai_has_it(data_folder, tmp_path, name, split, tolerance, method):
    import pyFAI

    poni, image = sample(name, data_folder, tmp_path)
    mask = image < 0
    geo = geometry_from_poni(poni, image.shape, polarisation_factor=POLARISATION)
    integrator = Integrator(geo, split=split, mask=mask)
    intensity, sigma, _ = integrator(image)
    theirs = pyFAI.load(str(poni)).integrate1d_ng(
        image.astype(float), 2000, unit="q_A^-1", method=(split, method, "cython"), mask=mask,
        polarization_factor=POLARISATION, error_model="poisson",
    )  # fmt: skip
    there = np.isfinite(intensity)
    np.testing.assert_allclose(intensity[there], theirs.intensity[there], rtol=tolerance)
    # pyFAI takes the variance of a pixel without counts to be 1
    sigma = np.hypot(sigma, integrator((image == 0).astype("<i4"))[1])
    np.testing.assert_allclose(sigma[there], theirs.sigma[there], rtol=tolerance)


def test_pyfais_histogram_differs_only_where_a_pixel_lies_on_an_edge(data_folder, tmp_path):
    """It keeps positions in single precision, which puts such pixels into the neighbouring bin."""
    import pyFAI

    poni, image = sample("ceria", data_folder, tmp_path)
    mask = image < 0
    geo = geometry_from_poni(poni, image.shape, polarisation_factor=POLARISATION)
    limits = (0.5, 8.0)
    integrator = Integrator(geo, split="no", mask=mask, limits=limits)
    intensity, _, _ = integrator(image)
    theirs = pyFAI.load(str(poni)).integrate1d_ng(
        image.astype(float), 2000, unit="q_A^-1", method=("no", "histogram", "cython"), mask=mask,
        polarization_factor=POLARISATION, radial_range=limits,
    )  # fmt: skip
    place = (geo.radial[~mask] - limits[0]) / (limits[1] - limits[0]) * 2000
    # its axis ends a few millionths of a degree elsewhere, too
    ends = np.abs(theirs.radial - integrator.axis).max() / (limits[1] - limits[0]) * 2000
    near = np.abs(place - np.rint(place)) < 2 * ends + 1e-3
    touched = {int(edge) + side for edge in np.rint(place[near]) for side in (-1, 0)}
    there = np.isfinite(intensity) & (intensity > 0)
    apart = np.zeros(2000)
    apart[there] = np.abs(theirs.intensity[there] / intensity[there] - 1)
    off = np.flatnonzero(apart > 1e-5)
    assert set(off.tolist()) <= touched


@pytest.mark.parametrize("number", [1, *(pytest.param(k, marks=pytest.mark.heavy) for k in (2, 3))])
def test_dioptas_patterns_of_magnetite(data_folder, tmp_path, number):
    """Dioptas flips images, splits by bbox, corrects for 0.99, and counts gaps as -1 and -2."""
    poni, image, pattern = magnetite(data_folder, tmp_path, number)
    geo = geometry_from_poni(
        poni, image.shape, unit="two_theta_deg", flip="vertical", polarisation_factor=POLARISATION
    )
    integrator = Integrator(geo, bins=len(pattern))
    intensity, _, _ = integrator(image.astype(np.float32))  # floats may be negative
    np.testing.assert_allclose(integrator.axis, pattern[:, 0], atol=1e-4)
    beyond = pattern[:, 0] > 2  # the header's PONI is rounded to 10 um, a tenth of a bin
    ratio = intensity[beyond] / pattern[beyond, 1]
    assert np.corrcoef(intensity[beyond], pattern[beyond, 1])[0, 1] > 0.99998
    assert np.median(ratio) == pytest.approx(1, abs=3e-4)
    assert ratio.std() < 2e-3
    # where gaps are left out, the level is higher by the share of the pixels that are gaps
    masked, _, _ = Integrator(geo, bins=len(pattern), mask=image < 0)(image)
    share = Integrator(geo, bins=len(pattern))((image >= 0).astype(np.float32))[0]
    gaps = Integrator(geo, bins=len(pattern))(np.where(image < 0, image, 0).astype(np.float32))[0]
    whole = Integrator(geo, bins=len(pattern))(np.ones(image.shape, np.float32))[0]
    inside = beyond & np.isfinite(masked)
    level = np.median(masked[inside] / pattern[inside, 1])
    assert 1.03 < level < 1.1
    again = masked * share / whole + gaps
    np.testing.assert_allclose(again[inside], intensity[inside], rtol=0.1)
    assert np.median(again[inside] / intensity[inside]) == pytest.approx(1, abs=2e-3)
