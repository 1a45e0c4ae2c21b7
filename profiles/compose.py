"""Make devices, plans and analyses from a profile's tables."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ..callbacks.live import Analysis, LiveCallback
from ..callbacks.publish import Publisher
from .registry import SettingError, check_table, load, plugins, unknown
from .schema import WORKERS, Profile, ProfileError

OpenPublisher = Callable[..., Publisher]
Build = Callable[[Mapping[str, Any], Callable[[], Publisher]], LiveCallback | None]
CAMERA = "camera"
WORKER = "worker"


def make_devices(profile: Profile) -> dict[str, Any]:
    """Make the devices of a profile, in its order.

    Raises
    ------
    ProfileError
        If a ``"@name"`` refers to no device above it, or a device cannot be made.
    PluginError, SettingError
        For an unknown plugin or setting.
    """
    made: dict[str, Any] = {}
    for name, table in profile.devices.items():
        settings = dict(table)
        factory = load("flyback.devices", settings.pop("plugin"))
        settings = {key: _resolve(name, value, made) for key, value in settings.items()}
        if "name" in inspect.signature(factory).parameters:
            settings.setdefault("name", name)
        what = f"the device {name!r}"
        check_table(factory, settings, what=what)
        try:
            made[name] = factory(**settings)
        except (TypeError, ValueError, OSError) as error:
            raise ProfileError(f"{what} of profile {profile.name!r}: {error}") from error
    return made


def _resolve(device: str, value: Any, made: Mapping[str, Any]) -> Any:
    if isinstance(value, str) and value.startswith("@"):
        if value[1:] not in made:
            known = unknown("device", value[1:], list(made))
            raise ProfileError(f"[devices.{device}] refers to {value!r}, but above it {known}")
        return made[value[1:]]
    return value


def load_plans(profile: Profile) -> dict[str, Callable[..., Any]]:
    """Import the plans of a profile by name."""
    names = profile.plans if profile.plans is not None else list(plugins("flyback.plans"))
    return {name: load("flyback.plans", name) for name in names}


def check_analysis(name: str, table: Mapping[str, Any]) -> Build:
    """Import an analysis and check its table; return what builds it from a run's start document.

    Every analysis takes the key ``camera`` beside its own: the name of the detector whose frames
    it is to have, where a run has several; and ``worker``, "thread" or "process".

    Raises
    ------
    PluginError, SettingError
        For an unknown analysis or setting; the message lists what there is. Where the analysis
        has a ``check``, for what that finds wrong with the table, such as a missing file.
    """
    factory = load("flyback.callbacks", name)
    settings = {key: value for key, value in table.items() if key not in {CAMERA, WORKER}}
    in_process(name, table)
    check_table(factory, settings, what=f"the analysis {name!r}", given=2)
    if callable(getattr(factory, "check", None)):
        try:
            factory.check(settings)
        except (ValueError, TypeError) as error:
            raise SettingError(f"the analysis {name!r}: {error}") from error

    def build(start: Mapping[str, Any], publisher: Callable[[], Publisher]) -> LiveCallback | None:
        callback = factory(start, publisher, **settings)
        if callback is not None and CAMERA in table:
            callback.source.camera = table[CAMERA]
        return callback

    return build


def in_process(name: str, table: Mapping[str, Any]) -> bool:
    """Whether an analysis is to run in a process of its own.

    Raises
    ------
    SettingError
        When ``worker`` says neither "thread" nor "process".
    """
    worker = table.get(WORKER, WORKERS[0])
    if worker not in WORKERS:
        raise SettingError(
            f"the analysis {name!r}: worker must be 'thread' or 'process', got {worker!r}"
        )
    return worker == "process"


def parameters_of(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of an analysis' table can change its result."""
    return {key: value for key, value in table.items() if key != WORKER}


def make_analysis(
    name: str,
    table: Mapping[str, Any],
    open_publisher: OpenPublisher,
    rings: list[Any],
) -> Analysis:
    """Return a live analysis that is built anew from every run's start document."""
    build_from = check_analysis(name, table)

    def build(start: Mapping[str, Any]) -> LiveCallback | None:
        def publisher() -> Publisher:
            return open_publisher(analysis=name, parent=start, parameters=parameters_of(table))

        return build_from(start, publisher)

    return Analysis(name, build, rings)
