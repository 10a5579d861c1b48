"""Post-norm transformer parts as in BERT, used by MCL and GBDT-LCM.

B rows or lists, T query positions, S context positions, X and Y real ones of all rows, D width, H heads of width d.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from baselines.parts.layers import Dropout
from benchmark.kernels.arrays import row_chunks
from benchmark.kernels.attention import cross_attention
from benchmark.kernels.linear import Linear, joint_linear
from benchmark.kernels.multihead import Maps, cross_multihead, multihead
from benchmark.kernels.packing import Packing
from benchmark.kernels.residual import add_norm, feed_forward


class PostNormAttention(nn.Module):
    """LN(query + W_o · MultiHead(query, context)); heads are consecutive blocks of channels."""

    def __init__(self, width: int, heads: int, dropout: float, eps: float = 1e-12) -> None:
        super().__init__()
        self.heads = heads
        self.query = Linear(width, width)
        self.key = Linear(width, width)
        self.value = Linear(width, width)
        self.output = Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.dropout = Dropout(dropout)

    def forward(self, query_BTD: Tensor, context_BSD: Tensor, context_mask_BS: Tensor) -> Tensor:
        """`[B, T, D]` of all queries, padded ones too. Padded context positions are not attended to; an empty context
        adds nothing."""
        own_BTD, state_BSX = self.query(query_BTD), joint_linear(context_BSD, self.key, self.value)
        attended_BTD = cross_attention(own_BTD, state_BSX, context_mask_BS, self.heads, self._rate)
        return self._normed(query_BTD, self.output(attended_BTD))

    def packed(self, x_XD: Tensor, packing: Packing) -> Tensor:
        """Of real positions to those of their sequence, `[X, D]`."""
        return self._normed(x_XD, multihead(x_XD, packing, self._maps, self.heads, self._rate))

    def packed_cross(self, query_XD: Tensor, queries: Packing, context_YD: Tensor, keys: Packing) -> Tensor:
        """Of real positions to those of another sequence, `[X, D]`."""
        arrays = query_XD, context_YD, (queries, keys)
        return self._normed(query_XD, cross_multihead(*arrays, self._maps, self.heads, self._rate))

    @property
    def _maps(self) -> Maps:
        return Maps(self.query, self.key, self.value, self.output)

    @property
    def _rate(self) -> float:
        return self.dropout.rate if self.training else 0.0

    def _normed(self, query: Tensor, answer: Tensor) -> Tensor:
        return add_norm(query, answer, self.norm, self._rate)[1]


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
        # no real position at all: nothing to join blocks of
        if torch.is_grad_enabled() or not x_BTD.numel():
            return self._apply_to(x_BTD)
        flat_XD = x_BTD.flatten(0, 1)
        blocks = row_chunks(len(flat_XD), self.inner.out_features * x_BTD.element_size())
        return torch.cat([self._apply_to(flat_XD[block]) for block in blocks]).view_as(x_BTD)

    def _apply_to(self, x: Tensor) -> Tensor:
        rate = self.dropout.rate if self.training else 0.0
        return add_norm(x, feed_forward(x, self.inner, self.output), self.norm, rate)[1]


class PostNormLayer(nn.Module):
    """Self-attention, then feed-forward. With `padded_queries` padded positions go through it like any others, as in
    some released code, whose results depend on them; else they are zero."""

    def __init__(
        self, width: int, heads: int, inner: int, dropout: float, *, padded_queries: bool = False
    ) -> None:
        super().__init__()
        self.padded_queries = padded_queries
        self.attention = PostNormAttention(width, heads, dropout)
        self.feed_forward = PostNormFeedForward(width, inner, dropout)

    def forward(self, x_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        if self.padded_queries:
            padded_BTD: Tensor = self.feed_forward(self.attention(x_BTD, x_BTD, mask_BT))
            return padded_BTD
        packing = Packing.of(mask_BT)
        attended_XD = self.attention.packed(packing.pack(x_BTD).squeeze(0), packing)
        return packing.unpack(self.feed_forward(attended_XD.unsqueeze(0)))
