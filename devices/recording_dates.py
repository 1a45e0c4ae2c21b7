"""When an image was taken and for how long, out of what detectors write into headers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np

_ISO = re.compile(
    r"(\d{4})[-/](\d\d|[A-Za-z]{3})[-/](\d\d)[T ]+(\d\d):(\d\d):(\d\d)(?:[.,](\d+))?"
    r"\s*(Z|UTC|[+-]\d\d:?\d\d)?"
)
_EXIF = re.compile(r"(\d{4}):(\d\d):(\d\d)[T ]+(\d\d):(\d\d):(\d\d)(?:[.,](\d+))?()")
_SPOKEN = re.compile(r"[A-Za-z]{3},?\s+([A-Za-z]{3})\s+(\d{1,2})\s+(\d\d:\d\d:\d\d)\s+(\d{4})")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_EPOCH_KEYS = ("time_of_day", "acq_time_of_day", "epoch", "timestamp", "unix_time")
_DATE_KEYS = ("date", "datetime", "acq_date", "date_time", "start_time", "time", "acqtime")
_SECONDS = r"[\s=:]+([\d.]+(?:[eE][+-]?\d+)?)\s*(ms|us|s)?\b"
_EXPOSURE = re.compile(
    r"(?i)\b(?:exposure_?time|acq_expo_time|expo_time|count_time|expotime|exposure)" + _SECONDS
)
_PERIOD = re.compile(r"(?i)\bexposure_?period" + _SECONDS)
_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "": 1.0}
_EARLIEST_S, _LATEST_S = 3e8, 8e9  # 1979 to 2223: what else is a number of something else


def moment(text: str) -> tuple[float, bool] | None:
    """Return the first date and time in a text.

    Returns
    -------
    (float, bool) or None
        Seconds since the epoch, and whether the text states a zone; without one the clock is taken
        to show UTC.
    """
    found = _ISO.search(text) or _EXIF.search(text)
    try:
        if found is not None:
            year, month, day, hour, minute, second, part, zone = found.groups()
            number = int(month) if month.isdigit() else _MONTHS.index(month.lower()) + 1
            stamp = datetime(
                int(year), number, int(day), int(hour), int(minute), int(second), tzinfo=UTC
            ).timestamp() + (float(f"0.{part}") if part else 0.0)
            if zone and zone[0] in "+-":
                digits = zone.replace(":", "")
                away = int(digits[1:3]) * 3600 + int(digits[3:5]) * 60
                stamp -= away if zone[0] == "+" else -away
            return stamp, bool(zone)
        spoken = _SPOKEN.search(text)
        if spoken is not None:
            month, day, clock, year = spoken.groups()
            number = _MONTHS.index(month.lower()) + 1
            return moment(f"{year}-{number:02d}-{int(day):02d}T{clock}")
    except ValueError:  # the 31st of February
        return None
    return None


def exposure_s(text: str) -> float | None:
    """Return the time of exposure that a header states, s."""
    return _duration(_EXPOSURE, text)


def period_s(text: str) -> float | None:
    """Return the time from one exposure to the next that a header states, s."""
    return _duration(_PERIOD, text)


def _duration(pattern: re.Pattern[str], text: str) -> float | None:
    found = pattern.search(text)
    if found is None:
        return None
    try:
        value = float(found[1]) * _UNITS[(found[2] or "").lower()]
    except ValueError:
        return None
    return value if 0 < value < 1e7 else None


def taken(header: Mapping[str, object] | str) -> tuple[float, bool] | None:
    """Return the middle of the exposure that a header tells of, and whether with its zone.

    Dates are those of the beginning, as detectors of DECTRIS have it.

    Parameters
    ----------
    header : mapping or str
        Of an EDF file, or the text of a CBF or TIFF.

    Returns
    -------
    (float, bool) or None
        As of `moment`.
    """
    if isinstance(header, str):
        text, found = header, moment(header)
    else:
        low = {str(key).lower(): str(value) for key, value in header.items()}
        text = "\n".join(f"{key} {value}" for key, value in low.items())
        found = _epoch(low)
        for key in _DATE_KEYS:
            found = found or (moment(low[key]) if key in low else None)
    if found is None:
        return None
    return found[0] + 0.5 * (exposure_s(text) or 0.0), found[1]


def _epoch(header: Mapping[str, str]) -> tuple[float, bool] | None:
    for key in _EPOCH_KEYS:
        try:
            value = float(header[key].split()[0])
        except (KeyError, ValueError, IndexError):
            continue
        if _EARLIEST_S < value < _LATEST_S:
            return value, True
    return None


def taken_arrays(found: Sequence[tuple[float, bool] | None]) -> dict[str, np.ndarray]:
    """Return the times of frames under our names, or nothing where one is not known."""
    known = [each for each in found if each is not None]
    if not known or len(known) < len(found):
        return {}
    return {
        "taken_utc_s": np.array([time for time, _ in known]),
        "taken_with_zone": np.array([zone for _, zone in known]),
    }
