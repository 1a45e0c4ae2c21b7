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
    return key, _value(value)


def _value(text: str) -> Any:
    try:
        table = tomllib.loads(f"value = {text}")
        if list(table) == ["value"]:  # a line break could smuggle in more keys
            return table["value"]
    except tomllib.TOMLDecodeError:
        pass
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    if "," in text:
        return [_value(part.strip()) for part in text.split(",")]
    return text


def parse_settings(texts: Iterable[str]) -> dict[str, Any]:
    """Return all ``key=value`` settings as a dictionary; the last of a key counts."""
    return dict(parse_setting(text) for text in texts)
