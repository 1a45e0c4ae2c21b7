"""A network that names domains, opened once, checked before the first frame."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np

from .card import OPSETS, Card, read_card, sha256_of

WEIGHTS = Path(__file__).parent / "weights"
GROUP = "flyback.domain_networks"
BATCH = 64
_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


class NetworkError(ValueError):
    """A network cannot be used."""


class Classifier:
    """A network in ONNX with its card.

    Parameters
    ----------
    model : str or path
        An .onnx file, or the name of one that is installed (see `find`).
    threads : int or None
        Most threads of one call; None is as many as half the cores, one at least: a live analysis
        has company.

    Attributes
    ----------
    card : Card
    path : Path
    sha256 : str
    provider : str
        What the network runs on.

    Raises
    ------
    NetworkError
        When it is no usable network: not there, no ONNX, of an unknown opset, not of one input
        and one output, of another shape or number of classes than its card says, with weights
        that are not finite, or with outputs that are no probabilities.
    CardError
        When its card is missing, unreadable or of another network.
    """

    def __init__(self, model: str | os.PathLike[str], *, threads: int | None = None) -> None:
        if threads is not None and not 1 <= threads <= 1024:
            raise NetworkError(f"threads must lie between 1 and 1024, got {threads}")
        self.path = find(model)
        self.card: Card = read_card(self.path)
        self.sha256 = sha256_of(self.path)
        self._session = _open(self.path, threads or max(1, (os.cpu_count() or 2) // 2))
        self.provider = str(self._session.get_providers()[0])
        self._check()

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Return the probabilities (n, k) float32 of frames (n, h, w) float32, counts.

        Parameters
        ----------
        frames : (n, h, w) float32, counts
            Of the card's shape, finite.
        """
        frames = np.ascontiguousarray(frames, np.float32)
        parts = [
            np.asarray(self._session.run(None, {self._input: frames[i : i + BATCH]})[0])
            for i in range(0, len(frames), BATCH)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.card.classes)), np.float32)

    def _check(self) -> None:
        name, k = self.path.name, len(self.card.classes)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise NetworkError(
                f"{name} must have one input and one output, it has {len(inputs)} and"
                f" {len(outputs)}"
            )
        self._input = inputs[0].name
        if inputs[0].type != "tensor(float)":
            raise NetworkError(f"{name} must take float32 frames, it takes {inputs[0].type}")
        shape, wanted = list(inputs[0].shape), list(self.card.input_shape)
        fits = len(shape) == 3 and all(
            not isinstance(s, int) or s == c for s, c in zip(shape[1:], wanted, strict=True)
        )
        if not fits or isinstance(shape[0], int):
            raise NetworkError(
                f"{name} takes frames of shape {shape}, its card says [n, {wanted[0]}, {wanted[1]}]"
                " with any n; export it so or correct the card"
            )
        y, x = (np.arange(side) - side // 2 for side in self.card.input_shape)
        disk = 1e4 * np.exp(-(y[:, None] ** 2 + x**2) / (2 * (0.06 * len(y)) ** 2))
        rng = np.random.default_rng(0)
        probe = np.stack([disk, disk + 50, rng.poisson(np.roll(disk, 3, 0) + 5)]).astype(np.float32)
        try:
            said = self(probe)
        except Exception as error:  # onnxruntime has many
            raise NetworkError(f"{name} fails on a probe frame: {_first_line(error)}") from error
        if said.ndim != 2 or said.shape[1] != k:
            raise NetworkError(
                f"{name} gives {list(said.shape[1:])} numbers a frame, its card names {k} classes"
                f" ({', '.join(self.card.classes)}); correct classes"
            )
        if not np.all(np.isfinite(said)):
            raise NetworkError(f"{name} gives NaN on a probe frame: its weights are spoilt")
        if said.min() < 0 or said.max() > 1 or np.abs(said.sum(axis=1) - 1).max() > 1e-3:
            raise NetworkError(
                f"{name} gives no probabilities (rows must lie in 0 to 1 and sum to 1): put a"
                " softmax at its end"
            )


def _open(path: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4  # what is wrong comes as an exception, too
    # threads that spin between two batches would take the beam's cores
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = [p for p in _PROVIDERS if p in onnxruntime.get_available_providers()]
    try:
        opset, spoilt = _look_inside(path)
        if opset is not None and not OPSETS[0] <= opset <= OPSETS[1]:
            raise NetworkError(
                f"{path.name} has opset {opset}; flyback takes {OPSETS[0]} to {OPSETS[1]}: export"
                " it again"
            )
        if spoilt:
            raise NetworkError(f"{path.name} has weights that are not finite in {spoilt!r}")
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except NetworkError:
        raise
    except Exception as error:  # onnxruntime has many
        raise NetworkError(f"{path.name} cannot be opened: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def find(model: str | os.PathLike[str]) -> Path:
    """Return the .onnx file of a network.

    A path is taken as it is. A name is looked for among the built-in networks and in the folders
    that packages offer in the entry point group ``flyback.domain_networks``: each names a module
    whose folder holds NAME.onnx and NAME.toml.

    Raises
    ------
    NetworkError
        If there is none; the message lists those that there are.
    """
    text = os.fspath(model)
    path = Path(text)
    if path.suffix == ".onnx" or len(path.parts) > 1:
        path = path if path.suffix == ".onnx" else path.with_name(path.name + ".onnx")
        if not path.is_file():
            raise NetworkError(f"there is no network {path}; give the path of an .onnx file")
        return path
    known = {p.stem: p for folder in _folders(text) for p in sorted(folder.glob("*.onnx"))}
    if text not in known:
        raise NetworkError(
            f"there is no network {text!r} (known: {', '.join(sorted(known)) or 'none'}); give one"
            " of these or the path of an .onnx file, as `flyback train domains` writes it"
        )
    return known[text]


def _folders(wanted: str) -> Iterable[Path]:
    """Return the folders with networks; a later one counts where two have one name."""
    folders: list[Path] = []
    for entry in entry_points(group=GROUP):
        try:
            file = entry.load().__file__
        except Exception as error:
            raise NetworkError(
                f"the networks {entry.name!r} ({entry.value}) cannot be imported while looking for"
                f" {wanted!r}: {_first_line(error)}"
            ) from error
        folders.append(Path(file).parent)
    return [*folders, WEIGHTS]


def _look_inside(path: Path) -> tuple[int | None, str]:
    """Return the opset and the name of the first weights that are not finite."""
    return _opset_and_spoilt(path.read_bytes())


def _opset_and_spoilt(data: bytes) -> tuple[int | None, str]:
    opset, spoilt = None, ""
    for number, value in _fields(data):
        if number == 8 and isinstance(value, bytes):  # opset_import
            inner = dict(_fields(value))
            if not inner.get(1):  # the default domain
                opset = int(inner.get(2, 0))  # type: ignore[arg-type]
        if number == 7 and isinstance(value, bytes):  # graph
            spoilt = _spoilt(value)
    return opset, spoilt


def _spoilt(graph: bytes) -> str:
    for number, value in _fields(graph):
        if number != 5 or not isinstance(value, bytes):  # initializer
            continue
        tensor: dict[int, Any] = dict(_fields(value))
        raw = tensor.get(9)
        if tensor.get(2) == 1 and isinstance(raw, bytes):  # float32 in raw_data
            weights = np.frombuffer(raw[: len(raw) // 4 * 4], "<f4")
            if not np.all(np.isfinite(weights)):
                return bytes(tensor.get(8, b"?")).decode(errors="replace")
    return ""


def _fields(data: bytes) -> Sequence[tuple[int, int | bytes]]:
    """Return the (number, value) fields of a protobuf message: enough to read an ONNX file."""
    found: list[tuple[int, int | bytes]] = []
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, place = _varint(data, place)
            found.append((number, value))
            continue
        if kind == 2:
            size, place = _varint(data, place)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError("it is no ONNX file")
        if place + size > len(data):
            raise ValueError("the file is cut short")
        found.append((number, data[place : place + size]))
        place += size
    return found


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(data):
        byte = data[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
        if shift > 63:
            break
    raise ValueError("it is no ONNX file")
