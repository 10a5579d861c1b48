"""An array's bytes in planes, all first bytes and then all second ones:: floats are easier to compress so.

A float's exponent repeats itself, its last bits do not; side by side they hide that from a compressor. Torch-free.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmark.core.errors import DataError
from benchmark.runs.arrays import to_npy

LEAST = 64 << 10
"""Bytes from which on it is worthwhile."""
_FLOATS = ("<f2", "<f4", "<f8")


def to_planes(content: bytes, array: np.ndarray[Any, Any]) -> tuple[bytes, Any] | None:
    """(the content of a .npy file, uint8 [bytes of an entry, entries]; what the entries are) of a file that holds this
    array; None where it is small, or would not come back byte for byte."""
    descr = np.lib.format.dtype_to_descr(array.dtype)
    if len(content) < LEAST or not _known(descr) or to_npy(array) != content:
        return None
    planes = array.view(np.uint8).reshape(len(array), array.dtype.itemsize).T
    return to_npy(planes), descr


def from_planes(content: bytes, descr: Any, path: Path) -> bytes:
    """The file that `to_planes` was given. DataError, naming `path`, for anything else."""
    try:
        descr = [tuple(one) for one in descr] if isinstance(descr, list) else descr
        if not _known(descr):
            raise ValueError(f"entries of {descr!r}")
        dtype = np.dtype(descr)
        head = to_npy(np.empty((dtype.itemsize, 0), np.uint8))
        body = np.frombuffer(content, np.uint8)[len(head) :].reshape(dtype.itemsize, -1)
        if to_npy(body) != content:
            raise ValueError("not in planes")
        return to_npy(np.ascontiguousarray(body.T).view(dtype)[:, 0])
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: not an array that can be read ({error}).") from error


def _known(descr: Any) -> bool:
    """Floats, or records of floats."""
    fields = descr if isinstance(descr, list) else [("", descr)]
    return bool(fields) and all(
        len(one) == 2 and one[1] in _FLOATS and isinstance(one[0], str) for one in fields
    )
