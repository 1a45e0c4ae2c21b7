"""What the source may not do with what comes from elsewhere, and where a key may stand."""

import ast
from dataclasses import replace
from pathlib import Path

import pytest

import flyback as fb
from flyback.profiles.schema import parse_profile
from flyback.profiles.store.catalog import CatalogError, open_catalog
from flyback.tests import tiled_server
from flyback.tests.small_microscope import MICROSCOPE, SCAN

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("callbacks", "devices", "models", "plans", "profiles")
# pipes between a session and the processes that it starts itself
PICKLE = {"profiles/worker_link.py", "profiles/worker_process.py"}
ARRAY_READERS = {"np.load", "numpy.load", "np.lib.format.read_array"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_MODULES = {"pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}


def sources():
    for room in ROOMS:
        yield from sorted((ROOT / room).rglob("*.py"))


def modules_of(node):
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    return {str(node.module).split(".")[0]} if isinstance(node, ast.ImportFrom) else set()


def wrongs(path):
    """Yield what a source may not do."""
    name = path.relative_to(ROOT).as_posix()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if name not in PICKLE and modules_of(node) & FORBIDDEN_MODULES:
            yield f"{name}: imports {modules_of(node)}"
        if isinstance(node, ast.Constant) and node.value in {"0.0.0.0", "::"}:
            yield f"{name}:{node.lineno} names every interface"
        if isinstance(node, ast.Call):
            what = ast.unparse(node.func)
            stated = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if what in FORBIDDEN_CALLS:
                yield f"{name}:{node.lineno} calls {what}"
            if what in ARRAY_READERS and stated.get("allow_pickle") != "False":
                yield f"{name}:{node.lineno} reads arrays that may be pickled"
            if what == "torch.load" and stated.get("weights_only") != "True":
                yield f"{name}:{node.lineno} unpickles a network"
            bound = what.endswith(".bind") and node.args and isinstance(node.args[0], ast.Tuple)
            if bound and not ast.unparse(node.args[0]).startswith("('127.0.0.1'"):
                yield f"{name}:{node.lineno} binds {ast.unparse(node.args[0])}"


def test_no_source_unpickles_evaluates_or_listens_on_every_interface():
    assert [wrong for path in sources() for wrong in wrongs(path)] == []


def test_the_scan_of_the_source_sees_what_it_is_for(tmp_path, monkeypatch):
    bad = "import pickle\nx = eval('1')\nnp.load(f)\ns.bind(('0.0.0.0', 1))\ntorch.load(f)\n"
    (tmp_path / "bad.py").write_text(bad)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert len(list(wrongs(tmp_path / "bad.py"))) == 6


def test_a_key_in_an_address_is_refused_and_not_repeated(monkeypatch):
    key = "abcdef0123456789-in-an-address"
    with pytest.raises(CatalogError, match="TILED_API_KEY") as raised:
        open_catalog(uri=f"http://127.0.0.1:9/?api_key={key}")
    assert key not in str(raised.value)
    monkeypatch.setenv("TILED_API_KEY", key)
    with pytest.raises(CatalogError, match="does not answer") as raised:
        open_catalog(uri="http://127.0.0.1:9")
    assert key not in str(raised.value)


@pytest.mark.heavy
def test_the_key_of_a_server_stands_in_nothing_that_is_written(
    tmp_path, monkeypatch, caplog, capfd
):
    profile = parse_profile("small", MICROSCOPE)
    key = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
    monkeypatch.setattr(tiled_server, "KEY", key)
    archive, root = tmp_path / "archive", tmp_path / "server"
    for folder in (root, archive / "frames", archive / "results"):
        folder.mkdir(parents=True)
    server = tiled_server.Server(root, archive / "frames", archive / "results")
    server.start()
    caplog.set_level("DEBUG")
    monkeypatch.setenv("TILED_API_KEY", key)
    try:
        with fb.open(replace(profile, store_uri=server.uri), archive, progress=False) as session:
            session.RE(session.plans.raster([session.camera], session.scan_coils, **SCAN))
            session.join(120)
            assert key not in repr(session.profile)
    finally:
        server.kill()
    written = [path for path in archive.rglob("*") if path.is_file()]
    assert len(written) > 5
    for path in written:
        assert key.encode() not in path.read_bytes(), path
    ours = [r.getMessage() for r in caplog.records]
    assert not [line for line in ours if key in line]
    out, err = capfd.readouterr()
    assert key not in out + err
