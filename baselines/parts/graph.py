"""Intra-review coherence of MCR (Liu et al., ACL 2021): two small graph networks over words and RoIs.

N graphs, B rows (product, review), T nodes (words first, then RoIs), C node width, H hidden width of the
pair network. Node pairs are scored by a two-layer network, e_ij = w₂ᵀ relu(W₁ [x_i ; x_j] + b₁) + b₂; W₁ is split
into the halves that meet x_i and x_j, and `kernels.graphs` does the rest.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from baselines.parts.layers import masked_mean
from benchmark.kernels.arrays import MASKED
from benchmark.kernels.graphs import pair_attention
from benchmark.kernels.linear import linear
from benchmark.kernels.products import batched_product


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
        # W₁ [x_i ; x_j] = W₁ᵃ x_i + W₁ᵇ x_j: the T x T pairs of vectors are never built
        own_HC, other_HC = self.first.weight.chunk(2, dim=1)
        a_NTH = linear(node_NTC, own_HC, self.first.bias)
        b_NTH = linear(node_NTC, other_HC)
        weight_NTT = pair_attention(a_NTH, b_NTH, self.second.weight.squeeze(0), mask_NT)
        return batched_product(weight_NTT.to(node_NTC.dtype), node_NTC)


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
        # split as in the graphs; the claim comes first in [q ; x_j], and weights are loaded so
        claim_HC, node_HC = self.first.weight.chunk(2, dim=1)
        claim_BH = linear(claim_BC, claim_HC, self.first.bias)
        hidden_BTH = torch.relu(claim_BH.unsqueeze(1) + linear(node_BTC, node_HC))
        logit_BT = self.second(hidden_BTH).squeeze(-1).masked_fill(~mask_BT, MASKED)
        pooled_BC: Tensor = torch.bmm(logit_BT.softmax(-1).unsqueeze(1), node_BTC).squeeze(1)
        return pooled_BC
