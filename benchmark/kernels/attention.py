"""Scaled dot-product self-attention with dropout on its weights.

N items, V positions, D width, H heads of width d; X = 3 D: queries, keys and values side by side.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from benchmark.kernels import native
from benchmark.kernels.elementwise import dropout
from benchmark.kernels.native import call, draw


class _Attention(torch.autograd.Function):
    """Head by head in the cache: logits and weights are computed again in the backward pass, never stored."""

    @staticmethod
    def forward(ctx: Any, state_NVX: Tensor, offset_NV: Tensor, heads: int, rate: float) -> Tensor:
        N, V, X = state_NVX.shape
        width = X // (3 * heads)
        ctx.settings = width**-0.5, *draw(rate), N, V, heads, width
        attended_NVD, log_NHV = state_NVX.new_empty(N, V, X // 3), state_NVX.new_empty(N, heads, V)
        call("attention", state_NVX, offset_NV, attended_NVD, log_NHV, *ctx.settings)
        ctx.save_for_backward(state_NVX, offset_NV, attended_NVD, log_NHV)
        return attended_NVD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_NVD: Tensor) -> tuple[Tensor | None, ...]:
        result_NVX = torch.empty_like(ctx.saved_tensors[0])
        call("attention_backward", *ctx.saved_tensors, gradient_NVD.contiguous(), result_NVX, *ctx.settings)
        return result_NVX, None, None, None


def attention(state_NVX: Tensor, offset_NV: Tensor, heads: int, rate: float = 0.0) -> Tensor:
    """Scaled dot-product self-attention, `[N, V, D]`, from queries, keys and values side by side, `[N, V, 3 D]`, heads
    being consecutive blocks of channels; dropout at `rate` on the weights. `offset_NV` is added to the logits
    of position V."""
    if native.usable(state_NVX, offset_NV):
        arrays = state_NVX.contiguous(), offset_NV.contiguous()
        result: Tensor = _Attention.apply(*arrays, heads, rate)  # type: ignore[no-untyped-call]
        return result
    N, V, X = state_NVX.shape
    state = state_NVX.view(N, V, 3, heads, -1).permute(2, 0, 3, 1, 4)
    if torch.is_grad_enabled():
        attended = _attend_by_hand(state, offset_NV, rate)
    else:
        query, key, value = state.unbind()
        attended = F.scaled_dot_product_attention(query, key, value, offset_NV[:, None, None, :])
    return attended.transpose(1, 2).reshape(N, V, X // 3)


def _attend_by_hand(state: Tensor, offset_NV: Tensor, rate: float) -> Tensor:
    """`[N, H, V, d]` from queries, keys and values `[3, N, H, V, d]`: with dropout on the weights, which the fused
    kernel of a CPU does not have, and the same order of sums on every device."""
    heads = state.shape[2]
    query_XVd, key_XVd, value_XVd = state.flatten(1, 2).unbind()  # X: items x heads
    offset_X1V = offset_NV.repeat_interleave(heads, 0).unsqueeze(1)
    scale = query_XVd.shape[-1] ** -0.5
    weight_XVV = torch.baddbmm(offset_X1V, query_XVd, key_XVd.transpose(1, 2), alpha=scale).softmax(-1)
    if rate:
        weight_XVV = dropout(weight_XVV, rate)
    return torch.unflatten(weight_XVV @ value_XVd, 0, state.shape[1:3])
