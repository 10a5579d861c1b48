"""What baselines read of a text (D-TEXTENC): vectors of words, or token states of a pre-trained encoder.

N texts, T tokens, E width of what a method reads of a token, H hidden width of the encoder.

A method asks `word_tables` for a table per field and looks token ids up in it; with `text_encoder="bert"` the
two fields share one encoder, as in MM-SS, and its states stand where the words' vectors did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baselines.parts.layers import check_field, word_embedding
from benchmark.core import decisions
from benchmark.core.errors import UsageError
from benchmark.core.model import RankingModel, Tokenizer
from benchmark.core.types import CorpusShape
from benchmark.encoders.pretrained import check_length, content_hash, encoder_folder, load_encoder
from benchmark.kernels import native

FIELD = "encoder"
"""The configuration field that names the encoder, for messages: `--set encoder=FOLDER`."""


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """The fields of every baseline that say what it reads of a text."""

    text_encoder: str = "words"
    """`words`: vectors of words, as published; `bert`: token states of a pre-trained encoder in their place,
    fine-tuned, so that no difference to MM-SS is the encoder's (D-TEXTENC)."""
    encoder: str = decisions.get("D-BERT").default
    """With `bert`: a model folder or a hub name, as `mmss.encoder` (D-BERT)."""
    encoder_learning_rate: float = 5e-5
    """With `bert`: Adam's, for the encoder's parameters, as `mmss.encoder_learning_rate`."""
    encoder_dropout: float = decisions.get("D-DROPOUT").default
    """With `bert`: dropout inside the encoder while training, as `mmss.encoder_dropout` (D-DROPOUT)."""

    def __post_init__(self) -> None:
        check_field("text_encoder", self.text_encoder, ("words", "bert"))
        if self.text_encoder == "bert" and getattr(self, "form", "fair") == "released":
            raise ValueError("text_encoder is 'bert'; the released forms read words: use --protocol fair")
        if not 0 <= self.encoder_dropout < 1:
            raise ValueError(f"encoder_dropout is {self.encoder_dropout}; it must be in [0, 1)")


class EncodedWords(nn.Module):
    """Token states `[N, T, E]` of a fine-tuned encoder, [CLS] first, where a table of vectors stood: zero at
    padding, and mapped linearly where the method reads another width."""

    def __init__(self, config: TextConfig, width: int) -> None:
        super().__init__()
        self.bert = load_encoder(config.encoder, config.encoder_dropout, FIELD)
        hidden = int(self.bert.config.hidden_size)
        self.project = nn.Linear(hidden, width) if hidden != width else nn.Identity()

    def forward(self, token_NT: Tensor) -> Tensor:
        check_length(self.bert, token_NT.shape[1])
        mask_NT = token_NT != (self.bert.config.pad_token_id or 0)
        hidden_NTH = self.bert(input_ids=token_NT, attention_mask=mask_NT.long()).last_hidden_state
        state_NTE: Tensor = self.project(hidden_NTH) * mask_NT.unsqueeze(-1)
        return state_NTE


def word_tables(config: Any, corpus: CorpusShape) -> Callable[[str], nn.Module]:
    """Field (`product`, `review`) -> what maps token ids `[N, T]` to `[N, T, E]`, E = `config.embedding`: a
    table of its own, or the encoder that both share."""
    if config.text_encoder == "words":
        return lambda field: word_embedding(corpus, field, config.embedding)
    shared = EncodedWords(config, config.embedding)
    return lambda field: shared


def static_vectors(table: nn.Module, token_NT: Tensor) -> Tensor:
    """Vectors that depend on the token alone, to tell whether two words are the same: a table's own, or an
    encoder's before its first layer."""
    if isinstance(table, EncodedWords):
        vector_NTH: Tensor = table.bert.get_input_embeddings()(token_NT)
        return vector_NTH
    vector_NTE: Tensor = table(token_NT)
    return vector_NTE


def scored_by_word(table: nn.Module) -> torch.Tensor | None:
    """The vectors of a table from which compiled code may score each distinct word once; None where a token's
    state depends on its text, or compiled code does not apply."""
    if isinstance(table, nn.Embedding) and native.usable_for_scoring(table.weight):
        return table.weight
    return None


class TextMethod(RankingModel):
    """A method whose configuration is a `TextConfig`: which ids it reads, and how its encoder is trained."""

    @property
    def tokenizer(self) -> Tokenizer:
        return "words" if self.config.text_encoder == "words" else "bert"

    @property
    def tokenizer_source(self) -> Path:
        if self.config.text_encoder == "words":
            raise UsageError("text_encoder=words reads the corpus' words, not a tokenizer's.")
        return encoder_folder(self.config.encoder, FIELD)

    @classmethod
    def files_read(cls, config: Any) -> Mapping[str, str]:
        if config.text_encoder == "words":
            return {}
        return {"encoder": content_hash(encoder_folder(config.encoder, FIELD))}

    def parameter_groups(self, learning_rate: float) -> Iterable[dict[str, Any]]:
        """A pre-trained encoder at its own rate, all else at the given one."""
        found = [module for module in self.modules() if isinstance(module, EncodedWords)]
        own = [parameter for module in found for parameter in module.bert.parameters()]
        known = {id(parameter) for parameter in own}
        rest = [p for p in self.parameters() if p.requires_grad and id(p) not in known]
        groups = [{"params": rest, "lr": learning_rate}]
        if own:
            groups.insert(0, {"params": own, "lr": self.config.encoder_learning_rate})
        return groups
