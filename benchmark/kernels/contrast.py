"""MCL's adaptive contrast of cosines, a circle loss.

K kinds of pairs, P rows.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from benchmark.kernels import native
from benchmark.kernels.native import call


def circle_loss(cosine_KPP: Tensor, negative_KPP: Tensor, margin: float, scale: float) -> Tensor:
    """mean_i softplus( -γ a⁺ (π_i - (1 - m)) + log Σ_j exp(γ a⁻ (ν_ij - m)) ) of each kind, `[K]`; π_i = cosine_ii,
    ν_ij = cosine_ij for the negatives j, a⁺ = max(0, 1 + m - π), a⁻ = max(0, ν + m), both constants for the gradient.

    A row without negatives is left out; 0 if none is left.
    """
    if native.usable(cosine_KPP):
        arrays = cosine_KPP.contiguous(), negative_KPP.contiguous()
        result: Tensor = _CircleLoss.apply(*arrays, margin, scale)  # type: ignore[no-untyped-call]
        return result
    used_KP = negative_KPP.any(-1)
    positive_KP = cosine_KPP.diagonal(dim1=-2, dim2=-1)
    pull_KP = (1 + margin - positive_KP).clamp(min=0).detach()
    push_KPP = (cosine_KPP + margin).clamp(min=0).detach()
    pulled_KP = -scale * pull_KP * (positive_KP - (1 - margin))
    # of a row that is left out all stay, for a sum over nothing has no gradient
    kept_KPP = negative_KPP | ~used_KP.unsqueeze(-1)
    pushed_KPP = (scale * push_KPP * (cosine_KPP - margin)).masked_fill(~kept_KPP, -torch.inf)
    # exponents reach 256 * 1.25 * 0.75 = 240; float32's exp overflows at 89, logsumexp does not
    term_KP = F.softplus(pulled_KP + pushed_KPP.logsumexp(-1)) * used_KP
    return term_KP.sum(-1) / used_KP.sum(-1).clamp(min=1)


class _CircleLoss(torch.autograd.Function):
    """The gradient by each cosine comes with the value: what reaches a kind is one factor of it."""

    @staticmethod
    def forward(ctx: Any, cosine_KPP: Tensor, negative_KPP: Tensor, margin: float, scale: float) -> Tensor:
        K, P, _ = cosine_KPP.shape
        term_K, slope_KPP = cosine_KPP.new_empty(K), torch.empty_like(cosine_KPP)
        call("contrast", cosine_KPP, negative_KPP, term_K, slope_KPP, margin, scale, K, P)
        ctx.save_for_backward(slope_KPP)
        return term_K

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_K: Tensor) -> tuple[Tensor, None, None, None]:
        (slope_KPP,) = ctx.saved_tensors
        return slope_KPP * gradient_K[:, None, None], None, None, None
