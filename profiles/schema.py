"""A profile: a TOML file that says which devices, plans and analyses a session has.

[profile]
description = "..."

[store]                       # optional: an embedded catalogue in the directory otherwise
uri = "http://127.0.0.1:8000"
worker = "process"            # written from a process of its own; "thread" otherwise

[devices.scan_coils]
plugin = "sim_scan_coils"     # any installed device plugin
beam = "@beam"                # "@name": another device of this profile
lag_us = 20.0

[plans]
use = ["raster", "spiral"]    # all installed plans otherwise

[analyses.ptychography]       # a callback plugin and its settings
method = "auto"

[rules.li2pt_forms]           # while a run goes on: see profiles.rules
when = "phases.phase_onset"
subject = "Li2Pt"
do = "finer_frames"
every_s = 1.0

[metadata]                    # goes into every start document
facility = "..."
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .registry import GROUPS, PluginError, load, plugins, unknown

SECTIONS = ("profile", "store", "devices", "plans", "analyses", "rules", "metadata")
WORKERS = ("thread", "process")
"""What may do the work of an analysis, or of the store, beside a run."""


class ProfileError(ValueError):
    """A profile cannot be read or says something that it cannot mean."""


@dataclass(frozen=True)
class Profile:
    """A checked profile.

    Parameters
    ----------
    name : str
    description : str
    store_uri : str or None
        A Tiled server; None for the embedded catalogue.
    store_worker : {"thread", "process"}
        What writes into the catalogue: a thread of the session, or a process of its own.
    journal_limit_gb : float or None, GB
        Journals of runs that are whole in the catalogue are removed beyond it, the oldest first.
    devices : dict of str to dict
        Table of each device, in the order in which they are made.
    plans : list of str or None
        Names of the plans; None for all that are installed.
    analyses : dict of str to dict
    metadata : dict
    rules : dict of str to dict
    baseline : list of str
        Devices read at the start and the end of every run.
    """

    name: str
    description: str = ""
    store_uri: str | None = None
    store_worker: str = "thread"
    journal_limit_gb: float | None = None
    devices: dict[str, dict[str, Any]] = field(default_factory=dict)
    plans: list[str] | None = None
    analyses: dict[str, dict[str, Any]] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    baseline: list[str] = field(default_factory=list)
    rules: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def of_archive(self) -> dict[str, Any]:
        """What an `archive.Archive` is to be told."""
        names = ("store_uri", "store_worker", "journal_limit_gb")
        return {name: getattr(self, name) for name in names}

    def with_settings(self, settings: Mapping[str, Any]) -> Profile:
        """Return this profile with ``NAME.key`` settings of analyses and bare metadata changed."""
        analyses = {name: dict(table) for name, table in self.analyses.items()}
        metadata = dict(self.metadata)
        for key, value in settings.items():
            name, dot, setting = key.partition(".")
            if not dot:
                metadata[key] = value
            elif name in analyses:
                analyses[name][setting] = value
            else:
                known = list(analyses)
                raise ProfileError(unknown("analysis to set", name, known))
        return replace(self, analyses=analyses, metadata=metadata)


def read_profile(name: str | Path) -> Profile:
    """Read a profile by the name of its plugin, or from a ``.toml`` file.

    Raises
    ------
    ProfileError
        If it cannot be read; the message names the file and the fix.
    PluginError
        If no profile of that name is installed.
    """
    text = str(name)
    if text.endswith(".toml"):
        return parse_profile(Path(text).stem, _read_toml(Path(text)))
    if Path(text).is_file():
        raise ProfileError(f"a profile file must end in .toml, got {text!r}")
    known = plugins(GROUPS[-1])
    if text not in known:
        raise PluginError(unknown("profile", text, list(known)) + " or give a path to a .toml file")
    found = load(GROUPS[-1], text)
    found = found() if callable(found) else found
    table = found if isinstance(found, Mapping) else _read_toml(Path(str(found)))
    return parse_profile(text, table)


def parse_profile(name: str, table: Mapping[str, Any]) -> Profile:
    """Check a profile's table and return it as a `Profile`."""
    for section, value in table.items():
        if section not in SECTIONS:
            raise ProfileError(f"profile {name!r}: {unknown('section', section, list(SECTIONS))}")
        if not isinstance(value, Mapping):
            raise ProfileError(f"profile {name!r}: [{section}] must be a table, got {value!r}")
    head, store = table.get("profile", {}), table.get("store", {})
    _only(name, "profile", head, ("description", "baseline"))
    _only(name, "store", store, ("uri", "worker", "journal_limit_gb"))
    if (worker := store.get("worker", WORKERS[0])) not in WORKERS:
        raise ProfileError(
            f"profile {name!r}: [store] worker must be 'thread' or 'process', got {worker!r}"
        )
    limit = store.get("journal_limit_gb")
    if limit is not None and not (type(limit) in (int, float) and limit > 0):
        raise ProfileError(
            f"profile {name!r}: [store] journal_limit_gb must be a number above 0, got {limit!r}"
        )
    _only(name, "plans", table.get("plans", {}), ("use",))
    devices = {key: dict(value) for key, value in table.get("devices", {}).items()}
    for device, settings in devices.items():
        if "plugin" not in settings:
            raise ProfileError(
                f"profile {name!r}: [devices.{device}] needs plugin = "
                f"one of {', '.join(plugins('flyback.devices')) or 'none installed'}"
            )
    return Profile(
        name=name,
        description=head.get("description", ""),
        store_uri=store.get("uri"),
        store_worker=worker,
        journal_limit_gb=limit,
        devices=devices,
        plans=table.get("plans", {}).get("use"),
        analyses={key: dict(value) for key, value in table.get("analyses", {}).items()},
        metadata=dict(table.get("metadata", {})),
        baseline=list(head.get("baseline", [])),
        rules={key: dict(value) for key, value in table.get("rules", {}).items()},
    )


def _only(profile: str, section: str, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            raise ProfileError(
                f"profile {profile!r}, [{section}]: {unknown('key', key, list(known))}"
            )


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ProfileError(f"the profile {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProfileError(f"the profile {path} is not valid TOML: {error}") from error
