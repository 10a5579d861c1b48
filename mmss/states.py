"""Token or RoI states of distinct items, as the encoders hand them on.

N items, L positions, X positions that are kept, D width, R rows of all states, S sequences.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from benchmark.core.types import length_mask
from benchmark.kernels.packing import Packing
from benchmark.kernels.softpool import packed_soft_pool


@dataclass(frozen=True)
class States:
    """States of real positions side by side, and where they belong."""

    state_1XD: Tensor
    packing: Packing

    @classmethod
    def of(cls, state_NLD: Tensor, mask_NL: Tensor) -> States:
        """Of padded states, of which those at padding are not looked at."""
        packing = Packing.of(mask_NL)
        return cls(packing.pack(state_NLD), packing)

    @cached_property
    def padded_NLD(self) -> Tensor:
        """Zero at padding."""
        return self.packing.unpack(self.state_1XD)

    @property
    def mask_NL(self) -> Tensor:
        return self.packing.mask_NL

    def pooled(self) -> Tensor:
        """SoftPool over the sequence, `[N, D]`."""
        return packed_soft_pool(self.state_1XD.squeeze(0), self.packing)


@dataclass(frozen=True)
class Joined:
    """Sequences [X; Z] made of rows of states that lie one after another, without copying them."""

    row_X: Tensor
    """int64: the rows of all sequences, one sequence after another."""
    packing: Packing


def joined(sides: list[tuple[Tensor, Tensor]], step: int, offset_S: Tensor) -> Joined:
    """Sequences whose parts are the runs of rows `(start_S, count_S)`, given part by part; row r of the states is
    row `step * r + offset` of an array, the offset that of the sequence."""
    start_SP = torch.stack([start for start, _ in sides], 1)
    count_SP = torch.stack([count for _, count in sides], 1)
    count_Y, n_parts = count_SP.flatten(), len(sides)
    # a run counts on from its start: the running number of a row, less that of its run's first
    before_Y = count_Y.cumsum(0) - count_Y
    first_Y = step * (start_SP.flatten() - before_Y) + offset_S.repeat_interleave(n_parts)
    shift_X = first_Y.repeat_interleave(count_Y)
    row_X = shift_X + step * torch.arange(len(shift_X), device=shift_X.device)
    count_S = count_SP.sum(1)
    return Joined(row_X, Packing.of(length_mask(count_S, max(1, int(count_S.max())))))
