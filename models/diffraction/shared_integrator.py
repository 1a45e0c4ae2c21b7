"""One integrator for all analyses of a run that want the same patterns of the same frames."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

import numpy as np

from .integrator import Integrator

Pattern = tuple[np.ndarray, np.ndarray, int]
_KEPT = 64


class SharedIntegrator(Integrator):
    """Integrates a frame that has a name once, whoever asks, from however many threads.

    Two analyses of one camera would otherwise read every pixel twice, on two cores at once.

    Parameters
    ----------
    *arguments, **settings
        Of `Integrator`.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._forget()

    def _forget(self) -> None:
        self._newest: OrderedDict[Hashable, Pattern] = OrderedDict()
        self._one_by_one = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs: names are known in this one only."""
        return {
            name: value
            for name, value in vars(self).items()
            if name not in {"_newest", "_one_by_one"}
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin with no pattern."""
        vars(self).update(state)
        self._forget()

    def __call__(self, frame: np.ndarray, name: Hashable = None) -> Pattern:
        """Integrate one frame.

        Parameters
        ----------
        frame : (h, w), counts
        name : hashable, optional
            Of `models.base.Batch`; the newest patterns are kept under it. A frame without one is
            always integrated.

        Returns
        -------
        intensity, sigma : (bins,) float64
            Others may have them too: not to be changed.
        lost : int
            As of `Integrator`.
        """
        with self._one_by_one:
            if name is None:
                return super().__call__(frame)
            pattern = self._newest.get(name)
            if pattern is None:
                pattern = self._newest[name] = super().__call__(frame)
                if len(self._newest) > _KEPT:
                    self._newest.popitem(last=False)
            return pattern
