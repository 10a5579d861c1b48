"""Token states of a BERT: its own layers in fewer, larger operations, and none for padding.

N texts, T tokens, X real tokens of all texts, H hidden width.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from benchmark.kernels.attention import packed_attention
from benchmark.kernels.elementwise import dropout
from benchmark.kernels.linear import joint_linear, linear
from benchmark.kernels.packing import Packing


def token_states(encoder: Any, token_NT: Tensor, mask_NT: Tensor) -> Tensor:
    """Last hidden states `[N, T, H]`: what the encoder gives, zero at padding."""
    packing = Packing.of(mask_NT)
    return packing.unpack(packed_token_states(encoder, token_NT, packing))


def packed_token_states(encoder: Any, token_NT: Tensor, packing: Packing) -> Tensor:
    """The same of the real tokens alone, `[1, X, H]`."""
    if not is_plain_bert(encoder):
        answer = encoder(input_ids=token_NT, attention_mask=packing.mask_NL.long())
        return packing.pack(answer.last_hidden_state)
    # the cast type of this arithmetic and the modules' parameters are autocast's business
    x_1XH = _embedded(encoder.embeddings, token_NT, packing)
    for layer in encoder.encoder.layer:
        x_1XH = _layer(layer, x_1XH, packing)
    return x_1XH


def is_plain_bert(encoder: Any) -> bool:
    """Whether `token_states` knows its layers: BERT (Devlin et al., 2019) with absolute positions and exact GELU."""
    config = encoder.config
    return (
        type(encoder).__name__ == "BertModel"
        and getattr(config, "position_embedding_type", None) in (None, "absolute")
        and config.hidden_act == "gelu"
        and not config.is_decoder
    )


def _embedded(embeddings: Any, token_NT: Tensor, packing: Packing) -> Tensor:
    """Word, position and type vectors of the real tokens, `[1, X, H]`."""
    token_X = token_NT.flatten().index_select(0, packing.place_X)
    position_X = packing.place_X % packing.shape[1]
    word_XH = embeddings.word_embeddings(token_X) + embeddings.position_embeddings(position_X)
    x_XH = embeddings.LayerNorm(word_XH + embeddings.token_type_embeddings.weight[0])
    return _dropped(x_XH.unsqueeze(0), embeddings.dropout)


def _layer(layer: Any, x_1XH: Tensor, packing: Packing) -> Tensor:
    """Self-attention, then the feed-forward part, each with its residual and layer norm."""
    attention, joined = layer.attention.self, layer.attention.output
    state_1XY = joint_linear(x_1XH, attention.query, attention.key, attention.value)
    rate = attention.dropout.p if attention.training else 0.0
    attended_XH = packed_attention(state_1XY.squeeze(0), packing, attention.num_attention_heads, rate)
    x_1XH = _added(joined, attended_XH.unsqueeze(0), x_1XH)
    inner = layer.intermediate.dense
    hidden_1XG = F.gelu(linear(x_1XH, inner.weight, inner.bias))
    return _added(layer.output, hidden_1XG, x_1XH)


def _added(output: Any, hidden: Tensor, base: Tensor) -> Tensor:
    """LayerNorm(base + dropout(dense(hidden)))."""
    made = linear(hidden, output.dense.weight, output.dense.bias)
    if output.training and output.dropout.p and made.dtype == base.dtype:
        total = dropout(made, output.dropout.p, base=base)
    else:
        total = base + _dropped(made, output.dropout)
    normed: Tensor = output.LayerNorm(total)
    return normed


def _dropped(x: Tensor, module: Any) -> Tensor:
    return dropout(x, module.p) if module.training and module.p else x
