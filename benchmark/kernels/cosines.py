"""BiMPM's cosines of weighted vectors, one for each perspective.

B rows, T steps, H width, P perspectives with weights w, J comparisons.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from benchmark.kernels import native
from benchmark.kernels.native import call
from benchmark.kernels.partners import EPSILON

MOST_COMPARISONS = 4
"""That the compiled code takes at once."""


def weighted_cosines(
    x_BTH: Tensor, ys: list[Tensor], weights: list[Tensor], mask_BT: Tensor | None = None
) -> list[Tensor]:
    """cos(w_k ∘ x_t, w_k ∘ y_t) for every perspective of each y with its weights `[P, H]`, `[B, T, P]` each; a y may
    have one step for all of x. Steps outside the mask, whose x must be zero, give zeros."""
    if native.usable(x_BTH, *ys) and len({w.shape for w in weights}) == 1 and len(ys) <= MOST_COMPARISONS:
        square_JPH = torch.stack(weights).square()
        mask = None if mask_BT is None else mask_BT.contiguous()
        arrays = square_JPH, mask, x_BTH.contiguous(), *(y.contiguous() for y in ys)
        cosine_BTJP: Tensor = _WeightedCosines.apply(*arrays)  # type: ignore[no-untyped-call]
        return list(cosine_BTJP.unbind(2))
    return _in_torch(x_BTH, ys, weights)


class _WeightedCosines(torch.autograd.Function):
    """Products and both norms of all perspectives in one pass; norms are kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, square_JPH: Tensor, mask_BT: Tensor | None, x_BTH: Tensor, *ys: Tensor) -> Tensor:
        (J, P, H), (B, T, _) = square_JPH.shape, x_BTH.shape
        made = x_BTH.new_empty(3, B, T, J, P).unbind()
        ctx.sizes = EPSILON, B, T, H, P, J
        call("weighted_cosines", x_BTH, *_others(ys), square_JPH, mask_BT, *made, *ctx.sizes)
        ctx.mask_BT = mask_BT
        ctx.save_for_backward(square_JPH, x_BTH, *ys, *made)
        return made[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BTJP: Tensor) -> tuple[Tensor | None, ...]:
        square_JPH, x_BTH, *rest = ctx.saved_tensors
        ys, made = rest[:-3], rest[-3:]
        results = [torch.empty_like(x) for x in (x_BTH, *ys)]
        square_gradient = square_JPH.new_empty(len(x_BTH), *square_JPH.shape)
        addresses = torch.tensor([x.data_ptr() for x in results])
        arrays = *_others(ys), square_JPH, ctx.mask_BT, *made, gradient_BTJP.contiguous()
        call("weighted_cosines_backward", x_BTH, *arrays, addresses, square_gradient, *ctx.sizes)
        # a slice of its own for each row, summed here: threads cannot change the order of the sum
        return square_gradient.sum(0), None, *results


def _others(ys: Any) -> tuple[Tensor, Tensor]:
    """Their addresses, and how many steps each has."""
    return torch.tensor([y.data_ptr() for y in ys]), torch.tensor([y.shape[1] for y in ys])


def _in_torch(x_BTH: Tensor, ys: list[Tensor], weights: list[Tensor]) -> list[Tensor]:
    """Σ_d w_kd² x_d y_d is a product with the squared weights, and so are both squared norms; those of x are one
    product for all weights."""
    square_PH = [weight_PH.square() for weight_PH in weights]
    x_norm_BTX = (x_BTH.square() @ torch.cat(square_PH).T).clamp(min=EPSILON**2)
    cosines = []
    for y_BTH, square, x_norm in zip(
        ys, square_PH, x_norm_BTX.split_with_sizes([len(w) for w in weights], -1), strict=True
    ):
        y_norm = (y_BTH.square() @ square.T).clamp(min=EPSILON**2)
        cosines.append(((x_BTH * y_BTH) @ square.T) * x_norm.rsqrt() * y_norm.rsqrt())
    return cosines
