"""Numbers and names in a file, whatever they are called, and what the caller says instead."""

from __future__ import annotations

from typing import Any

import numpy as np

from .recording_names import AMBIGUOUS, NUMBERS
from .recording_store import RecordingError, Store


class Facts:
    """What a store says under our names.

    Parameters
    ----------
    store : Store
    known : dict
        What the caller says; each is taken out when it is used.
    taken : dict
        Is told our name of each quantity and the name in the file.
    notes : list of str
        Is told what was assumed.
    """

    def __init__(
        self, store: Store, known: dict[str, Any], taken: dict[str, str], notes: list[str]
    ) -> None:
        self.store, self._known, self.taken, self.notes = store, known, taken, notes

    def name(self, quantity: str, spellings: tuple[str, ...]) -> str | None:
        """Return the first spelling that the file has, and say so."""
        found = [name for name in spellings if name in self.store.names]
        if not found:
            return None
        self.taken[quantity] = found[0]
        if found[0] != quantity:
            self.notes.append(f"{quantity}: taken from {found[0]!r}")
        return found[0]

    def array(self, name: str) -> np.ndarray:
        """Read an array."""
        return np.asarray(self.store.array(name))

    def number(self, quantity: str) -> Any:
        """Return a number in our unit, or None."""
        if quantity in self._known:
            return self._given(quantity)
        factors = dict(NUMBERS[quantity])
        name = self.name(quantity, tuple(factors))
        if name is None:
            loose = next((a for a, q in AMBIGUOUS.items() if q == quantity), None)
            return self._loose(quantity, loose) if loose in self.store.names else None
        if self.array(name).dtype.kind not in "uif":
            if name == quantity:
                raise RecordingError(f"{name!r} must be one or two finite numbers.")
            self.notes.append(f"{name!r} is not a number and was ignored")
            return None
        value = self.array(name).astype(float).ravel() * factors[name]
        if value.size not in (1, 2) or not np.isfinite(value).all():
            if name == quantity or value.size in (1, 2):
                raise RecordingError(f"{name!r} must be one or two finite numbers.")
            self.notes.append(f"{name!r} is not one number and was ignored")
            return None
        return float(value[0]) if value.size == 1 else value.tolist()

    def _given(self, quantity: str) -> Any:
        """Return what the caller says, who may have mistyped it."""
        value = self._known.pop(quantity)
        try:
            numbers = np.asarray(value, dtype=float).ravel()
        except (TypeError, ValueError):
            numbers = np.empty(0)
        if numbers.size not in (1, 2) or not np.isfinite(numbers).all():
            raise RecordingError(f"{quantity} must be one or two finite numbers, got {value!r}.")
        return value

    def _loose(self, quantity: str, name: str | None) -> float | None:
        loose = self.array(str(name))
        if loose.dtype.kind not in "uif" or loose.size != 1:
            return None
        value = loose.astype(float).ravel()
        if not np.isfinite(value[0]):
            return None
        number = float(value[0])
        unit, factor = {
            "defocus_nm": ("angstrom", 0.1),
            "detector_distance_m": ("m", 1.0),
        }.get(quantity, ("keV", 1.0))
        if quantity == "energy_kev" and number > 2000:
            unit, factor = "eV", 1e-3
        elif quantity == "energy_kev" and number < 1e-6:
            unit, factor = "J", 1 / 1.602176634e-16
        self.taken[quantity] = str(name)
        self.notes.append(f"{quantity}: {name!r} = {number:g} was taken to be in {unit}")
        return number * factor
