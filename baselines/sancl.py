"""SANCL: Multimodal Review Helpfulness Prediction with Selective Attention and Natural Contrastive Learning
(Han et al., COLING 2022).

B rows (product, review), N distinct items, L product and R review word positions, V RoIs, K kernel sizes,
H text width, D image width, C width of a projected space, P rows that a contrast takes part in.

The released repository holds two networks (`network`): `conv`, which most of its configurations name, and
`bert`, a BERT with random weights under a GRU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.parts import sancl_release as release
from baselines.parts.encoders import RoiEncoder
from baselines.parts.layers import (
    ProductAwareAttention,
    check_field,
    check_heads,
    masked_mean,
    mlp,
)
from baselines.parts.matching import row_steps
from baselines.parts.selective import (
    ConvEncoder,
    SelfAttention,
    first_occurrence,
    has_image,
    info_nce,
    random_bert,
    word_overlap,
)
from baselines.parts.words import TextConfig, TextMethod, static_vectors, word_tables
from benchmark.core.model import RankingLoss, Tokenizer
from benchmark.core.types import Batch, CorpusShape, Items, Padding

SAME_WORD = 0.999
"""Cosine of two word vectors from which on they are one word."""


@dataclass(frozen=True)
class Config(TextConfig):
    """SANCL's configuration. The defaults are the `fair` form at the released sizes."""

    form: str = "fair"
    """`fair`: masked, contrast of texts with images; `released`: what the released code computes."""
    network: str = "conv"
    """`conv`: word vectors and n-gram convolutions; `bert` (released form only): random BERT and a GRU."""
    embedding: int = 300
    """Width of the word vectors."""
    hidden: int = 128
    """Width of the text encoders, H."""
    kernels: tuple[int, ...] = (1, 3, 5)
    """n-gram sizes, odd."""
    bert: tuple[int, ...] = (768, 12, 12, 3072, 512)
    """BERT's width, layers, heads, inner width and number of positions."""
    image_hidden: int = 128
    """Width of the RoI encoders, D."""
    image_layers: int = 3
    """Transformer layers over the RoIs."""
    image_heads: int = 4
    """Attention heads of a transformer layer."""
    image_ffn: int = 512
    """Inner width of a transformer layer's feed-forward part."""
    common: int = 64
    """Width of each projected space, C. The released configurations have 32, 64 or 128."""
    scorer: tuple[int, ...] = (128, 64)
    """Hidden widths of the final scorer."""
    embedding_dropout: float = 0.5
    """Dropout on word vectors."""
    dropout: float = 0.5
    """Dropout on mapped RoIs and on the residual branches of the RoI encoder."""
    relu_dropout: float = 0.3
    """Dropout inside the feed-forward part of the RoI encoder."""
    attention_dropout: float = 0.3
    """Dropout on the attention weights of the RoI encoder."""
    alpha: float = 0.1
    """Weight of the contrastive score. The released configurations have 0.1, 0.3 or 0.5."""
    temperature: float = 0.1
    """Temperature of the fair form's contrast."""
    helpful_label: int = 3
    """Reviews with at least this label count as a natural match."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_field("form", self.form, ("fair", "released"))
        check_heads(self.image_hidden, image_heads=self.image_heads)
        check_field("network", self.network, ("conv",) if self.form == "fair" else ("conv", "bert"))


class Texts(NamedTuple):
    """Encoded texts of distinct items."""

    state_NTH: Tensor
    mask_NT: Tensor
    word_NTE: Tensor
    """Word vectors, for the overlap of review and product."""
    summary_NH: Tensor
    """From which β is computed: the last GRU state, or the masked mean."""


class Vectors(NamedTuple):
    """One vector of each kind for each row."""

    product_text_BH: Tensor
    review_text_BH: Tensor
    product_image_BD: Tensor
    review_image_BD: Tensor


class SANCL(TextMethod):
    """score = MLP of the four vectors (product, review; text, image) in two projected spaces."""

    title = "SANCL"
    reference = "Han et al., COLING 2022"
    config_class = Config
    quick = {
        "embedding": 32,
        "hidden": 24,
        "kernels": (1, 3),
        "image_hidden": 24,
        "image_layers": 1,
        "image_heads": 2,
        "image_ffn": 48,
        "common": 16,
        "scorer": (32,),
    }
    released = {"form": "released"}
    reads_images = True
    departures = release.DEPARTURES
    reference_names = release.NAMES
    reference_unused = release.UNUSED

    config: Config

    def __init__(self, config: Config, corpus: CorpusShape) -> None:
        super().__init__(config, corpus)
        c = config
        self.is_released = c.form == "released"
        self.is_bert = c.network == "bert"
        if self.is_bert:
            self.bert = random_bert(c.bert, corpus.joint_vocabulary)
            self.product_gru = nn.GRU(c.bert[0], c.hidden, batch_first=True)
            self.review_gru = nn.GRU(c.bert[0], c.hidden, batch_first=True)
        else:
            words = word_tables(config, corpus)
            text = c.embedding, c.hidden, c.kernels, c.embedding_dropout
            self.product_text = ConvEncoder(words("product"), *text)
            self.review_text = ConvEncoder(words("review"), *text)
            if self.is_released:  # P20: never trained there
                self.product_text.convs.requires_grad_(False)
                self.review_text.convs.requires_grad_(False)
        image = corpus.roi_width, c.image_hidden, c.image_heads, c.image_ffn, c.image_layers
        rates = c.dropout, c.relu_dropout, c.attention_dropout
        self.product_image = RoiEncoder(*image, *rates)
        # P15: as released, the product's encoder reads the review's images too
        self.review_image = None if self.is_released else RoiEncoder(*image, *rates)
        self.self_attention = SelfAttention(c.hidden)
        self.beta = nn.Linear(c.hidden, 1)
        self.text_attention = ProductAwareAttention(c.hidden)
        self.image_attention = ProductAwareAttention(c.image_hidden)
        for space in ("cross_modal", "review_product"):
            setattr(self, f"text_{space}", mlp(c.hidden, c.common, c.common, activation=nn.Tanh))
            setattr(self, f"image_{space}", mlp(c.image_hidden, c.common, c.common, activation=nn.Tanh))
        self.cross_modal_product = mlp(c.common, c.common, c.common, activation=nn.Tanh)
        self.cross_modal_review = mlp(c.common, c.common, c.common, activation=nn.Tanh)
        self.review_product_positive = mlp(c.common, c.common, c.common, activation=nn.Tanh)
        self.review_product_negative = mlp(c.common, c.common, c.common, activation=nn.Tanh)
        self.scorer = mlp(8 * c.common, *c.scorer, 1)

    @property
    def tokenizer(self) -> Tokenizer:
        """The released BERT has random weights, so any vocabulary will do: it reads the corpus' own."""
        return "joint" if self.is_bert else super().tokenizer

    @property
    def padding(self) -> Padding:
        return Padding(min_rois=16, empty_rois=16) if self.is_released else Padding()

    @classmethod
    def released_training(cls, dataset: str, category: str) -> Mapping[str, Any]:
        """The released configurations: label-gap margin, 7 negatives, 32 rows a step, 31 passes (11 for Lazada
        electronics and Amazon), learning rate 2e-5 for Amazon home.

        Not followed: the preprocessed attention mask (see the departures: without it, a token is selected
        if the product's text has the same word); one fixed offline sample of pairs on Amazon; a dev metric
        on sampled groups (defect P6). The schedule follows dev MAP, not MRR (P3). Amazon home used the
        BERT network (`--set sancl.network=bert`); `common` and `alpha` differ by category, several
        configurations of one category disagree, and the defaults are the most frequent values.
        """
        few = dataset == "amazon" or category == "electronics"
        return {
            "epochs": 11 if few else 31,
            "patience": 0,
            "batch_size": 32,
            "batch_unit": "reviews",
            "negatives": 7,
            "label_gap": 1,
            "loss": "label-gap",
            "learning_rate": 2e-5 if (dataset, category) == ("amazon", "home") else 1e-4,
            "plateau": True,
        }

    @classmethod
    def config_from_reference(cls, config: Mapping[str, Any]) -> tuple[Config, CorpusShape]:
        text, image, shape = config["prd_txt_encoder"], config["prd_img_encoder"], config["shape"]
        bert = config.get("bert")
        sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
        ours = Config(
            form="released",
            network="conv" if bert is None else "bert",
            embedding=text["embedding"]["embed_dim"],
            hidden=text["encoder"]["hidden_dimension"],
            kernels=tuple(text["encoder"]["kernel_size"]),
            bert=tuple(bert[name] for name in (*sizes, "max_position_embeddings")) if bert else (),
            image_hidden=image["encoder_embed_dim"],
            image_layers=image["encoder_layers"],
            image_heads=image["encoder_attention_heads"],
            image_ffn=image["encoder_ffn_embed_dim"],
            common=config["common_space"]["hidden_dim"],
            alpha=config["cpc"]["alpha"],
        )
        joint = bert["vocab_size"] if bert else max(shape["vocab_left"], shape["vocab_right"])
        return ours, CorpusShape(shape["vocab_left"], shape["vocab_right"], joint, image["input_dim"], 0)

    def score(self, batch: Batch, selected_BR: Tensor | None = None) -> Tensor:
        return self._head(self.vectors(batch, selected_BR))

    def loss(self, batch: Batch, ranking_loss: RankingLoss) -> Tensor:
        """The protocol's ranking loss minus α times the contrastive score."""
        vectors = self.vectors(batch)
        return ranking_loss(self._head(vectors), batch) - self._contrast(vectors, batch)

    def scorer_input(self, batch: Batch, selected_BR: Tensor | None = None) -> Tensor:
        """`[B, 8 C]`, what the final scorer sees."""
        return self._features(self.vectors(batch, selected_BR))

    def contrast(self, batch: Batch, selected_BR: Tensor | None = None) -> Tensor:
        """α times the contrastive score of a batch with labels (larger is better)."""
        return self._contrast(self.vectors(batch, selected_BR), batch)

    def reference_outputs(self, batch: Batch, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        vectors = self.vectors(batch, inputs["attention_mask"])
        return {
            "score": self._head(vectors),
            "scorer_input": self._features(vectors),
            "cpc_scaled": self._contrast(vectors, batch),
        }

    def vectors(self, batch: Batch, selected_BR: Tensor | None = None) -> Vectors:
        """The four vectors of each row. `selected_BR` (bool) are the review tokens that a preprocessing has
        selected; None: derived from the words that the product's text has too."""
        product, review = self.encode_text(batch.products, True), self.encode_text(batch.reviews, False)
        product_image, review_image = (
            self.encode_image(batch.products, True),
            self.encode_image(batch.reviews, False),
        )
        parts = []
        for rows in row_steps(batch):
            p_B, r_B = batch.product_B[rows], batch.review_B[rows]
            selected = None if selected_BR is None else selected_BR[rows].to(review.state_NTH.dtype)
            p_text, r_text = (Texts(*(x[i] for x in text)) for text, i in ((product, p_B), (review, r_B)))
            p_image, r_image = (
                [x[i] for x in image] for image, i in ((product_image, p_B), (review_image, r_B))
            )
            aware_BVD = self.image_attention(*p_image, *r_image)
            review_vector = aware_BVD.mean(1) if self.is_released else masked_mean(aware_BVD, r_image[1])
            parts.append(
                Vectors(
                    masked_mean(p_text.state_NTH, p_text.mask_NT),
                    self.review_text_vector(p_text, r_text, selected),
                    masked_mean(*p_image),
                    review_vector,
                )
            )
        return Vectors(*(torch.cat(vectors) for vectors in zip(*parts, strict=True)))

    def encode_text(self, items: Items, is_product: bool) -> Texts:
        """States of distinct texts."""
        mask_NT = items.token_mask_NT
        if self.is_bert:
            word_NTE = self.bert.embeddings.word_embeddings(items.token_NT)
            bert_NTE = self.bert(items.token_NT, attention_mask=mask_NT.long()).last_hidden_state
            gru = self.product_gru if is_product else self.review_gru
            state_NTH = gru(bert_NTE)[0] * mask_NT.unsqueeze(-1)  # padding comes last: no need to pack
            last_N = items.token_count_N - 1
            summary_NH = state_NTH[torch.arange(len(items), device=last_N.device), last_N]
            return Texts(state_NTH, mask_NT, word_NTE, summary_NH)
        encoder = self.product_text if is_product else self.review_text
        state_NTH = encoder(items.token_NT, mask_NT)
        word_NTE = static_vectors(encoder.embedding, items.token_NT)
        return Texts(state_NTH, mask_NT, word_NTE, masked_mean(state_NTH, mask_NT))

    def encode_image(self, items: Items, is_product: bool) -> list[Tensor]:
        """RoI states and mask of distinct items."""
        assert items.roi_NVF is not None
        encoder = self.product_image if is_product or self.review_image is None else self.review_image
        return [encoder(items.roi_NVF, items.roi_mask_NV), items.roi_mask_NV]

    def review_text_vector(self, p: Texts, r: Texts, selected_BR: Tensor | None) -> Tensor:
        """Selective attention: token weights a, review self-attention, product-aware attention, mean by a."""
        if selected_BR is None:
            selected_BR = word_overlap(p.word_NTE, p.mask_NT, r.word_NTE)
            if self.is_released:
                selected_BR = (selected_BR > SAME_WORD).to(selected_BR.dtype)
        beta_B1 = torch.sigmoid(self.beta(r.summary_NH))
        if self.is_released and not self.is_bert:
            beta_B1 = torch.full_like(beta_B1, 0.5)
        # a = 1 where selected, β where not, in between for a partial overlap, 0 at padding
        weight_BR = (selected_BR + (1 - selected_BR) * beta_B1) * r.mask_NT
        own_BRH = self.self_attention(r.state_NTH, r.mask_NT, weight_BR, mask_queries=self.is_bert)
        aware_BRH = self.text_attention(p.state_NTH, p.mask_NT, own_BRH, r.mask_NT)
        total_B1 = weight_BR.sum(1, keepdim=True)
        vector_BH: Tensor = (weight_BR.unsqueeze(-1) * aware_BRH).sum(1) / total_B1
        return vector_BH

    def _head(self, vectors: Vectors) -> Tensor:
        score_B1: Tensor = self.scorer(self._features(vectors))
        return score_B1.squeeze(-1)

    def _features(self, v: Vectors) -> Tensor:
        last_text = self.is_released and not self.is_bert  # P20: the product's text twice, its image never
        last = (
            self._project("text", v.product_text_BH)
            if last_text
            else self._project("image", v.product_image_BD)
        )
        review = [*self._project("text", v.review_text_BH), *self._project("text", v.product_text_BH)]
        return torch.cat([*review, *self._project("image", v.review_image_BD), *last], 1)

    def _project(self, modality: str, vector_BX: Tensor) -> list[Tensor]:
        """A vector in the cross-modal and in the review-product space."""
        return [
            getattr(self, f"{modality}_{space}")(vector_BX) for space in ("cross_modal", "review_product")
        ]

    def _contrast(self, vectors: Vectors, batch: Batch) -> Tensor:
        helpful_B = batch.label_B >= self.config.helpful_label
        if self.is_released:
            return self.config.alpha * self._released_contrast(vectors, helpful_B)
        return self.config.alpha * self._fair_contrast(vectors, batch, helpful_B)

    def _released_contrast(self, v: Vectors, helpful_B: Tensor) -> Tensor:
        """The released score, images in every place (P20).

        Cross-modal: mean cos(f(p), p) + mean z cos(g(r), r) - logsumexp cos(g(r), r). Review-product:
        logsumexp of cos(g(p), r) of helpful rows minus that of cos(f(p), r) of the others, where a masked
        entry is multiplied by -1e-15 instead of being left out. z = 1 for helpful rows.
        """
        (p_cm, p_rp), (r_cm, r_rp) = (
            self._project("image", x) for x in (v.product_image_BD, v.review_image_BD)
        )
        own_p = F.cosine_similarity(self.cross_modal_product(p_cm), p_cm)
        own_r = F.cosine_similarity(self.cross_modal_review(r_cm), r_cm)
        positive = F.cosine_similarity(self.review_product_positive(p_rp), r_rp)
        negative = F.cosine_similarity(self.review_product_negative(p_rp), r_rp)
        cross_modal = own_p.mean() + (own_r * helpful_B).mean() - own_r.logsumexp(0)
        # cos * -1e-15 is about 0, and exp(0) = 1 stays in the sum: the number of masked rows leaks in
        keep_B = torch.where(helpful_B, 1.0, -1e-15).to(positive.dtype)
        drop_B = torch.where(helpful_B, -1e-15, 1.0).to(positive.dtype)
        return cross_modal + (positive * keep_B).logsumexp(0) - (negative * drop_B).logsumexp(0)

    def _fair_contrast(self, v: Vectors, batch: Batch, helpful_B: Tensor) -> Tensor:
        """Minus the mean InfoNCE of four natural matches: product text with product image; and, of helpful
        reviews, text with image, text with product text, image with product image."""
        product_B = batch.product_B
        first_B = first_occurrence(product_B)
        p_image_B = has_image(batch.products)[product_B]
        r_image_B = has_image(batch.reviews)[batch.review_B] & helpful_B
        (pt_cm, pt_rp), (rt_cm, rt_rp) = (
            self._project("text", x) for x in (v.product_text_BH, v.review_text_BH)
        )
        (pi_cm, pi_rp), (ri_cm, ri_rp) = (
            self._project("image", x) for x in (v.product_image_BD, v.review_image_BD)
        )
        matches = (
            # a product has one text and one image set however many rows it has: it counts once
            (self.cross_modal_product(pt_cm), pi_cm, first_B & p_image_B),
            (self.cross_modal_review(rt_cm), ri_cm, r_image_B),
            # the reference's names for two predictors; here one is for texts, one for images
            (self.review_product_positive(rt_rp), pt_rp, helpful_B),
            (self.review_product_negative(ri_rp), pi_rp, r_image_B & p_image_B),
        )
        terms = [
            info_nce(x[rows], y[rows], product_B[rows], self.config.temperature) for x, y, rows in matches
        ]
        return -torch.stack(terms).mean()
