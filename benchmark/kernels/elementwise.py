"""Unit vectors and dropout, each in one pass."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from benchmark.kernels import native
from benchmark.kernels.native import call, draw

LEAST_LENGTH = 1e-12
"""Length that a vector is divided by at least."""


class _UnitVectors(torch.autograd.Function):
    """One pass forward, one backward."""

    @staticmethod
    def forward(ctx: Any, x_XF: Tensor, least: float) -> Tensor:
        unit_XF, length_X = torch.empty_like(x_XF), x_XF.new_empty(x_XF.shape[:-1])
        ctx.size = least, length_X.numel(), x_XF.shape[-1]
        call("unit_vectors", x_XF, unit_XF, length_X, *ctx.size)
        ctx.save_for_backward(unit_XF, length_X)
        return unit_XF

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_XF: Tensor) -> tuple[Tensor, None]:
        unit_XF, length_X = ctx.saved_tensors
        result_XF = torch.empty_like(unit_XF)
        call("unit_vectors_backward", unit_XF, gradient_XF.contiguous(), length_X, result_XF, *ctx.size)
        return result_XF, None


def unit_vectors(x: Tensor, least: float = LEAST_LENGTH) -> Tensor:
    """x / max(|x|, least) along the last axis; a zero vector stays zero, and its gradient is finite."""
    if not native.usable(x):
        return F.normalize(x, dim=-1, eps=least)
    result: Tensor = _UnitVectors.apply(x.contiguous(), least)  # type: ignore[no-untyped-call]
    return result


class _Dropout(torch.autograd.Function):
    """x keep / (1 - rate), or base + that, with relu(x) for x if asked. What is kept is a function of a seed and
    the position, so that the backward pass draws it again instead of storing it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, base: Tensor | None, rate: float, relu: bool) -> Tensor:
        ctx.draw = draw(rate)
        result = torch.empty_like(x, memory_format=torch.contiguous_format)
        call("dropout", x, base, result, *ctx.draw, x.numel(), relu)
        if relu:
            ctx.save_for_backward(result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gradient = gradient.contiguous()
        below = torch.empty_like(gradient)
        if ctx.saved_tensors:  # positive exactly where x was and was kept
            call("gate", *ctx.saved_tensors, gradient, below, ctx.draw[2], gradient.numel())
            return below, None, None, None
        call("dropout", gradient, None, below, *ctx.draw, gradient.numel(), False)
        return below, gradient if ctx.needs_input_grad[1] else None, None, None


def dropout(x: Tensor, rate: float, *, base: Tensor | None = None, relu: bool = False) -> Tensor:
    """`base` + dropout(x), `relu` first if asked. The seed comes from torch's generator; the rate is exact to 1 / 65536
    on a CPU, where one draw serves several elements."""
    if native.usable(x) and (base is None or native.usable(base)):
        given = None if base is None else base.contiguous()
        result: Tensor = _Dropout.apply(x.contiguous(), given, rate, relu)  # type: ignore[no-untyped-call]
        return result
    if x.device.type != "cpu":
        dropped = F.dropout(torch.relu(x) if relu else x, rate)
    else:
        keep = _kept(x, rate)
        if relu:  # one mask for both, so that each pass over `x` is made once
            keep = keep.logical_and_(x > 0)
        dropped = x * keep.to(x.dtype).div_(1 - rate)
    return dropped if base is None else base + dropped


def _kept(x: Tensor, rate: float) -> Tensor:
    """bool, True with probability 1 - rate."""
    # 64 random bits are four draws of 16; rounded up, so the last word may hold spare ones
    bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    drawn = bits.view(torch.int16)[: x.numel()].view(x.shape)  # uniform on -32768 .. 32767
    # P(drawn >= t - 32768) = 1 - t / 65536, t the rate in steps
    keep: Tensor = drawn >= round(rate * native.DROPOUT_STEPS) - native.DROPOUT_STEPS // 2
    return keep
