"""``--save OUT.npz``: every final quantity of every analysis as ``NAME.key``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..callbacks.live import LiveCallback


def check_target(path: str | os.PathLike[str]) -> Path:
    """Return where ``--save`` will write, before anything is acquired.

    Raises
    ------
    ValueError
        If its folder does not exist.
    """
    target = Path(path)
    if target.suffix != ".npz":
        target = target.with_name(target.name + ".npz")
    if not target.parent.is_dir():
        raise ValueError(f"--save: the folder {target.parent} does not exist; make it first")
    return target


def save_results(path: str | os.PathLike[str], callbacks: Iterable[LiveCallback]) -> Path:
    """Write the final quantities of analyses to an ``.npz`` file.

    It loads with ``allow_pickle=False``: texts are ``<U`` arrays. The file appears whole or not
    at all.

    Parameters
    ----------
    path : path
        ``.npz`` is added where it is missing.
    callbacks : iterable of LiveCallback

    Raises
    ------
    ValueError
        If its folder does not exist.
    """
    target = check_target(path)
    arrays: dict[str, Any] = {}
    for callback in callbacks:
        if callback.publisher is None or callback.error is not None:
            continue
        name = callback.publisher.start["analysis"]
        for key, quantity in callback.final.items():
            value = np.asarray(quantity.value)
            if value.dtype == object:
                raise TypeError(f"{name}.{key} is no array, number or text")
            if value.size == 0 and value.dtype.kind == "f" and isinstance(quantity.value, list):
                value = value.astype("<U1")  # an empty list of texts
            arrays[f"{name}.{key}"] = value
    partial = target.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, **arrays)
    partial.replace(target)
    return target
