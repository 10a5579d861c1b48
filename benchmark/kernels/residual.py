"""Parts of transformer layers that are several operations elsewhere: residual sum, dropout and layer norm in one pass;
two linear maps with what stands between them as one function.

X positions of all sequences, D width, G inner width.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from benchmark.kernels import native
from benchmark.kernels.elementwise import dropout
from benchmark.kernels.linear import gradients_of_map, linear, mapped
from benchmark.kernels.native import call, draw


def add_norm(base: Tensor, x: Tensor, norm: nn.LayerNorm, rate: float = 0.0) -> tuple[Tensor, Tensor]:
    """base + dropout(x), and its layer norm over the last axis."""
    if not native.usable(base, x, norm.weight):
        # under autocast x may be of half precision, and the base is not
        together = rate and x.dtype == base.dtype
        total = dropout(x, rate, base=base) if together else base + (dropout(x, rate) if rate else x)
        return total, norm(total)
    arrays = x.contiguous(), base.contiguous(), norm.weight, norm.bias
    result: tuple[Tensor, Tensor] = _AddNorm.apply(*arrays, norm.eps, rate)  # type: ignore[no-untyped-call]
    return result


class _AddNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, base: Tensor, weight_D: Tensor, bias_D: Tensor, eps: float, rate: float
    ) -> tuple[Tensor, Tensor]:
        D = x.shape[-1]
        ctx.draw, ctx.sizes = draw(rate), (x.numel() // D, D)
        total, normed = torch.empty_like(x), torch.empty_like(x)
        statistics_X2 = x.new_empty(ctx.sizes[0], 2)
        arrays = x, base, weight_D, bias_D, total, normed, statistics_X2
        call("add_norm", *arrays, *ctx.draw, eps, *ctx.sizes)
        ctx.save_for_backward(total, weight_D, statistics_X2)
        ctx.set_materialize_grads(False)  # often nobody asks for the sum
        return total, normed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, beside: Tensor | None, gradient: Tensor | None) -> tuple[Tensor | None, ...]:
        total, weight_D, statistics_X2 = ctx.saved_tensors
        gradient = torch.zeros_like(total) if gradient is None else gradient.contiguous()
        of_base = torch.empty_like(total)
        of_x = torch.empty_like(total) if ctx.draw[1] else None
        of_weight, of_bias = weight_D.new_zeros(2, len(weight_D)).unbind()
        given = total, weight_D, statistics_X2, gradient, None if beside is None else beside.contiguous()
        call("add_norm_backward", *given, of_base, of_x, of_weight, of_bias, *ctx.draw, *ctx.sizes)
        return of_base if of_x is None else of_x, of_base, of_weight, of_bias, None, None


Activation = Literal["gelu", "relu"]


def feed_forward(
    x: Tensor, first: nn.Linear, second: nn.Linear, activation: Activation = "gelu", rate: float = 0.0
) -> Tensor:
    """W₂ a(W₁ x + b₁) + b₂; the GELU is the exact (erf) one. `rate`: of a dropout behind relu."""
    weights = first.weight, first.bias, second.weight, second.bias
    if not native.usable(x, *weights):
        inner = linear(x, *weights[:2])
        if rate:
            inner = dropout(inner, rate, relu=True)
        else:
            inner = F.gelu(inner) if activation == "gelu" else torch.relu(inner)
        return linear(inner, *weights[2:])
    result: Tensor = _FeedForward.apply(x, *weights, activation, rate)  # type: ignore[no-untyped-call]
    return result


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        first_GD: Tensor,
        first_G: Tensor,
        second_DG: Tensor,
        second_D: Tensor,
        activation: Activation,
        rate: float,
    ) -> Tensor:
        x_XD = x.reshape(-1, x.shape[-1])
        inner_XG = mapped(x_XD, first_GD, first_G)
        ctx.activation, ctx.draw = activation, draw(rate)
        active_XG = torch.empty_like(inner_XG)
        if activation == "gelu":
            call("gelu", inner_XG, active_XG, inner_XG.numel())
        else:
            call("dropout", inner_XG, None, active_XG, *ctx.draw, inner_XG.numel(), True)
        # of relu, what was active says enough
        kept_XG = inner_XG if activation == "gelu" else None
        ctx.save_for_backward(x_XD, first_GD, second_DG, kept_XG, active_XG)
        return mapped(active_XG, second_DG, second_D).view(*x.shape[:-1], len(second_D))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x_XD, first_GD, second_DG, inner_XG, active_XG = ctx.saved_tensors
        gradient_XD = gradient.reshape(-1, gradient.shape[-1])
        of_active_XG, *of_second = gradients_of_map(gradient_XD, active_XG, second_DG)
        assert of_active_XG is not None
        # in place: each element is read before it is written
        if ctx.activation == "gelu":
            call("gelu_backward", inner_XG, of_active_XG, of_active_XG, inner_XG.numel())
        else:
            arrays = active_XG, of_active_XG, of_active_XG
            call("gate", *arrays, ctx.draw[2], active_XG.numel())
        of_x, *of_first = gradients_of_map(of_active_XG, x_XD, first_GD, wanted=ctx.needs_input_grad[0])
        of_x = None if of_x is None else of_x.view(*gradient.shape[:-1], x_XD.shape[1])
        return of_x, *of_first, *of_second, None, None
