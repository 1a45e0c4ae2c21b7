"""Frames of CBF and EDF files, and of TIFF files that Pillow does not know, through fabio."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np

from .recording_dates import exposure_s, period_s, taken, taken_arrays
from .recording_packed import Opener
from .recording_store import RecordingError

logging.getLogger("fabio").addHandler(logging.NullHandler())  # what it finds is told by us
_ASKED_IN_VAIN = 100
FABIO_SUFFIXES = frozenset({".cbf", ".edf"})
_NUMBER = r"\s*[=:]?\s*([\d.eE+-]+)\s*"
_FACTS: dict[str, tuple[str, float]] = {
    "wavelength_m": (r"Wavelength" + _NUMBER + "A", 1e-10),
    "detector_distance_m": (r"Detector_distance" + _NUMBER + "m", 1.0),
    "saturation_counts": (r"Count_cutoff" + _NUMBER + "counts", 1.0),
}
_CBF_DATA = b"\x0c\x1a\x04\xd5"
_CBF_SIZE = re.compile(rb"X-Binary-Size:\s*(\d{1,12})")
_PIXEL = re.compile(r"Pixel_size\s+([\d.eE+-]+)\s*m\s*x\s*([\d.eE+-]+)\s*m")


class FabioSource:
    """The frames of a CBF, EDF or TIFF file as (n, h, w).

    Parameters
    ----------
    opener : callable () -> file
    name : str
        With its suffix.

    Raises
    ------
    RecordingError
        When fabio cannot read it, or it holds no images.
    """

    def __init__(self, opener: Opener, name: str) -> None:
        self._opener, self._name = opener, name
        image = self._read()
        first = np.asarray(image.data)
        if first.ndim != 2 or first.dtype.kind not in "uif":
            raise RecordingError(f"{name} holds no image of numbers; play the detector's own file.")
        self.shape = (int(image.nframes), *first.shape)
        self.dtype = first.dtype
        headers = [dict(image.header)]
        headers += [dict(image.get_frame(row).header) for row in range(1, image.nframes)]
        self._header = _text(headers[0])
        self._taken = taken_arrays([_taken(header) for header in headers])

    def _read(self) -> Any:
        import fabio.cbfimage  # heavy, and only images of beamlines need it
        import fabio.edfimage
        import fabio.tifimage
        from fabio.fabioutils import BytesIO  # with the lock that fabio asks for

        readers: dict[str, Any] = {
            ".cbf": fabio.cbfimage.CbfImage,
            ".edf": fabio.edfimage.EdfImage,
        }
        suffix = PurePath(self._name).suffix.lower()
        with self._opener() as file:
            content = file.read()
        if suffix == ".cbf":
            self._whole_cbf(content)
        image = readers.get(suffix, fabio.tifimage.TifImage)()
        try:
            stream = BytesIO(content)
            stream.read = _ending(stream.read)
            found: Any = image.read(stream)
            _ = found.data  # fabio reads late
            frames = [found, *(found.get_frame(k) for k in range(1, found.nframes))]
            for frame in frames:
                _ = frame.data
        except Exception as error:  # a damaged image raises anything
            raise RecordingError(
                f"{self._name} is no readable {suffix[1:].upper()} image, or is cut short: "
                f"{' '.join(str(error).split())}."
            ) from error
        if found.data is None:
            raise RecordingError(f"{self._name} holds no image, or is cut short.")
        # fabio fills with zeros what an EDF lacks
        for k, frame in enumerate(getattr(found, "_frames", [])):
            if getattr(frame, "incomplete_data", False):
                raise RecordingError(f"{self._name} is cut short in frame {k}.")
        return found

    def _whole_cbf(self, content: bytes) -> None:
        """Raise for a CBF that ends before its data do: fabio would look for the rest forever."""
        begin = content.find(_CBF_DATA)
        size = _CBF_SIZE.search(content[: max(begin, 0)])
        if size is None or len(content) < begin + len(_CBF_DATA) + int(size[1]):
            raise RecordingError(f"{self._name} is no readable CBF image, or is cut short.")

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Read consecutive frames.

        Raises
        ------
        RecordingError
            When one is damaged or has another shape.
        """
        start, stop, _ = rows.indices(self.shape[0])
        image = self._read()
        out = np.empty((max(stop - start, 0), *self.shape[1:]), self.dtype)
        for place, row in enumerate(range(start, stop)):
            found = np.asarray(image.data if row == 0 else image.get_frame(row).data)
            if found.shape != self.shape[1:]:
                raise RecordingError(
                    f"frame {row} of {self._name} has shape {found.shape}, the first "
                    f"{self.shape[1:]}; split the file."
                )
            out[place] = found
        return out

    def facts(self) -> dict[str, np.ndarray]:
        """Return what the file's header says, under our names."""
        out: dict[str, np.ndarray] = {}
        for name, (pattern, factor) in _FACTS.items():
            found = re.search(pattern, self._header)
            if found:
                out[name] = np.asarray(float(found[1]) * factor)
        every_s = period_s(self._header) or exposure_s(self._header)
        if every_s:
            out["dwell_ms"] = np.asarray(every_s * 1e3)
        out |= self._taken
        pixel = _PIXEL.search(self._header)
        if pixel:
            out["detector_pixel_m"] = np.asarray([float(pixel[2]), float(pixel[1])])
        return out


def _text(header: Mapping[str, Any]) -> str:
    return "\n".join(f"{key} {value}" for key, value in header.items())


def _taken(header: Mapping[str, Any]) -> tuple[float, bool] | None:
    """Return when a frame was taken: a CBF has that in one text, an EDF in a key of its own."""
    contents = header.get("_array_data.header_contents")
    return taken(header if contents is None else str(contents))


def _ending(read: Callable[..., bytes]) -> Callable[..., bytes]:
    """Return a `read` that raises where fabio would ask for what is not there forever."""
    asked = 0

    def until_the_end(size: int = -1) -> bytes:
        nonlocal asked
        data = read(size)
        asked += not data and size > 0
        if asked > _ASKED_IN_VAIN:
            raise EOFError("it ends before its data")
        return data

    return until_the_end
