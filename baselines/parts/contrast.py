"""MCL's encoder of texts, its interactions and its adaptive contrast."""

from __future__ import annotations

from torch import Tensor, nn

from baselines.parts.layers import Dropout
from baselines.parts.transformer import PostNormAttention, PostNormFeedForward
from benchmark.kernels import native
from benchmark.kernels.contrast import circle_loss
from benchmark.kernels.elementwise import unit_vectors
from benchmark.kernels.lstm import trained_lstm
from benchmark.kernels.packing import Packing
from benchmark.kernels.products import batched_product


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


def adaptive_contrast(
    x_KPH: Tensor, y_KPH: Tensor, negative_KPP: Tensor, margin: float, scale: float
) -> Tensor:
    """Contrast of rows x_i with their positives y_i and the negatives y_j that the mask admits, of K kinds of pairs,
    `[K]`: `kernels.contrast.circle_loss` of their cosines."""
    cosine_KPP = batched_product(unit_vectors(x_KPH), unit_vectors(y_KPH).mT)
    return circle_loss(cosine_KPP, negative_KPP, margin, scale)
