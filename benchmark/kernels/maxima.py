"""Maxima over the parts of sequences.

B sequences, T positions, K parts of them, H channels.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from benchmark.kernels import native
from benchmark.kernels.native import call


def part_maxima(x_BTH: Tensor, mask_BT: Tensor, lengths: Sequence[int]) -> Tensor:
    """Largest value of each channel over the real positions of each part of a sequence, `[K, B, H]`; zero where there
    is none. Parts follow one another, `lengths` long."""
    if native.usable(x_BTH):
        start_K1 = torch.tensor([0, *itertools.accumulate(lengths)])
        result: Tensor = _PartMaxima.apply(x_BTH.contiguous(), mask_BT.contiguous(), start_K1)  # type: ignore[no-untyped-call]
        return result
    filled_BTH = x_BTH.masked_fill(~mask_BT.unsqueeze(-1), -torch.inf)
    top_KBH = torch.stack([part.amax(1) for part in filled_BTH.split_with_sizes(list(lengths), 1)])
    any_KB = torch.stack([part.any(1) for part in mask_BT.split_with_sizes(list(lengths), 1)])
    return torch.where(any_KB.unsqueeze(-1), top_KBH, torch.zeros_like(top_KBH))


class _PartMaxima(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BTH: Tensor, mask_BT: Tensor, start_K1: Tensor) -> Tensor:
        B, T, H = x_BTH.shape
        ctx.sizes = B, T, H, len(start_K1) - 1
        top_KBH = x_BTH.new_empty(ctx.sizes[3], B, H)
        winner_KBH = torch.empty_like(top_KBH, dtype=torch.int32)
        call("part_maxima", x_BTH, mask_BT, start_K1, top_KBH, winner_KBH, *ctx.sizes)
        ctx.save_for_backward(winner_KBH)
        return top_KBH

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_KBH: Tensor) -> tuple[Tensor, None, None]:
        (winner_KBH,) = ctx.saved_tensors
        result_BTH = gradient_KBH.new_zeros(ctx.sizes[:3])
        call("part_maxima_backward", winner_KBH, gradient_KBH.contiguous(), result_BTH, *ctx.sizes)
        return result_BTH, None, None
