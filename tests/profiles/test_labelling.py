"""Answers and labels in files, and what `flyback label` refuses before it opens the store."""

import numpy as np
import pytest

from flyback.models.domains.sampling import STRATEGIES
from flyback.profiles.contact_sheet import blocks, save_sheet
from flyback.profiles.labelling import run_label, strategy_of
from flyback.profiles.labels import read_labels, write_labels
from flyback.profiles.registry import PluginError

CLASSES = ("+x", "-x", "c")


def test_both_kinds_of_file_say_the_same(tmp_path):
    (tmp_path / "a.csv").write_text("note, scan_index, label\n,7,-x\n,9,2\n", encoding="utf-8")
    write_labels(tmp_path / "a.npz", scan_index=[7, 9], label=["-x", "c"], classes=CLASSES, run="u")
    for name, run in (("a.csv", ""), ("a.npz", "u")):
        found = read_labels(tmp_path / name, CLASSES)
        assert found.scan_index.tolist() == [7, 9]
        assert found.label.tolist() == [1, 2]
        assert found.run == run
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".partial"] == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("scan_index,kind\n1,c\n", "has no 'label'"),
        ("", "has no 'scan_index'"),
        ("scan_index,label\n1,upwards\n", "must be one of .* or its number, 0 to 2, got 'upwards'"),
        ("scan_index,label\n1,3\n", "got '3'"),
        ("scan_index,label\n1\n", "got ''"),
        ("scan_index,label\n1.5,c\n", "scan_index must be integers"),
    ],
)
def test_unfit_answers(tmp_path, text, sentence):
    path = tmp_path / "odd.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=sentence):
        read_labels(path, CLASSES)


def test_unreadable_answers(tmp_path):
    for name, content in (("a.npz", b"PK nothing"), ("b.csv", b"\xff\xfe\x00")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="is no readable"):
            read_labels(tmp_path / name, CLASSES)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"classes": ["a", "a"]}, "two or more different names"),
        ({"classes": ["a", ""]}, "two or more different names"),
        ({"classes": ["a", "?"]}, "'\\?' has another meaning"),
        ({"classes": ["a", "1"]}, "'1' has another meaning"),
        ({"labels": 0}, "must be 1 or more, got 0"),
        ({"a_round": 0}, "must be 1 or more"),
        ({"strategy": "wals"}, "no strategy 'wals'; did you mean 'walls'"),
        ({"strategy": "domain_map"}, "no strategy 'domain_map'"),
    ],
)
def test_what_is_refused_at_once(tmp_path, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        run_label("last", directory=tmp_path / "store", **settings)
    assert not (tmp_path / "store").exists()


def test_files_that_there_are_not(tmp_path):
    with pytest.raises(ValueError, match="make it first"):
        run_label("last", directory=tmp_path, out=tmp_path / "no" / "where.npz")
    with pytest.raises(ValueError, match="there is no file"):
        run_label("last", directory=tmp_path, answers=tmp_path / "none.csv")


def test_a_strategy_by_name():
    assert strategy_of("walls") is STRATEGIES["walls"]
    with pytest.raises(PluginError, match="known: diverse, random, uncertainty, walls"):
        strategy_of("nearest")


@pytest.mark.parametrize("shape", [(64, 64), (21, 48), (200, 150)])
def test_blocks_show_the_disk(shape):
    pattern = np.zeros(shape)
    h, w = shape
    pattern[h // 2 - h // 8 : h // 2 + h // 8, w // 2 - w // 8 : w // 2 + w // 8] = 100
    lines = blocks(pattern).splitlines()
    assert len(lines) <= 22
    middle = lines[len(lines) // 2]
    assert "█" in middle
    assert "█" not in lines[0]
    assert middle.startswith(" ")
    assert set(blocks(np.zeros((8, 8)))) <= {" ", "\n"}


def test_a_sheet_with_and_without_positions(tmp_path):
    patterns = np.random.default_rng(0).poisson(3, (7, 16, 16)).astype(float)
    patterns[2] = np.nan
    places = np.random.default_rng(1).normal(size=(30, 2))
    places[3] = np.nan
    titles, rows = [str(k) for k in range(7)], np.arange(7)
    for positions, guess in ((None, None), (places, None), (places, np.arange(30) % 3)):
        path = save_sheet(
            tmp_path / "new" / "sheet.png", patterns, titles, positions=positions, chosen=rows,
            guess=guess,
        )  # fmt: skip
        assert path.read_bytes().startswith(b"\x89PNG")
