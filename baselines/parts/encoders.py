"""Encoders of words and RoIs that several baselines share.

N distinct items, T word positions, V RoIs, X real RoIs of all items, E word-vector width, F RoI width, D hidden size,
H heads of width d, K kernel sizes.

An item is encoded once, however many rows of a batch point at it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from baselines.parts.layers import Dropout, conv_over_time, convs_over_words, distinct
from baselines.parts.words import scored_by_word
from benchmark.kernels.linear import linear
from benchmark.kernels.multihead import Maps, multihead
from benchmark.kernels.packing import Packing
from benchmark.kernels.residual import add_norm, feed_forward


class TextConvEncoder(nn.Module):
    """Word n-grams (MCR): relu(Conv1d_k(X)) for each odd kernel size k, "same" padding, pads zeroed."""

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
        self.convs = nn.ModuleList(nn.Conv1d(embedding, hidden, k, padding=k // 2) for k in kernels)

    def forward(self, token_NT: Tensor, mask_NT: Tensor) -> Tensor:
        """`[N, K, T, D]`, one representation for each kernel size. Padding ids are the zero vector, so a
        window at the end of a text sees zeros whatever the padded length is."""
        vector_WE = None if self.training else scored_by_word(self.embedding)
        if vector_WE is not None:
            word_U, slot_NT = distinct(token_NT, len(vector_WE))
            before = [int(conv.padding[0]) for conv in self.convs]  # type: ignore[index]
            gram_NKTH = convs_over_words(vector_WE[word_U], slot_NT, self.convs, before)
            return gram_NKTH.relu_().mul_(mask_NT[:, None, :, None])
        word_NTE = self.dropout(self.embedding(token_NT))
        gram_NKTH = torch.stack([conv_over_time(word_NTE, conv) for conv in self.convs], 1)  # type: ignore[arg-type]
        return masked_relu(gram_NKTH, mask_NT[:, None, :, None])


class _MaskedRelu(torch.autograd.Function):
    """One array for both, kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor) -> Tensor:
        y = torch.relu(x).mul_(mask)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(gradient, y, 0), None


def masked_relu(x: Tensor, mask: Tensor) -> Tensor:
    """relu(x), zero outside the mask."""
    result: Tensor = _MaskedRelu.apply(x, mask)  # type: ignore[no-untyped-call]
    return result


class RoiEncoderLayer(nn.Module):
    """Pre-norm transformer layer: x + Attention(LN(x)), then x + W₂ relu(W₁ LN(x))."""

    def __init__(
        self, width: int, heads: int, ffn: int, dropout: float, relu_dropout: float, attention_dropout: float
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} attention heads do not divide a width of {width}")
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

    def forward(self, x_1XD: Tensor, packing: Packing) -> Tensor:
        """`[1, X, D]`, of real RoIs side by side."""
        rate, relu_rate = (self.dropout.rate, self.relu_dropout.rate) if self.training else (0.0, 0.0)
        attended_1XD = self.attend(self.norms[0](x_1XD), packing)
        x_1XD, normed_1XD = add_norm(x_1XD, attended_1XD, self.norms[1], rate)  # type: ignore[arg-type]
        return self.dropout.add(x_1XD, feed_forward(normed_1XD, self.fc1, self.fc2, "relu", relu_rate))

    def attend(self, x_1XD: Tensor, packing: Packing) -> Tensor:
        """Scaled dot-product self-attention; heads are consecutive blocks of channels."""
        rate = self.attention_dropout.rate if self.training else 0.0
        maps = Maps(self.query, self.key, self.value, self.output)
        return multihead(x_1XD.squeeze(0), packing, maps, self.heads, rate).unsqueeze(0)


class RoiEncoder(nn.Module):
    """MCR's image encoder: a linear map, pre-norm transformer layers without positions, a final layer norm.
    Padded RoIs are never looked at; zeros stand there in the result."""

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
        packing = Packing.of(mask_NV)
        x_1XD = self.dropout(linear(packing.pack(roi_NVF), self.map.weight, self.map.bias))
        for layer in self.layers:
            x_1XD = layer(x_1XD, packing)
        return packing.unpack(self.norm(x_1XD))
