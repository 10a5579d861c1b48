"""SSE-Cross: Multimodal Categorization of Crisis Events in Social Media (Abavisani et al., CVPR 2020), adapted
to review helpfulness.

The original classifies a tweet with its image. Published MRHP tables hold an adaptation of which nothing is
known but numbers; ours is stated in `SSECross.departures`.

B rows (product, review), N distinct items, T word positions, V RoIs, D width of encoded text and image, C width
of the gated fusion.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.parts.layers import Dropout, check_field, masked_mean, mlp
from baselines.parts.recurrent import BiLSTM
from baselines.parts.words import TextConfig, TextMethod, word_tables
from benchmark.core.model import Departure, RankingLoss
from benchmark.core.types import Batch, CorpusShape, Items
from benchmark.kernels.linear import linear
from benchmark.kernels.packing import Packing


@dataclass(frozen=True)
class Config(TextConfig):
    """SSE-Cross' configuration."""

    variant: str = "product-aware"
    """`product-aware`: review and product are fused and compared; `review-only`: as the original, which sees
    one text-image pair."""
    embedding: int = 300
    """Width of the word vectors."""
    hidden: int = 128
    """D, width of encoded text (half of it per direction of the LSTM) and image."""
    fusion: int = 100
    """C, width of each gated modality."""
    scorer: int = 128
    """Hidden width of the final scorer."""
    embedding_dropout: float = 0.5
    """Dropout on word vectors."""
    dropout: float = 0.5
    """Dropout in the final scorer."""
    swap_text: float = 0.3
    """p0 of texts: probability that a training row's review text is exchanged (SSE)."""
    swap_image: float = 0.3
    """p0 of images."""
    swap_ratio: float = 1000.0
    """ρ: where the product has no other review of the label, one of another product is taken with
    probability ρ / (1 + ρ)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_field("variant", self.variant, ("product-aware", "review-only"))


class TextEncoder(nn.Module):
    """Masked mean of the states of a bidirectional LSTM: the text encoder that the text baselines have."""

    def __init__(self, words: nn.Module, embedding: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.embedding = words
        self.dropout = Dropout(dropout)
        self.lstm = BiLSTM(embedding, hidden // 2)

    def forward(self, items: Items) -> Tensor:
        """`[N, D]`."""
        if self.training:
            word_NTE = self.dropout(self.embedding(items.token_NT))
            state_NTD = self.lstm(word_NTE, items.token_count_N).both
        else:
            state_NTD = self.lstm.of_words(self.embedding, items.token_NT, items.token_count_N)
        return masked_mean(state_NTD, items.token_mask_NT)


class ImageEncoder(nn.Module):
    """Masked mean of relu(W u) over RoIs; an item without images has a learned vector of its own."""

    def __init__(self, roi_width: int, hidden: int) -> None:
        super().__init__()
        self.map = nn.Linear(roi_width, hidden)
        self.no_image = nn.Parameter(torch.zeros(hidden))
        nn.init.uniform_(self.no_image, -0.1, 0.1)

    def forward(self, items: Items) -> Tensor:
        """`[N, D]`."""
        assert items.roi_NVF is not None
        mask_NV = items.roi_mask_NV
        packing = Packing.of(mask_NV)
        state_1XD = torch.relu(linear(packing.pack(items.roi_NVF), self.map.weight, self.map.bias))
        image_ND = masked_mean(packing.unpack(state_1XD), mask_NV)
        return torch.where(mask_NV.any(1, keepdim=True), image_ND, self.no_image)


class CrossGate(nn.Module):
    """Cross-attention gates: each modality is gated by what the *other* one says.

    f̃ = relu(LN(W_f f)), ẽ = relu(LN(W_e e)); x = [σ(W e + b) ∘ f̃ ; σ(W' f + b') ∘ ẽ]; one more layer of the
    same width with LN and relu (the "self-attention in the fully connected layers").
    """

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.image, self.text = nn.Linear(hidden, width), nn.Linear(hidden, width)
        self.image_norm, self.text_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.image_gate, self.text_gate = nn.Linear(hidden, width), nn.Linear(hidden, width)
        self.mix, self.mix_norm = nn.Linear(2 * width, 2 * width), nn.LayerNorm(2 * width)

    def forward(self, image_ND: Tensor, text_ND: Tensor) -> Tensor:
        """`[N, 2 C]`."""
        image_NC = torch.relu(self.image_norm(self.image(image_ND)))
        text_NC = torch.relu(self.text_norm(self.text(text_ND)))
        gated_NC = torch.cat(
            [
                torch.sigmoid(self.image_gate(text_ND)) * image_NC,
                torch.sigmoid(self.text_gate(image_ND)) * text_NC,
            ],
            1,
        )
        return torch.relu(self.mix_norm(self.mix(gated_NC)))


class SSECross(TextMethod):
    """score = MLP([x_r ; x_p ; x_r ∘ x_p ; |x_r - x_p|]) of gated review and product."""

    title = "SSE-Cross"
    reference = "Abavisani et al., CVPR 2020"
    config_class = Config
    quick = {
        "embedding": 32,
        "hidden": 32,
        "fusion": 24,
        "scorer": 32,
    }
    released = None
    reads_images = True
    departures = (
        Departure(
            "Text: masked mean of a BiLSTM over word vectors; image: masked mean of projected RoIs, a learned "
            "vector where there is none.",
            "The original has BERT and a DenseNet over pixels; the corpus has RoI features, and the static "
            "word vectors are those of the other baselines.",
            ("P13", "P16"),
        ),
        Departure(
            "Gates depend on the other modality.",
            "The paper's prose says so, its printed equation the reverse; only this is cross-attention.",
        ),
        Departure(
            "Layer norm in place of batch norm.",
            "The rows of a batch come from few products and are strongly dependent; batch statistics would also "
            "make a score depend on the batch.",
            ("P17",),
        ),
        Departure(
            "Review and product are fused with shared weights and compared (variant `product-aware`).",
            "The original sees one text-image pair; `review-only` keeps to that.",
        ),
        Departure(
            "SSE: in training a review's text and image are exchanged, each on its own, for those of a review of "
            "the same label, of the same product if the batch has one. Products are never exchanged.",
            "The original exchanges by class; a class here is a helpfulness label.",
        ),
        Departure(
            "Trained with the protocol's ranking loss and Adam.",
            "The original minimises cross-entropy with SGD; one budget and one loss for every method.",
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
        self.review_text = TextEncoder(words("review"), *text)
        self.image = ImageEncoder(corpus.roi_width, c.hidden)
        self.fuse = CrossGate(c.hidden, c.fusion)
        if self.is_product_aware:
            self.product_text = TextEncoder(words("product"), *text)
        width = (8 if self.is_product_aware else 2) * c.fusion
        self.scorer = mlp(width, c.scorer, 1)
        self.scorer.insert(2, Dropout(c.dropout))

    def score(self, batch: Batch) -> Tensor:
        reviews = batch.reviews
        return self._score(
            batch, self.review_text(reviews)[batch.review_B], self.image(reviews)[batch.review_B]
        )

    def loss(self, batch: Batch, ranking_loss: RankingLoss) -> Tensor:
        """The protocol's ranking loss on rows whose review embeddings were exchanged (SSE)."""
        reviews, c = batch.reviews, self.config
        text_BD, image_BD = self.review_text(reviews)[batch.review_B], self.image(reviews)[batch.review_B]
        if self.training:
            text_BD = text_BD[exchange(batch, c.swap_text, c.swap_ratio)]
            image_BD = image_BD[exchange(batch, c.swap_image, c.swap_ratio)]
        return ranking_loss(self._score(batch, text_BD, image_BD), batch)

    def _score(self, batch: Batch, text_BD: Tensor, image_BD: Tensor) -> Tensor:
        review = self.fuse(image_BD, text_BD)
        if self.is_product_aware:
            product_NC = self.fuse(self.image(batch.products), self.product_text(batch.products))
            product = product_NC[batch.product_B]
            review = torch.cat([review, product, review * product, (review - product).abs()], 1)
        score_B1: Tensor = self.scorer(review)
        return score_B1.squeeze(-1)


def exchange(batch: Batch, rate: float, ratio: float) -> Tensor:
    """int64 [B], the row that each row's embedding is taken from (its own, mostly): stochastic shared
    embeddings.

    With probability `rate` a row takes that of another review with its label: of its product if the batch
    has one, else of any product, then only with probability ratio / (1 + ratio).
    """
    label_B, product_B, review_B = batch.label_B, batch.product_B, batch.review_B
    n, device = len(batch), label_B.device
    same_label_BB = (label_B.unsqueeze(1) == label_B) & (review_B.unsqueeze(1) != review_B)
    own_product_BB = same_label_BB & (product_B.unsqueeze(1) == product_B)
    has_own_B = own_product_BB.any(1)
    abroad_B = ~has_own_B & (torch.rand(n, device=device) < ratio / (1 + ratio))
    partner_BB = own_product_BB | (same_label_BB & abroad_B.unsqueeze(1))
    # the largest of independent uniform draws: each partner is as likely as any other
    drawn_B = torch.rand(n, n, device=device).masked_fill(~partner_BB, -1).argmax(1)
    # without a partner the argmax above is row 0, which means nothing
    swapped_B = (torch.rand(n, device=device) < rate) & partner_BB.any(1)
    return torch.where(swapped_B, drawn_B, torch.arange(n, device=device))
