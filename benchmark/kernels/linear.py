"""Linear maps over positions.

N sequences, T positions of each, X positions of all, F features, H results of a position.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from benchmark.kernels import native
from benchmark.kernels.convolution import convolution_in_torch
from benchmark.kernels.products import is_worth_it, product

LARGE_BF16_PRODUCT = 1 << 24
"""Multiplications from which on a linear map under autocast is a convolution of size one: the same products, which a
CPU's library for half precisions scores a fifth faster so, and in less memory."""


def linear(x_NTF: Tensor, weight_HF: Tensor, bias_H: Tensor | None = None) -> Tensor:
    """x Wᵀ + b, `[N, T, H]`, or `[X, H]` of `[X, F]`. By the compiled code a position's result is the same, to the
    bit, however many others there are."""
    if not is_worth_it(x_NTF.numel() * len(weight_HF), x_NTF, weight_HF):
        return _in_torch(x_NTF, weight_HF, bias_H)
    if not torch.is_grad_enabled():
        return _mapped(x_NTF, weight_HF, bias_H)
    result: Tensor = _Linear.apply(x_NTF, weight_HF, bias_H)  # type: ignore[no-untyped-call]
    return result


def joint_linear(x_NTF: Tensor, *maps: nn.Linear) -> Tensor:
    """Several linear maps of the same positions as one, their results side by side."""
    weights: list[Tensor] = [m.weight for m in maps]
    biases: list[Tensor] = [m.bias for m in maps]
    if native.usable(x_NTF, *weights) and torch.is_grad_enabled():
        result: Tensor = _JointLinear.apply(x_NTF, *weights, *biases)  # type: ignore[no-untyped-call]
        return result
    return linear(x_NTF, torch.cat(weights), torch.cat(biases))


class _JointLinear(torch.autograd.Function):
    """The maps' parameters stand side by side here alone: gradients are slices of those of the whole."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> Tensor:
        weights, biases = parameters[: len(parameters) // 2], parameters[len(parameters) // 2 :]
        weight_HF = torch.cat(weights)
        ctx.save_for_backward(x, weight_HF)
        ctx.sizes = [len(weight) for weight in weights]
        return mapped(x, weight_HF, torch.cat(biases))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight_HF = ctx.saved_tensors
        of_x, of_weight, of_bias = gradients_of_map(
            gradient.reshape(-1, len(weight_HF)),
            x.reshape(-1, x.shape[-1]),
            weight_HF,
            wanted=ctx.needs_input_grad[0],
        )
        of_x = None if of_x is None else of_x.view_as(x)
        return of_x, *of_weight.split_with_sizes(ctx.sizes), *of_bias.split_with_sizes(ctx.sizes)


def mapped(x: Tensor, weight_HF: Tensor, bias_H: Tensor | None) -> Tensor:
    """`linear` where no gradient is taken: within functions that have a backward pass of their own."""
    if is_worth_it(x.numel() * len(weight_HF), x, weight_HF):
        return _mapped(x, weight_HF, bias_H)
    return F.linear(x, weight_HF, bias_H)


def gradients_of_map(
    gradient_XH: Tensor, x_XF: Tensor, weight_HF: Tensor, *, wanted: bool = True
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Of a linear map's input (if `wanted`), weight and bias."""
    if is_worth_it(x_XF.numel() * len(weight_HF), gradient_XH, x_XF, weight_HF):
        (H, F), X = weight_HF.shape, len(x_XF)
        of_x = torch.empty_like(x_XF, memory_format=torch.contiguous_format) if wanted else None
        of_weight, of_bias = weight_HF.new_empty(H, F), weight_HF.new_empty(H)
        arrays = gradient_XH.contiguous(), x_XF.contiguous(), weight_HF.contiguous()
        native.call("map_backward", *arrays, of_x, of_weight, of_bias, X, H, F)
        return of_x, of_weight, of_bias
    of_x = torch.mm(gradient_XH, weight_HF) if wanted else None
    return of_x, torch.mm(gradient_XH.T, x_XF), gradient_XH.sum(0)


def _in_torch(x: Tensor, weight_HF: Tensor, bias_H: Tensor | None) -> Tensor:
    is_large = x.dim() == 3 and x.numel() * len(weight_HF) >= LARGE_BF16_PRODUCT
    if not is_large or x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return F.linear(x, weight_HF, bias_H)
    return convolution_in_torch(x, weight_HF.unsqueeze(2), bias_H)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_HF: Tensor, bias_H: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight_HF)
        ctx.has_bias = bias_H is not None
        return _mapped(x, weight_HF, bias_H)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight_HF = ctx.saved_tensors
        flat = gradient.reshape(-1, len(weight_HF)), x.reshape(-1, x.shape[-1])
        of_x, of_weight, of_bias = gradients_of_map(*flat, weight_HF, wanted=ctx.needs_input_grad[0])
        of_x = None if of_x is None else of_x.view_as(x)
        return of_x, of_weight, of_bias if ctx.has_bias else None


def _mapped(x: Tensor, weight_HF: Tensor, bias_H: Tensor | None) -> Tensor:
    result_XH = product(x.reshape(-1, x.shape[-1]), weight_HF.T, bias_H)
    return result_XH.view(*x.shape[:-1], len(weight_HF))


class Linear(nn.Linear):
    """`nn.Linear`, computed by `linear`."""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


def with_own_linear(module: nn.Module) -> nn.Module:
    """The module of another library, its linear maps computed by `linear`."""
    for part in module.modules():
        # not its subclasses, which may compute something else
        if type(part) is nn.Linear:
            part.__class__ = Linear  # the parameters, and all that knows of them, stay
    return module
