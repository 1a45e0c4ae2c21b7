"""Frames of Medipix3 detectors as a Quantum Detectors Merlin writes and sends them (MIB).

Each frame has a text header that starts with ``MQ1``. Counts are big-endian; in raw mode they
come in the order of the chip's registers and, with four chips, side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_DEPTH_DTYPE = {1: "u1", 6: "u1", 12: "<u2", 24: "<u4"}


class MibError(ValueError):
    """Bytes that are no MIB frame; the message is one sentence."""


def dtype_of(counter_depth: int) -> np.dtype:
    """Return the dtype that holds counts of 1, 6, 12 or 24 bits.

    Raises
    ------
    MibError
    """
    if counter_depth not in _DEPTH_DTYPE:
        raise MibError(f"a counter depth is 1, 6, 12 or 24 bits, not {counter_depth}.")
    return np.dtype(_DEPTH_DTYPE[counter_depth])


@dataclass(frozen=True)
class MibHeader:
    """What the header of a frame says.

    Parameters
    ----------
    sequence : int
        Number of the frame, from 1.
    header_bytes : int
    image_bytes : int
    shape : (h, w)
        Of the decoded frame.
    counter_depth : int
        Bits.
    kind : str
        ``U08``, ``U16``, ``U32``, or ``R64`` for raw.
    quad : bool
        Whether four chips have to be put together.
    """

    sequence: int
    header_bytes: int
    image_bytes: int
    shape: tuple[int, int]
    counter_depth: int
    kind: str
    quad: bool

    @property
    def dtype(self) -> np.dtype:
        """Of the decoded frame."""
        if self.kind[0] == "U":
            return np.dtype({"U08": "u1", "U16": "<u2", "U32": "<u4"}[self.kind])
        return dtype_of(self.counter_depth)


def parse_header(head: bytes) -> MibHeader:
    """Read the header of a frame.

    Parameters
    ----------
    head : bytes
        At least the header; what follows it is not looked at.

    Raises
    ------
    MibError
    """
    try:
        fields = head[:1024].decode("latin1").split(",")
        if fields[0] != "MQ1":
            raise MibError(f"a frame should start with 'MQ1', not {fields[0][:12]!r}.")
        size = int(fields[2])
        fields = [f for f in head[:size].decode("latin1").split(",") if "\x00" not in f]
        sequence, chips = int(fields[1]), int(fields[3])
        width, height, kind = int(fields[4]), int(fields[5]), fields[6].strip().upper()
        raw = kind == "R64"
        depth = int(fields[-1]) if raw else {"U08": 6, "U16": 12, "U32": 24}[kind]
        if raw and depth == 24:
            height //= 2  # the high bits come as a frame of their own
        bits = {1: 1, 6: 8, 12: 16, 24: 32}[depth] if raw else int(kind[1:])
        quad = raw and chips == 4
        shape = (2 * height, width // 2) if quad else (height, width)
        if not (0 < width <= 8192 and 0 < height <= 8192 and 64 <= size <= 65536):
            raise MibError(
                f"a frame of {height} x {width} with a header of {size} bytes is absurd."
            )
        image = width * height * bits // 8
        return MibHeader(sequence, size, image, shape, depth, kind, quad)
    except (ValueError, IndexError, KeyError) as error:
        if isinstance(error, MibError):
            raise
        raise MibError(f"the header of a frame cannot be read: {head[:48]!r}.") from error


def sequences(heads: np.ndarray) -> np.ndarray:
    """Return the numbers of frames.

    Parameters
    ----------
    heads : (n, at least 10) uint8
        The first bytes of each header.

    Returns
    -------
    (n,) int64
    """
    digits = heads[:, 4:10].astype(np.int64) - ord("0")
    return digits @ (10 ** np.arange(5, -1, -1))


def decode(images: np.ndarray, header: MibHeader, *, flip_y: bool = True) -> np.ndarray:
    """Return the counts.

    Parameters
    ----------
    images : (n, image_bytes) uint8
        Without headers.
    header : MibHeader
        Of any of the frames.
    flip_y : bool
        MIB stores the lowest line first.

    Returns
    -------
    (n, h, w) uint8, uint16 or uint32
    """
    n = len(images)
    images = np.ascontiguousarray(images)
    if header.kind == "R64":
        rows = header.shape[0] // 2 if header.quad else header.shape[0]
        frames = _raw(images, header.counter_depth, n, rows)
        frames = _assemble(frames) if header.quad else frames
    else:
        stored = np.dtype(header.dtype).newbyteorder(">")
        frames = images.view(stored).reshape(n, *header.shape)
    frames = frames[:, ::-1] if flip_y else frames
    return np.ascontiguousarray(frames, header.dtype)


def _raw(images: np.ndarray, depth: int, n: int, rows: int) -> np.ndarray:
    if depth == 1:  # 64 pixels to a word, the last first
        words = images.reshape(n, rows, -1, 8)[..., ::-1]
        return np.unpackbits(words, axis=-1, bitorder="little").reshape(n, rows, -1)
    if depth == 6:
        return images.reshape(n, rows, -1, 8)[..., ::-1].reshape(n, rows, -1)
    if depth == 12:
        return images.view(">u2").reshape(n, rows, -1, 4)[..., ::-1].reshape(n, rows, -1)
    pair = images.view(">u2").reshape(n, 2, rows, -1, 4)[..., ::-1].reshape(n, 2, rows, -1)
    return (pair[:, 0].astype("<u4") << 12) + pair[:, 1]


def _assemble(frames: np.ndarray) -> np.ndarray:
    """Put four chips that lie side by side, the last first, into a square."""
    fourth, third, second, first = np.split(frames, 4, axis=2)
    top = np.concatenate([first, second], axis=2)
    bottom = np.concatenate([third[:, ::-1, ::-1], fourth[:, ::-1, ::-1]], axis=2)
    return np.concatenate([top, bottom], axis=1)
