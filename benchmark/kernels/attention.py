"""Scaled dot-product attention with dropout on its weights.

N items, T queries, S positions that they attend to, D width, H heads of width d, consecutive blocks of channels.
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


def self_attention(state_NTX: Tensor, offset_NT: Tensor, heads: int, rate: float = 0.0) -> Tensor:
    """Of each position to all, `[N, T, D]`, from queries, keys and values side by side, `[N, T, 3 D]`; dropout at
    `rate` on the weights. `offset_NT` is added to the logits of position T."""
    if native.usable(state_NTX, offset_NT):
        return _compiled(state_NTX, None, offset_NT, heads, rate)
    query_NTD, key_NTD, value_NTD = state_NTX.chunk(3, dim=-1)
    return _in_torch(query_NTD, key_NTD, value_NTD, offset_NT, heads, rate)


def cross_attention(
    query_NTD: Tensor, context_NSX: Tensor, offset_NS: Tensor, heads: int, rate: float = 0.0
) -> Tensor:
    """Of queries to a context whose keys and values stand side by side, `[N, S, 2 D]`."""
    if native.usable(query_NTD, context_NSX, offset_NS):
        return _compiled(query_NTD, context_NSX, offset_NS, heads, rate)
    key_NSD, value_NSD = context_NSX.chunk(2, dim=-1)
    return _in_torch(query_NTD, key_NSD, value_NSD, offset_NS, heads, rate)


def _compiled(first: Tensor, second: Tensor | None, offset_NS: Tensor, heads: int, rate: float) -> Tensor:
    arrays = first.contiguous(), None if second is None else second.contiguous(), offset_NS.contiguous()
    result: Tensor = _Attention.apply(*arrays, heads, rate)  # type: ignore[no-untyped-call]
    return result


class _Attention(torch.autograd.Function):
    """Head by head in the cache: logits and weights are computed again in the backward pass, never stored.

    One array holds all states, `[N, T, 3 D]`, or a first the queries, `[N, T, D]`, and a second the keys and values.
    """

    @staticmethod
    def forward(
        ctx: Any, first: Tensor, second: Tensor | None, offset_NS: Tensor, heads: int, rate: float
    ) -> Tensor:
        (N, T, X), S = first.shape, offset_NS.shape[1]
        D = X if second is not None else X // 3
        # drawn once: with the same seed the backward pass drops the same weights
        ctx.settings = (D // heads) ** -0.5, *draw(rate)
        ctx.sizes = X, 3 * D if second is None else 2 * D, N, T, S, heads, D // heads
        attended_NTD, log_NHT = first.new_empty(N, T, D), first.new_empty(N, heads, T)
        # bare addresses escape the checks of `call`, so `_compiled` has made these arrays contiguous
        arrays = *_places(first, second, D), offset_NS, attended_NTD, log_NHT
        call("attention", *arrays, *ctx.settings, *ctx.sizes)
        ctx.save_for_backward(first, second, offset_NS, attended_NTD, log_NHT)
        return attended_NTD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_NTD: Tensor) -> tuple[Tensor | None, ...]:
        first, second, *others = ctx.saved_tensors
        D = gradient_NTD.shape[2]
        results = torch.empty_like(first), None if second is None else torch.empty_like(second)
        arrays = *_places(first, second, D), *others, gradient_NTD.contiguous(), *_places(*results, D)
        call("attention_backward", *arrays, *ctx.settings, *ctx.sizes)
        return *results, None, None, None


def _places(first: Tensor, second: Tensor | None, D: int) -> tuple[int, int, int]:
    """Addresses of queries, keys and values."""
    # all in one array: steps of D channels within its rows of X, so that nothing is copied apart
    start, step = first.data_ptr(), D * first.element_size()
    if second is None:
        return start, start + step, start + 2 * step
    return start, second.data_ptr(), second.data_ptr() + step


def _in_torch(
    query_NTD: Tensor, key_NSD: Tensor, value_NSD: Tensor, offset_NS: Tensor, heads: int, rate: float
) -> Tensor:
    query, key, value = (
        torch.unflatten(x, 2, (heads, -1)).transpose(1, 2) for x in (query_NTD, key_NSD, value_NSD)
    )
    if query.device.type != "cpu":
        # a GPU's fused kernels draw dropout themselves; which of them runs is torch's choice, and with
        # deterministic algorithms each gives the same bits every time
        offset = offset_NS[:, None, None, :].to(query.dtype)
        attended = F.scaled_dot_product_attention(query, key, value, offset, dropout_p=rate)
    elif torch.is_grad_enabled():
        # by hand: with dropout on the weights, which the fused kernel of a CPU does not have
        logit = query * query.shape[-1] ** -0.5 @ key.transpose(2, 3) + offset_NS[:, None, None, :]
        weight = logit.softmax(-1)
        attended = (dropout(weight, rate) if rate else weight) @ value
    else:
        # `rate` is not looked at: what wants no gradient is a score, and scoring drops nothing
        attended = F.scaled_dot_product_attention(query, key, value, offset_NS[:, None, None, :])
    attended_NTD: Tensor = attended.transpose(1, 2).flatten(2)
    return attended_NTD
