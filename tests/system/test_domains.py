"""Train, play, and know the domains: the commands, as one would type them."""

import json

import numpy as np
import pytest

from flyback.models.domains.card import card_path
from flyback.profiles.compose import check_analysis
from flyback.profiles.registry import SettingError
from flyback.tests.models.small_network import frames_of, write_network


@pytest.fixture
def recording(tmp_path):
    truth = (np.arange(120).reshape(10, 12) % 12 > 5).astype(int)
    path = tmp_path / "map.npz"
    frames = frames_of(truth.ravel(), seed=2).reshape(10, 12, 16, 16)
    np.savez(path, frames=frames, step_m=1e-9, radiation="electron")
    return path, truth


@pytest.mark.heavy
def test_play_saves_the_domains(flyback, recording, tmp_path):
    path, truth = recording
    network = write_network(tmp_path / "small.onnx")
    out = tmp_path / "out.npz"
    code, said, err = flyback(
        "play", path, "--analysis", "domains", "--set", f"domains.model={network}",
        "--rate", "max", "--save", out, "--json",
    )  # fmt: skip
    assert code == 0, err
    assert json.loads(said.splitlines()[-1])["pictures"]
    with np.load(out, allow_pickle=False) as saved:
        np.testing.assert_array_equal(saved["domains.domain"], truth.ravel())
        assert saved["domains.domain_probability"].shape == (120, 4)
        assert saved["domains.classes"].tolist() == ["+x", "-x", "+y", "-y"]
        assert saved["domains.wall"].reshape(10, 12).any(axis=0).nonzero()[0].tolist() == [5, 6]
        live = dict(saved)
    code, _, err = flyback("replay", "last", "domains", "--save", out)
    assert code == 0, err
    with np.load(out, allow_pickle=False) as saved:
        assert saved.keys() == live.keys()
        for key, value in live.items():
            np.testing.assert_array_equal(saved[key], value, err_msg=key)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda n: n.unlink(), "there is no network"),
        (lambda n: card_path(n).unlink(), "has no card"),
        (lambda n: n.write_bytes(b"nothing"), "cannot be opened"),
        (lambda n: write_network(n, softmax=False), "put a softmax at its end"),
    ],
)
def test_an_unusable_network_is_told_before_anything_is_acquired(
    flyback, recording, tmp_path, spoil, says
):
    network = write_network(tmp_path / "small.onnx")
    spoil(network)
    code, out, err = flyback(
        "play", recording[0], "--analysis", "domains", "--set", f"domains.model={network}"
    )
    assert (code, out) == (2, "")
    assert says in err
    assert len(err.splitlines()) == 1
    with pytest.raises(SettingError, match=says):  # as a session does when it opens
        check_analysis("domains", {"model": str(network)})


def test_a_network_for_other_frames(flyback, tmp_path):
    path = tmp_path / "map.npz"
    np.savez(path, frames=np.ones((4, 5, 24, 24), np.uint16), step_m=1e-9)
    network = write_network(tmp_path / "small.onnx")
    code, out, err = flyback(
        "play", path, "--analysis", "domains", "--set", f"domains.model={network}"
    )
    assert (code, out) == (2, "")
    assert "takes frames of 16 x 16 pixels or a whole multiple, got 24 x 24" in err


@pytest.fixture
def extra():
    pytest.importorskip("torch", reason="the extra 'train' is not installed")
    pytest.importorskip("onnx", reason="the extra 'train' is not installed")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("phases", "--labelled", "l.npz"), "nothing to train called 'phases'"),
        (("domains", "--labelled", "l.npz"), "there is no file"),
        (("domains", "--labelled", "l.npz", "--out", "m.bin"), "must end in .onnx"),
        (("domains", "--labelled", "l.npz", "--out", "nowhere/m.onnx"), "does not exist"),
    ],
)
@pytest.mark.usefixtures("extra")
def test_train_tells_what_it_wants(flyback, arguments, says):
    code, _, err = flyback("train", *arguments)
    assert code == 2
    assert says in err


@pytest.mark.usefixtures("extra")
def test_train_wants_labelled_patterns(flyback, tmp_path):
    path = tmp_path / "l.npz"
    np.savez(path, patterns=np.ones((20, 16, 16)), label=np.zeros(20, int))
    code, _, err = flyback("train", "domains", "--labelled", path)
    assert (code, "no 'classes'" in err) == (2, True)
    path.write_bytes(b"PK nothing")
    code, _, err = flyback("train", "domains", "--labelled", path)
    assert (code, "no readable .npz" in err) == (2, True)


@pytest.mark.data
@pytest.mark.heavy
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("extra")
def test_the_reference_map(flyback, data_folder, tmp_path):
    folder, model, out = data_folder / "domains", tmp_path / "m.onnx", tmp_path / "out.npz"
    code, said, err = flyback(
        "train", "domains", "--labelled", folder / "train_labelled.npz",
        "--out", model, "--seed", "7", "--json",
    )  # fmt: skip
    assert code == 0, err
    report = json.loads(said.splitlines()[-1])
    assert report["accuracy"] > 0.97
    assert report["calibration_error"] < 0.03
    assert report["axes"] == "x along rows"
    assert model.stat().st_size < 1_000_000
    code, _, err = flyback(
        "play", folder / "test_map.npz", "--analysis", "domains",
        "--set", f"domains.model={model}", "--save", out,
    )  # fmt: skip
    assert code == 0, err
    with np.load(folder / "test_map.npz") as file:
        truth = file["label"].ravel()
    with np.load(out, allow_pickle=False) as saved:
        right, wall = saved["domains.domain"] == truth, saved["domains.wall"]
    assert np.mean([right[truth == k].mean() for k in np.unique(truth)]) > 0.97
    assert np.mean([right[wall & (truth == k)].mean() for k in np.unique(truth[wall])]) > 0.9
