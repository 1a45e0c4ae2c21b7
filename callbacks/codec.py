"""Values of documents as msgpack, with NumPy's dtypes kept.

NumPy scalars and arrays keep their dtype, tuples stay tuples, NaN stays NaN, integers have any
size. Sizes are checked before anything is allocated; nothing is ever evaluated or unpickled.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import Enum
from math import prod
from pathlib import PurePath
from typing import Any

import msgpack
import numpy as np

_ARRAY, _SCALAR, _TUPLE, _INTEGER, _COMPLEX = 1, 2, 3, 4, 5
_DTYPE_KINDS = frozenset("biufcSUmM")


def packer() -> msgpack.Packer:
    """Return a packer of documents; it is not for several threads at once.

    Its ``pack`` raises TypeError for what is not data: arrays of objects, functions, devices.
    """
    # Strict types: else a numpy.float64 would be written as the float that it also is.
    return msgpack.Packer(default=_encode, strict_types=True)


def unpack(data: bytes) -> Any:
    """Return what was packed.

    Raises
    ------
    ValueError, TypeError
        If the bytes are not what a packer writes.
    """
    return msgpack.unpackb(data, ext_hook=_decode, strict_map_key=False)


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return _encode_numpy(value)
    match value:
        case tuple():
            return msgpack.ExtType(_TUPLE, packer().pack(list(value)))
        case Enum():
            return value.value
        case Mapping():
            return dict(value)
        case int():
            return msgpack.ExtType(_INTEGER, str(int(value)).encode())
        case complex():
            return msgpack.ExtType(_COMPLEX, struct.pack("<dd", value.real, value.imag))
        case str() | PurePath():
            return str(value)
        case float():
            return float(value)
        case list():
            return list(value)
    raise TypeError(
        f"a value of type {type(value).__name__} is not data; use numbers, text, lists, "
        "dictionaries or numeric arrays"
    )


def _encode_numpy(value: np.ndarray | np.generic) -> msgpack.ExtType:
    dtype = _checked(value.dtype)
    if isinstance(value, np.ndarray):
        return msgpack.ExtType(_ARRAY, msgpack.packb((dtype, value.shape, value.tobytes())))
    return msgpack.ExtType(_SCALAR, msgpack.packb((dtype, value.tobytes())))


def _decode(code: int, data: bytes) -> Any:
    match code:
        case 1:
            text, shape, raw = msgpack.unpackb(data)
            dtype = _dtype(text)
            if any(n < 0 for n in shape) or prod(shape) * dtype.itemsize != len(raw):
                raise ValueError(f"an array of {text} {tuple(shape)} has {len(raw)} bytes")
            return np.frombuffer(raw, dtype).reshape(shape).copy()
        case 2:
            text, raw = msgpack.unpackb(data)
            dtype = _dtype(text)
            if dtype.itemsize != len(raw):
                raise ValueError(f"a scalar of {text} has {len(raw)} bytes")
            return np.frombuffer(raw, dtype)[0] if raw else dtype.type()
        case 3:
            return tuple(unpack(data))
        case 4:
            return int(data)
        case 5:
            return complex(*struct.unpack("<dd", data))
    raise ValueError(f"unknown kind of value {code}")


def _checked(dtype: np.dtype) -> str:
    if dtype.kind not in _DTYPE_KINDS:
        raise TypeError(
            f"an array of dtype {dtype} is not data; use a numeric, boolean or fixed-width text "
            "dtype"
        )
    return dtype.str


def _dtype(text: Any) -> np.dtype:
    dtype = np.dtype(str(text))
    _checked(dtype)
    return dtype
