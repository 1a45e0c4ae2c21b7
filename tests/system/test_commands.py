"""The outside interface, as scripts at facilities rely on it."""

import json

import numpy as np
import pytest

CIRCLE = np.hypot(*np.mgrid[-16:16, -16:16]) < 8


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A small electron raster: a disk that moves with the gradient of nothing in particular."""
    rng = np.random.default_rng(5)
    frames = rng.poisson(20 * CIRCLE, (8, 10, 32, 32)).astype(np.uint16)
    path = tmp_path_factory.mktemp("recorded") / "small.npz"
    np.savez(
        path,
        frames=frames,
        step_m=2e-11,
        radiation="electron",
        energy_kev=80.0,
        angular_sampling_mrad=2.5,
        semi_convergence_angle_mrad=20.0,
    )
    return path


def last_object(out):
    return json.loads(out.splitlines()[-1])


@pytest.mark.heavy
def test_play_save_replay_show(flyback, recording, tmp_path):
    save = tmp_path / "out.npz"
    code, out, err = flyback(
        "play", recording, "--analysis", "virtual_images,ptychography", "--rate", "max",
        "--set", "ptychography.iterations=2", "--save", save, "--json",
    )  # fmt: skip
    assert code == 0, err
    report = last_object(out)
    assert set(report) == {"runs", "analyses", "pictures", "warnings", "seconds"}
    (run,) = report["runs"]
    assert (run["plan"], run["frames"], run["exit_status"]) == ("points", 80, "success")
    assert {a["name"] for a in report["analyses"]} == {"virtual_images", "ptychography"}
    assert all(a["parent"] == run["uid"] and a["error"] is None for a in report["analyses"])
    with np.load(save, allow_pickle=False) as saved:
        assert saved["ptychography.object"].dtype == np.complex64
        assert saved["ptychography.probe"].shape == (1, 32, 32)
        assert saved["virtual_images.com_mrad"].shape == (80, 2)
        assert saved["virtual_images.bf"].shape == (8, 10)
        live = dict(saved)

    again = tmp_path / "again.npz"
    for source in ("catalogue", "journal"):
        code, out, err = flyback(
            "replay", "last", "ptychography", "--from", source, "--save", again, "--json"
        )
        assert code == 0, err
        assert last_object(out)["runs"][0]["uid"] == run["uid"]
        with np.load(again, allow_pickle=False) as saved:
            np.testing.assert_array_equal(saved["ptychography.object"], live["ptychography.object"])

    code, out, _ = flyback("replay", run["uid"][:8], "ptychography", "--set", "rpie_alpha=0.5")
    assert code == 0

    code, out, _ = flyback("ls", "--json")
    (row,) = json.loads(out)["runs"]
    assert row["uid"] == run["uid"]
    assert row["analyses"] == ["ptychography", "virtual_images"]
    code, out, _ = flyback("show", "last")
    assert code == 0
    assert "rpie_alpha = 0.5" in out
    code, out, _ = flyback("doctor", "--json")
    assert code == 0, out
    assert {c["name"] for c in json.loads(out)["checks"]} >= {
        "catalogue",
        "media types",
        "readable storage",
        "JIT threading layer",
        "numba",
    }


def test_what_is_missing_is_asked_for_by_name_before_anything_runs(flyback, recording, tmp_path):
    with np.load(recording) as whole:
        parts = {k: whole[k] for k in whole if k != "energy_kev"}
    path = tmp_path / "no_energy.npz"
    np.savez(path, **parts)
    code, out, err = flyback("play", path, "--analysis", "ptychography")
    assert code == 2
    assert "--set energy_kev=80" in err or "energy_kev" in err
    assert len(err.strip().splitlines()) == 1
    code, out, _ = flyback("ls", "--json")
    assert json.loads(out)["runs"] == []
    code, _, err = flyback(
        "play", path, "--analysis", "ptychography", "--set", "energy_kev=80",
        "--set", "ptychography.method=single_sideband",
    )  # fmt: skip
    assert code == 0, err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["play", "nowhere.npz"], "nowhere.npz"),
        (["play", "FILE", "--analysis", "ptychograpy"], "did you mean 'ptychography'"),
        (["play", "FILE", "--set", "energy_kv=80"], "did you mean 'energy_kev'"),
        (["play", "FILE", "--set", "virtual_images.inner=80"], "no setting of the analysis"),
        (["play", "FILE", "--set", "nonsense"], "KEY=VALUE"),
        (["play", "FILE", "--rate", "-3"], "--rate is a positive number"),
        (["play", "FILE", "--save", "no/such/folder/x.npz"], "no/such/folder does not exist"),
        (["play", "FILE", "--profile", "nobody"], "no profile 'nobody'"),
        (["play", "FILE", "--analysis", ","], "--analysis needs"),
        (["run", "sim_microscope", "rastr"], "did you mean 'raster'"),
        (["run", "sim_microscope", "raster", "--set", "fov=2"], "no metadata key 'fov'"),
        (["demo", "telescope"], "no demonstration 'telescope'"),
        (["replay", "last", "ptychography"], "does not hold"),
        (["replay", "last", "ptychography", "--from", "tape"], "'catalogue' or 'journal'"),
        (["show", "abcdef0123"], "no run 'abcdef0123'"),
        (["no-such-command"], "No such command"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_status_2(flyback, recording, arguments, sentence):
    arguments = [recording if a == "FILE" else a for a in arguments]
    code, _, err = flyback(*arguments)
    assert code == 2
    assert sentence in err
    assert len(err.strip().splitlines()) == 1


def test_a_failed_analysis_leaves_the_run_a_success_and_exits_1(flyback, recording, tmp_path):
    """Frames that turn negative half-way through, which no rehearsal can see."""
    with np.load(recording) as whole:
        parts = dict(whole)
    parts["frames"] = parts["frames"].astype(np.float32)
    parts["frames"][4:, :, 3, 3] = np.nan
    path = tmp_path / "nan.npz"
    np.savez(path, **parts)
    code, out, err = flyback("play", path, "--analysis", "ptychography", "--json")
    report = last_object(out)
    assert report["runs"][0]["exit_status"] == "success"
    if code == 0:  # a flagged result is as good as an error
        assert report["warnings"]
    else:
        assert code == 1
        assert report["analyses"][0]["exit_status"] == "fail"
        assert "NaN" in report["analyses"][0]["error"] or "finite" in report["analyses"][0]["error"]
        assert "the analysis ptychography failed" in err


def test_a_truncated_file_is_refused(flyback, recording, tmp_path):
    path = tmp_path / "cut.npz"
    path.write_bytes(recording.read_bytes()[:5000])
    code, _, err = flyback("play", path)
    assert code == 2
    assert "cut.npz" in err


def test_a_directory_that_cannot_be_used_is_said(flyback, recording, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    code, _, err = flyback("play", recording, "--directory", tmp_path / "file")
    assert code in (1, 2)
    assert "--directory" in err
    assert len(err.strip().splitlines()) == 1
