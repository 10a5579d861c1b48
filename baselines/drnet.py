"""D&R Net: Reasoning with Multimodal Sarcastic Tweets via Modeling Cross-Modality Contrast and Semantic
Association (Xu, Zeng, Mao, ACL 2020), adapted to review helpfulness.

The original detects sarcasm in a tweet with its image. Published MRHP tables hold an adaptation of which
nothing is known but numbers; ours is stated in `DRNet.departures`.

B rows of (text, image) pairs, N distinct items, T word positions, V RoIs, D hidden size, C width of the parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.parts.layers import Dropout, check_field, masked_mean, masked_softmax, mlp
from baselines.parts.matching import row_steps
from baselines.parts.recurrent import BiLSTM
from baselines.parts.words import TextConfig, TextMethod, word_tables
from benchmark.core.model import Departure, RankingLoss
from benchmark.core.types import Batch, CorpusShape, Items
from benchmark.kernels.linear import linear
from benchmark.kernels.packing import Packing
from benchmark.kernels.products import batched_product


@dataclass(frozen=True)
class Config(TextConfig):
    """D&R Net's configuration."""

    variant: str = "product-aware"
    """`product-aware`: three text-image pairs (review-review, product-review, review-product);
    `review-only`: the first, as the original sees one pair."""
    embedding: int = 300
    """Width of the word vectors."""
    hidden: int = 128
    """D, width of word states (half of it per direction of the LSTM) and RoI states."""
    part: int = 64
    """C, width of the common and private parts."""
    scorer: int = 128
    """Hidden width of the final scorer."""
    embedding_dropout: float = 0.5
    """Dropout on word vectors."""
    dropout: float = 0.5
    """Dropout in the final scorer."""
    orthogonality: float = 0.01
    """λ, weight of the penalty that keeps common and private parts apart; 0.001, 0.01 or 0.1 by dev MAP."""
    alignment: float = 0.0
    """Weight of 1 - cos of the common parts of a pair's text and image; 0: no such term."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_field("variant", self.variant, ("product-aware", "review-only"))


class States(NamedTuple):
    """Words or RoIs of items: of distinct ones, or one for each row."""

    state_NTD: Tensor
    mask_NT: Tensor
    mean_ND: Tensor

    def at(self, index_B: Tensor) -> States:
        return States(*(tensor[index_B] for tensor in self))


class WordEncoder(nn.Module):
    """States of a bidirectional LSTM over word vectors."""

    def __init__(self, words: nn.Module, embedding: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.embedding = words
        self.dropout = Dropout(dropout)
        self.lstm = BiLSTM(embedding, hidden // 2)

    def forward(self, items: Items) -> States:
        if self.training:
            word_NTE = self.dropout(self.embedding(items.token_NT))
            state_NTD = self.lstm(word_NTE, items.token_count_N).both
        else:
            state_NTD = self.lstm.of_words(self.embedding, items.token_NT, items.token_count_N)
        return States(state_NTD, items.token_mask_NT, masked_mean(state_NTD, items.token_mask_NT))


class RoiStates(nn.Module):
    """relu(W u) for each RoI; an item without images has one learned RoI."""

    def __init__(self, roi_width: int, hidden: int) -> None:
        super().__init__()
        self.map = nn.Linear(roi_width, hidden)
        self.no_image = nn.Parameter(torch.empty(hidden))
        nn.init.uniform_(self.no_image, -0.1, 0.1)

    def forward(self, items: Items) -> States:
        assert items.roi_NVF is not None
        mask_NV = items.roi_mask_NV
        empty_N1 = ~mask_NV.any(1, keepdim=True)
        # True at the first place of items without a RoI, where the learned one goes
        stand_in_NV = F.pad(empty_N1, (0, mask_NV.shape[1] - 1))
        packing = Packing.of(mask_NV)
        state_1XD = torch.relu(linear(packing.pack(items.roi_NVF), self.map.weight, self.map.bias))
        state_NVD = packing.unpack(state_1XD) + stand_in_NV.unsqueeze(-1) * self.no_image
        mask_NV = mask_NV | stand_in_NV
        return States(state_NVD, mask_NV, masked_mean(state_NVD, mask_NV))


class DecompositionRelation(nn.Module):
    """What a text and an image have in common, what sets them apart, and which words each RoI is about."""

    def __init__(self, hidden: int, part: int) -> None:
        super().__init__()
        self.common = nn.Linear(hidden, part, bias=False)
        self.text_private = nn.Linear(hidden, part, bias=False)
        self.image_private = nn.Linear(hidden, part, bias=False)
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.relation = nn.Linear(2 * hidden, hidden)
        self.relation_weight = nn.Linear(hidden, 1, bias=False)
        self.width = 3 * part + 2 * hidden

    def forward(self, text: States, image: States) -> Tensor:
        """`[B, width]`: [q_t ; q_v ; c_t ∘ c_v] (contrast) and Σ_k γ_k [v_k ; a_k] (relation)."""
        common = self.common(text.mean_ND) * self.common(image.mean_ND)
        contrast = [self.text_private(text.mean_ND), self.image_private(image.mean_ND), common]
        return torch.cat([*contrast, self.relate(text, image)], 1)

    def relate(self, text: States, image: States) -> Tensor:
        """`[B, 2 D]`. Each RoI, a query over words: a_k = Σ_j softmax_j(v_kᵀ W_a h_j / √D) h_j; then
        attention over RoIs, γ = softmax_k(wᵀ tanh(W_b [v_k ; a_k]))."""
        logit_BVT = batched_product(self.query(image.state_NTD), text.state_NTD.transpose(1, 2))
        weight_BVT = masked_softmax(logit_BVT * text.state_NTD.shape[-1] ** -0.5, text.mask_NT.unsqueeze(1))
        pair_BVF = torch.cat([image.state_NTD, batched_product(weight_BVT, text.state_NTD)], 2)
        gamma_BV = self.relation_weight(torch.tanh(self.relation(pair_BVF))).squeeze(-1)
        gamma_BV = masked_softmax(gamma_BV, image.mask_NT)
        return (gamma_BV.unsqueeze(1) @ pair_BVF).squeeze(1)

    def penalty(self) -> Tensor:
        """Ω = ‖W_s W_tᵀ‖² + ‖W_s W_vᵀ‖² (Frobenius): common and private directions are orthogonal."""
        shared = self.common.weight
        overlaps = [shared @ private.weight.T for private in (self.text_private, self.image_private)]
        return torch.stack([overlap.square().sum() for overlap in overlaps]).sum()

    def misalignment(self, text: States, image: States) -> Tensor:
        """Mean of 1 - cos(c_t, c_v)."""
        cosine = F.cosine_similarity(self.common(text.mean_ND), self.common(image.mean_ND))
        return 1 - cosine.mean()


class DRNet(TextMethod):
    """score = MLP of decomposition and relation of up to three text-image pairs, with shared weights."""

    title = "D&R Net"
    reference = "Xu, Zeng, Mao, ACL 2020"
    config_class = Config
    quick = {
        "embedding": 32,
        "hidden": 32,
        "part": 16,
        "scorer": 32,
    }
    released = None
    reads_images = True
    departures = (
        Departure(
            "RoIs stand where the original has adjective-noun pairs detected in the image.",
            "The corpus has RoI features and no detector of such pairs, which exists for English only.",
        ),
        Departure(
            "Text: states of a BiLSTM over word vectors; image: projected RoIs, one learned RoI where there is "
            "none.",
            "The original reads a pixel network's features; the word vectors are those of the other baselines.",
            ("P13", "P16"),
        ),
        Departure(
            "Three pairs with shared weights: review text and image, product text and review image, review text "
            "and product image (variant `product-aware`).",
            "The original sees one text-image pair; `review-only` keeps to that.",
        ),
        Departure(
            "The protocol's ranking loss plus λ times the orthogonality penalty.",
            "The original minimises cross-entropy plus the penalty; one loss for every method.",
            ("P9", "P10", "P12"),
        ),
    )

    config: Config

    def __init__(self, config: Config, corpus: CorpusShape) -> None:
        super().__init__(config, corpus)
        c = config
        words = word_tables(config, corpus)
        text = c.embedding, c.hidden, c.embedding_dropout
        self.is_product_aware = c.variant == "product-aware"
        self.review_text = WordEncoder(words("review"), *text)
        self.image = RoiStates(corpus.roi_width, c.hidden)
        self.network = DecompositionRelation(c.hidden, c.part)
        if self.is_product_aware:
            self.product_text = WordEncoder(words("product"), *text)
        self.scorer = mlp((3 if self.is_product_aware else 1) * self.network.width, c.scorer, 1)
        self.scorer.insert(2, Dropout(c.dropout))

    def score(self, batch: Batch) -> Tensor:
        return self._score(batch)[0]

    def loss(self, batch: Batch, ranking_loss: RankingLoss) -> Tensor:
        """The protocol's ranking loss, the orthogonality penalty and, if asked for, the alignment."""
        score_B, misalignment = self._score(batch, align=self.config.alignment > 0)
        total = ranking_loss(score_B, batch) + self.config.orthogonality * self.network.penalty()
        return total + self.config.alignment * misalignment

    def _score(self, batch: Batch, align: bool = False) -> tuple[Tensor, Tensor]:
        """Scores of rows, and how far the common parts of their pairs are apart (0 unless asked for)."""
        review = self.review_text(batch.reviews), self.image(batch.reviews)
        product = (
            (self.product_text(batch.products), self.image(batch.products)) if self.is_product_aware else None
        )
        scores, misalignments = [], [batch.label_B.new_zeros(())]
        for rows in row_steps(batch):
            r_text, r_image = (states.at(batch.review_B[rows]) for states in review)
            pairs = [(r_text, r_image)]
            if product is not None:
                p_text, p_image = (states.at(batch.product_B[rows]) for states in product)
                pairs += [(p_text, r_image), (r_text, p_image)]
            scores.append(self.scorer(torch.cat([self.network(*pair) for pair in pairs], 1)).squeeze(-1))
            if align:
                misalignments += [self.network.misalignment(*pair) for pair in pairs]
        return torch.cat(scores), torch.stack(misalignments).sum() / max(1, len(misalignments) - 1)
