"""MCL's encoder of texts, its interactions and its adaptive contrast."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.parts.layers import Dropout
from baselines.parts.transformer import PostNormAttention, PostNormFeedForward
from benchmark.kernels import native
from benchmark.kernels.lstm import trained_lstm
from benchmark.kernels.packing import Packing


class LSTMTextEncoder(nn.Module):
    """Word vectors and one unidirectional LSTM layer; pads, which come last, cannot reach a word."""

    def __init__(self, words: nn.Module, embedding: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.embedding = words
        self.dropout = Dropout(dropout)
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True)

    def forward(self, token_NT: Tensor, mask_NT: Tensor) -> Tensor:
        """`[N, T, H]`, zero at padded positions."""
        word_NTE = self.dropout(self.embedding(token_NT))
        packing = Packing.of(mask_NT)
        if native.usable(word_NTE) and not packing.is_fixed:
            return packing.unpack(
                trained_lstm(packing.pack(word_NTE), packing, [self.lstm]).flatten(1).unsqueeze(0)
            )
        state_NTH: Tensor = self.lstm(word_NTE)[0]
        return state_NTH * mask_NT.unsqueeze(-1)


class Interaction(nn.Module):
    """The review's positions look at the product's, then at one another; one feed-forward follows. With
    `padded_queries` padded positions do so too, as in the released code; else they are zero."""

    def __init__(
        self, width: int, heads: int, inner: int, dropout: float, *, padded_queries: bool = False
    ) -> None:
        super().__init__()
        self.padded_queries = padded_queries
        self.cross = PostNormAttention(width, heads, dropout)
        self.attention = PostNormAttention(width, heads, dropout)
        self.feed_forward = PostNormFeedForward(width, inner, dropout)

    def forward(
        self, product_BLH: Tensor, product_mask_BL: Tensor, review_BRH: Tensor, review_mask_BR: Tensor
    ) -> Tensor:
        if self.padded_queries:
            x_BRH = self.cross(review_BRH, product_BLH, product_mask_BL)
            padded_BRH: Tensor = self.feed_forward(self.attention(x_BRH, x_BRH, review_mask_BR))
            return padded_BRH
        product, review = Packing.of(product_mask_BL), Packing.of(review_mask_BR)
        x_XH, context_YH = (
            side.pack(x).squeeze(0) for side, x in ((review, review_BRH), (product, product_BLH))
        )
        x_XH = self.cross.packed_cross(x_XH, review, context_YH, product)
        return review.unpack(self.feed_forward(self.attention.packed(x_XH, review).unsqueeze(0)))


def adaptive_contrast(x_PH: Tensor, y_PH: Tensor, negative_PP: Tensor, margin: float, scale: float) -> Tensor:
    """Circle-loss contrast of rows x_i with their positives y_i and the negatives y_j that the mask admits:

    mean_i softplus( -γ a⁺ (π_i - (1 - m)) + log Σ_j exp(γ a⁻ (ν_ij - m)) ), π_i = cos(x_i, y_i),
    ν_ij = cos(x_i, y_j), a⁺ = max(0, 1 + m - π), a⁻ = max(0, ν + m), both constants for the gradient.

    A row without negatives is left out; 0 if none is left. Axes before these are terms of their own.
    """
    used_P = negative_PP.any(-1)
    cosine_PP = F.normalize(x_PH, dim=-1) @ F.normalize(y_PH, dim=-1).mT
    positive_P = cosine_PP.diagonal(dim1=-2, dim2=-1)
    pull_P = (1 + margin - positive_P).clamp(min=0).detach()
    push_PP = (cosine_PP + margin).clamp(min=0).detach()
    pulled_P = -scale * pull_P * (positive_P - (1 - margin))
    # of a row that is left out all stay, for a sum over nothing has no gradient
    kept_PP = negative_PP | ~used_P.unsqueeze(-1)
    pushed_PP = (scale * push_PP * (cosine_PP - margin)).masked_fill(~kept_PP, -torch.inf)
    # exponents reach 256 * 1.25 * 0.75 = 240; float32's exp overflows at 89, logsumexp does not
    term_P = F.softplus(pulled_P + pushed_PP.logsumexp(-1)) * used_P
    return term_P.sum(-1) / used_P.sum(-1).clamp(min=1)
