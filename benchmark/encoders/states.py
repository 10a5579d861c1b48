"""Token states of a BERT: its own layers in fewer, larger operations, and none for padding.

N texts, T tokens, X real tokens of all texts, H hidden width.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from benchmark.kernels.elementwise import dropout
from benchmark.kernels.multihead import Maps, multihead
from benchmark.kernels.packing import Packing
from benchmark.kernels.residual import add_norm, feed_forward


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
    rate = attention.dropout.p if attention.training else 0.0
    maps = Maps(attention.query, attention.key, attention.value, joined.dense)
    attended_XH = multihead(x_1XH.squeeze(0), packing, maps, attention.num_attention_heads, rate)
    x_1XH = _added(joined, attended_XH.unsqueeze(0), x_1XH)
    hidden_1XH = feed_forward(x_1XH, layer.intermediate.dense, layer.output.dense)
    return _added(layer.output, hidden_1XH, x_1XH)


def _added(output: Any, x: Tensor, base: Tensor) -> Tensor:
    """LayerNorm(base + dropout(x))."""
    return add_norm(base, x, output.LayerNorm, output.dropout.p if output.training else 0.0)[1]


def _dropped(x: Tensor, module: Any) -> Tensor:
    return dropout(x, module.p) if module.training and module.p else x
