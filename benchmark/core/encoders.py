"""Encoders of words and RoIs that several baselines share.

N distinct items, T word positions, V RoIs, E word-vector width, F RoI width, D hidden size, H heads of width d,
K kernel sizes.

An item is encoded once, however many rows of a batch point at it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmark.core.layers import MASKED, Dropout, word_embedding
from benchmark.core.types import CorpusShape


class TextConvEncoder(nn.Module):
    """Word n-grams (MCR): relu(Conv1d_k(X)) for each odd kernel size k, "same" padding, pads zeroed."""

    def __init__(
        self,
        corpus: CorpusShape,
        field: str,
        embedding: int,
        hidden: int,
        kernels: tuple[int, ...],
        dropout: float,
    ) -> None:
        super().__init__()
        self.embedding = word_embedding(corpus, field, embedding)
        self.dropout = Dropout(dropout)
        self.convs = nn.ModuleList(nn.Conv1d(embedding, hidden, k, padding=k // 2) for k in kernels)

    def forward(self, token_NT: Tensor, mask_NT: Tensor) -> Tensor:
        """`[N, K, T, D]`, one representation for each kernel size. Padding ids are the zero vector, so a
        window at the end of a text sees zeros whatever the padded length is."""
        word_NET = self.dropout(self.embedding(token_NT)).transpose(1, 2)
        gram_NKDT = torch.stack([torch.relu(conv(word_NET)) for conv in self.convs], 1)
        return gram_NKDT.transpose(2, 3) * mask_NT[:, None, :, None]


class RoiEncoderLayer(nn.Module):
    """Pre-norm transformer layer: x + Attention(LN(x)), then x + W₂ relu(W₁ LN(x))."""

    def __init__(
        self, width: int, heads: int, ffn: int, dropout: float, relu_dropout: float, attention_dropout: float
    ) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.fc1 = nn.Linear(width, ffn)
        self.fc2 = nn.Linear(ffn, width)
        self.dropout = Dropout(dropout)
        self.relu_dropout = Dropout(relu_dropout)
        self.attention_dropout = Dropout(attention_dropout)

    def forward(self, x_NVD: Tensor, mask_NV: Tensor) -> Tensor:
        x_NVD = x_NVD + self.dropout(self.attend(self.norms[0](x_NVD), mask_NV))
        hidden = self.relu_dropout(torch.relu(self.fc1(self.norms[1](x_NVD))))
        result: Tensor = x_NVD + self.dropout(self.fc2(hidden))
        return result

    def attend(self, x_NVD: Tensor, mask_NV: Tensor) -> Tensor:
        """Scaled dot-product self-attention; heads are consecutive blocks of channels."""
        split = (*x_NVD.shape[:2], self.heads, -1)
        query_NHVd = self.query(x_NVD).view(split).transpose(1, 2)
        key_NHVd = self.key(x_NVD).view(split).transpose(1, 2)
        value_NHVd = self.value(x_NVD).view(split).transpose(1, 2)
        logit_NHVV = (query_NHVd * query_NHVd.shape[-1] ** -0.5) @ key_NHVd.transpose(2, 3)
        logit_NHVV = logit_NHVV.masked_fill(~mask_NV[:, None, None, :], MASKED)
        weight_NHVV = self.attention_dropout(logit_NHVV.softmax(-1))
        result: Tensor = self.output((weight_NHVV @ value_NHVd).transpose(1, 2).flatten(2))
        return result


class RoiEncoder(nn.Module):
    """MCR's image encoder: a linear map, pre-norm transformer layers without positions, a final layer norm.
    Padded RoIs are neither attended to nor returned (zeros)."""

    def __init__(
        self,
        roi_width: int,
        width: int,
        heads: int,
        ffn: int,
        layers: int,
        dropout: float,
        relu_dropout: float,
        attention_dropout: float,
    ) -> None:
        super().__init__()
        self.map = nn.Linear(roi_width, width)
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(
            RoiEncoderLayer(width, heads, ffn, dropout, relu_dropout, attention_dropout)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, roi_NVF: Tensor, mask_NV: Tensor) -> Tensor:
        """`[N, V, D]`."""
        x_NVD = self.dropout(self.map(roi_NVF))
        for layer in self.layers:
            x_NVD = layer(x_NVD, mask_NV)
        result: Tensor = self.norm(x_NVD) * mask_NV.unsqueeze(-1)
        return result
