"""Spectra in the EMSA/MAS format (ISO 22029), `.msa` and `.emsa`: one spectrum a file, as text.

Egerton, Fiori, Hunt, Isaacson, Kirkland and Zaluzec, Proc. EMSA (1991) 526. Programs differ in what
they write: pairs or values, one or several in a line, eV or keV, units in the tags.
"""

from __future__ import annotations

import re

import numpy as np

from .recording_store import ArrayStore, RecordingError

MSA_SUFFIXES = frozenset({".msa", ".emsa"})
_TAG = re.compile(r"^#\s*([A-Za-z]\w*)\s*(?:-\s*([^:]*?))?\s*:\s?(.*)$")
_SPLIT = re.compile(r"[\s;]+")
_SPLIT_COMMA = re.compile(r"[\s,;]+")
_FEWEST, _LARGEST_STEP_KEV = 4, 0.5
_UNITS = (("kev", 1.0), ("ev", 1e-3))


def read_msa(text: str, name: str) -> ArrayStore:
    """Read the spectrum of a file.

    Parameters
    ----------
    text : str
    name : str
        Of the file, for messages.

    Returns
    -------
    ArrayStore
        ``spectra`` (1, channels) float32 with ``energy_kev_axis`` where the file says its unit.

    Raises
    ------
    RecordingError
        When it holds none, or fewer points than it states.
    """
    tags, body = _parts(text, name)
    notes: list[str] = []
    comma = any("," in tags.get(key, "") for key in ("XPERCHAN", "OFFSET"))
    values = _values(body, comma)
    pairs = tags.get("DATATYPE", "Y").strip().upper().startswith("XY")
    if pairs and len(values) % 2:
        raise RecordingError(f"{name} is cut short: its last pair of numbers is not whole.")
    x, y = (values[0::2], values[1::2]) if pairs else (None, values)
    stated = _number(tags.get("NPOINTS"), comma)
    if stated is not None and len(y) != round(stated):
        if len(y) < stated:
            raise RecordingError(
                f"{name} is cut short: it states {stated:.0f} points and holds {len(y)}."
            )
        notes.append(f"{name} states {stated:.0f} points and holds {len(y)}; all were taken")
    if len(y) < _FEWEST:
        raise RecordingError(
            f"{name} holds no spectrum: {len(y)} points were found after #SPECTRUM."
        )
    axis = _energies(tags, x, len(y), comma, notes)
    if axis is not None and np.all(np.diff(axis) < 0):
        axis, y = axis[::-1], y[::-1]
        notes.append("the spectrum ran downwards and was turned round")
    if axis is not None and not np.all(np.diff(axis) > 0):
        raise RecordingError(f"{name} holds no spectrum: its energies should ascend.")
    with np.errstate(over="ignore"):
        arrays = {"spectra": y.astype("<f4")[None]}
    if axis is not None:
        arrays["energy_kev_axis"] = axis
    arrays["radiation"] = np.asarray("xray" if tags.get("SIGNALTYPE") == "XRF" else "electron")
    voltage = _number(tags.get("BEAMKV"), comma)
    if voltage is not None and voltage > 0:
        arrays["energy_kev"] = np.asarray(voltage)
    if tags.get("TITLE"):
        arrays["title"] = np.asarray(tags["TITLE"])
    return ArrayStore(arrays, notes)


def _parts(text: str, name: str) -> tuple[dict[str, str], str]:
    """Return the tags by name, and what stands between #SPECTRUM and #ENDOFDATA."""
    tags: dict[str, str] = {}
    body: list[str] = []
    inside = False
    for line in text.splitlines():
        found = _TAG.match(line.strip()) if line.lstrip().startswith("#") else None
        if found is None:
            if inside and not line.lstrip().startswith("#"):
                body.append(line)
            continue
        key = found[1].upper()
        if key == "ENDOFDATA":
            break
        if key == "SPECTRUM":
            inside = True
            continue
        value = found[3].strip()
        tags.setdefault(key, value)
        if found[2]:
            tags.setdefault(f"{key} UNIT", found[2].strip())
    if "FORMAT" not in tags or not inside:
        raise RecordingError(
            f"{name} is no EMSA/MAS spectrum: #FORMAT and #SPECTRUM were not found in it."
        )
    tags["SIGNALTYPE"] = tags.get("SIGNALTYPE", "").strip().upper()
    return tags, "\n".join(body)


def _values(body: str, comma: bool) -> np.ndarray:
    """Return all numbers up to the first that is none."""
    split = _SPLIT if comma else _SPLIT_COMMA
    found = []
    for part in split.split(body.strip()):
        if not part:
            continue
        try:
            found.append(float(part.replace(",", ".")))
        except ValueError:
            break
    return np.asarray(found, float)


def _number(text: str | None, comma: bool) -> float | None:
    if not text:
        return None
    first = text.split()[0] if text.split() else ""
    try:
        value = float(first.replace(",", ".") if comma else first)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _energies(
    tags: dict[str, str], x: np.ndarray | None, n: int, comma: bool, notes: list[str]
) -> np.ndarray | None:
    """Return the channels' energies, (n,) float64, keV, or None where nothing says them."""
    factor = _factor(tags, x, comma, notes)
    step, offset = (_number(tags.get(key), comma) for key in ("XPERCHAN", "OFFSET"))
    if x is None and step:
        x = (offset or 0.0) + step * np.arange(n)
    if x is None or factor is None or not np.isfinite(x).all():
        notes.append("energy_kev_axis: no calibration is stated, channels are counted")
        return None
    return x * factor


def _factor(
    tags: dict[str, str], x: np.ndarray | None, comma: bool, notes: list[str]
) -> float | None:
    """Return the factor to keV, None where the axis is none of energies."""
    said = [tags.get(key, "") for key in ("XUNITS", "XPERCHAN UNIT", "XLABEL")]
    for text in said:
        for unit, factor in _UNITS:
            if re.search(rf"(?<![a-z]){unit}(?![a-z])", text.lower()):
                return factor
    if said[0].strip():
        notes.append(f"the axis is in {said[0].strip()!r}, no unit of energy")
        return None
    step = _number(tags.get("XPERCHAN"), comma)
    if step is None and x is not None and len(x) > 1:
        step = float(np.median(np.diff(x)))
    if not step:
        return None
    if tags["SIGNALTYPE"] in ("ELS", "EELS", "CLS") or abs(step) >= _LARGEST_STEP_KEV:
        notes.append("energy_kev_axis: no unit is stated, it was taken to be eV")
        return 1e-3
    notes.append("energy_kev_axis: no unit is stated, it was taken to be keV")
    return 1.0
