"""Write a trained network as NAME.onnx with its card NAME.toml, and check it.

Importing this file imports torch and onnx: it belongs to the extra `train`.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch

from .card import Card, card_path, sha256_of
from .classifier import Classifier
from .symmetry import IN_PLANE
from .training import Trained

OPSET = 17
CLOSE = 1e-4  # how far onnxruntime may be from torch, in probability
PREPROCESSING = (
    "in the network: centred on the central disk, brought onto 32 x 32 points, put to one dose,"
    " square root, even and odd part about the centre"
)


def export(
    trained: Trained,
    classes: Sequence[str],
    path: Path,
    probe: np.ndarray,
    *,
    training_data: str,
    remake: str,
    angular_sampling_mrad: float | None = None,
) -> Classifier:
    """Write the network and its card, and open them.

    Parameters
    ----------
    trained : Trained
    classes : sequence of str
    path : Path
        Ends in ``.onnx``.
    probe : (n, h, w), counts
        Frames on which torch and onnxruntime must agree.
    training_data, remake : str
        For the card.
    angular_sampling_mrad : float, optional
        Of the frames.

    Raises
    ------
    RuntimeError
        When onnxruntime does not agree with torch to 1e-4.
    """
    frames = np.ascontiguousarray(probe, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's about its own exporter
        torch.onnx.export(
            trained.network,
            (torch.from_numpy(frames[:2]),),
            str(path),
            input_names=["frames"],
            output_names=["probability"],
            dynamic_axes={"frames": {0: "n"}, "probability": {0: "n"}},
            opset_version=OPSET,
            dynamo=False,
        )
    onnx.checker.check_model(str(path), full_check=True)
    card = Card(
        classes=tuple(str(c) for c in classes),
        input_shape=(int(probe.shape[1]), int(probe.shape[2])),
        sha256=sha256_of(path),
        threshold=trained.threshold,
        error_rate=trained.error_rate,
        temperature=float(trained.network.temperature),
        opset=OPSET,
        angular_sampling_mrad=angular_sampling_mrad,
        directions_deg={c: _angle(c) for c in map(str, classes) if c in IN_PLANE} or None,
        preprocessing=PREPROCESSING,
        training_data=training_data,
        accuracy=(
            f"balanced accuracy {trained.accuracy:.4f} of {trained.held_out // 2} held-out patterns"
            f" ({trained.accuracy_changed:.4f} of mildly changed ones), expected calibration error"
            f" {trained.calibration_error:.4f}"
        ),
        licence="that of the training data",
        remake=remake,
    )
    card_path(path).write_text(card.to_toml(), encoding="utf-8")
    classifier = Classifier(path)
    with torch.no_grad():
        said = trained.network(torch.from_numpy(frames)).numpy()
    apart = float(np.abs(classifier(frames) - said).max())
    if apart > CLOSE:
        raise RuntimeError(f"onnxruntime differs from torch by {apart:.2g}; report this as a bug")
    return classifier


def _angle(name: str) -> float:
    return {"+x": 0.0, "+y": 90.0, "-x": 180.0, "-y": 270.0}[name]
