"""What is typed after ``--set``: ``key=value`` with TOML's values, bare words as text."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from typing import Any

from .registry import SettingError


def parse_setting(text: str) -> tuple[str, Any]:
    """Return the key and the value of ``key=value``.

    The value is read as TOML (``3``, ``0.1``, ``true``, ``[1, 2]``, ``"text"``); what is not TOML
    is text, and text with commas a list of texts.

    Raises
    ------
    SettingError
        If there is no ``=`` or no key.
    """
    key, equals, value = text.partition("=")
    key, value = key.strip(), value.strip()
    if not equals or not key:
        raise SettingError(f"--set takes KEY=VALUE, such as energy_kev=80, got {text!r}")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        lowered = value.lower()
        if lowered in {"true", "false"}:
            return key, lowered == "true"
        if "," in value:
            return key, [parse_setting(f"x={part}")[1] for part in value.split(",")]
        return key, value


def parse_settings(texts: Iterable[str]) -> dict[str, Any]:
    """Return all ``key=value`` settings as a dictionary; the last of a key counts."""
    return dict(parse_setting(text) for text in texts)
