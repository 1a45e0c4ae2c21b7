"""Plans that ask live analyses where to go or what to do, bound to a session's analyses."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from .registry import PluginError, unknown
from .rules import StandingRules


def with_guides(
    plans: Mapping[str, Callable[..., Any]], live: Any
) -> dict[str, Callable[..., Any]]:
    """Return the plans, those with a `suggest` taking the name of an analysis.

    Parameters
    ----------
    plans : mapping of str to plan
    live : namespace
        Of the session's analyses.
    """
    return {
        name: _bound(plan, live) if "suggest" in inspect.signature(plan).parameters else plan
        for name, plan in plans.items()
    }


def with_rules(
    plans: Mapping[str, Callable[..., Any]], standing: StandingRules
) -> dict[str, Callable[..., Any]]:
    """Return the plans, those with `rules` having those of the session where none are given."""
    return {
        name: _ruled(plan, standing) if "rules" in inspect.signature(plan).parameters else plan
        for name, plan in plans.items()
    }


def _ruled(plan: Callable[..., Any], standing: StandingRules) -> Callable[..., Any]:
    signature = inspect.signature(plan)

    @functools.wraps(plan)
    def ruled(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        if given.arguments["rules"] is None:
            given.arguments["rules"] = standing
        return (yield from plan(*given.args, **given.kwargs))

    return ruled


def _bound(plan: Callable[..., Any], live: Any) -> Callable[..., Any]:
    signature = inspect.signature(plan)

    @functools.wraps(plan)
    def steered(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        guide = given.arguments["suggest"]
        if isinstance(guide, str):
            if guide not in vars(live):
                raise PluginError(unknown("analysis", guide, list(vars(live))))
            given.arguments["suggest"] = getattr(live, guide).next_positions
        return (yield from plan(*given.args, **given.kwargs))

    return steered
