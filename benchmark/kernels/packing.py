"""Real positions side by side: what is done position by position then costs nothing for padding.

How many there are is known only from the data. A GPU that is told its work ahead (CUDA graphs) cannot wait for such
a number: there every position is taken, padding too, and padding is zeroed afterwards.

N sequences, L positions, X positions taken (real ones, or all), F features.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

_fixed = False


@contextmanager
def fixed_shapes() -> Iterator[None]:
    """On a CPU too nothing's shape depends on values, as on a GPU: how that side is tested without one."""
    global _fixed
    before, _fixed = _fixed, True
    try:
        yield
    finally:
        _fixed = before


def shapes_are_fixed(x: Tensor) -> bool:
    """Whether what is computed of `x` must have shapes that do not depend on values."""
    return _fixed or x.device.type != "cpu"


@dataclass(frozen=True)
class Packing:
    """Where the real positions of padded sequences are."""

    place_X: Tensor
    """int64, their places in the flattened `[N * L]`, ascending."""
    shape: tuple[int, int]
    """N and L."""
    mask_NL: Tensor | None = None
    """Where all positions are taken (X = N * L): which of them are real."""

    @classmethod
    def of(cls, mask_NL: Tensor) -> Packing:
        n_sequences, length = mask_NL.shape
        if shapes_are_fixed(mask_NL):
            every_X = torch.arange(mask_NL.numel(), device=mask_NL.device)
            return cls(every_X, (n_sequences, length), mask_NL)
        return cls(mask_NL.flatten().nonzero().squeeze(1), (n_sequences, length))

    def pack(self, x_NLF: Tensor) -> Tensor:
        """`[1, X, F]`: one long sequence, as `kernels.linear` takes it."""
        if self.mask_NL is not None:
            return x_NLF.reshape(1, -1, x_NLF.shape[-1])
        return x_NLF.reshape(-1, x_NLF.shape[-1]).index_select(0, self.place_X).unsqueeze(0)

    def unpack(self, x_1XF: Tensor) -> Tensor:
        """`[N, L, F]`, zero where padded."""
        n_sequences, length = self.shape
        if self.mask_NL is not None:
            x_NLF = x_1XF.view(n_sequences, length, -1)
            return x_NLF.masked_fill(~self.mask_NL.unsqueeze(-1), 0)
        padded = x_1XF.new_zeros(n_sequences * length, x_1XF.shape[-1])
        return padded.index_copy(0, self.place_X, x_1XF.squeeze(0)).view(n_sequences, length, -1)
