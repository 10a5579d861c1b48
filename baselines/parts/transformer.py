"""Post-norm transformer parts as in BERT, used by MCL and GBDT-LCM.

B rows or lists, T query positions, S context positions, D width, H heads of width d.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.parts.layers import Dropout
from benchmark.kernels.arrays import row_chunks
from benchmark.kernels.attention import cross_attention, self_attention
from benchmark.kernels.linear import Linear, joint_linear


class PostNormAttention(nn.Module):
    """LN(query + W_o · MultiHead(query, context)); heads are consecutive blocks of channels. With `padded_queries`
    padded positions attend too, as in some released code, whose results depend on them."""

    def __init__(
        self, width: int, heads: int, dropout: float, eps: float = 1e-12, *, padded_queries: bool = False
    ) -> None:
        super().__init__()
        self.heads, self.padded_queries = heads, padded_queries
        self.query = Linear(width, width)
        self.key = Linear(width, width)
        self.value = Linear(width, width)
        self.output = Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.dropout = Dropout(dropout)

    def forward(self, query_BTD: Tensor, context_BSD: Tensor, context_mask_BS: Tensor) -> Tensor:
        """`[B, T, D]`. Padded context positions are not attended to; an empty context adds nothing."""
        rate = self.dropout.rate if self.training else 0.0
        if query_BTD is context_BSD and not self.padded_queries:
            state_BTX = joint_linear(query_BTD, self.query, self.key, self.value)
            attended_BTD = self_attention(state_BTX, context_mask_BS, self.heads, rate)
        else:
            own_BTD, state_BSX = self.query(query_BTD), joint_linear(context_BSD, self.key, self.value)
            attended_BTD = cross_attention(own_BTD, state_BSX, context_mask_BS, self.heads, rate)
        result: Tensor = self.norm(self.dropout.add(query_BTD, self.output(attended_BTD)))
        return result


class PostNormFeedForward(nn.Module):
    """LN(x + W₂ gelu(W₁ x)), with the exact (erf) GELU."""

    def __init__(self, width: int, inner: int, dropout: float, eps: float = 1e-12) -> None:
        super().__init__()
        self.inner = Linear(width, inner)
        self.output = Linear(inner, width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.dropout = Dropout(dropout)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """`[B, T, D]`. Without gradients it goes by blocks of positions: the inner states, 24 times as wide
        in the released MCL, are then never more than a block."""
        if torch.is_grad_enabled():
            return self._apply_to(x_BTD)
        flat_XD = x_BTD.flatten(0, 1)
        blocks = row_chunks(len(flat_XD), self.inner.out_features * x_BTD.element_size())
        return torch.cat([self._apply_to(flat_XD[block]) for block in blocks]).view_as(x_BTD)

    def _apply_to(self, x: Tensor) -> Tensor:
        result: Tensor = self.norm(self.dropout.add(x, self.output(F.gelu(self.inner(x)))))
        return result


class PostNormLayer(nn.Module):
    """Self-attention, then feed-forward."""

    def __init__(
        self, width: int, heads: int, inner: int, dropout: float, *, padded_queries: bool = False
    ) -> None:
        super().__init__()
        self.attention = PostNormAttention(width, heads, dropout, padded_queries=padded_queries)
        self.feed_forward = PostNormFeedForward(width, inner, dropout)

    def forward(self, x_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        result: Tensor = self.feed_forward(self.attention(x_BTD, x_BTD, mask_BT))
        return result
