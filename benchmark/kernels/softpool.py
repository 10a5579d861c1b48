"""SoftPool along sequences (Stergiou et al., 2021): per channel c, f_c = Σ_i softmax_i(x_ic) x_ic.

N sequences, L positions, X real positions of all of them, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from benchmark.kernels import native
from benchmark.kernels.native import call
from benchmark.kernels.packing import Packing


def soft_pool(x_NLD: Tensor, mask_NL: Tensor) -> Tensor:
    """`[N, D]`, over unmasked positions; zeros for an empty sequence."""
    mask_NL1 = mask_NL[:, :, None]
    # A finite floor, not -inf: an empty sequence must not give NaN, and its products below are zero.
    logit_NLD = x_NLD.masked_fill(~mask_NL1, torch.finfo(x_NLD.dtype).min)
    # along the sequence, for each channel on its own: two channels may weigh positions differently
    weight_NLD = torch.softmax(logit_NLD, dim=1)
    # an empty sequence has a uniform softmax over its padding: only the mask makes its sum zero. what stands
    # at padding must be finite all the same, as 0 * NaN is NaN
    return (weight_NLD * x_NLD * mask_NL1).sum(dim=1)


def packed_soft_pool(x_XD: Tensor, packing: Packing) -> Tensor:
    """The same where only the real positions are there."""
    if native.usable_in_float32(x_XD) and not packing.is_fixed:
        result: Tensor = _SoftPool.apply(x_XD.float().contiguous(), packing.start_N1)  # type: ignore[no-untyped-call]
        return result.to(x_XD.dtype)
    return soft_pool(packing.unpack(x_XD.unsqueeze(0)), packing.mask_NL)


class _SoftPool(torch.autograd.Function):
    """One pass each way; the weights are computed again in the backward pass, never stored."""

    @staticmethod
    def forward(ctx: Any, x_XD: Tensor, start_N1: Tensor) -> Tensor:
        N, D = len(start_N1) - 1, x_XD.shape[1]
        f_ND, top_ND, sum_ND = x_XD.new_empty(3, N, D).unbind()
        call("soft_pool", x_XD, start_N1, f_ND, top_ND, sum_ND, N, D)
        ctx.save_for_backward(x_XD, start_N1, f_ND, top_ND, sum_ND)
        return f_ND

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_ND: Tensor) -> tuple[Tensor, None]:
        result_XD = torch.empty_like(ctx.saved_tensors[0])
        call(
            "soft_pool_backward", *ctx.saved_tensors, gradient_ND.contiguous(), result_XD, *gradient_ND.shape
        )
        return result_XD, None
