"""Operando runs: the cell's protocol owns time, and the detectors follow.

The protocol is a flyer: the potentiostat carries it out by its own clock and its samples come as
a stream of its name. At every `every_s` of that clock the detectors are exposed and the cell is
read with them, as events of the stream ``primary``. However a run ends, the circuit is open.

The annotations here are objects, as in `scanning`.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Optional

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Flyable, Readable
from bluesky.utils import FailedStatus, MsgGenerator, short_uid

from ..models.protocol import protocol_from
from .preprocessors import cell_open_finally_wrapper
from .reactions import Cadence, Reactions
from .stubs import in_run
from .wakeup import Wakeup

_FLUSH_PERIOD_S = 0.1


def operando(
    potentiostat: Flyable,
    protocol: Any,
    detectors: Sequence[Readable] = (),
    *,
    every_s: float = 30.0,
    suspenders: Optional[list] = None,  # noqa: UP045  the queue server knows this spelling
    rules: Optional[Any] = None,  # noqa: UP045
    md: Optional[dict] = None,  # noqa: UP045
) -> MsgGenerator[str]:
    """Carry out a protocol, with the detectors exposed by the cell's clock.

    Parameters
    ----------
    potentiostat : Potentiostat
    protocol : Protocol, Technique, mapping or list of them
        As of `models.protocol.protocol_from`, such as
        ``[{"technique": "OCV", "duration_s": 600}]``.
    detectors : sequence of detectors
        Anything that can be triggered and read.
    every_s : float, s
        Of the potentiostat's clock. An exposure that takes longer skips those that it misses.
    suspenders : list of bluesky suspenders, optional
        Such as for a lost beam or a dose that is spent: while one of them trips, no detector is
        exposed and the cell does what its `on_pause` says. Nothing is played again afterwards.
    rules : object, optional
        What to do when an analysis sees something happen (``docs/rules.md``). A session gives
        those of its profile.
    md : dict, optional
        Added to the start document.

    Returns
    -------
    uid : str

    Raises
    ------
    ProtocolError
        Before anything happens: a protocol without an end, or beyond the limits of the device,
        the profile or the plan.
    """
    return (
        yield from run_protocol(
            "operando", potentiostat, protocol, detectors, every_s, suspenders, rules, md
        )
    )


def run_protocol(
    plan_name: str,
    potentiostat: Any,
    protocol: Any,
    detectors: Any,
    every_s: float,
    suspenders: Optional[list],  # noqa: UP045
    rules: Any,
    md: Optional[dict],  # noqa: UP045
) -> MsgGenerator[str]:
    """Carry out a protocol as `operando` does, under the name of the plan that made it."""
    listed = list(detectors) if isinstance(detectors, (list, tuple)) else [detectors]
    asked = protocol_from(protocol)
    if not (isinstance(every_s, (int, float)) and 0 < every_s < math.inf):
        raise ValueError(f"every_s must be a positive number of seconds, not {every_s!r}.")
    for device in listed:
        if not isinstance(device, Readable):
            raise TypeError(f"a detector must be a device that can be read, not {device!r}.")
    name = potentiostat.name
    start = {
        "plan_name": plan_name,
        "detectors": [device.name for device in listed],
        "potentiostat": name,
        "protocol": asked.to_dict(),
        "every_s": every_s,
        "plan_args": {
            "potentiostat": repr(potentiostat),
            "detectors": [repr(device) for device in listed],
            "every_s": every_s,
        },
        "hints": {"dimensions": [[[f"{name}_device_time_s"], "primary"]]},
        **(md or {}),
    }

    cadence = Cadence(every_s)
    wakeup = Wakeup()
    reactions = Reactions(rules, potentiostat, listed, cadence)

    def go(uid: str) -> MsgGenerator[None]:
        yield from bps.prepare(potentiostat, asked, wait=True)
        react = functools.partial(reactions.react, uid)
        reactions.ring(uid, wakeup.ring)
        try:
            yield from fly_protocol(
                potentiostat, listed, cadence=cadence, react=react, wakeup=wakeup
            )
        finally:
            reactions.forget(uid)

    @bpp.stage_decorator([*listed, potentiostat])
    def inner() -> MsgGenerator[str]:
        return (yield from in_run(start, go))

    plan: Any = cell_open_finally_wrapper(inner(), potentiostat)
    if suspenders:
        plan = bpp.suspend_wrapper(plan, suspenders)
    return (yield from plan)


def fly_protocol(
    potentiostat: Any,
    detectors: Sequence[Any],
    *,
    cadence: Cadence,
    react: Callable[[], MsgGenerator[bool]],
    wakeup: Wakeup,
    flush_period_s: float = _FLUSH_PERIOD_S,
) -> MsgGenerator[None]:
    """Carry out the prepared protocol once, inside an open run, with staged devices.

    Parameters
    ----------
    potentiostat : Potentiostat
    detectors : sequence of detectors
    cadence : Cadence
        How often they are exposed.
    react : callable () -> generator of Msg
        Called between exposures; says whether it did anything.
    wakeup : Wakeup
        Rung when there is something to react to.
    flush_period_s : float, s
        Documents are made so often.
    """
    yield from bps.declare_stream(potentiostat, name=potentiostat.name, collect=True)

    def go() -> MsgGenerator[None]:
        try:
            yield from bps.kickoff(potentiostat, wait=True)
            yield from _follow(potentiostat, detectors, cadence, react, wakeup, flush_period_s)
        except FailedStatus as failed:
            # say what went wrong, not that a status says so
            raise (failed.__cause__ or failed) from failed

    def tidy() -> MsgGenerator[None]:
        yield from bps.stop(potentiostat)
        # what came after the last look belongs to the run
        yield from _flush(potentiostat)

    yield from bpp.rewindable_wrapper(bpp.finalize_wrapper(go(), tidy), False)


def _flush(potentiostat: Any) -> MsgGenerator[None]:
    """Make documents of what has come: pauses, then samples, which go on after them."""
    pauses = potentiostat.pauses
    while pauses.next():
        try:
            yield from bps.create("pauses")
            yield from bps.read(pauses)
        except Exception:
            # stopped in between: the last look tells of it
            yield from bps.drop()
            raise
        pauses.told()
        yield from bps.save()
    yield from bps.collect(potentiostat, name=potentiostat.name, return_payload=False)


def _follow(
    potentiostat: Any,
    detectors: Sequence[Any],
    cadence: Cadence,
    react: Callable[[], MsgGenerator[bool]],
    wakeup: Wakeup,
    flush_period_s: float,
) -> MsgGenerator[None]:
    """Expose the detectors by the cell's clock until its protocol ends."""
    status: Any = yield from bps.complete(potentiostat, group=short_uid("protocol"), wait=False)
    status.add_callback(wakeup.ring)
    due_s = potentiostat.device_now_s()
    while not status.done:
        yield from _flush(potentiostat)
        reacted = yield from react()
        now_s = potentiostat.device_now_s()
        every_s = cadence.at(now_s)
        if reacted:
            due_s = min(due_s, now_s + every_s)
        late_s = now_s - due_s
        if detectors and late_s >= 0:
            yield from bps.trigger_and_read([*detectors, potentiostat], name="primary")
            due_s += every_s * (math.floor(late_s / every_s) + 1)
            continue
        until_due_s = -late_s / potentiostat.clock_speed.get() if detectors else math.inf
        patience_s = min(flush_period_s, max(until_due_s, 1e-3))
        yield from wakeup.wait(patience_s)
    if status.exception() is not None:
        raise status.exception()
