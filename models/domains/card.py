"""The card beside a network, NAME.toml: what it takes, what it says, and how far to believe it."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

OPSETS = (13, 25)


class CardError(ValueError):
    """A card is missing, unreadable, incomplete or about another network."""


@dataclass(frozen=True)
class Card:
    """What is to be known of a network.

    Parameters
    ----------
    classes : tuple of str
        Names, in the order of the network's outputs. ``+x``, ``-x``, ``+y``, ``-y`` are senses of
        the polarisation in the plane; see `directions_deg` for others.
    input_shape : (h, w)
        Of the frames that the network takes, counts, zero frequency near ``[h // 2, w // 2]``.
        Larger frames by a whole factor are binned before.
    sha256 : str
        Of the .onnx file; "" is not checked.
    threshold : float
        Least probability at which a class is believed; below it, the domain is unknown.
    error_rate : float
        Stated share of errors among what is believed.
    temperature : float
        Of the softmax; it is inside the network, and stated here for the record.
    opset : int
        Of the network.
    angular_sampling_mrad : float or None
        Of the frames that it takes, mrad per pixel.
    directions_deg : mapping of str to float
        Angle of a class' polarisation in the plane; classes that are not named have none there.
    least_counts : float
        A frame with fewer counts is unknown.
    input_units, preprocessing, training_data, accuracy, licence, remake : str
        In words.
    """

    classes: tuple[str, ...]
    input_shape: tuple[int, int]
    sha256: str = ""
    threshold: float = 0.0
    error_rate: float = 0.01
    temperature: float = 1.0
    opset: int = 17
    angular_sampling_mrad: float | None = None
    directions_deg: Mapping[str, float] | None = None
    least_counts: float = 1.0
    input_units: str = "counts"
    preprocessing: str = ""
    training_data: str = ""
    accuracy: str = ""
    licence: str = ""
    remake: str = ""

    def __post_init__(self) -> None:
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes):
            raise CardError(f"classes must be two or more different names, got {self.classes}")
        if len(self.input_shape) != 2 or min(self.input_shape) < 1:
            raise CardError(f"input_shape must be [h, w], got {list(self.input_shape)}")
        if not 0 <= self.threshold <= 1:
            raise CardError(f"threshold must lie between 0 and 1, got {self.threshold:g}")
        if not OPSETS[0] <= self.opset <= OPSETS[1]:
            raise CardError(
                f"opset must lie between {OPSETS[0]} and {OPSETS[1]}, got {self.opset};"
                " export the network again"
            )
        strangers = set(self.directions_deg or ()) - set(self.classes)
        if strangers:
            raise CardError(f"directions_deg names {sorted(strangers)[0]!r}, which is no class")

    def to_toml(self) -> str:
        """Return the text of the card."""
        lines = ["# What flyback is to know of the network of this name.", ""]
        table = asdict(self)
        directions = table.pop("directions_deg") or {}
        lines += [f"{key} = {_toml(value)}" for key, value in table.items() if value is not None]
        if directions:
            lines += ["", "[directions_deg]"]
            lines += [f"{_toml(str(name))} = {float(value)}" for name, value in directions.items()]
        return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    return repr(value)


def card_path(network: Path) -> Path:
    """Return where the card of a network lies: beside it, with the suffix .toml."""
    return network.with_suffix(".toml")


def read_card(network: Path) -> Card:
    """Return the card of a network.

    Parameters
    ----------
    network : Path
        The .onnx file.

    Raises
    ------
    CardError
        When the card is missing, is no TOML, lacks a key, has an unknown or unfit one, or states
        another sha256 than the network's.
    """
    path = card_path(network)
    if not path.is_file():
        raise CardError(f"{network.name} has no card: write {path} with classes and input_shape")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CardError(f"the card {path} is no TOML: {error}") from error
    known = [f.name for f in fields(Card)]
    for key in table:
        if key not in known:
            raise CardError(
                f"the card {path} has an unknown key {key!r}; known: {', '.join(known)}"
            )
    for key in ("classes", "input_shape"):
        if not isinstance(table.get(key), list):
            raise CardError(f"the card {path} needs {key}, a list")
        table[key] = tuple(table[key])
    try:
        card = Card(**table)
    except CardError as error:
        raise CardError(f"the card {path}: {error}") from error
    except TypeError as error:
        raise CardError(f"the card {path} has a value of the wrong type: {error}") from error
    if card.sha256 and card.sha256 != sha256_of(network):
        raise CardError(
            f"{network.name} is not the network of its card (sha256 differs); copy both again"
        )
    return card


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
