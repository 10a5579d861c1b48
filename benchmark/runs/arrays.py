"""Arrays as files: NumPy's own format, read without trust (torch-free)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.core.errors import DataError


def to_npy(array: NDArray[Any]) -> bytes:
    """The content of a .npy file; equal arrays give equal bytes on every machine."""
    content = io.BytesIO()
    np.lib.format.write_array(content, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return content.getvalue()


def from_npy(content: bytes, path: Path) -> NDArray[Any]:
    """A one-dimensional array of floats, or of records of floats, which is a view of `content`.

    DataError, naming `path`, for anything else; nothing of it is executed, and no memory is taken for what a
    forged header announces.
    """
    try:
        file = io.BytesIO(content)
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("not of version 1.0")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        kinds = [dtype] if dtype.names is None else [dtype[name] for name in dtype.names]
        if len(shape) != 1 or fortran or not kinds or any(kind.kind != "f" for kind in kinds):
            raise ValueError(f"{dtype} {list(shape)} is not one list of floats")
        body = content[file.tell() :]
        if shape[0] * dtype.itemsize != len(body):
            raise ValueError(f"{len(body):,} bytes for {shape[0]:,} entries of {dtype.itemsize}")
        return np.frombuffer(body, dtype)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError, OverflowError) as error:
        raise DataError(
            f"{path}: not an array that can be read ({error}). Remove the folder and run again."
        ) from error
