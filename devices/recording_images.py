"""Frames in image files: TIFF of area detectors, and MIB of a Merlin; read when asked for."""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .mib import MibError, MibHeader, decode, parse_header
from .recording_dates import exposure_s, period_s, taken, taken_arrays
from .recording_packed import Opener
from .recording_store import ArrayStore, RecordingError

TIFF_SUFFIXES = frozenset({".tif", ".tiff"})
_DESCRIPTION, _DATE = 270, 306  # tags of TIFF
_MOST_PAGES = 1_000_000
_CUTOFF = re.compile(r"Count_cutoff\s+(\d{1,12})\s*counts")
_PIXEL = re.compile(r"Pixel_size\s+([\d.eE+-]+)\s*m\s*x\s*([\d.eE+-]+)\s*m")


class TiffSource:
    """The pages of a TIFF file as (n, h, w).

    Parameters
    ----------
    opener : callable () -> file
    name : str

    Raises
    ------
    RecordingError
        When it is no TIFF file of grey values.
    """

    def __init__(self, opener: Opener, name: str) -> None:
        self._opener, self._name = opener, name
        self.description = ""
        self._taken: list[tuple[float, bool] | None] = []
        first, pages = self._look()
        if first.ndim != 2:
            raise RecordingError(
                f"{name} is a colour picture of shape {first.shape}, not the grey values of a "
                "detector; play the detector's own file."
            )
        self.shape = (pages, *first.shape)
        self.dtype = first.dtype

    def _open(self, file: BinaryIO) -> Any:
        from PIL import Image

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # Pillow warns of pictures that are bombs
                return Image.open(file, formats=["TIFF"])
        except Exception as error:  # a damaged picture raises anything
            raise RecordingError(
                f"{self._name} is no readable TIFF file, or is cut short: {error}."
            ) from error

    def _page(self, image: Any, page: int) -> np.ndarray:
        try:
            image.seek(page)
            return np.asarray(image)
        except Exception as error:
            raise RecordingError(
                f"page {page} of {self._name} cannot be read, the file may be cut short: {error}."
            ) from error

    def _count(self, image: Any) -> int:
        try:
            return int(getattr(image, "n_frames", 1))
        except Exception as error:  # a damaged picture raises anything
            raise RecordingError(
                f"{self._name} is no readable TIFF file, or is cut short: {error}."
            ) from error

    def _tagged(self, image: Any, page: int) -> tuple[float, bool] | None:
        try:
            image.seek(page)
            return _taken(image.tag_v2)
        except Exception as error:
            raise RecordingError(
                f"page {page} of {self._name} cannot be read, the file may be cut short: {error}."
            ) from error

    def _look(self) -> tuple[np.ndarray, int]:
        with self._opener() as file, self._open(file) as image:
            pages = self._count(image)
            if pages > _MOST_PAGES:
                raise RecordingError(f"{self._name} claims {pages} pages; convert it to HDF5.")
            self.description = str(image.tag_v2.get(_DESCRIPTION, ""))
            first = self._page(image, 0)
            for page in range(pages):
                if page and not self._taken[-1]:
                    break  # the first pages say nothing, nor will the others
                self._taken.append(self._tagged(image, page))
            return first, pages

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Read consecutive pages.

        Raises
        ------
        RecordingError
            When a page is damaged or has another shape.
        """
        start, stop, _ = rows.indices(self.shape[0])
        out = np.empty((max(stop - start, 0), *self.shape[1:]), self.dtype)
        with self._opener() as file, self._open(file) as image:
            for place, page in enumerate(range(start, stop)):
                found = self._page(image, page)
                if found.shape != self.shape[1:]:
                    raise RecordingError(
                        f"page {page} of {self._name} has shape {found.shape}, the first "
                        f"{self.shape[1:]}; split the file."
                    )
                out[place] = found
        return out

    def facts(self) -> dict[str, np.ndarray]:
        """Return what the file's description says, under our names."""
        out: dict[str, np.ndarray] = {}
        pixel = _PIXEL.search(self.description)
        every_s = period_s(self.description) or exposure_s(self.description)
        if pixel:
            out["detector_pixel_m"] = np.asarray([float(pixel[2]), float(pixel[1])])
        cutoff = _CUTOFF.search(self.description)
        if cutoff:
            out["saturation_counts"] = np.asarray(float(cutoff[1]))
        if every_s:
            out["dwell_ms"] = np.asarray(every_s * 1e3)
        return out | (taken_arrays(self._taken) if len(self._taken) == self.shape[0] else {})


def _taken(tags: Any) -> tuple[float, bool] | None:
    """Return when a page was taken: the detector's own text counts more than the tag."""
    said = str(tags.get(_DESCRIPTION, ""))
    return taken(said) or taken(f"{tags.get(_DATE, '')}\n{said}")


class MibSource:
    """The frames of a Merlin's .mib file as (n, h, w).

    Parameters
    ----------
    opener : callable () -> file
    name : str

    Raises
    ------
    RecordingError
    """

    def __init__(self, opener: Opener, name: str) -> None:
        self._opener, self._name = opener, name
        with opener() as file:
            head = file.read(65536)
            size = file.seek(0, io.SEEK_END)
        try:
            self._header: MibHeader = parse_header(head)
        except MibError as error:
            raise RecordingError(f"{name} is no readable .mib file: {error}") from error
        self._stride = self._header.header_bytes + self._header.image_bytes
        n, self.rest = divmod(size, self._stride)
        if n == 0:
            raise RecordingError(f"{name} is cut short: it holds less than one frame.")
        self.shape = (n, *self._header.shape)
        self.dtype = self._header.dtype

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Read and decode consecutive frames.

        Raises
        ------
        RecordingError
        """
        start, stop, _ = rows.indices(self.shape[0])
        n = max(stop - start, 0)
        with self._opener() as file:
            file.seek(start * self._stride)
            data = file.read(n * self._stride)
        if len(data) < n * self._stride:
            raise RecordingError(f"{self._name} is cut short before frame {stop}.")
        raw = np.frombuffer(data, np.uint8).reshape(n, self._stride)
        return decode(raw[:, self._header.header_bytes :], self._header)


def image_store(source: Any, name: str, notes: list[str]) -> ArrayStore:
    """Return frames that are read when asked for, with what their files say.

    Parameters
    ----------
    source : array-like
        (n, h, w).
    name : str
        Whose ``4x2`` gives the scan's shape where the number of frames agrees.
    notes : list of str
    """
    facts = getattr(source, "facts", dict)()
    if source.dtype.kind in "if":
        first = np.asarray(source[0:1])[0]
        with np.errstate(invalid="ignore"):
            masked = first < 0
            whole = first.dtype.kind == "i" or bool(np.all(first == np.rint(first)))
        if masked.any() and whole:  # else a background was taken off
            facts.setdefault("radiation", np.asarray("xray"))  # only such cameras mark pixels so
            facts["bad_pixels"] = masked
            notes.append(f"bad_pixels: {int(masked.sum())} negative pixels of the first frame")
            notes.append("radiation: 'xray', for cameras that mark pixels by negative counts")
    grid = _grid_in_name(name, int(source.shape[0]))
    if grid is not None:
        notes.append(f"the scan of {grid[0]} lines of {grid[1]} was taken from the name {name!r}")
    if getattr(source, "rest", 0):
        notes.append(f"{name} ends with an incomplete frame, which was left out")
    return ArrayStore({"frames": source, **facts}, notes, grid=grid)


def _grid_in_name(name: str, n: int) -> tuple[int, int] | None:
    for nx, ny in re.findall(r"(?<![0-9A-Za-z])(\d{1,5})x(\d{1,5})(?![0-9])", Path(name).stem):
        if int(nx) * int(ny) == n and n > 1:
            return int(ny), int(nx)
    return None


def beside(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return what a pyFAI .poni file of the same name says about the geometry, and a note."""
    poni = path.with_suffix(".poni")
    if not poni.is_file() or poni.stat().st_size > 100_000:
        return {}, []
    stated = dict(
        re.findall(r"^(\w+)\s*:\s*([\d.eE+-]+)\s*$", poni.read_text(errors="replace"), re.M)
    )
    out: dict[str, np.ndarray] = {"radiation": np.asarray("xray")}
    try:
        if "Distance" in stated:
            out["detector_distance_m"] = np.asarray(float(stated["Distance"]))
        if "Wavelength" in stated:
            out["wavelength_m"] = np.asarray(float(stated["Wavelength"]))
        if "PixelSize1" in stated and "PixelSize2" in stated:
            out["detector_pixel_m"] = np.asarray(
                [float(stated["PixelSize1"]), float(stated["PixelSize2"])]
            )
    except ValueError:
        return {}, [f"{poni.name} cannot be read and was ignored"]
    return out, [f"{', '.join(sorted(out))}: taken from {poni.name}"]
