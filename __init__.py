"""flyback: acquisition and analysis in one stream.

The face is lazy (PEP 562): ``import flyback`` costs milliseconds; a name is imported when it is
first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .profiles.replay import replay
    from .profiles.session import Session, open

__version__ = "0.1.0"

_FACE = {
    "Session": "profiles.session",
    "open": "profiles.session",
    "replay": "profiles.replay",
}

__all__ = ["Session", "open", "replay"]


def __getattr__(name: str) -> Any:
    if name in _FACE:
        return getattr(import_module(f".{_FACE[name]}", __name__), name)
    if name in {"callbacks", "devices", "models", "plans", "profiles"}:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_FACE])
