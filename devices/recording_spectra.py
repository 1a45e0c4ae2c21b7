"""Spectra in text: .mca of beamlines, Amptek, SPEC and one column, and .spe of the IAEA."""

from __future__ import annotations

import re

import numpy as np

from .recording_store import ArrayStore, RecordingError

_FEWEST_CHANNELS = 16
_CALIBRATION = ("CAL_OFFSET", "CAL_SLOPE", "CAL_QUAD")


def read_spectra(text: str, name: str) -> ArrayStore:
    """Read the spectra of a file.

    Parameters
    ----------
    text : str
    name : str
        Of the file, for messages.

    Returns
    -------
    ArrayStore
        ``spectra`` (n, channels) or ``element_spectra`` (1, elements, channels), float32, and
        ``energy_kev_axis`` where a calibration is stated.

    Raises
    ------
    RecordingError
        When none is found.
    """
    notes: list[str] = []
    axis: np.ndarray | None = None
    if "$DATA:" in text:
        spectra, axis = _iaea(text)
    elif "<<DATA>>" in text:
        spectra = _floats(text.partition("<<DATA>>")[2].partition("<<")[0])[None]
        axis = None
    elif re.search(r"^@A", text, re.MULTILINE):
        spectra, axis = _spec(text, name)
    elif re.search(r"^DATA:", text, re.MULTILINE):
        spectra, axis = _elements(text, name)
    else:
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
        spectra = _floats("\n".join(lines))[None]
    if spectra.shape[-1] < _FEWEST_CHANNELS:
        raise RecordingError(
            f"{name} holds no spectrum: {spectra.shape[-1]} channels were found, at least "
            f"{_FEWEST_CHANNELS} are expected after $DATA:, DATA:, <<DATA>>, @A or comments."
        )
    key = "element_spectra" if spectra.ndim == 3 else "spectra"
    with np.errstate(over="ignore"):
        arrays = {key: spectra.astype("<f4"), "radiation": np.asarray("xray")}
    if axis is not None and np.isfinite(axis).all():
        arrays["energy_kev_axis"] = axis
    else:
        notes.append("energy_kev_axis: no calibration is stated, channels are counted")
    return ArrayStore(arrays, notes)


def _floats(text: str) -> np.ndarray:
    found = []
    for part in text.replace(",", " ").split():
        try:
            found.append(float(part))
        except ValueError:
            break
    return np.asarray(found, float)


def _polynomial(coefficients: np.ndarray, n: int) -> np.ndarray | None:
    if coefficients.size < 2 or not np.any(coefficients[1:]):
        return None
    channels = np.arange(n, dtype=float)
    return sum(c * channels**k for k, c in enumerate(coefficients[:3].tolist()))  # type: ignore[return-value]


def _section(text: str, title: str) -> str:
    after = text.partition(title)[2]
    return re.split(r"^\$", after, maxsplit=1, flags=re.MULTILINE)[0]


def _iaea(text: str) -> tuple[np.ndarray, np.ndarray | None]:
    values = _floats(_section(text, "$DATA:"))[2:]  # the first two are the first and last channel
    axis = None
    if "$MCA_CAL:" in text:
        lines = _section(text, "$MCA_CAL:").strip().splitlines()
        axis = _polynomial(_floats(" ".join(lines[1:2])), len(values))
    elif "$ENER_FIT:" in text:
        axis = _polynomial(_floats(_section(text, "$ENER_FIT:")), len(values))
    return values[None], axis


def _spec(text: str, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    joined = re.sub(r"\\\r?\n", " ", text)
    spectra = [_floats(line[2:].lstrip("ABC12345")) for line in re.findall(r"^@A.*", joined, re.M)]
    if len({len(each) for each in spectra}) != 1:
        raise RecordingError(f"{name} holds spectra of different lengths; play them one by one.")
    stated = re.search(r"^#@CALIB\s+(.*)", text, re.MULTILINE)
    axis = _polynomial(_floats(stated.group(1)), len(spectra[0])) if stated else None
    return np.stack(spectra), axis


def _elements(text: str, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Read a file of the EPICS MCA record: one column an element."""
    head, _, body = text.partition("\nDATA:")
    rows = [_floats(line) for line in body.splitlines() if line.strip()]
    if not rows or len({len(row) for row in rows}) != 1 or rows[0].size == 0:
        raise RecordingError(f"{name} is cut short: its columns under DATA: differ in length.")
    table = np.stack(rows).T
    stated = dict(re.findall(r"^(\w+):[ \t]*(.*)$", head, re.MULTILINE))
    terms = [_floats(stated.get(key, "")) for key in _CALIBRATION]
    axes = []
    for element in range(len(table)):
        have = [term[element] if element < term.size else 0.0 for term in terms]
        axes.append(_polynomial(np.asarray(have), table.shape[1]))
    axis = None if any(a is None for a in axes) else np.stack([a for a in axes if a is not None])
    if len(table) == 1:
        return table, None if axis is None else axis[0]
    return table[None], axis
