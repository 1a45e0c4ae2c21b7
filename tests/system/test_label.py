"""`flyback label`: few labels of a stored run, by a person or by a script."""

import csv
import json

import numpy as np
import pytest

from flyback.models.domains.patterns import Conditions, simulate_patterns
from flyback.models.domains.specimen import Lamella
from flyback.profiles.labelling import run_label

pytestmark = pytest.mark.heavy

SIDE, CLASSES = 16, ("+x", "-x", "c")


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Stripes of three classes; the truth by scan index; one frame is dark."""
    specimen = Lamella(
        variants=("+x", "-x", "+z"), width_nm=6.0, normal_deg=45.0, bend_mrad_per_nm=0.03
    )
    along = (np.arange(SIDE) - SIDE / 2) * 1.2
    positions = np.stack(np.meshgrid(along, along, indexing="ij"), axis=-1).reshape(-1, 2)
    local, truth = specimen.at(positions), specimen.truth(positions)
    conditions = Conditions(
        thickness_nm=local.thickness_nm, tilt_mrad=local.tilt_mrad, dose_e_per_pattern=3e3
    )
    frames = simulate_patterns("PbTiO3", local.fractions, conditions, pixels=32, seed=2)
    frames[37] = 0
    path = tmp_path_factory.mktemp("recorded") / "stripes.npz"
    np.savez(
        path, frames=frames.reshape(SIDE, SIDE, 32, 32), step_m=1.2e-9, radiation="electron",
        energy_kev=300.0, angular_sampling_mrad=0.5, semi_convergence_angle_mrad=1.5,
    )  # fmt: skip
    return path, frames, truth.label


@pytest.fixture
def stored(flyback, recording, tmp_path):
    """The recording in the store; the answers in both kinds of file."""
    path, frames, truth = recording
    code, _, err = flyback("play", path, "--rate", "max")
    assert code == 0, err
    np.savez(tmp_path / "answers.npz", scan_index=np.arange(len(truth)), label=truth)
    with (tmp_path / "answers.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["scan_index", "label"])
        writer.writerows([i, CLASSES[k]] for i, k in enumerate(truth))
    return frames, truth


def test_a_script_labels_and_goes_on(flyback, stored, tmp_path):
    frames, truth = stored
    out = tmp_path / "labels.npz"
    asked = ("label", "last", "--classes", ",".join(CLASSES), "--out", out, "--json")
    code, text, err = flyback(*asked, "--answers", tmp_path / "answers.npz", "--labels", 12)
    assert code == 0, err
    report = json.loads(text.splitlines()[-1])
    assert report["labelled"] == 12
    assert report["patterns"] == SIDE**2
    assert "round 2: 12 labels" in text
    first = set(np.load(out)["scan_index"].tolist())

    code, text, err = flyback(*asked, "--answers", tmp_path / "answers.csv", "--labels", 36)
    assert code == 0, err
    assert "going on from" in text
    report = json.loads(text.splitlines()[-1])
    assert sum(report["by_class"].values()) == report["labelled"] == 36
    with np.load(out, allow_pickle=False) as file:
        labels = dict(file)
    assert first < set(labels["scan_index"].tolist())
    assert 37 not in labels["scan_index"]
    np.testing.assert_array_equal(labels["label"], truth[labels["scan_index"]])
    np.testing.assert_array_equal(labels["patterns"], frames[labels["scan_index"]])
    assert labels["classes"].tolist() == list(CLASSES)
    with np.load(report["map"], allow_pickle=False) as file:
        found = dict(file)
    lit = found["scan_index"] != 37
    assert np.mean(found["domain"][lit] == truth[lit]) > 0.85
    assert found["domain"][37] == -1
    assert found["domain_image"].shape == (SIDE, SIDE)
    assert found["wall"].any()
    (picture,) = report["pictures"]
    with open(picture, "rb") as file:
        assert file.read(4) == b"\x89PNG"


def test_training_takes_the_labels(flyback, stored, tmp_path):
    pytest.importorskip("torch", reason="the extra 'train' is not installed")
    pytest.importorskip("onnx", reason="the extra 'train' is not installed")
    from flyback.profiles.training import read_labelled

    out = tmp_path / "labels.npz"
    code, _, err = flyback(
        "label", "last", "--classes", ",".join(CLASSES), "--out", out, "--labels", 60,
        "--answers", tmp_path / "answers.npz", "--strategy", "random",
    )  # fmt: skip
    assert code == 0, err
    labelled, sampling = read_labelled(out)
    assert len(labelled.label) == 60
    assert sampling == pytest.approx(0.5)


@pytest.mark.usefixtures("stored")
def test_a_person_skips_errs_ends_and_loses_nothing(tmp_path):
    said, out = [], tmp_path / "labels.npz"
    replies = iter(["nonsense", "?", "1", "-x", "c", "."])

    def session(ask):
        return run_label(
            "last", classes=CLASSES, out=out, directory=tmp_path / "store", ask=ask,
            say=said.append,
        )  # fmt: skip

    report = session(lambda text: next(replies))
    assert report["by_class"] == {"+x": 1, "-x": 1, "c": 1}
    assert any("not 'nonsense'" in line for line in said)
    assert any(set(line) & set("░▒▓█") for line in said)
    (sheet,) = (tmp_path / "store" / "pictures").glob("*-labels/after-000.png")
    assert f"patterns to label: {sheet}" in said

    def interrupt(text):
        if "2:" in text:
            raise KeyboardInterrupt
        return "c"

    with pytest.raises(KeyboardInterrupt):
        session(interrupt)
    assert said[-1].startswith("4 labels are in")
    with np.load(out) as file:
        assert len(file["label"]) == 4

    def nobody(text):
        raise EOFError

    assert session(nobody)["labelled"] == 4


@pytest.mark.usefixtures("stored")
def test_bad_input(flyback, tmp_path):
    out = tmp_path / "labels.npz"

    def sentence(*arguments):
        code, _, err = flyback("label", "last", *arguments)
        assert code == 2
        assert len(err.strip().splitlines()) == 1
        return err

    assert "no strategy 'wals'; did you mean 'walls'?" in sentence("--strategy", "wals")
    (tmp_path / "odd.csv").write_text("scan_index,label\n9999,c\n")
    assert "nothing was labelled" in sentence("--answers", tmp_path / "odd.csv", "--out", out)
    np.savez(out, scan_index=[1], label=[0], classes=["a", "b"])
    assert "give --classes so" in sentence("--out", out)
    np.savez(out, scan_index=[1], label=[0], classes=CLASSES, run="another")
    assert "labels of run another" in sentence("--out", out, "--classes", "+x,-x,c")
    np.savez(out, scan_index=[9999], label=[0], classes=CLASSES)
    assert "a label of frame 9999" in sentence("--out", out, "--classes", "+x,-x,c")
    out.write_bytes(b"PK nothing")
    assert "no readable .npz" in sentence("--out", out)
