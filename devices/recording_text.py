"""Patterns and spectra in text: .xy, .xye, .chi, .dat, .fxye, .mca, .spe, .msa, as arrays."""

from __future__ import annotations

import re

import numpy as np

from .recording_msa import MSA_SUFFIXES, read_msa
from .recording_spectra import read_spectra
from .recording_store import ArrayStore, RecordingError

TEXT_SUFFIXES = frozenset(
    {".xy", ".xye", ".chi", ".dat", ".fxye", ".gsa", ".txt", ".asc", ".csv", ".mca", ".spe"}
    | MSA_SUFFIXES
)
LARGEST_TEXT_BYTES = 200_000_000
_FEWEST_ROWS = 4
_NUMBER = r"([-+]?\d*\.?\d+(?:[eE][-+]?\d+)?)"
_WAVELENGTH = re.compile(r"wavelength[^0-9\n+-]{0,24}" + _NUMBER, re.IGNORECASE)
_CELL_WORDS = ("voltage", "ewe/v", "current", "cycle", "capacity")
_SPLIT = re.compile(r"[\s,;]+")


def read_text(data: bytes, name: str, suffix: str) -> ArrayStore:
    """Read one pattern or the spectra of one file.

    Parameters
    ----------
    data : bytes
    name : str
        Of the file, for messages.
    suffix : str
        Such as ``.xye``.

    Returns
    -------
    ArrayStore
        ``patterns`` (1, bins) float32 with ``two_theta_deg``, ``q_per_a`` or ``axis`` (bins,) and
        perhaps ``sigma``, or ``spectra`` (n, channels) or ``element_spectra`` (1, elements,
        channels).

    Raises
    ------
    RecordingError
        When it is no such text.
    """
    if len(data) > LARGEST_TEXT_BYTES:
        raise RecordingError(
            f"{name} has {len(data) / 1e6:.0f} MB of text, more than "
            f"{LARGEST_TEXT_BYTES / 1e6:.0f} MB; store it in HDF5."
        )
    if b"\x00" in data[:4096]:
        raise RecordingError(
            f"{name} holds binary data, not the text that {suffix} stands for; convert it to HDF5."
        )
    text = data.decode("utf-8", errors="replace").lstrip("\ufeff")
    if text.startswith("EC-Lab ASCII"):
        raise RecordingError(_cell_log(name))
    if suffix in MSA_SUFFIXES:
        return read_msa(text, name)
    if suffix in (".mca", ".spe"):
        return read_spectra(text, name)
    rows, header = _table(text)
    if _is_cell_log(header):
        raise RecordingError(_cell_log(name))
    if len(rows) < _FEWEST_ROWS or rows.shape[1] not in (2, 3):
        raise RecordingError(
            f"{name} holds no pattern: {len(rows)} rows of {rows.shape[1]} numbers were found, a "
            f"pattern has two or three columns (axis, intensity, sigma) and at least "
            f"{_FEWEST_ROWS} rows."
        )
    return _pattern(rows, header, name, suffix)


def _cell_log(name: str) -> str:
    return (
        f"{name} is a cell log (time, voltage, current), not detector data; play the patterns "
        "that were taken with it."
    )


def _is_cell_log(header: str) -> bool:
    """Return whether a line names columns of a cell log."""
    titles = [line.lower() for line in header.splitlines()[:40] if len(_SPLIT.findall(line)) >= 2]
    titled = (line for line in titles if "," in line or "	" in line)
    return any(sum(word in line for word in _CELL_WORDS) >= 2 for line in titled)


def _numbers(line: str) -> list[float] | None:
    parts = _SPLIT.split(line.strip())
    if not 1 <= len(parts) <= 64:
        return None
    try:
        return [float(part) for part in parts]
    except ValueError:
        return None


def _table(text: str) -> tuple[np.ndarray, str]:
    """Return the longest run of lines with equally many numbers, and what stands before it."""
    best: list[list[float]] = []
    run: list[list[float]] = []
    header: list[str] = []
    for line in text.splitlines():
        found = _numbers(line) if line.strip() else None
        if found is None:
            if len(header) < 500 and line.strip():
                header.append(line)
            if line.strip():
                best, run = max(best, run, key=len), []
        elif run and len(found) != len(run[-1]):
            best, run = max(best, run, key=len), [found]
        else:
            run.append(found)
    best = max(best, run, key=len)
    rows = np.asarray(best, float) if best else np.empty((0, 0))
    return rows, "\n".join(header)


def _pattern(rows: np.ndarray, header: str, name: str, suffix: str) -> ArrayStore:
    notes: list[str] = []
    x = rows[:, 0]
    if np.all(np.diff(x) < 0):
        rows = rows[::-1]
        x = rows[:, 0]
        notes.append("the pattern ran downwards and was turned round")
    if not np.isfinite(x).all() or not np.all(np.diff(x) > 0):
        raise RecordingError(
            f"{name} holds no pattern: the first column should be an axis that ascends; sort it."
        )
    if re.search(r"^\s*BANK\s.*FXYE", header, re.MULTILINE):
        x = x / 100
        notes.append("two_theta_deg: GSAS counts in hundredths of a degree")
        axis = "two_theta_deg"
    else:
        axis, factor, note = _axis(header, x, suffix)
        x = x * factor
        notes += [note] if note else []
    with np.errstate(over="ignore"):
        arrays = {"patterns": rows[None, :, 1].astype("<f4"), axis: x}
        if rows.shape[1] == 3:
            arrays["sigma"] = rows[None, :, 2].astype("<f4")
    arrays["radiation"] = np.asarray("xray")
    wavelength = _wavelength_m(header)
    if wavelength is not None:
        arrays["wavelength_m"] = np.asarray(wavelength)
    return ArrayStore(arrays, notes)


def _axis(header: str, x: np.ndarray, suffix: str) -> tuple[str, float, str]:
    """Return the axis' name, the factor to its unit and what was assumed."""
    lowered = header.lower().replace(" ", "").replace("_", "").replace("(", "").replace("å", "a")
    if re.search(r"2-?th|twotheta|2θ|tth", lowered):
        return "two_theta_deg", 1.0, ""
    if re.search(r"qnm|q1/nm|q\[?nm", lowered):
        return "q_per_a", 0.1, ""
    if re.search(r"qa\^|q1/a|q\[?a", lowered):
        return "q_per_a", 1.0, ""
    if x[0] >= -180 and x[-1] <= 180:
        return "two_theta_deg", 1.0, f"two_theta_deg: assumed, {suffix} does not say what its x is"
    return "axis", 1.0, f"axis: {suffix} does not say what its x is, which exceeds 180 degrees"


def _wavelength_m(header: str) -> float | None:
    for text in _WAVELENGTH.findall(header):
        value = float(text)
        metres = value if value < 1e-6 else value * 1e-10
        if 1e-12 <= metres <= 1e-9:
            return metres
    return None
