"""MCL: Adaptive Contrastive Learning on Multimodal Transformer for Review Helpfulness Prediction
(Nguyen, Wu, Luu, Hai, Bing, EMNLP 2022). Built on MCR; words and RoIs of product and review first attend to
one another, and the rows of helpful reviews are drawn together by a contrastive term.

B rows (product, review), N distinct items, L product and R review word positions, V RoIs, T all of them,
H width of words and RoIs alike, C width of the common space, P rows that the contrast takes part in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from baselines.parts.contrast import Interaction, LSTMTextEncoder, adaptive_contrast
from baselines.parts.encoders import RoiEncoder
from baselines.parts.layers import check_field, check_heads, mlp
from baselines.parts.matching import ContextFeatures, row_steps
from baselines.parts.pooling import KernelMaxPooling
from baselines.parts.reference_names import MCL_NAMES, MCL_UNUSED
from baselines.parts.transformer import PostNormLayer
from baselines.parts.words import TextConfig, TextMethod, word_tables
from benchmark.core.model import Departure, RankingLoss
from benchmark.core.types import Batch, CorpusShape, Items, Padding, rows_of
from benchmark.kernels.maxima import part_maxima
from benchmark.kernels.packing import shapes_are_fixed

PRODUCT_TEXT, REVIEW_TEXT, PRODUCT_IMAGE, REVIEW_IMAGE = range(4)
"""The four sequences, in the order in which they are joined."""

CONTRAST_PAIRS = (
    (PRODUCT_TEXT, REVIEW_TEXT),
    (PRODUCT_TEXT, REVIEW_IMAGE),
    (REVIEW_TEXT, PRODUCT_IMAGE),
    (PRODUCT_TEXT, PRODUCT_IMAGE),
    (REVIEW_TEXT, REVIEW_IMAGE),
    (PRODUCT_IMAGE, REVIEW_IMAGE),
)
"""The contrast is the mean of these six terms; rows of the first are contrasted with those of the second."""


@dataclass(frozen=True)
class Config(TextConfig):
    """MCL's configuration. The defaults are the `fair` form at the released sizes."""

    form: str = "fair"
    """`fair`: masked, contrast mended; `released`: what the released code computes."""
    embedding: int = 300
    """Width of the word vectors."""
    hidden: int = 128
    """Width of the text and RoI encoders, H; a multiple of both numbers of heads."""
    image_layers: int = 3
    """Transformer layers over the RoIs."""
    image_heads: int = 4
    """Attention heads of a RoI encoder layer."""
    image_ffn: int = 512
    """Inner width of a RoI encoder layer's feed-forward part."""
    joint_heads: int = 8
    """Heads of the layer in which words and RoIs of product and review attend to one another."""
    cross_heads: int = 4
    """Heads of the text (image) interaction of review and product."""
    ffn: int = 3072
    """Inner width of the feed-forward parts of these three."""
    common: int = 64
    """Width of the common space, C. 128 for Lazada clothing and all of Amazon, as released."""
    graph_layers: int = 2
    """Rounds of message passing of the coherence graphs."""
    graph_hidden: int = 64
    """Hidden width of the network that scores a pair of nodes."""
    text_sizes: int = 2
    """Kernel sizes 1..n of the pooling of the text interaction."""
    text_filters: int = 4
    """Filters of each size on the text interaction."""
    text_keep: int = 16
    """Values kept of each text filter."""
    image_sizes: int = 4
    """Kernel sizes 1..n of the pooling of the image interaction."""
    image_filters: int = 8
    """Filters of each size on the image interaction."""
    image_keep: int = 8
    """Values kept of each image filter."""
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
    joint_dropout: float = 0.2
    """Dropout in the joint and the interaction layers."""
    contrast_weight: float = 1.0
    """Weight of the contrastive term beside the ranking loss."""
    contrast_margin: float = 0.25
    """m: positives are pulled above 1 - m, negatives pushed below m."""
    contrast_scale: float = 256.0
    """γ, the sharpness of the contrastive term."""
    helpful_label: int = 2
    """Rows with at least this label take part in the contrast."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_field("form", self.form, ("fair", "released"))
        heads = {name: getattr(self, name) for name in ("image_heads", "joint_heads", "cross_heads")}
        check_heads(self.hidden, **heads)


class Rows(NamedTuple):
    """What the network says about rows."""

    features_BF: Tensor
    """The scorer's input."""
    pooled_4BH: Tensor
    """Each of the four sequences, max-pooled over its positions."""
    present_4B: Tensor
    """bool: the sequence has at least one valid position."""


class MCL(TextMethod):
    """score = MLP([KMP(text interaction), KMP(image interaction), g_t, g_v, u, v, z])."""

    title = "MCL"
    reference = "Nguyen, Wu, Luu, Hai, Bing, EMNLP 2022"
    config_class = Config
    quick = {
        "embedding": 32,
        "hidden": 24,
        "image_layers": 1,
        "image_heads": 2,
        "image_ffn": 48,
        "joint_heads": 2,
        "cross_heads": 2,
        "ffn": 48,
        "common": 16,
        "graph_layers": 1,
        "graph_hidden": 16,
        "text_keep": 4,
        "text_filters": 2,
        "image_sizes": 2,
        "image_filters": 4,
        "image_keep": 4,
        "scorer": (32,),
    }
    released = {"form": "released"}
    reads_images = True
    departures = (
        Departure(
            "An item without images has no RoI: nothing attends to it, its features are zero, and it takes no "
            "part in the contrasts that involve that image.",
            "Released, it is 16 zero RoIs that count as valid, from which `has an image` can be read.",
            ("P16",),
        ),
        Departure(
            "Means divide by the number of valid positions, positions are masked again after the joint layer, "
            "and only valid cells of an interaction can be pooled (a missing one counts 0).",
            "Released, padded positions are non-zero after the joint layer and enter every mean and pooling, "
            "so that a score depends on the other items of the batch.",
            ("P17",),
        ),
        Departure(
            "The product's claim is the mean over valid nodes.",
            "Released, padded nodes enter the sum but not the divisor.",
            ("P18",),
        ),
        Departure(
            "Contrast: a row is not its own negative, pads are masked before max-pooling, and rows of the same "
            "product are no negatives of one another; a row without negatives is left out.",
            "Released, positives sit in their own denominator, pads are pooled, and a product is pushed away "
            "from itself: five of the six pair types involve the product, which all rows of a group share.",
            ("P19",),
        ),
    )
    reference_names = MCL_NAMES
    reference_unused = MCL_UNUSED

    config: Config

    def __init__(self, config: Config, corpus: CorpusShape) -> None:
        super().__init__(config, corpus)
        c = config
        self.is_released = c.form == "released"
        words = word_tables(config, corpus)
        text = c.embedding, c.hidden, c.embedding_dropout
        image = corpus.roi_width, c.hidden, c.image_heads, c.image_ffn, c.image_layers
        rates = c.dropout, c.relu_dropout, c.attention_dropout
        self.product_text = LSTMTextEncoder(words("product"), *text)
        self.review_text = LSTMTextEncoder(words("review"), *text)
        self.product_image = RoiEncoder(*image, *rates)
        self.review_image = RoiEncoder(*image, *rates)
        layer = c.ffn, c.joint_dropout
        # P17: released, padded positions go through the joint layer and the interactions like any others
        padded = {"padded_queries": self.is_released}
        self.joint = PostNormLayer(c.hidden, c.joint_heads, *layer, **padded)
        self.text_interaction = Interaction(c.hidden, c.cross_heads, *layer, **padded)
        self.image_interaction = Interaction(c.hidden, c.cross_heads, *layer, **padded)
        self.text_pooling = KernelMaxPooling(1, c.text_sizes, c.text_filters, c.text_keep)
        self.image_pooling = KernelMaxPooling(1, c.image_sizes, c.image_filters, c.image_keep)
        self.context = ContextFeatures(
            c.hidden, c.hidden, c.common, c.graph_layers, c.graph_hidden, self.is_released
        )
        features = self.text_pooling.width + self.image_pooling.width + self.context.width
        self.scorer = mlp(features, *c.scorer, 1)
        # on the model's device: an index in the host's memory would have to be copied there in every step
        self.contrast_pairs: Tensor
        self.register_buffer("contrast_pairs", torch.tensor(CONTRAST_PAIRS).T.contiguous(), persistent=False)

    @property
    def padding(self) -> Padding:
        # the released code pads short items so that its pooling has as many cells as it keeps
        return Padding(min_tokens=32, min_rois=16, empty_rois=16) if self.is_released else Padding()

    @classmethod
    def released_training(cls, dataset: str, category: str) -> Mapping[str, Any]:
        """The released configurations: 32 rows a step (Lazada clothing 64, Amazon home 128), 7 negatives,
        label-gap margin, 31 passes.

        Not followed: its validation loader reads the *test* split (defect P1); we select on dev. The
        schedule follows dev MAP, not MRR (P3).
        """
        rows = {("lazada", "clothing"): 64, ("amazon", "home"): 128}.get((dataset, category), 32)
        return {
            "epochs": 31,
            "patience": 0,
            "batch_size": rows,
            "batch_unit": "reviews",
            "negatives": 7,
            "label_gap": 1,
            "loss": "label-gap",
            "learning_rate": 1e-4,
            "plateau": True,
        }

    @classmethod
    def released_sizes(cls, dataset: str, category: str) -> Mapping[str, Any]:
        """Width of the common space: 128 for Lazada clothing and all of Amazon, else 64."""
        return {"common": 128 if dataset == "amazon" or (dataset, category) == ("lazada", "clothing") else 64}

    @classmethod
    def config_from_reference(cls, config: Mapping[str, Any]) -> tuple[Config, CorpusShape]:
        text, image, pool = config["prd_txt_encoder"], config["prd_img_encoder"], config["pooling"]
        shape = config["shape"]
        ours = Config(
            form="released",
            embedding=text["embedding"]["embed_dim"],
            hidden=image["encoder_embed_dim"],
            image_layers=image["encoder_layers"],
            image_heads=image["encoder_attention_heads"],
            image_ffn=image["encoder_ffn_embed_dim"],
            ffn=config.get("intermediate_size", 3072),
            common=config["common_space"]["hidden_dim"],
            graph_layers=config["coherent_encoder"]["nlayer"],
            text_sizes=pool["txt_convs_num"],
            text_filters=pool["txt_filters_num"],
            text_keep=pool["txt_ns"],
            image_sizes=pool["img_convs_num"],
            image_filters=pool["img_filters_num"],
            image_keep=pool["img_ns"],
        )
        vocabularies = shape["vocab_left"], shape["vocab_right"]
        return ours, CorpusShape(*vocabularies, max(vocabularies), image["input_dim"], 0)

    def score(self, batch: Batch) -> Tensor:
        return self._head(self.rows(batch).features_BF)

    def loss(self, batch: Batch, ranking_loss: RankingLoss) -> Tensor:
        """The protocol's ranking loss plus the contrast of the rows with a helpful review."""
        rows = self.rows(batch)
        # one forward pass for both terms: they see the same dropout
        total = ranking_loss(self._head(rows.features_BF), batch)
        helpful_B = batch.label_B >= self.config.helpful_label
        if not self.config.contrast_weight:
            return total
        if shapes_are_fixed(helpful_B):  # all rows, of which the others take no part
            every_B = torch.arange(len(batch), device=helpful_B.device)
            return total + self.config.contrast_weight * self._contrast(rows, batch, every_B, helpful_B)
        helpful_P = helpful_B.nonzero().squeeze(1)
        if len(helpful_P):
            total = total + self.config.contrast_weight * self._contrast(rows, batch, helpful_P)
        return total

    def scorer_input(self, batch: Batch) -> Tensor:
        """`[B, features]`, what the final scorer sees."""
        return self.rows(batch).features_BF

    def contrast(self, batch: Batch, row_P: Tensor) -> Tensor:
        """The contrastive term of some rows (in training: those with a helpful review), unweighted."""
        return self._contrast(self.rows(batch), batch, row_P)

    def reference_outputs(self, batch: Batch, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        rows = self.rows(batch)
        return {
            "score": self._head(rows.features_BF),
            "scorer_input": rows.features_BF,
            "nce": self._contrast(rows, batch, inputs["target_indices"]),
        }

    def _head(self, features_BF: Tensor) -> Tensor:
        score_B1: Tensor = self.scorer(features_BF)
        return score_B1.squeeze(-1)

    def rows(self, batch: Batch) -> Rows:
        """Encode each distinct item once, then join and match row by row."""
        product = self.encode(batch.products, self.product_text, self.product_image)
        review = self.encode(batch.reviews, self.review_text, self.review_image)
        parts = []
        for rows in row_steps(batch):
            p_B, r_B = batch.product_B[rows], batch.review_B[rows]
            parts.append(
                self.match(
                    [rows_of(state, p_B) for state in product], [rows_of(state, r_B) for state in review]
                )
            )
        return Rows(
            torch.cat([part.features_BF for part in parts]),
            torch.cat([part.pooled_4BH for part in parts], 1),
            torch.cat([part.present_4B for part in parts], 1),
        )

    def encode(
        self, items: Items, text: nn.Module, image: nn.Module
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Text states, text mask, RoI states, RoI mask of distinct items."""
        assert items.roi_NVF is not None
        text_mask_NT, image_mask_NV = items.token_mask_NT, items.roi_mask_NV
        text_NTH = text(items.token_NT, text_mask_NT)
        return text_NTH, text_mask_NT, image(items.roi_NVF, image_mask_NV), image_mask_NV

    def match(self, product: list[Tensor], review: list[Tensor]) -> Rows:
        """Joint layer, interactions, features of rows; arguments as `encode` returns them, one for a row."""
        parts = [product[0], review[0], product[2], review[2]]
        masks = [product[1], review[1], product[3], review[3]]
        lengths, mask_BT = [part.shape[1] for part in parts], torch.cat(masks, 1)
        joined_BTH = self.joint(torch.cat(parts, 1), mask_BT)
        # P17: released, the joint layer leaves padded positions non-zero
        p_text, r_text, p_image, r_image = joined_BTH.split_with_sizes(lengths, 1)
        p_text_mask, r_text_mask, p_image_mask, r_image_mask = masks
        text_BRH = self.text_interaction(p_text, p_text_mask, r_text, r_text_mask)
        image_BVH = self.image_interaction(p_image, p_image_mask, r_image, r_image_mask)
        row_B = torch.arange(len(p_text), device=p_text.device)
        context = self.context(
            self.context.product(p_text, p_text_mask, p_image, p_image_mask),
            self.context.review(r_text, r_text_mask, r_image, r_image_mask),
            (row_B, row_B),
        )
        features = [
            self._pool(self.text_pooling, text_BRH, r_text_mask),
            self._pool(self.image_pooling, image_BVH, r_image_mask),
            context,
        ]
        # max-pooled sequences; as released, over padded positions too (P19)
        pooled_BT = torch.ones_like(mask_BT) if self.is_released else mask_BT
        pooled_4BH = part_maxima(joined_BTH, pooled_BT, lengths)
        return Rows(torch.cat(features, 1), pooled_4BH, torch.stack([mask.any(1) for mask in masks]))

    def _pool(self, pooling: KernelMaxPooling, x_BTH: Tensor, mask_BT: Tensor) -> Tensor:
        """The states as a one-channel T x H map, pooled."""
        if self.is_released:
            return pooling(x_BTH.unsqueeze(1))  # type: ignore[no-any-return]
        # padded rows are zero, which a filter on the last real row reaches
        return pooling(x_BTH.unsqueeze(1), mask_BT)  # type: ignore[no-any-return]

    def _contrast(self, rows: Rows, batch: Batch, row_P: Tensor, part_P: Tensor | None = None) -> Tensor:
        """Mean of the six contrastive terms, of those rows that take part (None: all)."""
        pooled_4PH, present_4P = rows.pooled_4BH[:, row_P], rows.present_4B[:, row_P]
        product_P = batch.product_B[row_P]
        # false on the diagonal too: a row is never its own negative
        other_PP = product_P.unsqueeze(1) != product_P
        margin, scale = self.config.contrast_margin, self.config.contrast_scale
        first, second = self.contrast_pairs
        both_6P = present_4P[first] & present_4P[second]
        negative_6PP = other_PP & both_6P.unsqueeze(1) & both_6P.unsqueeze(2)
        if self.is_released:  # P19: every row is a negative, the positive itself included
            negative_6PP = torch.ones_like(negative_6PP)
        if part_P is not None:
            negative_6PP = negative_6PP & part_P.unsqueeze(0) & part_P.unsqueeze(1)
        pair_6PH = pooled_4PH[first], pooled_4PH[second]
        return adaptive_contrast(*pair_6PH, negative_6PP, margin, scale).mean()
