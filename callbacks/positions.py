"""Where the beam was at each scan index: read-back where there is one, else commanded.

Where only commands are known, and how slowly the coils follow them, the beam is taken to have
been where first-order coils would have had it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..models.calibration import lagging
from .assets import AssetReader

METRES = {"m": 1.0, "mm": 1e-3, "um": 1e-6, "µm": 1e-6, "nm": 1e-9, "angstrom": 1e-10, "A": 1e-10}
INDEX, COMMANDED, READBACK = "_scan_index", "_commanded", "_readback"


class PositionTable:
    """Positions by scan index, from the coils' stream or from a step scan's events.

    Parameters
    ----------
    assets : AssetReader
    lag : float
        The coils' time constant over the dwell; for coils that do not read back.
    """

    def __init__(self, assets: AssetReader, lag: float = 0.0) -> None:
        self._assets = assets
        self._lag = lag
        self._beam: np.ndarray | None = None
        self._device: str | None = None
        self._motors: tuple[str, str] | None = None
        self._units = "px"
        self._pending: dict[str, list[tuple[str, int, int]]] = {}
        self._table = np.empty((0, 2))
        self._have = np.empty(0, bool)

    @property
    def expected(self) -> bool:
        """Whether this run says where its frames were taken."""
        return self._device is not None or self._motors is not None

    def descriptor(self, doc: Mapping[str, Any]) -> None:
        """Find the coils' stream, or the two motors of a step scan, among the data keys."""
        keys = doc["data_keys"]
        for key, data_key in keys.items():
            streamed = str(data_key.get("external", "")).startswith("STREAM")
            device = key.removesuffix(COMMANDED)
            if streamed and key.endswith(COMMANDED) and device + INDEX in keys:
                self._device, self._units = device, data_key.get("units") or "px"
                self._pending = {
                    k: []
                    for k in (device + INDEX, device + COMMANDED, device + READBACK)
                    if k in keys
                }
                return
        for key, data_key in keys.items():
            pair = key, key.removesuffix("_y") + "_x"
            numbers = all(keys.get(k, {}).get("dtype") in {"number", "integer"} for k in pair)
            if self._device is None and key.endswith("_y") and numbers:
                self._motors, self._units = pair, data_key.get("units") or "px"

    def stream_datum(self, key: str, resource: str, start: int, stop: int) -> None:
        """Read the rows that every key of the coils has announced."""
        if key not in self._pending:
            return
        self._pending[key].append((resource, start, stop))
        while all(self._pending.values()):
            firsts = {k: pieces[0] for k, pieces in self._pending.items()}
            n = min(b - a for _, a, b in firsts.values())
            rows = {k: self._assets.read(r, a, a + n) for k, (r, a, _) in firsts.items()}
            for k, (r, a, b) in firsts.items():
                self._pending[k][:1] = [(r, a + n, b)] if a + n < b else []
            index = rows[f"{self._device}{INDEX}"].astype(np.int64)
            commanded = rows[f"{self._device}{COMMANDED}"]
            readback = rows.get(f"{self._device}{READBACK}")
            followed = self._followed(commanded) if readback is None else commanded
            known = followed if readback is None else readback
            self._put(index, np.where(np.isfinite(known), known, followed))

    def _followed(self, commanded: np.ndarray) -> np.ndarray:
        """Return where lagging coils had the beam during these points, (n, 2)."""
        if not self._lag or not len(commanded):
            return commanded
        start = commanded[0] if self._beam is None else self._beam
        means, self._beam = lagging(commanded, start, 1.0, self._lag)
        return means

    def event(self, seq_num: int, data: Mapping[str, Any]) -> None:
        """Take the coordinates of a step scan's event."""
        if self._motors is not None and all(k in data for k in self._motors):
            position = [[float(data[k]) for k in self._motors]]
            self._put(np.array([seq_num - 1]), np.array(position))

    def known_prefix(self, index: np.ndarray, first: int) -> int:
        """Return up to which frame, from `first` on, every position is known."""
        if not self.expected:
            return len(index)
        tail = index[first:]
        inside = tail < len(self._have)
        known = inside & self._have[np.where(inside, tail, 0)] if len(self._have) else inside
        gaps = np.flatnonzero(~known)
        return first + int(gaps[0]) if len(gaps) else len(index)

    def lookup(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """Return the positions at these scan indices, NaN where none was recorded."""
        if not self.expected:
            return {}
        out = np.full((len(index), 2), np.nan)
        inside = index < len(self._table)
        out[inside] = self._table[index[inside]]
        if self._units in METRES:
            return {"positions_m": out * METRES[self._units]}
        return {"positions_px": out}

    def _put(self, index: np.ndarray, positions: np.ndarray) -> None:
        if not len(index):
            return
        size = int(index.max()) + 1
        if size > len(self._table):
            grown = max(size, 2 * len(self._table), 1024)
            table, have = np.full((grown, 2), np.nan), np.zeros(grown, bool)
            table[: len(self._table)], have[: len(self._have)] = self._table, self._have
            self._table, self._have = table, have
        self._table[index] = positions
        self._have[index] = True
