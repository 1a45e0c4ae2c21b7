"""RE.md across sessions, crashes and damage."""

import json
import subprocess
import sys

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.plans import count

from flyback.profiles.metadata import MetadataError, PersistentMetadata


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metadata.json"


def scan_ids(RE, n):
    found = []
    token = RE.subscribe(lambda name, doc: found.append(doc["scan_id"]), "start")
    for _ in range(n):
        RE(count([], 1))
    RE.unsubscribe(token)
    return found


def test_scan_ids_go_on_in_the_next_session(path):
    assert scan_ids(RunEngine(PersistentMetadata(path)), 2) == [1, 2]
    again = PersistentMetadata(path)
    assert again["scan_id"] == 2
    assert scan_ids(RunEngine(again), 1) == [3]


def test_two_sessions_never_share_a_scan_id(path):
    first, second = (RunEngine(PersistentMetadata(path)) for _ in range(2))
    given = [i for _ in range(3) for RE in (first, second) for i in scan_ids(RE, 1)]
    assert given == [1, 2, 3, 4, 5, 6]


TAKE_IDS = """
import sys
from flyback.profiles.metadata import PersistentMetadata
md = PersistentMetadata(sys.argv[1])
for _ in range(20):
    md["scan_id"] = md.get("scan_id", 0) + 1
    print(md["scan_id"])
"""


def test_two_processes_never_share_a_scan_id(path):
    processes = [
        subprocess.Popen([sys.executable, "-c", TAKE_IDS, path], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    given = [int(line) for p in processes for line in p.communicate(timeout=60)[0].split()]
    assert sorted(given) == list(range(1, 41))


def test_other_values_persist_and_each_session_keeps_its_own(path):
    first, second = PersistentMetadata(path), PersistentMetadata(path)
    first["sample"], second["sample"] = "DyScO3", "SrTiO3"
    second["limits"] = np.arange(3)
    assert first["sample"] == "DyScO3"
    again = PersistentMetadata(path)
    assert dict(again) == {"sample": "SrTiO3", "limits": [0, 1, 2]}
    del again["sample"]
    assert list(PersistentMetadata(path)) == ["limits"]


def test_save_keeps_what_was_changed_inside(path):
    md = PersistentMetadata(path)
    md["column"] = {"kv": 200}
    md["scan_id"] = 4
    md["column"]["kv"] = 300
    md.save()
    assert dict(PersistentMetadata(path)) == {"column": {"kv": 300}, "scan_id": 4}


def test_a_scan_id_cannot_be_set_back_or_deleted(path):
    md = PersistentMetadata(path)
    md["scan_id"] = 41
    md["scan_id"] = 1
    assert md["scan_id"] == 42
    with pytest.raises(MetadataError, match="reuse"):
        del md["scan_id"]


def test_a_damaged_file_is_kept_and_its_predecessor_used(path, caplog):
    md = PersistentMetadata(path)
    md["scan_id"] = 7
    md["scan_id"] = 8
    path.write_text('{"scan_id": 8')
    again = PersistentMetadata(path)
    again["scan_id"] = again["scan_id"] + 1
    assert again["scan_id"] > 8
    assert "damaged" in caplog.text
    assert path.with_name("metadata.json.damaged-1").read_text() == '{"scan_id": 8'


@pytest.mark.parametrize("text", ["", "[1]", '{"scan_id": "many"}'])
def test_damage_without_a_predecessor_is_said(path, text):
    path.write_text(text)
    with pytest.raises(MetadataError, match="start scan ids again"):
        PersistentMetadata(path)
    assert path.read_text() == text


def test_a_crash_between_the_renames_loses_nothing(path):
    md = PersistentMetadata(path)
    md["scan_id"] = 3
    path.rename(path.with_name("metadata.json.previous"))
    assert PersistentMetadata(path)["scan_id"] == 3


def test_what_is_not_data_is_refused(path):
    md = PersistentMetadata(path)
    with pytest.raises(MetadataError, match="not object"):
        md["device"] = object()
    assert "device" not in md
    assert not path.exists() or "device" not in json.loads(path.read_text())


def test_an_unusable_place_is_said(tmp_path):
    blocked = tmp_path / "metadata.json"
    blocked.mkdir()
    with pytest.raises(MetadataError, match="cannot be used"):
        PersistentMetadata(blocked)
