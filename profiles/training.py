"""``flyback train domains``: from labelled patterns to a network that `domains` can be given."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .registry import PluginError

EXTRA = 'training needs torch and onnx: python -m pip install "flyback[train]"'
try:
    from ..models.domains.export import export
    from ..models.domains.training import Labelled, Recipe, train
except ModuleNotFoundError as error:
    if error.name not in ("torch", "onnx"):
        raise
    raise PluginError(EXTRA) from error

KINDS = ("domains",)


def run_train(
    what: str,
    labelled: Path,
    out: Path | None = None,
    *,
    seed: int = 0,
    axes: str = "auto",
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Train a network and write it with its card.

    Parameters
    ----------
    what : str
        Only "domains".
    labelled : Path
        ``.npz`` with `patterns` (n, h, w) counts, `label` (n,) int, `classes` (k,) texts;
        optionally `angular_sampling_mrad`, and `group` (n,) int or `tilt_mrad` (n, 2): patterns of
        one group or one tilt are held out together.
    out : Path, optional
        ``.onnx``; by default beside the labelled patterns, under their name.
    seed : int
    axes : str
        How the classes' axes lie on the detector, see `models.domains.symmetry`.
    say : callable (str), optional
        Told how far it is.

    Returns
    -------
    dict
        What the JSON line holds.

    Raises
    ------
    ValueError
        For what cannot be trained, or an unfit file.
    """
    if what not in KINDS:
        raise ValueError(f"there is nothing to train called {what!r} (known: {', '.join(KINDS)})")
    target = labelled.with_suffix(".onnx") if out is None else out
    if target.suffix != ".onnx":
        raise ValueError(f"--out must end in .onnx, got {target}")
    if not target.parent.is_dir():
        raise ValueError(f"--out: the folder {target.parent} does not exist; make it first")
    patterns, sampling = read_labelled(labelled)
    trained = train(patterns, Recipe(seed=seed, axes=axes), say)
    command = ["flyback", "train", what, "--labelled", labelled.name, "--seed", str(seed)]
    command += [] if axes == "auto" else ["--axes", axes]
    classifier = export(
        trained,
        patterns.classes,
        target,
        patterns.patterns[:64],
        training_data=f"{labelled.name}: {len(patterns.label)} labelled patterns",
        remake=shlex.join(command),
        angular_sampling_mrad=sampling,
    )
    return {
        "model": str(target),
        "card": str(target.with_suffix(".toml")),
        "classes": list(patterns.classes),
        "patterns": len(patterns.label),
        "held_out": trained.held_out,
        "accuracy": round(trained.accuracy, 6),
        "accuracy_changed": round(trained.accuracy_changed, 6),
        "calibration_error": round(trained.calibration_error, 6),
        "unknown_fraction": round(trained.unknown_fraction, 6),
        "threshold": round(trained.threshold, 6),
        "error_rate": trained.error_rate,
        "axes": trained.axes,
        "seed": seed,
        "sha256": classifier.sha256,
        "seconds": round(trained.seconds, 2),
    }


def read_labelled(path: Path) -> tuple[Labelled, float | None]:
    """Return labelled patterns, and their angular sampling, mrad per pixel, where it is stated.

    Raises
    ------
    ValueError
        When the file is none, or holds other things.
    """
    if not path.is_file():
        raise ValueError(f"--labelled: there is no file {path}")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, AttributeError) as error:
        raise ValueError(f"{path.name} is no readable .npz file: {error}") from error
    missing = [key for key in ("patterns", "label", "classes") if key not in arrays]
    if missing:
        raise ValueError(f"{path.name} has no {missing[0]!r}; it needs patterns, label and classes")
    group = arrays.get("group")
    if group is None and "tilt_mrad" in arrays and len(arrays["tilt_mrad"]) == len(arrays["label"]):
        group = np.unique(arrays["tilt_mrad"], axis=0, return_inverse=True)[1].ravel()
    sampling = arrays.get("angular_sampling_mrad")
    classes = [str(name) for name in np.ravel(arrays["classes"])]
    labelled = Labelled(arrays["patterns"], arrays["label"], classes, group)
    return labelled, None if sampling is None else float(np.mean(sampling))
