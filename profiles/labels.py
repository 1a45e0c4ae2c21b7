"""Labels of patterns, from a file: those given so far, and the answers of a script."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

KEYS = ("scan_index", "label")


@dataclass(frozen=True)
class Labels:
    """Labels by scan index.

    Parameters
    ----------
    scan_index : (m,) int64
    label : (m,) int64
        Index into `classes`.
    classes : tuple of str
        Empty where a file does not name them.
    run : str
        Uid of the run; "" where a file does not say.
    """

    scan_index: np.ndarray
    label: np.ndarray
    classes: tuple[str, ...] = ()
    run: str = ""


def read_labels(path: Path, classes: Sequence[str]) -> Labels:
    """Read an ``.npz`` or a ``.csv`` with `scan_index` and `label`.

    Parameters
    ----------
    path : Path
        A label is an index into `classes`, or a class's name. A CSV has a line with the names of
        its columns.
    classes : sequence of str
        For labels that are names where the file has no `classes`.

    Raises
    ------
    ValueError
        When there is no such file, or what is in it does not fit.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path} with labels")
    arrays = _npz(path) if path.suffix == ".npz" else _csv(path)
    missing = [key for key in KEYS if key not in arrays]
    if missing:
        raise ValueError(f"{path.name} has no {missing[0]!r}; it needs scan_index and label")
    index, label = np.ravel(arrays["scan_index"]), np.ravel(arrays["label"])
    own = tuple(str(name) for name in np.ravel(arrays.get("classes", np.array([], str))))
    names = list(own or classes)
    if len(index) != len(label):
        raise ValueError(f"{path.name} has {len(index)} scan_index and {len(label)} label")
    values = [_label(one, names, path) for one in label.tolist()]
    try:
        index = np.array([int(one) for one in index.tolist()], np.int64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path.name}: scan_index must be integers ({error})") from error
    run = str(arrays["run"]) if "run" in arrays else ""
    return Labels(index, np.array(values, np.int64), own, run)


def _label(value: Any, names: list[str], path: Path) -> int:
    text = str(value).strip()
    if text in names:
        return names.index(text)
    if text.lstrip("-").isdigit() and 0 <= int(text) < len(names):
        return int(text)
    raise ValueError(
        f"{path.name}: label must be one of {', '.join(names)} or its number, 0 to"
        f" {len(names) - 1}, got {text!r}"
    )


def _npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files if key != "patterns"}
    except (OSError, ValueError, EOFError, AttributeError) as error:
        raise ValueError(f"{path.name} is no readable .npz file: {error}") from error


def _csv(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            rows = list(reader)
            names = list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path.name} is no readable .csv file: {error}") from error
    return {key: np.array([row[key] or "" for row in rows]) for key in KEYS if key in names}


def write_labels(path: Path, **arrays: Any) -> Path:
    """Write labels to an ``.npz`` that appears whole or not at all; return its path."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, **arrays)
    partial.replace(path)
    return path
