"""Plugins: what is installed, by name, known without importing it.

Entry points are the only mechanism; the built-ins use the same path. A clash or an unknown name is
an error that lists what there is.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

GROUPS = (
    "flyback.devices",
    "flyback.plans",
    "flyback.models",
    "flyback.callbacks",
    "flyback.profiles",
)


class PluginError(ValueError):
    """A plugin is unknown, clashes with another, or cannot be imported."""


class SettingError(ValueError):
    """A setting is unknown or does not fit."""


@dataclass(frozen=True)
class Plugin:
    """One installed plugin.

    Parameters
    ----------
    group, name, value, distribution : str
        As its entry point says, and the package that it came with.
    """

    group: str
    name: str
    value: str
    distribution: str
    entry_point: EntryPoint

    def load(self) -> Any:
        """Import and return it."""
        try:
            return self.entry_point.load()
        except Exception as error:
            raise PluginError(
                f"the plugin {self.name!r} of {self.group} ({self.value}, from "
                f"{self.distribution}) cannot be imported: {type(error).__name__}: {error}"
            ) from error


@cache
def plugins(group: str) -> dict[str, Plugin]:
    """Return the plugins of a group by name.

    Raises
    ------
    PluginError
        If two packages offer different things under one name.
    """
    found: dict[str, Plugin] = {}
    for entry in entry_points(group=group):
        package = entry.dist.name if entry.dist is not None else "?"
        plugin = Plugin(group, entry.name, entry.value, package, entry)
        other = found.get(entry.name)
        if other is not None and other.value != plugin.value:
            raise PluginError(
                f"two packages offer the {group} plugin {entry.name!r}: {other.value} "
                f"({other.distribution}) and {plugin.value} ({package}); uninstall one"
            )
        found[entry.name] = plugin
    return dict(sorted(found.items()))


def load(group: str, name: str) -> Any:
    """Import a plugin by name.

    Raises
    ------
    PluginError
        If there is none of that name; the message lists those installed.
    """
    found = plugins(group)
    if name not in found:
        raise PluginError(unknown(f"{group.removeprefix('flyback.')} plugin", name, list(found)))
    return found[name].load()


def unknown(what: str, name: str, known: list[str]) -> str:
    """Return the sentence for an unknown name: what there is, and the nearest."""
    near = get_close_matches(name, known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"there is no {what} {name!r}{hint} (known: {', '.join(sorted(known)) or 'none'})"


def check_table(target: Any, table: Mapping[str, Any], *, what: str, given: int = 0) -> None:
    """Check a table of settings against a callable's signature before anything is made.

    Parameters
    ----------
    target : callable
    table : mapping
        Keyword arguments to be given.
    what : str
        Named in the error.
    given : int
        How many leading parameters are filled otherwise.

    Raises
    ------
    SettingError
        For an unknown or a missing key.
    """
    named = _named(target)[given:]
    known = [p.name for p in named] + list(getattr(target, "also_accepts", ()))
    for key in table:
        if key not in known:
            raise SettingError(unknown(f"setting of {what}", key, known))
    # of a class, only its own parameters: those of its bases it may fill itself
    own = [p for p in list(inspect.signature(target).parameters.values())[given:] if p in named]
    missing = [p.name for p in own if p.default is p.empty and p.name not in table]
    if missing:
        raise SettingError(f"{what} needs {', '.join(missing)}: add it to its table in the profile")


def _named(target: Any) -> list[inspect.Parameter]:
    """Return the named parameters of a callable; of a class, those of its bases too."""
    keyword = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    if not inspect.isclass(target):
        return [p for p in inspect.signature(target).parameters.values() if p.kind in keyword]
    found: dict[str, inspect.Parameter] = {}
    for base in target.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = list(inspect.signature(base.__init__).parameters.values())
        for p in parameters[1:]:
            if p.kind in keyword:
                found.setdefault(p.name, p)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break  # this one takes nothing that it does not name
    return list(found.values())
