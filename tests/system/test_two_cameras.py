"""Two detectors in one run: each analysis has the frames of its own, live and in replay."""

import numpy as np
import pytest

import flyback as fb
from flyback.profiles.schema import parse_profile
from flyback.tests.small_microscope import MICROSCOPE, SCAN


@pytest.mark.heavy
def test_each_analysis_has_the_frames_of_the_camera_that_it_names(tmp_path):
    devices = dict(MICROSCOPE["devices"])
    devices["second"] = {"plugin": "sim_pixel_detector", "beam": "@beam", "pixels": 48}
    analyses = {"virtual_images": {"camera": "second"}, "dose_map": {"camera": "camera"}}
    profile = parse_profile("two", {"devices": devices, "analyses": analyses})
    with fb.open(profile, tmp_path, progress=False, warm=False) as session:
        cameras = [session.camera, session.second]
        (uid,) = session.RE(session.plans.raster(cameras, session.scan_coils, **SCAN))
        live = {c.publisher.start["analysis"]: c for c in session.join(60)}
        again = fb.replay(uid, "virtual_images")
        first = fb.replay(uid, "virtual_images", camera="camera")
    assert live["virtual_images"].frames == live["dose_map"].frames == 900
    np.testing.assert_array_equal(again["bf"], live["virtual_images"].final["bf"].value)
    # other pixels, other noise: the frames of the other camera
    assert not np.array_equal(first["bf"], again["bf"])
