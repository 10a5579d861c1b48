"""Text encoder (4.1, Eq. 2): [CLS] + tokens through BERT, all token states kept, projected to d_t.

Where its weights come from (D-BERT): a folder, a hub name (`benchmark.encoders.pretrained`), or `scratch`.

N texts, T tokens, H hidden width of the encoder, D = d_t.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.core.types import CorpusShape, Items, length_mask
from benchmark.encoders.pretrained import check_length, content_hash, encoder_folder, load_encoder
from benchmark.encoders.states import packed_token_states
from benchmark.kernels.linear import with_own_linear
from benchmark.kernels.packing import Packing
from mmss.config import SCRATCH, Config
from mmss.states import States

if TYPE_CHECKING:
    # Imported where it is used: planning runs must not wait seconds for it.
    from transformers import PreTrainedModel

FIELD = "mmss.encoder"


def encoder_source(config: Config) -> Path | None:
    """Folder of the pre-trained encoder, fetched from the hub if need be; None for `scratch`.

    Raises UsageError where a named folder is no model folder, or a name is not here and cannot be fetched.
    """
    return None if config.encoder == SCRATCH else encoder_folder(config.encoder, FIELD)


def encoder_files(config: Config) -> dict[str, str]:
    """`{"encoder": SHA-256 over names and content of its files}`; empty for `scratch`."""
    folder = encoder_source(config)
    return {} if folder is None else {"encoder": content_hash(folder)}


def tokenizer_source(config: Config) -> Path | None:
    """Folder whose tokenizer makes the encoder's token ids: the encoder's own. None for `scratch`."""
    return encoder_source(config)


class TextEncoder(nn.Module):
    """T^p or T^r of distinct items; one encoder for products and reviews."""

    def __init__(self, config: Config, corpus: CorpusShape) -> None:
        super().__init__()
        if config.encoder == SCRATCH:
            self.bert = scratch_encoder(config, corpus)
            with_own_linear(self.bert)
        else:
            self.bert = load_encoder(config.encoder, config.encoder_dropout, FIELD)
        hidden = int(self.bert.config.hidden_size)
        # the default miniature is 128 wide already: then the states of Eq. 2 are the encoder's own
        self.project = nn.Linear(hidden, config.width) if hidden != config.width else nn.Identity()

    def forward(self, *sides: Items) -> list[States]:
        """States of width D of each side's texts, which are encoded together.

        UsageError for a text longer than the encoder takes.
        """
        lengths = [items.token_NT.shape[1] for items in sides]
        check_length(self.bert, longest := max(lengths))
        token_NT = torch.cat(
            [F.pad(items.token_NT, (0, longest - items.token_NT.shape[1])) for items in sides]
        )
        packing = Packing.of(length_mask(torch.cat([items.token_count_N for items in sides]), longest))
        state_1XD: Tensor = self.project(packed_token_states(self.bert, token_NT, packing))
        own = [Packing.of(items.token_mask_NT) for items in sides]
        if packing.is_fixed:
            # cut back to each side's own length: padding of the joint call must not lengthen [X; Z]
            parts = packing.unpack(state_1XD).split_with_sizes([len(items) for items in sides])
            cut = [part[:, :length] for part, length in zip(parts, lengths, strict=True)]
            return [States(side.pack(part), side) for side, part in zip(own, cut, strict=True)]
        parts = state_1XD.split_with_sizes([len(side) for side in own], 1)
        return [States(part, side) for side, part in zip(own, parts, strict=True)]


def scratch_encoder(config: Config, corpus: CorpusShape) -> PreTrainedModel:
    """A small BERT with new weights over the joint word vocabulary (0 padding, 1 unknown, 2 [CLS])."""
    from transformers import BertConfig, BertModel

    return BertModel(
        BertConfig(
            vocab_size=corpus.joint_vocabulary,
            hidden_size=config.scratch_width,
            num_hidden_layers=config.scratch_layers,
            num_attention_heads=config.scratch_heads,
            intermediate_size=config.scratch_feedforward,
            max_position_embeddings=config.scratch_positions,
            type_vocab_size=1,
            pad_token_id=0,
            initializer_range=config.scratch_init,
            hidden_dropout_prob=config.encoder_dropout,
            attention_probs_dropout_prob=config.encoder_dropout,
        ),
        # a pooler would hold weights that never get a gradient: all token states are read instead
        add_pooling_layer=False,
    )
