"""A protocol: techniques one after another, with the limits of the plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .steps import Limits, ProtocolError, Step, check_steps, is_number
from .techniques import Technique, technique_from


@dataclass(frozen=True)
class Protocol:
    """Techniques one after another, with the limits of the plan.

    Parameters
    ----------
    techniques : sequence of Technique or mapping
        A mapping as of `Technique.to_dict`.
    limits : Limits
    sample_s : float, s
        The instrument samples so often, and at the end of each step.

    Raises
    ------
    ProtocolError
        When it has no step, a technique is unknown, or it goes beyond its own limits.
    """

    techniques: Sequence[Technique]
    limits: Limits = field(default_factory=Limits)
    sample_s: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.techniques, (Technique, Mapping)):
            object.__setattr__(self, "techniques", (self.techniques,))
        read = tuple(
            one if isinstance(one, Technique) else technique_from(one) for one in self.techniques
        )
        object.__setattr__(self, "techniques", read)
        if not (is_number(self.sample_s) and self.sample_s > 0):
            raise ProtocolError(f"sample_s must be positive and finite, not {self.sample_s!r} s.")
        check_steps(self.steps(), self.limits, "protocol")

    def steps(self) -> list[Step]:
        """Return the table of steps."""
        return [
            step if step.group is None else replace(step, group=index)
            for index, technique in enumerate(self.techniques)
            for step in technique.steps()
        ]

    def longest_s(self) -> float:
        """Return an upper bound of the duration, s."""
        longest = sum(step.longest_s() for step in self.steps())
        return longest if self.limits.time_s is None else min(longest, self.limits.time_s)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-able data; `protocol_from` reads it."""
        return {
            "techniques": [technique.to_dict() for technique in self.techniques],
            "limits": self.limits.to_dict(),
            "sample_s": self.sample_s,
        }


def protocol_from(
    given: Protocol | Technique | Mapping[str, Any] | Sequence[Any], **settings: Any
) -> Protocol:
    """Read a protocol from itself, a technique, a list of them, or `Protocol.to_dict`.

    Parameters
    ----------
    given : Protocol, Technique, mapping or sequence
    **settings
        `limits` and `sample_s` where `given` does not have them.

    Raises
    ------
    ProtocolError
    """
    if isinstance(given, Protocol):
        return given
    if isinstance(given, Mapping) and "techniques" in given:
        unknown = set(given) - {"techniques", "limits", "sample_s"}
        if unknown:
            raise ProtocolError(f"a protocol has no {', '.join(sorted(unknown))}.")
        try:
            limits = Limits(**given.get("limits", {}))
        except TypeError as error:
            raise ProtocolError(f"limits: {error}.") from error
        return Protocol(given["techniques"], limits, given.get("sample_s", 1.0))
    if isinstance(given, (Technique, Mapping)):
        return Protocol([given], **settings)  # type: ignore[list-item]  read there
    if isinstance(given, Sequence) and not isinstance(given, str):
        return Protocol(given, **settings)
    raise ProtocolError(f"a protocol is made of techniques, not of {given!r}.")
