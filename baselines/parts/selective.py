"""SANCL's encoders, its word overlap and its contrast."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.parts.layers import (
    Dropout,
    masked_softmax,
)
from benchmark.core.types import Items
from benchmark.kernels.arrays import MASKED
from benchmark.kernels.convolution import convolution
from benchmark.kernels.products import batched_product


class ConvEncoder(nn.Module):
    """n-gram states, averaged over kernel sizes. Kernels are kept as the reference keeps them,
    `[H, 1, k, E]`; it is a convolution along the text."""

    def __init__(
        self,
        words: nn.Module,
        embedding: int,
        hidden: int,
        kernels: tuple[int, ...],
        dropout: float,
    ) -> None:
        super().__init__()
        self.embedding = words
        self.dropout = Dropout(dropout)
        self.convs = nn.ModuleList(nn.Conv2d(1, hidden, (k, embedding), padding=(k // 2, 0)) for k in kernels)

    def forward(self, token_NT: Tensor, mask_NT: Tensor) -> Tensor:
        """`[N, T, H]`, zero at padded positions."""
        word_NTE = self.dropout(self.embedding(token_NT))
        gram_KNTH = torch.stack([torch.relu(self._convolve(conv, word_NTE)) for conv in self.convs])
        return gram_KNTH.mean(0) * mask_NT.unsqueeze(-1)

    def _convolve(self, conv: nn.Module, word_NTE: Tensor) -> Tensor:
        assert isinstance(conv, nn.Conv2d)
        return convolution(word_NTE, conv.weight.squeeze(1).transpose(1, 2), conv.bias, int(conv.padding[0]))


class SelfAttention(nn.Module):
    """Review self-attention, whose weights are multiplied by the outer product of the token weights a:
    x'_s = x_s + Σ_t softmax_t(q_s · k_t) a_s a_t x_t. Unscaled, not renormalised."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)

    def forward(self, x_BRH: Tensor, mask_BR: Tensor, weight_BR: Tensor, mask_queries: bool) -> Tensor:
        """`[B, R, H]`. `mask_queries` is what the released `bert` network does: padded queries become
        uniform and padded keys stay in the softmax."""
        logit_BRR = batched_product(self.query(x_BRH), self.key(x_BRH).transpose(1, 2))
        if mask_queries:
            # a slip of the release: this axis is the queries', the keys' is the last one
            attention_BRR = logit_BRR.masked_fill(~mask_BR.unsqueeze(2), MASKED).softmax(-1)
        else:
            attention_BRR = masked_softmax(logit_BRR, mask_BR.unsqueeze(1))
        selected_BRR = attention_BRR * weight_BR.unsqueeze(1) * weight_BR.unsqueeze(2)
        result: Tensor = batched_product(selected_BRR, x_BRH) + x_BRH
        return result


def word_overlap(product_BLE: Tensor, product_mask_BL: Tensor, review_BRE: Tensor) -> Tensor:
    """How far each review word occurs in the product's text, `[B, R]` in 0..1: the largest cosine of its
    vector with one of the product's. A word has the same initial vector in both texts. A constant for the
    gradient, like the preprocessed mask that it stands for."""
    with torch.no_grad():
        cosine_BRL = F.normalize(review_BRE, dim=-1) @ F.normalize(product_BLE, dim=-1).transpose(1, 2)
        # 0 and not -inf, so that a product without words overlaps with nothing
        return cosine_BRL.masked_fill(~product_mask_BL.unsqueeze(1), 0).amax(2).clamp(0, 1)


def info_nce(x_PC: Tensor, y_PC: Tensor, product_P: Tensor, temperature: float) -> Tensor:
    """Mean of -log softmax of cos(x_i, y_i) / τ among y_i and the y_j of other products; 0 without rows."""
    if not len(x_PC):
        return x_PC.new_zeros(())
    logit_PP = F.normalize(x_PC, dim=-1) @ F.normalize(y_PC, dim=-1).T / temperature
    # rows of one product share its text and image: as negatives they would push a match apart
    same_PP = (product_P.unsqueeze(1) == product_P) & ~torch.eye(
        len(x_PC), dtype=torch.bool, device=x_PC.device
    )
    logit_PP = logit_PP.masked_fill(same_PP, -torch.inf)
    loss: Tensor = (logit_PP.logsumexp(1) - logit_PP.diagonal()).mean()
    return loss


def first_occurrence(index_B: Tensor) -> Tensor:
    """bool [B], True at the first row of each value."""
    earlier_BB = torch.ones(len(index_B), len(index_B), dtype=torch.bool, device=index_B.device).tril(-1)
    repeated_B: Tensor = ((index_B.unsqueeze(1) == index_B) & earlier_BB).any(1)
    return ~repeated_B


def has_image(items: Items) -> Tensor:
    assert items.roi_count_N is not None
    return items.roi_count_N > 0


def random_bert(sizes: tuple[int, ...], vocabulary: int) -> Any:
    """BERT with random weights, as the released code makes it, without the pooler, which nothing reads."""
    from transformers import BertConfig, BertModel  # late: it takes a second to import

    width, layers, heads, inner, positions = sizes
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        max_position_embeddings=positions,
    )
    return BertModel(config, add_pooling_layer=False)
