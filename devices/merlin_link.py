"""The two TCP connections of a Merlin: commands and frames, both in ``MPX`` messages."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import numpy as np

from .mib import MibError, MibHeader, parse_header

_PREFIX = 15  # "MPX," + ten digits + ","
_FAULTS = {1: "is busy", 2: "does not know the command", 3: "finds the value out of range"}


class MerlinError(ConnectionError):
    """A Merlin that does not answer as it should; the message is one sentence."""


def connect(host: str, port: int, what: str, timeout_s: float) -> socket.socket:
    """Open a connection.

    Raises
    ------
    MerlinError
    """
    try:
        return socket.create_connection((host, port), timeout_s)
    except OSError as error:
        raise MerlinError(
            f"no Merlin answers on {host}:{port} ({what}): {error.strerror or error}; is its "
            "software running, and is the port right?"
        ) from error


def _length(prefix: bytes) -> int:
    if len(prefix) < _PREFIX or prefix[:4] != b"MPX," or not prefix[4:14].isdigit():
        raise MerlinError(f"the Merlin sent {prefix!r} where a message should begin.")
    return int(prefix[4:14]) - 1


class ControlLink:
    """Sends commands and reads the answers.

    Parameters
    ----------
    host : str
    port : int
    timeout_s : float, s
    """

    def __init__(self, host: str, port: int, timeout_s: float = 5.0) -> None:
        self._where = f"{host}:{port}"
        self._socket = connect(host, port, "control", timeout_s)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def get(self, name: str) -> str:
        """Ask for a value; "undef" where the Merlin has none."""
        return self._talk("GET", name)[2]

    def set(self, name: str, value: object) -> None:
        """Set a value."""
        self._talk("SET", name, str(value))

    def command(self, name: str) -> None:
        """Give a command."""
        self._talk("CMD", name)

    def _talk(self, *words: str) -> list[str]:
        body = ",".join(words) if words[0] == "SET" else ",".join((*words, "0"))
        try:
            self._socket.sendall(f"MPX,{len(body) + 1:010d},{body}".encode("ascii"))
            answer = self._receive(_length(self._receive(_PREFIX))).decode("latin1")
            # some count the comma before the text in the length and some do not
            answer += self._receive(1).decode("latin1") if answer.endswith(",") else ""
        except OSError as error:
            raise MerlinError(
                f"the Merlin at {self._where} did not answer {' '.join(words)}: {error}."
            ) from error
        parts = answer.split(",")
        if len(parts) < 3 or parts[0].upper() != words[0] or not parts[-1].strip().isdigit():
            raise MerlinError(f"the Merlin answered {answer!r} to {' '.join(words)}.")
        if fault := int(parts[-1]):
            reason = _FAULTS.get(fault, f"reports fault {fault}")
            raise MerlinError(f"the Merlin {reason}: {' '.join(words)}.")
        return parts

    def _receive(self, count: int) -> bytes:
        got = bytearray()
        while len(got) < count:
            part = self._socket.recv(count - len(got))
            if not part:
                raise MerlinError(f"the Merlin at {self._where} hung up.")
            got += part
        return bytes(got)


class DataLink:
    """Receives frames.

    Parameters
    ----------
    host : str
    port : int
    timeout_s : float, s
    """

    def __init__(self, host: str, port: int, timeout_s: float = 5.0) -> None:
        self._where = f"{host}:{port}"
        self._socket = connect(host, port, "data", timeout_s)
        self._socket.settimeout(0.2)
        self._pending = b""

    def close(self) -> None:
        """Hang up; a `messages` that waits ends within a fifth of a second."""
        self._socket.close()

    def begun(self, timeout_s: float) -> bool:
        """Return whether the header of an acquisition comes in time.

        Parameters
        ----------
        timeout_s : float, s
        """
        deadline = time.monotonic() + timeout_s
        while b",HDR" not in self._pending and b",MQ1" not in self._pending:
            if time.monotonic() > deadline:
                return False
            part = self._part(1 << 16)
            if part == b"":
                raise MerlinError(f"the Merlin at {self._where} hung up before it began.")
            self._pending += part or b""
        return True

    def messages(self) -> Iterator[tuple[MibHeader, np.ndarray] | None]:
        """Yield frames as they come, and None five times a second where none comes.

        Yields
        ------
        header : MibHeader
            Of the first frame; the others differ only in their number.
        block : (n, header and image bytes) uint8

        Raises
        ------
        MerlinError
            When the connection ends or what comes is no frame.
        """
        for head in self._until_first():
            if head is None:
                yield None
                continue
            break
        else:
            return
        try:
            header = parse_header(head)
        except MibError as error:
            raise MerlinError(str(error)) from error
        yield from self._blocks(header)

    def _until_first(self) -> Iterator[bytes | None]:
        """Skip what was left from before and the header of the acquisition."""
        while True:
            start = self._pending.find(b"MPX,")
            while start >= 0:
                self._pending = self._pending[start:]
                if len(self._pending) < _PREFIX + 4:
                    break
                length = _length(self._pending[:_PREFIX])
                if self._pending[_PREFIX : _PREFIX + 3] == b"MQ1":
                    if len(self._pending) >= _PREFIX + min(length, 1024):
                        yield self._pending[_PREFIX:]
                        return
                    break
                if len(self._pending) < _PREFIX + length:
                    break
                self._pending = self._pending[_PREFIX + length :]
                start = self._pending.find(b"MPX,")
            part = self._part(1 << 16)
            if part is None:
                yield None
            elif part == b"":
                raise MerlinError(f"the Merlin at {self._where} hung up before the first frame.")
            else:
                self._pending += part

    def _part(self, count: int) -> bytes | None:
        try:
            return self._socket.recv(count)
        except TimeoutError:
            return None
        except OSError as error:
            raise MerlinError(f"the connection to {self._where} broke: {error}.") from error

    def _blocks(self, header: MibHeader) -> Iterator[tuple[MibHeader, np.ndarray] | None]:
        size = _PREFIX + header.header_bytes + header.image_bytes
        room = max(2, min(64, (8 << 20) // size))
        buffer = np.empty(max(room * size, 2 * len(self._pending)), np.uint8)
        filled = len(self._pending)
        buffer[:filled] = np.frombuffer(self._pending, np.uint8)
        told = time.monotonic()
        try:
            while True:
                count, now = filled // size, time.monotonic()
                if count and (count * size > len(buffer) - size or now - told > 0.03):
                    whole, filled = self._take(buffer, filled, size)
                    told = now
                    yield header, whole
                got = self._receive_into(buffer[filled:])
                if got is None:
                    told = 0.0
                    if filled < size:
                        yield None
                    continue
                if got == 0:
                    if filled >= size:
                        whole, filled = self._take(buffer, filled, size)
                        yield header, whole
                    cut = f", {filled} bytes into a frame" if filled else ""
                    raise MerlinError(f"the Merlin at {self._where} hung up{cut}.")
                filled += got
        finally:
            self._pending = buffer[:filled].tobytes()

    def _receive_into(self, room: np.ndarray) -> int | None:
        try:
            return self._socket.recv_into(room.data)
        except TimeoutError:
            return None
        except OSError as error:
            raise MerlinError(f"the connection to {self._where} broke: {error}.") from error

    def _take(self, buffer: np.ndarray, filled: int, size: int) -> tuple[np.ndarray, int]:
        """Copy the whole frames out and move the rest to the front."""
        end = filled // size * size
        whole = self._split(buffer[:end].copy(), size)
        rest = filled - end
        buffer[:rest] = buffer[end:filled].copy()
        return whole, rest

    def _split(self, data: np.ndarray, size: int) -> np.ndarray:
        block = data.reshape(-1, size)
        if (block[:, : _PREFIX + 3] != block[0, : _PREFIX + 3]).any():
            raise MerlinError("the Merlin's stream fell out of step; frames were lost on the way.")
        _length(block[0, :_PREFIX].tobytes())
        return block[:, _PREFIX:]
