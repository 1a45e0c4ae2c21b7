"""Kernel of free flight from one slice of an object to the next."""

from __future__ import annotations

import numpy as np
from numba import njit
from rocket_fft import c2c

_FAST = {"contract", "nsz", "arcp", "reassoc"}


@njit(nogil=True, cache=True, fastmath=_FAST)
def carry(wave, propagator, back):
    """Carry a wave (h, w) complex64 to the next slice in place, or back to the one before.

    Parameters
    ----------
    propagator : (h, w) complex64
        Of modulus 1, zero frequency at [0, 0].
    back : bool
    """
    h, w = wave.shape
    axes = np.array([0, 1])
    sign = np.float32(-1 if back else 1)
    c2c(wave, wave, axes, True, 1.0, 1)
    for y in range(h):
        for x in range(w):
            z, p = wave[y, x], propagator[y, x]
            i = sign * p.imag
            wave[y, x] = complex(z.real * p.real - z.imag * i, z.real * i + z.imag * p.real)
    c2c(wave, wave, axes, False, 1.0 / (h * w), 1)
