"""Intra-review coherence of MCR (Liu et al., ACL 2021): two small graph networks over words and RoIs.

N graphs, B rows (product, review), T nodes (words first, then RoIs), C node width. Node pairs are scored by a two-layer
network, e_ij = w₂ᵀ relu(W₁ [x_i ; x_j] + b₁) + b₂; `kernels.graphs` computes it.
"""

from __future__ import annotations

from torch import Tensor, nn

from baselines.parts.layers import masked_mean
from benchmark.kernels.graphs import claim_pool, messages


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
        return messages(node_NTC, mask_NT, (self.first.weight, self.first.bias, self.second.weight))


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

    def pool(self, claim_NC: Tensor, product_B: Tensor, node_BTC: Tensor, mask_BT: Tensor) -> Tensor:
        """The reviews' nodes of rows, weighed by what the row's product claims, `[B, C]`."""
        network = self.first.weight, self.first.bias, self.second.weight
        return claim_pool(claim_NC, product_B, node_BTC, mask_BT, network, self.second.bias)
