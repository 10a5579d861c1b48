"""Real positions side by side: what is done position by position then costs nothing for padding.

How many there are is known only from the data. A GPU that is told its work ahead (CUDA graphs) cannot wait for such
a number: there every position is taken, padding too, and padding is zeroed afterwards.

N sequences, L positions, X positions taken (real ones, or all), F features.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
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
    mask_NL: Tensor
    """bool, which positions are real."""
    is_fixed: bool = False
    """All positions are taken, X = N * L."""

    @classmethod
    def of(cls, mask_NL: Tensor) -> Packing:
        if shapes_are_fixed(mask_NL):
            return cls(torch.arange(mask_NL.numel(), device=mask_NL.device), mask_NL, is_fixed=True)
        # NumPy's: a fifth of the time of torch's
        return cls(torch.from_numpy(np.flatnonzero(mask_NL.numpy())), mask_NL)

    @classmethod
    def full(cls, n_sequences: int, length: int, device: torch.device) -> Packing:
        """No padding at all."""
        mask_NL = torch.ones(n_sequences, length, dtype=torch.bool, device=device)
        return cls(torch.arange(n_sequences * length, device=device), mask_NL)

    @property
    def shape(self) -> torch.Size:
        """N and L."""
        return self.mask_NL.shape

    @cached_property
    def start_N1(self) -> Tensor:
        """int64 [N + 1]: sequence n has the positions from `start_N1[n]` to `start_N1[n + 1]` of all that are taken."""
        if self.is_fixed:
            return torch.arange(len(self.mask_NL) + 1, device=self.place_X.device) * self.mask_NL.shape[1]
        n_sequences, length = self.shape
        places = self.place_X.numpy()
        return torch.from_numpy(np.searchsorted(places, np.arange(n_sequences + 1) * length))

    def __len__(self) -> int:
        """X."""
        return len(self.place_X)

    def pack(self, x_NLF: Tensor) -> Tensor:
        """`[1, X, F]`: one long sequence, as `kernels.linear` takes it."""
        if self.is_fixed:
            return x_NLF.reshape(1, -1, x_NLF.shape[-1])
        return x_NLF.reshape(-1, x_NLF.shape[-1]).index_select(0, self.place_X).unsqueeze(0)

    def unpack(self, x_1XF: Tensor) -> Tensor:
        """`[N, L, F]`, zero where padded."""
        n_sequences, length = self.shape
        if self.is_fixed:
            x_NLF = x_1XF.view(n_sequences, length, -1)
            return x_NLF.masked_fill(~self.mask_NL.unsqueeze(-1), 0)
        padded = x_1XF.new_zeros(n_sequences * length, x_1XF.shape[-1])
        return padded.index_copy(0, self.place_X, x_1XF.squeeze(0)).view(n_sequences, length, -1)
