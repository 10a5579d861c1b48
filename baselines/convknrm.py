"""Conv-KNRM (Dai, Xiong, Callan, Liu, WSDM 2018): n-gram soft matching of product and review.

B rows, N distinct items, T tokens (L product, R review), A n-gram sizes, C channels, K kernels.

C_h[i] = act(W_h x_{i:i+h-1} + b_h); M_ab[i, j] = cos(C_a^p[i], C_b^r[j]) for all pairs of sizes;
K_k(M[i]) = Σ_j exp(-(M[i, j] - μ_k)² / 2σ_k²); φ_k = Σ_i log K_k(M[i]); score = w·φ + b.

Fair: the paper's 1-, 2- and 3-grams, ReLU, 11 kernels (one exact), log(max(x, 1e-10)) / 100, masks on both
texts. Released: 2-, 4- and 6-grams, tanh, 8 kernels of width 1, log(1 + x), no masks, fixed length.
The paper's final tanh, monotone in the score, is left out in both.
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
)
from baselines.parts.text_only import FORMS, RELEASED_TEXT_PADDING, text_released_training
from baselines.parts.words import TextConfig, TextMethod, scored_by_word, word_tables
from benchmark.core.model import Departure
from benchmark.core.types import Batch, CorpusShape, Items, Padding
from benchmark.kernels.arrays import in_float32
from benchmark.kernels.bells import kernel_sums
from benchmark.kernels.elementwise import unit_vectors
from benchmark.kernels.products import batched_product


@dataclass(frozen=True)
class Config(TextConfig):
    form: str = "fair"
    """`fair` or `released`."""
    embedding: int = 300
    """Width of the word vectors."""
    filters: int = 128
    """C, channels of each n-gram size."""
    ngrams: tuple[int, ...] = (1, 2, 3)
    """n-gram sizes in words."""
    kernels: int = 11
    """K, the exact one included."""
    sigma: float = 0.1
    """Width of the soft kernels."""
    exact_sigma: float = 1e-3
    """Width of the kernel at μ = 1."""
    embedding_dropout: float = 0.0
    """Dropout on the word vectors."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_field("form", self.form, FORMS)
        if self.kernels < 2:
            raise ValueError(f"kernels must be at least 2, not {self.kernels}")


class ConvKNRM(TextMethod):
    title = "Conv-KNRM"
    reference = "Dai et al., WSDM 2018"
    config_class = Config
    quick: ClassVar[Mapping[str, Any]] = {"embedding": 48, "filters": 24}
    released: ClassVar[Mapping[str, Any] | None] = {
        "form": "released",
        "ngrams": (2, 4, 6),
        "kernels": 8,
        "sigma": 1.0,
        "exact_sigma": 1.0,
        "embedding_dropout": 0.5,
    }
    departures = (
        Departure(
            "1-, 2- and 3-grams with ReLU instead of 2-, 4- and 6-grams with tanh",
            "the paper's network; the released list 1, 3, 5 is widened by one",
            ("P11",),
        ),
        Departure(
            "11 kernels of width 0.1, the exact one 0.001, instead of 8 of width 1",
            "at width 1 the kernels are nearly collinear and measure mean similarity only",
            ("P11",),
        ),
        Departure("log(max(x, 1e-10)) / 100 instead of log(1 + x)", "the paper's scaling", ("P11",)),
        Departure("padding is masked in both texts", "no masks in the released code", ("P11",)),
        Departure("no dropout on the word vectors", "it hides the exact matches that the kernels count"),
    )
    reference_names: ClassVar[Mapping[str, str] | None] = {
        "q_embedding.embedding.": "product_embedding.",
        "d_embedding.embedding.": "review_embedding.",
        "q_convs.*.1.": "convs.*.",  # one set of filters, listed under both names
        "d_convs.*.1.": "convs.*.",
        "out.": "scorer.",
    }

    def __init__(self, config: Config, corpus: CorpusShape) -> None:
        super().__init__(config, corpus)
        width = config.embedding
        words = word_tables(config, corpus)
        self.product_embedding = words("product")
        self.review_embedding = words("review")
        self.convs = nn.ModuleList(nn.Conv1d(width, config.filters, n) for n in config.ngrams)
        self.scorer = nn.Linear(len(config.ngrams) ** 2 * config.kernels, 1)
        self.embedding_dropout = Dropout(config.embedding_dropout)

    @classmethod
    def config_from_reference(cls, config: Mapping[str, Any]) -> tuple[Config, CorpusShape]:
        """A reference kernel size k is an n-gram of k + 1 words."""
        shape, text, pooling = config["shape"], config["prd_txt_encoder"], config["gausian_kernel"]
        return (
            Config(
                form="released",
                embedding=text["embedding"]["embed_dim"],
                filters=text["encoder"]["hidden_dimension"],
                ngrams=tuple(k + 1 for k in text["encoder"]["kernel_size"]),
                kernels=pooling["kernel_num"],
                sigma=pooling["sigma"],
                exact_sigma=pooling["exact_sigma"],
                embedding_dropout=text["embedding"]["dropout"],
            ),
            CorpusShape(shape["vocab_left"], shape["vocab_right"], 0, 1, 0),
        )

    @classmethod
    def released_training(cls, dataset: str, category: str) -> Mapping[str, Any]:
        """As shared by the text-only runs. The released run on Amazon clothing picks nothing on the full dev
        split, only on sampled groups (defect P6); ours uses full lists."""
        return text_released_training(dataset)

    @property
    def padding(self) -> Padding:
        return RELEASED_TEXT_PADDING if self.config.form == "released" else Padding()

    def kernel_centres(self) -> list[tuple[float, float]]:
        """(μ, σ) of each kernel: μ_i = (1 + 2i)/(K - 1) - 1, the last, exact one at 1."""
        steps = self.config.kernels - 1
        # the middles of K - 1 equal parts of [-1, 1]: -0.9, -0.7, ..., 0.9 for the paper's 11 kernels
        soft = [((1 + 2 * i) / steps - 1, self.config.sigma) for i in range(steps)]
        return [*soft, (1.0, self.config.exact_sigma)]

    def scorer_input(self, batch: Batch) -> Tensor:
        """φ, `[B, A * A * K]`: product n-gram size outermost, then review n-gram size, then kernel."""
        product_NALC = self._ngrams(batch.products, self.product_embedding)
        review_NARC = self._ngrams(batch.reviews, self.review_embedding)
        sum_BALAK = self._soft_counts(product_NALC[batch.product_B], review_NARC[batch.review_B], batch)
        if self.config.form == "released":
            log_BALAK = torch.log1p(sum_BALAK)
        else:
            mask_BL = batch.products.token_mask_NT[batch.product_B]
            # the mask comes after the logarithm: a padded row's would be log 1e-10, not 0
            log_BALAK = sum_BALAK.clamp(min=1e-10).log() * 0.01 * mask_BL[:, None, :, None, None]
        return log_BALAK.sum(2).flatten(1)

    def score(self, batch: Batch) -> Tensor:
        score_B1: Tensor = self.scorer(self.scorer_input(batch))
        return score_B1.squeeze(1)

    def _ngrams(self, items: Items, embedding: nn.Module) -> Tensor:
        """Normalised n-gram channels at every position, `[N, A, T, C]`; the end of a text sees zeros."""
        vector_WE = None if self.training else scored_by_word(embedding)
        if vector_WE is not None:
            word_U, slot_NT = distinct(items.token_NT, len(vector_WE))
            gram_NATC = convs_over_words(vector_WE[word_U], slot_NT, self.convs, [0] * len(self.convs))
        else:
            word_NTE = self.embedding_dropout(embedding(items.token_NT))
            size = word_NTE.shape[1]
            # for the largest n-gram; of smaller ones the answers beyond the text are cut off
            word_NTE = F.pad(word_NTE, (0, 0, 0, max(self.config.ngrams) - 1))
            gram_NATC = torch.stack([conv_over_time(word_NTE, conv)[:, :size] for conv in self.convs], 1)  # type: ignore[arg-type]
        activation = torch.tanh if self.config.form == "released" else torch.relu
        # ReLU can leave a zero vector: it stays zero, and so do its cosines
        return unit_vectors(activation(gram_NATC))

    def _soft_counts(self, product_BALC: Tensor, review_BARC: Tensor, batch: Batch) -> Tensor:
        """K_k(M[i]) for all pairs of n-gram sizes, `[B, A, L, A, K]`."""
        B, A, L, C = product_BALC.shape
        R = review_BARC.shape[2]
        # all A * A cosine matrices are one product
        with in_float32(product_BALC, review_BARC) as (product_BALC, review_BARC):  # for the exact kernel
            cosine_BXY = batched_product(
                product_BALC.reshape(B, A * L, C), review_BARC.reshape(B, A * R, C).transpose(1, 2)
            )
        mask_BR = batch.reviews.token_mask_NT[batch.review_B] if self.config.form == "fair" else None
        sum_BXK = kernel_sums(cosine_BXY.view(B, A * L * A, R), self.kernel_centres(), mask_BR)
        return sum_BXK.view(B, A, L, A, -1)
