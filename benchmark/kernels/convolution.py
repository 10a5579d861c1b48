"""Convolutions over words as products of matrices: in memory, the windows of k words are rows of k E floats that
begin E floats apart, so nothing is copied together, and no code is compiled for a new length of the texts, as the
library behind PyTorch's convolutions does (a millisecond each).

N texts, T steps, E width, C filters of width k.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from benchmark.kernels.products import is_worth_it, product

WINDOWS_AT_ONCE = 1 << 12
"""A word stands in k windows: of so many it is still in the cache when the next one asks for it."""


def convolution(x_NTE: Tensor, weight_CEK: Tensor, bias_C: Tensor | None = None, padding: int = 0) -> Tensor:
    """Every filter's answer to every window, `[N, T + 2 padding - k + 1, C]`; zeros beyond both ends."""
    multiplications = x_NTE.numel() * len(weight_CEK) * weight_CEK.shape[2]
    has_windows = x_NTE.shape[1] + 2 * padding >= weight_CEK.shape[2]  # else the error is torch's
    if not has_windows or not is_worth_it(multiplications, x_NTE, weight_CEK):
        return convolution_in_torch(x_NTE, weight_CEK, bias_C, padding)
    if padding:
        x_NTE = F.pad(x_NTE, (0, 0, padding, padding))
    result: Tensor = _Convolution.apply(x_NTE.contiguous(), weight_CEK, bias_C)  # type: ignore[no-untyped-call]
    return result


def convolution_in_torch(
    x_NTE: Tensor, weight_CEK: Tensor, bias_C: Tensor | None = None, padding: int = 0
) -> Tensor:
    """`convolution` in PyTorch: one of two axes, for which no axis need be moved in memory."""
    x_NE1T, weight_CE1K = x_NTE.transpose(1, 2).unsqueeze(2), weight_CEK.unsqueeze(2)
    return F.conv2d(x_NE1T, weight_CE1K, bias_C, padding=(0, padding)).squeeze(2).transpose(1, 2)


class _Convolution(torch.autograd.Function):
    """All texts as one: the windows that reach from one text into the next are computed, and left out."""

    @staticmethod
    def forward(ctx: Any, x_NTE: Tensor, weight_CEK: Tensor, bias_C: Tensor | None) -> Tensor:
        N, T, _ = x_NTE.shape
        C, _, k = weight_CEK.shape
        ctx.save_for_backward(x_NTE, weight_CEK)
        ctx.has_bias = bias_C is not None
        weight_CX = weight_CEK.transpose(1, 2).reshape(C, -1)
        answer_XC = x_NTE.new_empty(N * T, C)
        windows_XY = _windows(x_NTE.view(N * T, -1), k)
        for start in range(0, len(windows_XY), WINDOWS_AT_ONCE):
            rows = slice(start, start + WINDOWS_AT_ONCE)
            product(windows_XY[rows], weight_CX.T, bias_C, out=answer_XC[: len(windows_XY)][rows])
        return answer_XC.view(N, T, C)[:, : T - k + 1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x_NTE, weight_CEK = ctx.saved_tensors
        N, T, E = x_NTE.shape
        C, _, k = weight_CEK.shape
        # k - 1 rows of zeros before all texts and behind each: so far a window reaches
        padded_XC = gradient.new_zeros(k - 1 + N * T, C)
        padded_XC[k - 1 :].view(N, T, C)[:, : T - k + 1] = gradient
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            # word t stands at place j of the window that begins at t - j
            backwards_XE = weight_CEK.flip(2).permute(2, 0, 1).reshape(k * C, E)
            of_x = product(_windows(padded_XC, k), backwards_XE).view(N, T, E)
        if ctx.needs_input_grad[1]:
            windows_XY = _windows(x_NTE.view(N * T, E), k)
            of_weight = product(padded_XC[k - 1 :][: len(windows_XY)].T, windows_XY)
            of_weight = of_weight.view(C, k, E).transpose(1, 2)
        if ctx.has_bias and ctx.needs_input_grad[2]:
            of_bias = padded_XC.sum(0)
        return of_x, of_weight, of_bias


def _windows(x_XE: Tensor, k: int) -> Tensor:
    """The rows from each on, k together, `[X - k + 1, k E]`, in the memory of the rows."""
    X, E = x_XE.shape
    return x_XE.as_strided((X - k + 1, k * E), (E, 1))
