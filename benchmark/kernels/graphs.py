"""Attention within MCR's coherence graphs: node pairs scored by a two-layer network, in memory that does not grow with
its width.

N graphs, T nodes, H hidden width of the pair network. W₁ of e_ij = w₂ᵀ relu(W₁ [x_i ; x_j] + b₁) is split into the
halves that meet x_i and x_j; what is left is the sum over H of a T x T x H array.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from benchmark.kernels import native
from benchmark.kernels.arrays import MASKED, in_float32
from benchmark.kernels.native import LANES, call

BLOCK_ELEMENTS = {"cpu": 1 << 20, "cuda": 1 << 26}
"""Size of the temporary of one block: 4 MB stay in a CPU's cache, a GPU wants few launches."""


def _blocks(a_NTH: Tensor) -> Iterator[tuple[slice, slice]]:
    """(graphs, nodes i) whose `[graphs, i, T, H]` temporary fits the budget of the device."""
    n_graphs, n_nodes, hidden = a_NTH.shape
    budget = BLOCK_ELEMENTS.get(a_NTH.device.type, BLOCK_ELEMENTS["cuda"])
    graphs = max(1, budget // max(1, n_nodes * n_nodes * hidden))
    # several graphs at once only if they fit whole; else one graph, some of its nodes i at a time
    nodes = n_nodes if graphs > 1 else max(1, budget // (n_nodes * hidden))
    for first in range(0, n_graphs, graphs):
        for start in range(0, n_nodes, nodes):
            yield slice(first, first + graphs), slice(start, start + nodes)


def _gated_sum(own_NTH: Tensor, other_NTH: Tensor, weight_NTT: Tensor) -> Tensor:
    """Σ_j weight_ij [own_ih + other_jh > 0], `[N, T, H]`."""
    result_NTH = torch.empty_like(own_NTH)
    negative_NTH = -other_NTH
    buffer = own_NTH.new_empty(0)
    for n, i in _blocks(own_NTH):
        own = own_NTH[n, i].unsqueeze(2)
        buffer = _fitting(buffer, own, own_NTH.shape[1])
        # own > -other stores no sum; a float buffer takes the truth as 1 and 0, fit for the product
        torch.gt(own, negative_NTH[n].unsqueeze(1), out=buffer)
        result_NTH[n, i] = (weight_NTT[n, i].unsqueeze(2) @ buffer).squeeze(2)
    return result_NTH


def _fitting(buffer: Tensor, own: Tensor, n_nodes: int) -> Tensor:
    """A `[graphs, i, T, H]` buffer for the block `[graphs, i, 1, H]`: the one at hand if it fits, for a fresh
    one costs a page fault every 4 KB, which is more than the arithmetic."""
    shape = (*own.shape[:2], n_nodes, own.shape[3])
    return buffer if buffer.shape == shape else own.new_empty(shape)


def pair_scores(a_NTH: Tensor, b_NTH: Tensor, w_H: Tensor, offset_NT: Tensor) -> Tensor:
    """e_ij = Σ_h w_h relu(a_ih + b_jh) + offset_j, `[N, T, T]`."""
    logit_NTT = a_NTH.new_empty(*a_NTH.shape[:2], a_NTH.shape[1])
    call("pair_scores", *(x.contiguous() for x in (a_NTH, b_NTH, w_H, offset_NT)), logit_NTT, *a_NTH.shape)
    return logit_NTT


def pair_scores_backward(
    a_NTH: Tensor, b_NTH: Tensor, weight_NTT: Tensor, gradient_NTT: Tensor
) -> tuple[Tensor, Tensor]:
    """G^a_ih = Σ_j g_ij [a_ih + b_jh > 0] and G^b_jh = Σ_i g_ij [a_ih + b_jh > 0], `[N, T, H]` each, where g is
    the gradient of the logits of softmax weights y with ∂L/∂y = `gradient_NTT`."""
    hidden = a_NTH.shape[2]
    # whole vectors; the channels added are zero and cut off again below
    spare = (0, -hidden % LANES)
    a_NTH, negative_NTH = F.pad(a_NTH, spare).contiguous(), F.pad(-b_NTH, spare)
    own_NTH, other_NTH = torch.empty_like(a_NTH), torch.empty_like(a_NTH)
    arrays = a_NTH, negative_NTH, weight_NTT, gradient_NTT.contiguous(), own_NTH, other_NTH
    call("pair_scores_backward", *arrays, *a_NTH.shape)
    return own_NTH[..., :hidden], other_NTH[..., :hidden]


class _PairAttention(torch.autograd.Function):
    """softmax_j of e_ij = Σ_h w_h relu(a_ih + b_jh) + offset_j, with recomputation in the backward pass.

    Forward: relu(a + b) = max(a, -b) + b spares one pass over the block. Backward, with g = ∂L/∂e:
    G^a_ih = Σ_j g_ij [a_ih + b_jh > 0] and G^b_jh likewise give ∂L/∂a = w G^a, ∂L/∂b = w G^b and, since
    relu(z) = z [z > 0], ∂L/∂w_h = Σ_i a_ih G^a_ih + Σ_j b_jh G^b_jh.
    """

    @staticmethod
    def forward(ctx: Any, a_NTH: Tensor, b_NTH: Tensor, w_H: Tensor, offset_NT: Tensor) -> Tensor:
        ctx.compiled = native.usable(a_NTH, b_NTH, w_H)
        if ctx.compiled:
            weight_NTT = pair_scores(a_NTH, b_NTH, w_H, offset_NT).softmax(-1)
            ctx.save_for_backward(a_NTH, b_NTH, w_H, weight_NTT)
            return weight_NTT
        negative_NTH = -b_NTH
        # w·relu(a + b) = w·max(a, -b) + w·b, of which the last depends on j alone
        key_NT = b_NTH @ w_H + offset_NT
        weight_NTT = a_NTH.new_empty(*a_NTH.shape[:2], a_NTH.shape[1])
        buffer = a_NTH.new_empty(0)
        for n, i in _blocks(a_NTH):
            own = a_NTH[n, i].unsqueeze(2)
            buffer = _fitting(buffer, own, a_NTH.shape[1])
            torch.maximum(own, negative_NTH[n].unsqueeze(1), out=buffer)
            weight_NTT[n, i] = (buffer @ w_H).add_(key_NT[n].unsqueeze(1)).softmax(-1)
        ctx.save_for_backward(a_NTH, b_NTH, w_H, weight_NTT)
        return weight_NTT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_NTT: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        a_NTH, b_NTH, w_H, weight_NTT = ctx.saved_tensors
        if ctx.compiled:
            own_NTH, other_NTH = pair_scores_backward(a_NTH, b_NTH, weight_NTT, gradient_NTT)
        else:
            product_NTT = gradient_NTT * weight_NTT
            # softmax backward: g_ij = y_ij (∂L/∂y_ij - Σ_k y_ik ∂L/∂y_ik); in place, its sum is taken before
            logit_NTT = product_NTT.addcmul_(product_NTT.sum(-1, keepdim=True), weight_NTT, value=-1)
            own_NTH = _gated_sum(a_NTH, b_NTH, logit_NTT)
            # the gate a_i + b_j > 0 is symmetric: with transposed weights the same sum runs over i
            other_NTH = _gated_sum(b_NTH, a_NTH, logit_NTT.transpose(1, 2).contiguous())
        w_gradient_H = (a_NTH * own_NTH + b_NTH * other_NTH).sum((0, 1))
        return own_NTH * w_H, other_NTH * w_H, w_gradient_H, None


def pair_attention(a_NTH: Tensor, b_NTH: Tensor, w_H: Tensor, mask_NT: Tensor) -> Tensor:
    """Attention weights `[N, T, T]`: for each node i, softmax over valid nodes j of Σ_h w_h relu(a_ih + b_jh);
    in memory that does not grow with H.

    Not twice differentiable. Half precisions are computed in float32: the sum has H signed terms.
    """
    with in_float32(a_NTH, b_NTH, w_H) as (a_NTH, b_NTH, w_H):
        # added to e_ij: a masked j weighs exactly 0, but if all are masked they weigh alike
        offset_NT = torch.zeros_like(mask_NT, dtype=a_NTH.dtype).masked_fill(~mask_NT, MASKED)
        arguments = a_NTH.contiguous(), b_NTH.contiguous(), w_H.to(a_NTH.dtype), offset_NT
        result: Tensor = _PairAttention.apply(*arguments)  # type: ignore[no-untyped-call]
    return result
