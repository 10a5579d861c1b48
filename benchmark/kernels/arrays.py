"""What the kernels' PyTorch twins and the methods share: masks, widening of half precisions, loops in the cache."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

MASKED = -1e23
"""Logit of a masked position; finite, so that a fully masked row stays finite too."""

CHUNK_BYTES = 1 << 22
"""Size of the temporary of one step of a loop over rows: it should stay in the cache."""


@contextlib.contextmanager
def in_float32(*arrays: Tensor) -> Iterator[list[Tensor]]:
    """The arrays, half precisions widened, with autocast off: for what half precisions would spoil or break."""
    half = (torch.bfloat16, torch.float16)
    with torch.autocast(arrays[0].device.type, enabled=False):
        yield [x.float() if x.dtype in half else x for x in arrays]


def row_chunks(n_rows: int, row_bytes: int) -> Iterator[slice]:
    """Slices of rows whose temporaries of `row_bytes` each stay within `CHUNK_BYTES`."""
    # one row at least, even where it alone exceeds the cache
    size = max(1, CHUNK_BYTES // row_bytes)
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))
