"""The simulated powder images hold what the specimen says, as an integration finds it again."""

from types import SimpleNamespace

import numpy as np
import pytest

from flyback.devices.sim.cell_truth import CellTruth
from flyback.devices.sim.diffraction import SimDiffractionDetector
from flyback.models.diffraction.integrator import Integrator

SMALL = {"pixels": 200, "pixel_um": 400.0, "distance_mm": 100.0, "rate": "max", "exposure_s": 1.0}


class Specimen:
    def __init__(self, *phases, swelling=1.0):
        self.now, self.swelling = list(phases), swelling

    def phases(self):
        return self.now


def taken(detector, n=1):
    driver = detector.driver
    driver.arm(n, float(detector.exposure_s.get()), first_index=0, trigger="internal")
    return np.concatenate([block[2] for block in driver.blocks()])


def detector(specimen, **settings):
    return SimDiffractionDetector(name="xrd", specimen=specimen, **{**SMALL, **settings})


def pattern(detector, image, bins=600):
    geometry = detector.driver.image.geometry
    integrator = Integrator(geometry, bins=bins, mask=geometry.mask)
    intensity, sigma, _ = integrator(image)
    return integrator.axis, intensity, sigma


def area(axis, intensity, line, half=0.06):
    near = np.abs(axis - line) < half
    floor = np.median(np.r_[intensity[near][:4], intensity[near][-4:]])
    return float((intensity[near] - floor).sum())


def test_an_integrated_image_is_the_pattern_it_was_made_from():
    specimen = Specimen(("Pt", 0.5, 1.0), ("Li2Pt", 0.5, 1.0))
    fine = {"pixels": 400, "pixel_um": 200.0, "width_per_a": 0.02}
    made = detector(specimen, counts_per_s=20000.0, dark_per_s=0.0, **fine)
    axis, intensity, sigma = pattern(made, taken(made)[0])
    image = made.driver.image
    expected = 20000 * np.interp(
        axis, image.q_per_a, image.pattern({"Pt": (0.5, 1.0), "Li2Pt": (0.5, 1.0)})
    )
    good = np.isfinite(intensity) & (axis > 0.3) & (axis < 4)
    # pixels are as wide as the lines: these are blunted, and keep their areas
    away = np.abs(intensity - expected)[good] / np.hypot(sigma, 0.05 * expected)[good]
    assert np.median(away) < 1
    for line in (1.733, 2.774):
        found, there = area(axis, intensity, line, 0.075), area(axis, expected, line, 0.075)
        assert found == pytest.approx(there, rel=0.05)


def test_lines_grow_with_the_volume_and_move_with_the_cell():
    specimen = Specimen(("Pt", 1.0, 1.0), ("LiPt", 0.0, 1.0))
    made = detector(specimen, counts_per_s=20000.0)
    whole = area(*pattern(made, taken(made)[0])[:2], 2.774)
    specimen.now = [("Pt", 0.25, 1.0), ("LiPt", 0.75, 1.01)]
    axis, intensity, _ = pattern(made, taken(made)[0])
    assert area(axis, intensity, 2.774) == pytest.approx(0.25 * whole, rel=0.1)
    near = np.abs(axis - 1.487 / 1.01) < 0.05
    strongest = axis[near][np.argmax(intensity[near])]
    assert strongest == pytest.approx(1.487 / 1.01, abs=0.008)
    specimen.swelling = 2.0
    swollen = area(*pattern(made, taken(made)[0])[:2], 2.774)
    assert swollen == pytest.approx(0.5 * whole, rel=0.1)


def test_the_beams_current_the_exposure_and_the_dark_scale_counts():
    beam = SimpleNamespace(current_pa=SimpleNamespace(get=lambda: beam.now), now=10.0)
    made = detector(Specimen(("Pt", 1.0, 1.0)), beam=beam, dark_per_s=0.0)
    full = taken(made)[0].sum()
    beam.now = 5.0
    assert taken(made)[0].sum() == pytest.approx(full / 2, rel=0.02)
    beam.now = 0.0
    assert taken(made)[0].sum() == 0
    dark = detector(Specimen(), dark_per_s=3.0, background=0.0, windows={})
    assert taken(dark)[0].mean() == pytest.approx(3.0, rel=0.02)


def test_gaps_have_no_pixels_and_grains_make_rings_uneven_but_not_brighter():
    specimen = Specimen(("Pt", 1.0, 1.0))
    smooth = detector(specimen, counts_per_s=20000.0)
    spotty = detector(specimen, counts_per_s=20000.0, grains=0.3, gap_px=(10, 14))
    image = taken(spotty)[0]
    assert (image[10:14] == np.iinfo(image.dtype).max).all()
    np.testing.assert_array_equal(spotty.corrections["bad_pixels"][10:14], True)
    a, b = (area(*pattern(d, taken(d)[0])[:2], 2.774) for d in (smooth, spotty))
    assert b == pytest.approx(a, rel=0.05)
    ring = np.abs(spotty.driver.image.geometry.radial - 2.774) < 0.01
    even, uneven = taken(smooth)[0][ring], image[ring & (image < 1e9)]
    assert uneven.std() / uneven.mean() > even.std() / even.mean() + 0.05


def test_the_same_seed_gives_the_same_images_and_a_scan_cannot_time_them():
    specimen = Specimen(("Pt", 1.0, 1.0))
    first, second = (taken(detector(specimen, seed=4), 2) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first[0], first[1])
    with pytest.raises(RuntimeError, match="its own time"):
        detector(specimen).driver.arm(1, 1.0, first_index=0, trigger="external")
    with pytest.raises(ValueError, match="rate must be"):
        detector(specimen, rate="fast")


def test_the_truth_of_a_cell_is_read_when_it_is_triggered():
    cell = Specimen(("Pt", 0.2, 1.0), ("LiPt", 0.3, 1.004), ("Li2Pt", 0.5, 1.0), swelling=2.1)
    cell.composition = 1.3
    truth = CellTruth(name="truth", cell=cell)
    assert truth.trigger().done
    reading = {key: row["value"] for key, row in truth.read().items()}
    assert reading["truth_share_lipt"] == 0.3
    assert reading["truth_scale_lipt"] == 1.004
    assert reading["truth_swelling"] == 2.1
    assert reading["truth_lithium_per_pt"] == 1.3
