"""Changed files end in a sentence: a short, seeded part of ``tests/bench/fuzz.py``."""

import random
import warnings

import msgpack
from hypothesis import given, settings
from hypothesis import strategies as st

from flyback.callbacks.journal import HEADER
from flyback.tests.fuzzing import case, changed, changed_journal, finding, seeds

SAFE_HERE = {".json", ".jsonl", ".msgpack", ".journal", ".npz"}  # no library in C that may end us


def test_changed_files_are_read_or_refused(tmp_path):
    sources = [path for path in seeds(tmp_path) if path.suffix in SAFE_HERE]
    (tmp_path / "cases").mkdir()
    found = {}
    for number in range(300):
        target, source = case(sources, number, tmp_path / "cases")
        what = finding(target)
        if what:
            found[source.name, number] = what
    assert not found


LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.binary()


@given(
    st.recursive(
        LEAVES | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text() | st.integers(-9, 9), x),
        max_leaves=12,
    )
)
@settings(max_examples=80, deadline=None)
def test_records_with_right_checksums_and_wrong_content(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("journal")
    bodies = [bytes(msgpack.packb(x) or b"") for x in (content, ["start", content])]
    for number, body in enumerate([*bodies, changed(bodies[1], random.Random(1))]):
        path = folder / f"{number}.journal"
        path.write_bytes(changed_journal([body], random.Random(number)))
        assert path.read_bytes().startswith(HEADER)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert finding(path) is None
