"""Vectors of words; convolutions over them: maxima over their windows (EG-CNN), and for scoring the sum of what each
distinct word adds.

N texts, T steps, V words of a vocabulary, E width, C filters of width k.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from benchmark.kernels import native
from benchmark.kernels.native import call


class WordTable(nn.Embedding):
    """`nn.Embedding` whose gradient is added up word by word in the order of the texts, in a third of torch's time."""

    def forward(self, input: Tensor) -> Tensor:
        if not torch.is_grad_enabled() or not native.usable(self.weight):
            return super().forward(input)
        result: Tensor = _Looked.apply(self.weight, input.contiguous(), self.padding_idx)  # type: ignore[no-untyped-call]
        return result


class _Looked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight_VE: Tensor, token_NT: Tensor, padding: int | None) -> Tensor:
        ctx.save_for_backward(token_NT)
        ctx.size, ctx.padding = weight_VE.shape, padding
        return F.embedding(token_NT, weight_VE)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_NTE: Tensor) -> tuple[Tensor, None, None]:
        (token_NT,) = ctx.saved_tensors
        result_VE = gradient_NTE.new_zeros(ctx.size)
        call("add_rows", gradient_NTE.contiguous(), token_NT, result_VE, token_NT.numel(), ctx.size[1])
        if ctx.padding is not None:
            result_VE[ctx.padding] = 0
        return result_VE, None, None


def highest(answer_NTC: Tensor, windows_N: Tensor) -> tuple[Tensor, Tensor]:
    """Largest answer over the first `windows_N` (at least 1) windows, and where (int32), `[N, C]`; no gradient."""
    N, T, C = answer_NTC.shape
    best_NC, winner_NC = answer_NTC.new_empty(N, C), torch.empty(N, C, dtype=torch.int32)
    call("highest_windows", answer_NTC.contiguous(), windows_N.contiguous(), best_NC, winner_NC, N, T, C)
    return best_NC, winner_NC


class _HighestWindows(torch.autograd.Function):
    """One window of each filter wins, and it alone carries a gradient: no convolution in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x_NTE: Tensor, weight_CEK: Tensor, answer_NTC: Tensor, windows_N: Tensor) -> Tensor:
        best_NC, winner_NC = highest(answer_NTC, windows_N)
        ctx.save_for_backward(x_NTE, weight_CEK, winner_NC)
        return best_NC

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_NC: Tensor) -> tuple[Tensor | None, ...]:
        x_NTE, weight_CEK, winner_NC = ctx.saved_tensors
        # a window's k x E weights then lie in memory as the words of a text do
        weight_CKE = weight_CEK.transpose(1, 2).contiguous()
        x_result, weight_result = torch.zeros_like(x_NTE), torch.zeros_like(weight_CKE)
        sizes = *x_NTE.shape, *weight_CKE.shape[:2]
        arrays = x_NTE, weight_CKE, winner_NC, gradient_NC.contiguous()
        call("highest_windows_backward", *arrays, x_result, weight_result, *sizes)
        # none for the answers: their gradient goes to the words and the weights directly
        return x_result, weight_result.transpose(1, 2), None, None


def highest_windows(x_NTE: Tensor, weight_CEK: Tensor, answer_NTC: Tensor, windows_N: Tensor) -> Tensor:
    """Largest answer of each filter over the first `windows_N` (at least 1) windows of each text, `[N, C]`.
    `answer_NTC` is the convolution of `x_NTE` with `weight_CEK` (without its bias), computed without a gradient."""
    arrays = x_NTE.contiguous(), weight_CEK, answer_NTC, windows_N
    result: Tensor = _HighestWindows.apply(*arrays)  # type: ignore[no-untyped-call]
    return result


def sum_words(product_UPC: Tensor, slot_NT: Tensor, sizes: Sequence[int], before: Sequence[int]) -> Tensor:
    """Σ_j product[slot[n, t + j - before_a], place a j], `[N, A, T, C]`, zero beyond a text's ends; no gradient.

    `product_UPC` says what each distinct word adds at each place j of each window a, P = Σ_a sizes_a.
    """
    (N, T), (_, P, C), A = slot_NT.shape, product_UPC.shape, len(sizes)
    out_NATC = product_UPC.new_empty(N, A, T, C)
    arrays = product_UPC.contiguous(), slot_NT.contiguous(), torch.tensor(sizes), torch.tensor(before)
    call("sum_words", *arrays, out_NATC, N, T, A, P, C)
    return out_NATC
