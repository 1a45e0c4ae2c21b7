"""Files as they must not be: one sentence that names the quantity, or a result not trusted."""

import json

import numpy as np
import pytest

from flyback.tests.models.scenes import scene

VIEW = {"kind": "jittered", "n": 14, "step_px": 2.0, "defocus_m": 10e-9, "peak": 0.5}


@pytest.fixture
def written(tmp_path):
    def write(**changes):
        view = scene(**VIEW)
        content = {
            "frames": view.frames,
            "positions_m": view.positions_m,
            "radiation": "electron",
            "energy_kev": 200.0,
            "semi_convergence_angle_mrad": 20.0,
            "angular_sampling_mrad": view.metadata["angular_sampling_mrad"],
            "defocus_nm": 10.0,
            "scan_rotation_deg": 0.0,
        }
        changes = {k: v(content[k]) if callable(v) else v for k, v in changes.items()}
        content = {k: v for k, v in (content | changes).items() if v is not None}
        np.savez(tmp_path / "hostile.npz", **content)
        return tmp_path / "hostile.npz"

    return write


def with_value(rows, value):
    def change(array):
        array = np.array(array, float)
        array[rows] = value
        return array

    return change


REFUSED = {
    "no frames": ({"frames": lambda f: f[:0]}, "holds no frames"),
    "booleans": ({"frames": lambda f: f > 2}, "not numbers of counts"),
    "complex numbers": ({"frames": lambda f: f * 1j}, "save intensities"),
    "all dark": ({"frames": lambda f: f * 0}, "the frames hold no counts"),
    "all negative": ({"frames": lambda f: -1.0 * f}, "the frames hold no counts"),
    "all NaN": ({"frames": lambda f: f * np.nan}, "no frame can be used"),
    "a pixel always NaN": ({"frames": with_value((slice(None), 3, 4), np.nan)}, "bad_pixels"),
    "tiny frames": ({"frames": lambda f: f[:, 28:36, 28:36]}, "semi_convergence_angle_mrad must"),
    "fewer positions": ({"positions_m": lambda p: p[:50]}, "(50, 2) for 196 frames"),
    "more positions": ({"positions_m": lambda p: np.tile(p, (2, 1))}, "(392, 2) for 196"),
    "positions in space": (
        {"positions_m": lambda p: np.pad(p, ((0, 0), (0, 1)))},
        "(196, 3) for 196 frames; expected (196, 2)",
    ),
    "positions of NaN": ({"positions_m": with_value(3, np.nan)}, "1 of the 196 positions"),
    "energy 0": ({"energy_kev": 0.0}, "energy_kev must lie between"),
    "energy negative": ({"energy_kev": -80.0}, "energy_kev must lie between"),
    "energy absurd": ({"energy_kev": 1e9}, "energy_kev must lie between"),
    "energy of nothing": ({"energy_kev": 0.1}, "energy_kev must lie between 0.5 and 5000"),
    "energy NaN": ({"energy_kev": np.nan}, "'energy_kev' must be"),
    "energy in words": ({"energy_kev": "many"}, "'energy_kev' must be"),
    "angle off the detector": (
        {"semi_convergence_angle_mrad": 80.0},
        "semi_convergence_angle_mrad must lie between 0 and the detector's half width",
    ),
    "angle negative": ({"semi_convergence_angle_mrad": -1.0}, "between 0.001 and 500"),
    "sampling 0": ({"angular_sampling_mrad": 0.0}, "angular_sampling_mrad must be"),
    "another probe's shape": ({"probe": np.ones((32, 32), "c8")}, "has shape (1, 32, 32)"),
    "a probe of NaN": ({"probe": np.full((64, 64), np.nan, "c8")}, "probe must be finite"),
    "a dark probe": ({"probe": np.zeros((64, 64), "c8")}, "not all zero"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_one_sentence(flyback, written, name):
    changes, words = REFUSED[name]
    file = written(**changes)
    code, out, err = flyback(
        "play", file, "--analysis", "ptychography", "--analysis", "virtual_images", "--rate", "max"
    )
    assert (code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1
    assert words in err


PLAYED = {
    "one frame": ({"frames": lambda f: f[:1], "positions_m": lambda p: p[:1]}, "too few frames"),
    "saturated": ({"frames": lambda f: f * 0 + 65535}, "clipped: 196 of 196"),
    "some NaN": ({"frames": with_value((5, 1, 1), np.nan)}, "not finite: 1 frames"),
    "dark in the middle": ({"frames": with_value(slice(50, 90), 0)}, "dark frames: 40"),
    "negative": ({"frames": lambda f: f - 2.0}, "negative counts"),
    "a dead column": ({"frames": with_value((..., 30), 0)}, "dead columns: 30"),
    "one place": ({"positions_m": lambda p: p * 0 + p[0]}, "duplicate positions: 195"),
    "a place far off": ({"positions_m": with_value(7, 2e-8)}, "positions outside: 1 of 196"),
    "twice the camera length": ({"angular_sampling_mrad": lambda a: a / 2}, "camera length"),
    "the wrong side of focus": ({"defocus_nm": -10.0}, "defocus: the frames are explained better"),
    "twice the step": ({"positions_m": lambda p: 20 * p}, "undersampled"),
    "metres for micrometres": ({"positions_m": lambda p: 1e-3 * p}, "field: the scan spans"),
}


@pytest.mark.heavy
@pytest.mark.parametrize("name", PLAYED)
def test_it_is_played_and_not_trusted(flyback, written, tmp_path, name):
    changes, words = PLAYED[name]
    save = tmp_path / "out.npz"
    code, out, err = flyback(
        "play", written(**changes), "--analysis", "ptychography", "--analysis", "virtual_images",
        "--rate", "max", "--save", save, "--json", "--set", "ptychography.iterations=3",
    )  # fmt: skip
    assert code == 0, err
    assert "Traceback" not in err
    assert {a["name"] for a in json.loads(out.splitlines()[-1])["analyses"]} == {
        "ptychography",
        "virtual_images",
    }
    with np.load(save, allow_pickle=False) as saved:
        assert not saved["ptychography.trust"]
        assert words in " | ".join(saved["ptychography.trust_reasons"])
        assert np.isfinite(saved["ptychography.object"]).all()
        assert np.isfinite(saved["virtual_images.scan_rotation_deg"])


@pytest.mark.heavy
def test_a_position_a_metre_away_ends_one_analysis_alone(flyback, written, tmp_path):
    save = tmp_path / "out.npz"
    code, _, err = flyback(
        "play", written(positions_m=with_value(7, 1.0)), "--rate", "max", "--save", save,
        "--analysis", "ptychography,virtual_images",
    )  # fmt: skip
    assert code == 1
    assert "correct positions that lie far outside" in err
    assert "Traceback" not in err
    with np.load(save, allow_pickle=False) as saved:
        assert any("1 of 196 frames" in flag for flag in saved["virtual_images.flags"])
