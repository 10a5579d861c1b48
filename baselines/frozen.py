"""`frozen` and `frozenlist`: what the features alone give. No published methods: rows to read others against.

Both pool the states of a pre-trained text encoder that is never trained, and the RoIs as they come, and train
nothing but a small head on them. A method with interactions of its own should beat them.

B rows (product, review), N distinct items, T tokens, V RoIs, P products (lists), S reviews of the longest list,
E width of a pooled text, F of a RoI, C features of a row, H hidden width.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from baselines.gbdt import list_slots, listnet, to_lists
from baselines.parts.layers import Dropout, check_heads, masked_mean
from baselines.parts.transformer import PostNormLayer
from baselines.parts.words import EncodedWords, TextConfig, TextMethod, word_tables
from benchmark.core.model import Departure, RankingLoss, RankingModel
from benchmark.core.types import Batch, CorpusShape, Items, length_mask


@dataclass(frozen=True, kw_only=True)
class Config(TextConfig):
    """The configuration of `frozen`."""

    text_encoder: str = "bert"
    """`bert`: token states of the pre-trained encoder, which stays as it is; `words`: word vectors, which stay as
    they are (those of a vector file, else random ones)."""
    encoder_dropout: float = 0.0
    """Dropout inside the encoder; none, for it is not trained."""
    embedding: int = 300
    """With `words`: width of the word vectors."""
    hidden: int = 256
    """Hidden width of the head, H; 0: a linear head."""
    dropout: float = 0.1
    """Dropout on the head's hidden layer."""


@dataclass(frozen=True, kw_only=True)
class ListConfig(Config):
    """The configuration of `frozenlist`."""

    heads: int = 4
    """Attention heads of the set encoder; divides `hidden`."""
    ffn: int = 512
    """Inner width of the set encoder's feed-forward part."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden < 1:
            raise ValueError("hidden is 0; frozenlist needs a width for its set encoder")
        check_heads(self.hidden, heads=self.heads)


class PooledPairs(nn.Module):
    """Features of rows from pooled texts and RoIs: of either field the product's vector, the review's, and their
    product, each of unit variance over its coordinates. Nothing in here is trained."""

    def __init__(self, config: Config, corpus: CorpusShape) -> None:
        super().__init__()
        tables = word_tables(config, corpus)
        self.product_text, self.review_text = tables("product"), tables("review")
        for table in (self.product_text, self.review_text):
            if isinstance(table, EncodedWords):
                table.project = nn.Identity()  # states as they are; a random map of them would be no help
        self.requires_grad_(False)
        text = config.embedding
        if isinstance(self.product_text, EncodedWords):
            text = int(self.product_text.bert.config.hidden_size)
        self.width = 3 * (text + corpus.roi_width)

    def forward(self, batch: Batch) -> Tensor:
        """`[B, C]`."""
        with torch.no_grad():
            product = self.pooled(batch.products, self.product_text)
            review = self.pooled(batch.reviews, self.review_text)
        parts = []
        for product_NE, review_NE in zip(product, review, strict=True):
            p_BE, r_BE = product_NE[batch.product_B], review_NE[batch.review_B]
            parts += [p_BE, r_BE, p_BE * r_BE]
        return torch.cat(parts, 1)

    def pooled(self, items: Items, table: nn.Module) -> tuple[Tensor, Tensor]:
        """(mean text state `[N, E]`, mean RoI `[N, F]`, zero without images)."""
        assert items.roi_NVF is not None
        text_NE = masked_mean(table(items.token_NT), items.token_mask_NT)
        image_NF = masked_mean(items.roi_NVF, items.roi_mask_NV)
        return normed(text_NE), normed(image_NF)


def normed(x_NE: Tensor) -> Tensor:
    """Layer norm without parameters; zeros stay zeros."""
    return functional.layer_norm(x_NE, x_NE.shape[-1:])


_WORDS_IN_QUICK = "no download: the encoder is one of 12 layers; random word vectors stand in for it"


class Frozen(TextMethod):
    """score = head(pooled features of the pair), with the protocol's pairwise loss."""

    title = "Frozen features"
    reference = "this benchmark"
    config_class = Config
    quick = {"text_encoder": "words", "embedding": 32, "hidden": 32}
    quick_reasons = {"text_encoder": _WORDS_IN_QUICK}
    reads_images = True
    departures = (
        Departure("no published method", "a row to read the others against: what no interaction gives"),
    )
    config: Config

    def __init__(self, config: Config, corpus: CorpusShape) -> None:
        super().__init__(config, corpus)
        self.pairs = PooledPairs(config, corpus)
        self.dropout = Dropout(config.dropout)
        # no bias: the pairwise loss cannot see one
        self.hidden = nn.Linear(self.pairs.width, config.hidden) if config.hidden else None
        self.scorer = nn.Linear(config.hidden or self.pairs.width, 1, bias=False)

    def score(self, batch: Batch) -> Tensor:
        x_BC = self.pairs(batch)
        if self.hidden is not None:
            x_BC = self.dropout.relu(self.hidden(x_BC))
        return self.scorer(x_BC).squeeze(-1)  # type: ignore[no-any-return]

    def parameter_groups(self, learning_rate: float) -> Iterable[dict[str, Any]]:
        """The head alone: the encoder has no rate."""
        return RankingModel.parameter_groups(self, learning_rate)


class FrozenList(TextMethod):
    """The same features, and a small set encoder over the product's reviews; ListNet on whole lists."""

    title = "Frozen features, listwise"
    reference = "this benchmark"
    config_class = ListConfig
    quick = {"text_encoder": "words", "embedding": 32, "hidden": 32, "heads": 2, "ffn": 64}
    quick_reasons = {"text_encoder": _WORDS_IN_QUICK}
    reads_images = True
    sampling = "lists"
    departures = (
        Departure("no published method", "a row to read the others against: what no interaction gives"),
        Departure("the loss is ListNet under every protocol", "it is a listwise method"),
    )
    config: ListConfig

    def __init__(self, config: ListConfig, corpus: CorpusShape) -> None:
        super().__init__(config, corpus)
        self.pairs = PooledPairs(config, corpus)
        self.hidden = nn.Linear(self.pairs.width, config.hidden)
        self.set_encoder = PostNormLayer(config.hidden, config.heads, config.ffn, config.dropout)
        self.scorer = nn.Linear(config.hidden, 1, bias=False)

    def score(self, batch: Batch) -> Tensor:
        row_BH = torch.relu(self.hidden(self.pairs(batch)))
        slot_B, length_P = list_slots(batch.product_B, len(batch.products))
        mask_PS = length_mask(length_P, int(length_P.max()))
        state_PSH = self.set_encoder(to_lists(row_BH, batch.product_B, slot_B, mask_PS), mask_PS)
        return self.scorer(state_PSH[batch.product_B, slot_B]).squeeze(-1)  # type: ignore[no-any-return]

    def loss(self, batch: Batch, ranking_loss: RankingLoss) -> Tensor:
        """ListNet over each product's list; the protocol's pairwise loss is not used."""
        slot_B, length_P = list_slots(batch.product_B, len(batch.products))
        mask_PS = length_mask(length_P, int(length_P.max()))
        score_PS = to_lists(self.score(batch), batch.product_B, slot_B, mask_PS)
        return listnet(score_PS, to_lists(batch.label_B, batch.product_B, slot_B, mask_PS), mask_PS)

    def parameter_groups(self, learning_rate: float) -> Iterable[dict[str, Any]]:
        """Head and set encoder alone: the text encoder has no rate."""
        return RankingModel.parameter_groups(self, learning_rate)
