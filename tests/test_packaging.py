import ast
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import flyback

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ROOMS = ("models", "devices", "plans", "callbacks", "profiles")


def test_the_list_of_packages_is_what_is_on_disk():
    found = {"flyback"}
    for room in ROOMS:
        for init in (ROOT / room).rglob("__init__.py"):
            found.add(".".join(["flyback", *init.parent.relative_to(ROOT).parts]))
    assert set(PYPROJECT["tool"]["setuptools"]["packages"]) == found


def test_every_entry_point_can_be_imported():
    for group, entries in PYPROJECT["project"]["entry-points"].items():
        for value in entries.values():
            module, _, attribute = value.partition(":")
            assert hasattr(import_module(module), attribute), f"{group}: {value}"


def test_no_file_is_longer_than_the_house_allows():
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            assert lines <= 400, f"{path.relative_to(ROOT)} has {lines} lines"


KERNELS = sorted(path.relative_to(ROOT) for path in (ROOT / "models").rglob("*kernels.py"))


def test_every_module_of_kernels_is_under_the_contract_of_kernels():
    contracts = PYPROJECT["tool"]["importlinter"]["contracts"]
    named = next(c["source_modules"] for c in contracts if c["name"].startswith("kernels"))
    assert named == [".".join(["flyback", *path.with_suffix("").parts]) for path in KERNELS]


@pytest.mark.parametrize("path", KERNELS, ids=str)
def test_kernels_import_numba_numpy_and_math_only(path):
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    outside = {n.names[0].name for n in ast.walk(tree) if isinstance(n, ast.Import)}
    outside |= {
        str(n.module) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and not n.level
    }
    roots = {name.partition(".")[0] for name in outside}
    plain = {"__future__", "collections", "dataclasses", "math", "typing"}
    assert roots <= plain | {"numba", "numpy", "rocket_fft"}


def test_importing_flyback_is_cheap_and_lazy():
    code = (
        "import sys, flyback; "
        "heavy = {'numba', 'tiled', 'bluesky', 'matplotlib', 'scipy', 'h5py'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_an_unknown_name_of_the_face_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'opn'"):
        _ = flyback.opn
    assert {"open", "replay", "Session"} <= set(dir(flyback))
