"""Clocks that show local time: what is written without a zone, in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import numpy as np

_OFFSET = re.compile(r"(?:UTC)?([+-])(\d\d?):?(\d\d)?")


class TimeZoneError(ValueError):
    """A name that is no time zone; the message is one sentence."""


def time_zone(name: str, setting: str = "time_zone") -> tzinfo:
    """Return a time zone by its name.

    Parameters
    ----------
    name : str
        Of the IANA data base such as ``Europe/Berlin``, ``UTC``, or an offset such as ``+02:00``.
    setting : str
        For the message.

    Raises
    ------
    TimeZoneError
    """
    offset = _OFFSET.fullmatch(name.strip())
    if offset is not None and int(offset[2]) <= 14 and int(offset[3] or 0) < 60:
        away = timedelta(hours=int(offset[2]), minutes=int(offset[3] or 0))
        return timezone(away if offset[1] == "+" else -away)
    try:
        return UTC if name.strip().upper() in ("UTC", "Z", "GMT") else ZoneInfo(name.strip())
    except (OSError, ValueError, KeyError) as error:
        raise TimeZoneError(
            f"{setting} takes a name such as Europe/Berlin, UTC, or an offset such as +02:00, got "
            f"{name!r}"
        ) from error


def to_utc(shown_s: np.ndarray, zone: tzinfo) -> tuple[np.ndarray, list[str]]:
    """Return when a clock showed these local times.

    An hour that occurs twice, because summer time ends in it, is taken to be the first one as
    long as the times go on, and the second one from where they go back.

    Parameters
    ----------
    shown_s : (n,) float64
        Seconds since the epoch as if the clock had shown UTC, in the order of events.
    zone : tzinfo

    Returns
    -------
    (n,) float64
        Seconds since the epoch.
    list of str
        What was ambiguous.
    """
    shown_s = np.asarray(shown_s, float)
    # a zone changes its offset at most every few minutes: once for each quarter of an hour
    quarter = np.floor(shown_s / 900).astype(np.int64)
    each, place = np.unique(quarter, return_inverse=True)
    offsets = np.array([_offsets(float(q) * 900, zone) for q in each.tolist()]).reshape(-1, 2)
    first, second = offsets[place].T
    twice, never = first > second, first < second
    away = first.copy()
    notes = []
    if never.any():
        notes.append(
            f"{int(never.sum())} times, such as {_shown(shown_s[never][0])}, were never shown by a "
            f"clock in {zone}: summer time begins there; look at the time zone"
        )
    if twice.any():
        back = np.flatnonzero(np.diff(shown_s) < -1800) + 1
        later = np.zeros(len(shown_s), bool)
        for start in back.tolist():  # from the jump to the end of the hour
            later[start:] |= twice[start:]
        away[later] = second[later]
        unsure = twice & ~later if not back.size else np.zeros(len(twice), bool)
        if unsure.any():
            notes.append(
                f"{_shown(shown_s[unsure][0])} occurs twice in {zone}, where summer time ends; the "
                "first was taken"
            )
    return shown_s - away, notes


def _offsets(shown_s: float, zone: tzinfo) -> tuple[float, float]:
    naive = datetime.fromtimestamp(shown_s, UTC).replace(tzinfo=zone)
    found = [naive.replace(fold=fold).utcoffset() for fold in (0, 1)]
    first, second = (0.0 if away is None else away.total_seconds() for away in found)
    return first, second


def _shown(shown_s: float) -> str:
    return f"{datetime.fromtimestamp(float(shown_s), UTC):%Y-%m-%d %H:%M:%S}"
