"""EG-CNN (Chen et al., arXiv 1808.09896): a CNN over gated word embeddings.

B rows, N distinct items, T tokens (L product, R review), E word-vector width, C filters, k window width.

Fair (the paper's form, its decision `egcnn_paper`): review text only; vector gate g_t = σ(W x_t + b), ẽ_t = g_t ∘ x_t;
windows of 3, 4 and 5 words, ReLU, maximum over time, dropout, linear.
Released: product and review joined; scalar gate g_t = σ(wᵀx_t + b); 64 windows of 5 words without activation,
padding included (its gated embedding is 0, so a window of padding is the bias, a floor for the maximum).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.parts.layers import (
    Dropout,
    check_field,
    conv_over_time,
    convs_over_words,
    distinct,
    word_embedding,
)
from baselines.parts.text_only import FORMS, RELEASED_TEXT_PADDING, text_released_training
from benchmark.core.model import Departure, RankingModel
from benchmark.core.types import Batch, CorpusShape, Items, Padding, length_mask
from benchmark.kernels import native
from benchmark.kernels.linear import linear
from benchmark.kernels.words import highest, highest_windows


@dataclass(frozen=True)
class Config:
    form: str = "fair"
    """`fair` or `released`."""
    embedding: int = 300
    """E, width of the word vectors."""
    filters: int = 100
    """C, filters of each window width."""
    windows: tuple[int, ...] = (3, 4, 5)
    """Window widths in words."""
    gate: str = "vector"
    """`vector`: one gate per component of a word vector; `scalar`: one per word."""
    product_text: bool = False
    """Read the product text too. The paper's model does not; the released code does."""
    embedding_dropout: float = 0.0
    """Dropout on the word vectors."""
    dropout: float = 0.5
    """Dropout on the pooled features."""

    def __post_init__(self) -> None:
        check_field("form", self.form, FORMS)
        check_field("gate", self.gate, ("vector", "scalar"))
        if self.form == "released" and (len(self.windows) != 1 or not self.product_text):
            raise ValueError("the released form has one window width and reads the product text")


class EGCNN(RankingModel):
    title = "EG-CNN"
    reference = "Chen et al., arXiv 1808.09896, 2018"
    config_class = Config
    quick: ClassVar[Mapping[str, Any]] = {"embedding": 48, "filters": 24}
    released: ClassVar[Mapping[str, Any] | None] = {
        "form": "released",
        "filters": 64,
        "windows": (5,),
        "gate": "scalar",
        "product_text": True,
        "embedding_dropout": 0.5,
        "dropout": 0.0,
    }
    departures = (
        Departure("review text only", "the paper's model does not see the product", ("P11",)),
        Departure(
            "vector gate, windows of 3, 4 and 5 words with 100 filters each, ReLU, dropout before the scorer",
            "the paper's network; the released one is a much smaller model",
            ("P11",),
        ),
        Departure("windows of padding never enter the maximum", "no masks in the released code", ("P11",)),
        Departure(
            "character, topic and cross-category parts of the paper are left out, as in the released code",
            "methods receive word ids, and each category is trained by itself",
            ("P11",),
        ),
        Departure("pairwise hinge loss instead of pointwise cross-entropy", "one loss for all", ("P10",)),
    )
    reference_names: ClassVar[Mapping[str, str] | None] = {
        "product_token_embedding.embedding.": "product_embedding.",
        "review_token_embedding.embedding.": "review_embedding.",
        "emb_linear.0.": "gate.",
        "conv.": "convs.0.",
        "linear.": "scorer.",
    }

    def __init__(self, config: Config, corpus: CorpusShape) -> None:
        super().__init__(config, corpus)
        width = config.embedding
        if config.product_text:
            self.product_embedding = word_embedding(corpus, "product", width)
        self.review_embedding = word_embedding(corpus, "review", width)
        self.gate = nn.Linear(width, width if config.gate == "vector" else 1)
        self.convs = nn.ModuleList(nn.Conv1d(width, config.filters, k) for k in config.windows)
        self.scorer = nn.Linear(config.filters * len(config.windows), 1)
        self.embedding_dropout = Dropout(config.embedding_dropout)
        self.dropout = Dropout(config.dropout)

    @classmethod
    def config_from_reference(cls, config: Mapping[str, Any]) -> tuple[Config, CorpusShape]:
        """64 filters of width 5 are hard-wired in the reference."""
        shape, words = config["shape"], config["embedding"]["product_token"]
        released = {**(cls.released or {}), "embedding": words["dimension"]}
        return Config(**released), CorpusShape(shape["vocab_left"], shape["vocab_right"], 0, 1, 0)

    @classmethod
    def released_training(cls, dataset: str, category: str) -> Mapping[str, Any]:
        """Pointwise cross-entropy at threshold 0, seven negatives everywhere; 51 passes for clothing, else 11.

        The three files of Amazon are unedited copies that point at Lazada's data (defect P12): we take their
        settings to the Amazon data that they are named for, but for their relevance threshold of 0, which is
        Lazada's: every method of a data set is judged alike.
        """
        return {
            **text_released_training(dataset),
            "epochs": 51 if category == "clothing" else 11,
            "negatives": 7,
            "loss": "point",
            "point_threshold": 0,
        }

    @property
    def padding(self) -> Padding:
        return RELEASED_TEXT_PADDING if self.config.form == "released" else Padding()

    def scorer_input(self, batch: Batch) -> Tensor:
        """Pooled windows, `[B, C * widths]`."""
        if self.config.form == "released":
            product_NLE = self._gated(self.product_embedding(batch.products.token_NT))
            review_NRE = self._gated(self.review_embedding(batch.reviews.token_NT))
            return self._joined(product_NLE, review_NRE, batch)
        pooled_BC = self._pooled(batch.reviews, self.review_embedding)[batch.review_B]
        if self.config.product_text:
            product_BC = self._pooled(batch.products, self.product_embedding)[batch.product_B]
            pooled_BC = torch.maximum(pooled_BC, product_BC)
        return pooled_BC

    def score(self, batch: Batch) -> Tensor:
        score_B1: Tensor = self.scorer(self.dropout(self.scorer_input(batch)))
        return score_B1.squeeze(1)

    def _gated(self, word_NTE: Tensor) -> Tensor:
        """ẽ_t = g_t ∘ x_t, `[N, T, E]`; zero at padding."""
        word_NTE = self.embedding_dropout(word_NTE)
        gate_NTE = torch.sigmoid(linear(word_NTE, self.gate.weight, self.gate.bias))
        return gate_NTE * word_NTE

    def _pooled(self, items: Items, embedding: nn.Embedding) -> Tensor:
        """Maximum over the windows that lie within the text, `[N, C * widths]`; a text shorter than a window
        is filled up with zeros to a single window."""
        windows_NA = torch.stack([items.token_count_N - k + 1 for k in self.config.windows], 1).clamp(min=1)
        if not self.training and native.usable_for_scoring(embedding.weight):
            word_U, slot_NT = distinct(items.token_NT, embedding.num_embeddings)
            gated_UE = self._gated(embedding.weight[word_U].unsqueeze(0)).squeeze(0)
            answer_NATC = convs_over_words(gated_UE, slot_NT, self.convs, [0] * len(self.convs))
            best_XC, _ = highest(answer_NATC.flatten(0, 1), windows_NA.flatten())
            return torch.relu(best_XC).view(len(items), -1)
        gated_NTE = F.pad(self._gated(embedding(items.token_NT)), (0, 0, 0, max(self.config.windows) - 1))
        pooled = [
            self._windows_maximum(conv, k, gated_NTE, windows_N)
            for conv, k, windows_N in zip(self.convs, self.config.windows, windows_NA.unbind(1), strict=True)
        ]
        return torch.relu(torch.cat(pooled, 1))  # the ReLU of the largest is the largest ReLU

    def _joined(self, product_NLE: Tensor, review_NRE: Tensor, batch: Batch) -> Tensor:
        """Maximum over all windows of [product ; review], `[B, C]`, with the product's padding between them.

        Windows within one text are computed once per distinct item; only those that cross the border,
        which see at most k - 1 tokens of each side, are computed per row.
        """
        conv, k = self.convs[0], self.config.windows[0]
        across_BSE = torch.cat(
            [product_NLE[:, 1 - k :][batch.product_B], review_NRE[:, : k - 1][batch.review_B]], 1
        )
        parts = [
            self._windows_maximum(conv, k, across_BSE),
            self._windows_maximum(conv, k, product_NLE)[batch.product_B],
            self._windows_maximum(conv, k, review_NRE)[batch.review_B],
        ]
        return torch.stack(parts).amax(0)

    def _windows_maximum(
        self, conv: nn.Module, k: int, word_NTE: Tensor, windows_N: Tensor | None = None
    ) -> Tensor:
        """Maximum over the first `windows_N` windows (None: all), `[N, C]`; -inf if there is none."""
        assert isinstance(conv, nn.Conv1d)
        n_windows = word_NTE.shape[1] - k + 1
        if n_windows < 1:
            return word_NTE.new_full((len(word_NTE), self.config.filters), -torch.inf)
        if native.usable(word_NTE, conv.weight):
            if windows_N is None:
                windows_N = torch.full((len(word_NTE),), n_windows)
            with torch.no_grad():
                answer_NTC = conv_over_time(word_NTE, conv, with_bias=False)
            assert conv.bias is not None
            return highest_windows(word_NTE, conv.weight, answer_NTC, windows_N) + conv.bias
        window_NTC = conv_over_time(word_NTE, conv)
        if windows_N is not None:
            outside_NT = ~length_mask(windows_N, n_windows)
            window_NTC = window_NTC.masked_fill(outside_NT.unsqueeze(-1), -torch.inf)
        return window_NTC.amax(1)
