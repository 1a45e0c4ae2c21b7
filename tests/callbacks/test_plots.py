import io
import threading

import numpy as np
import pytest
from matplotlib.figure import Figure

from flyback.callbacks.growth import GrowthStrip
from flyback.callbacks.plots import Pictures, images, placement, save_picture, scanned_box
from flyback.callbacks.progress import Progress
from flyback.models.base import Quantity


def result(shape=(40, 60), units="m", scale=1e-11):
    positions = np.stack(np.meshgrid(np.arange(5.0, 30), np.arange(8.0, 50), indexing="ij"), -1)
    return {
        "object_phase": Quantity(np.random.default_rng(0).normal(size=shape), "rad", ("y", "x")),
        "object": Quantity(np.ones(shape, np.complex64), "", ("y", "x")),
        f"object_pixel_{units}": Quantity(np.array([1.0, 1.0]) * scale, units, ("yx",)),
        f"object_origin_{units}": Quantity(np.zeros(2), units, ("yx",)),
        f"positions_{units}": Quantity(positions.reshape(-1, 2) * scale, units, ("frame", "yx")),
        "n_frames": Quantity(1050),
    }


def test_only_real_pictures_are_drawn():
    assert list(images(result())) == ["object_phase"]


def test_what_is_shown_is_where_the_beam_has_been():
    found = result()
    place = placement("object_phase", found)
    assert place.unit == "nm"
    assert scanned_box(found, place) == pytest.approx((0.08, 0.49, 0.29, 0.05))


def texts(figure):
    return [t.get_text() for t in figure.findobj() if hasattr(t, "get_text") and t.get_text()]


@pytest.mark.parametrize(("units", "scale", "bar"), [("m", 1e-11, "1 Å"), ("px", 1.0, "10 px")])
def test_a_picture_has_a_scale_bar_and_a_unit(tmp_path, monkeypatch, units, scale, bar):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path: drawn.append(texts(self)))
    save_picture(tmp_path / "x.png", result(units=units, scale=scale), "title")
    assert {bar, "rad", "phase", "title"} <= set(drawn[0])


def test_pictures_of_nothing_but_nan_can_be_drawn(tmp_path):
    found = result()
    found["object_phase"] = Quantity(np.full((40, 60), np.nan), "rad", ("y", "x"))
    path = save_picture(tmp_path / "x.png", found, "")
    assert path is not None
    assert path.read_bytes().startswith(b"\x89PNG")


class Callback:
    def __init__(self):
        self.start = {"uid": "0123456789", "num_points": 1000, "plan_name": "raster"}
        self.frames, self.finished, self.result_ = 0, False, result()
        self.publisher = type("P", (), {"uid": "u", "start": {"analysis": "a"}})()


def test_live_pictures_are_rate_limited_and_a_final_one_is_always_made(tmp_path):
    pictures, callback = Pictures(tmp_path, period_s=1e6), Callback()
    for _ in range(5):
        pictures(callback)
    assert list(tmp_path.iterdir()) == []
    callback.finished = True
    pictures(callback)
    assert [p.name for p in pictures.saved] == ["01234567-a.png"]
    eager = Pictures(tmp_path, period_s=0.0)
    callback.finished = False
    eager(callback)
    eager.close()
    assert (tmp_path / "live-a.png").is_file()
    pictures.close()


def test_an_analysis_does_not_wait_for_a_picture_on_the_way(tmp_path, monkeypatch):
    drawn, go_on = threading.Event(), threading.Event()

    def slow(path, result, title):
        drawn.set()
        go_on.wait(60)
        titles.append(title)

    titles = []
    monkeypatch.setattr("flyback.callbacks.plots.save_picture", slow)
    pictures, callback = Pictures(tmp_path, period_s=0.0), Callback()
    callback.finished, callback.frames = False, 1
    pictures(callback)
    assert drawn.wait(60)
    callback.frames = 2
    pictures(callback)  # is left out: the first is still being drawn
    go_on.set()
    callback.finished, callback.frames = True, 3
    pictures(callback)
    assert len(titles) == 2
    assert titles[1].endswith("3 frames")
    pictures.close()


def test_the_strip_keeps_one_image_a_part(tmp_path):
    strip, callback = GrowthStrip("object_phase", (0.2, 0.5, 1.0)), Callback()
    for frames in range(0, 1001, 100):
        callback.frames, callback.finished = frames, frames == 1000
        strip(callback)
    assert len(strip.kept) == 3
    assert strip.save(tmp_path / "strip.png").is_file()
    assert GrowthStrip("object_phase").save(tmp_path / "none.png") is None


def test_progress_counts_frames_and_dose():
    file = io.StringIO()
    bar = Progress(file)
    bar("start", {"uid": "r", "num_points": 100, "plan_name": "raster", "dose_e_per_a2": 50.0})
    bar("stream_resource", {"uid": "f", "data_key": "camera_frames"})
    bar("stream_datum", {"stream_resource": "f", "indices": {"start": 0, "stop": 100}})
    bar("stream_datum", {"stream_resource": "other", "indices": {"start": 0, "stop": 100}})
    bar("stop", {"run_start": "r"})
    assert "100/100" in file.getvalue()
    assert "50 of 50 e/Å²" in file.getvalue()
