"""Intra-review coherence of MCR (Liu et al., ACL 2021): two small graph networks over words and RoIs.

N graphs, B rows (product, review), T nodes (words first, then RoIs), C node width, H hidden width of the
pair network. Node pairs are scored by a two-layer network, e_ij = w₂ᵀ relu(W₁ [x_i ; x_j] + b₁) + b₂.
Written out, that is a T x T x 2C input and a T x T x H hidden state for every graph. Here W₁ is split into
the halves that meet x_i and x_j, and what is left, the sum over H of a T x T x H array, is computed block
by block and again in the backward pass, so that it never leaves the cache; in compiled code where there is
some (`kernels`), tile by tile in registers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from baselines.parts.layers import MASKED, in_float32, masked_mean
from benchmark.kernels import native

BLOCK_ELEMENTS = {"cpu": 1 << 20, "cuda": 1 << 26}
"""Size of the temporary of one block: 4 MB stay in a CPU's cache, a GPU wants few launches."""


def _blocks(a_NTH: Tensor) -> Iterator[tuple[slice, slice]]:
    """(graphs, nodes i) whose `[graphs, i, T, H]` temporary fits the budget of the device."""
    n_graphs, n_nodes, hidden = a_NTH.shape
    budget = BLOCK_ELEMENTS.get(a_NTH.device.type, BLOCK_ELEMENTS["cuda"])
    graphs = max(1, budget // max(1, n_nodes * n_nodes * hidden))
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
        torch.gt(own, negative_NTH[n].unsqueeze(1), out=buffer)
        result_NTH[n, i] = (weight_NTT[n, i].unsqueeze(2) @ buffer).squeeze(2)
    return result_NTH


def _fitting(buffer: Tensor, own: Tensor, n_nodes: int) -> Tensor:
    """A `[graphs, i, T, H]` buffer for the block `[graphs, i, 1, H]`: the one at hand if it fits, for a fresh
    one costs a page fault every 4 KB, which is more than the arithmetic."""
    shape = (*own.shape[:2], n_nodes, own.shape[3])
    return buffer if buffer.shape == shape else own.new_empty(shape)


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
            weight_NTT = native.pair_scores(a_NTH, b_NTH, w_H, offset_NT).softmax(-1)
            ctx.save_for_backward(a_NTH, b_NTH, w_H, weight_NTT)
            return weight_NTT
        negative_NTH = -b_NTH
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
            own_NTH, other_NTH = native.pair_scores_backward(a_NTH, b_NTH, weight_NTT, gradient_NTT)
        else:
            product_NTT = gradient_NTT * weight_NTT
            logit_NTT = product_NTT.addcmul_(product_NTT.sum(-1, keepdim=True), weight_NTT, value=-1)
            own_NTH = _gated_sum(a_NTH, b_NTH, logit_NTT)
            other_NTH = _gated_sum(b_NTH, a_NTH, logit_NTT.transpose(1, 2).contiguous())
        w_gradient_H = (a_NTH * own_NTH + b_NTH * other_NTH).sum((0, 1))
        return own_NTH * w_H, other_NTH * w_H, w_gradient_H, None


def pair_attention(a_NTH: Tensor, b_NTH: Tensor, w_H: Tensor, mask_NT: Tensor) -> Tensor:
    """Attention weights `[N, T, T]`: for each node i, softmax over valid nodes j of Σ_h w_h relu(a_ih + b_jh);
    in memory that does not grow with H.

    Not twice differentiable. Half precisions are computed in float32: the sum has H signed terms.
    """
    with in_float32(a_NTH, b_NTH, w_H) as (a_NTH, b_NTH, w_H):
        offset_NT = torch.zeros_like(mask_NT, dtype=a_NTH.dtype).masked_fill(~mask_NT, MASKED)
        arguments = a_NTH.contiguous(), b_NTH.contiguous(), w_H.to(a_NTH.dtype), offset_NT
        result: Tensor = _PairAttention.apply(*arguments)  # type: ignore[no-untyped-call]
    return result


class GraphReasoning(nn.Module):
    """One round of message passing, x_i ← Σ_j softmax_j(e_ij) x_j over valid nodes j, without a residual.
    b₂ is the same for every j, so the softmax takes it out again: it is kept for checkpoints, not used."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Linear(2 * width, hidden)
        self.second = nn.Linear(hidden, 1)
        self.second.bias.requires_grad_(False)

    def forward(self, node_NTC: Tensor, mask_NT: Tensor) -> Tensor:
        """`[N, T, C]`; padded nodes i are computed like any others, padded nodes j are never read."""
        own_HC, other_HC = self.first.weight.chunk(2, dim=1)
        a_NTH = nn.functional.linear(node_NTC, own_HC, self.first.bias)
        b_NTH = nn.functional.linear(node_NTC, other_HC)
        weight_NTT = pair_attention(a_NTH, b_NTH, self.second.weight.squeeze(0), mask_NT)
        return weight_NTT.to(node_NTC.dtype) @ node_NTC


class Coherence(nn.Module):
    """MCR's coherent reasoning: the product's graph becomes a claim q, with which the review's nodes are
    weighed: e_j = MLP([q ; x_j]), softmax over valid nodes, weighted sum.

    `padded_claim` keeps the released slip (defect P18): padded nodes enter the sum of the claim, whose
    divisor counts valid nodes only.
    """

    def __init__(self, width: int, hidden: int, layers: int, padded_claim: bool = False) -> None:
        super().__init__()
        self.padded_claim = padded_claim
        self.product_layers = nn.ModuleList(GraphReasoning(width, hidden) for _ in range(layers))
        self.review_layers = nn.ModuleList(GraphReasoning(width, hidden) for _ in range(layers))
        self.first = nn.Linear(2 * width, hidden)
        self.second = nn.Linear(hidden, 1)

    def claim(self, node_NTC: Tensor, mask_NT: Tensor) -> Tensor:
        """The claim vector of each product, `[N, C]`."""
        for layer in self.product_layers:
            node_NTC = layer(node_NTC, mask_NT)
        if self.padded_claim:
            return node_NTC.sum(1) / mask_NT.sum(1, keepdim=True)
        return masked_mean(node_NTC, mask_NT)

    def review_nodes(self, node_NTC: Tensor, mask_NT: Tensor) -> Tensor:
        """The review's nodes after message passing, `[N, T, C]`; they do not depend on the product."""
        for layer in self.review_layers:
            node_NTC = layer(node_NTC, mask_NT)
        return node_NTC

    def pool(self, claim_BC: Tensor, node_BTC: Tensor, mask_BT: Tensor) -> Tensor:
        """The review's nodes, weighed by what the product claims, `[B, C]`."""
        claim_HC, node_HC = self.first.weight.chunk(2, dim=1)
        claim_BH = nn.functional.linear(claim_BC, claim_HC, self.first.bias)
        hidden_BTH = torch.relu(claim_BH.unsqueeze(1) + nn.functional.linear(node_BTC, node_HC))
        logit_BT = self.second(hidden_BTH).squeeze(-1).masked_fill(~mask_BT, MASKED)
        pooled_BC: Tensor = (logit_BT.softmax(-1).unsqueeze(1) @ node_BTC).squeeze(1)
        return pooled_BC
