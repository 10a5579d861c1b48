"""GBDT-LCM: Gradient-Boosted Decision Tree for Listwise Context Model in Multimodal Review Helpfulness
Prediction (Nguyen et al., Findings of ACL 2023).

B rows (product, review), N distinct items, P products (lists), S reviews of the longest list, L product and R
review word positions, V RoIs, H hidden width, F features of a row, I inducing points, J inner nodes of the
tree.

A score depends on the other reviews of its product that are scored with it (listwise context), on nothing
else. "Gradient-boosted" is the authors' word: their code has one differentiable tree and no boosting.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.parts.layers import Dropout, check_field
from baselines.parts.matching import ContextFeatures, row_steps
from baselines.parts.pooling import KernelMaxPooling
from baselines.parts.transformer import PostNormAttention, PostNormFeedForward, PostNormLayer
from baselines.parts.words import TextConfig, TextMethod, word_tables
from benchmark.core.model import Departure, RankingLoss
from benchmark.core.types import Batch, CorpusShape, Items, length_mask
from benchmark.kernels.elementwise import unit_vectors


@dataclass(frozen=True)
class Config(TextConfig):
    """GBDT-LCM's configuration, at the released sizes."""

    embedding: int = 300
    """Width of the word vectors."""
    positions: int = 128
    """Number of learned word positions; later words share the last one."""
    hidden: int = 128
    """Width of words and RoIs, H."""
    layers: int = 2
    """Transformer blocks of each encoder."""
    heads: int = 4
    """Attention heads everywhere; divides `hidden` and the number of features."""
    ffn: int = 3072
    """Inner width of all feed-forward parts."""
    common: int = 64
    """Width of the common space."""
    graph_layers: int = 2
    """Rounds of message passing of the coherence graphs."""
    graph_hidden: int = 64
    """Hidden width of the network that scores a pair of nodes."""
    text_sizes: int = 2
    """Kernel sizes 1..n of the pooling of the text map."""
    text_filters: int = 4
    """Filters of each size on the text map."""
    text_keep: int = 16
    """Values kept of each text filter."""
    image_sizes: int = 4
    """Kernel sizes 1..n of the pooling of the image map."""
    image_filters: int = 8
    """Filters of each size on the image map."""
    image_keep: int = 8
    """Values kept of each image filter."""
    inducing: int = 20
    """Inducing points of the listwise attention."""
    depth: int = 3
    """Depth of the tree. The released configurations have 1, 3 or 5."""
    listnet: str = "stated"
    """`stated`: cross-entropy of the scores' softmax against the labels'; `swapped`: as trained in the released
    code, which passes the two in the wrong order."""
    embedding_dropout: float = 0.5
    """Dropout on word vectors."""
    dropout: float = 0.2
    """Dropout in all transformer parts."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_field("listnet", self.listnet, ("stated", "swapped"))
        if self.hidden % self.heads or self.features % self.heads:
            raise ValueError(
                f"heads={self.heads} does not divide hidden={self.hidden} and {self.features} features"
            )

    @property
    def features(self) -> int:
        """F, the number of features of a row."""
        pooled = self.text_sizes * self.text_filters * self.text_keep
        pooled += self.image_sizes * self.image_filters * self.image_keep
        return pooled + 2 * self.hidden + 3 * self.common


class Encoder(nn.Module):
    """tanh of a linear map, then post-norm transformer blocks; padded positions are zero."""

    def __init__(self, width: int, config: Config) -> None:
        super().__init__()
        self.map = nn.Linear(width, config.hidden)
        self.layers = nn.ModuleList(
            PostNormLayer(config.hidden, config.heads, config.ffn, config.dropout)
            for _ in range(config.layers)
        )

    def forward(self, x_NTE: Tensor, mask_NT: Tensor) -> Tensor:
        """`[N, T, H]`."""
        state_NTH = torch.tanh(self.map(x_NTE))
        for layer in self.layers:
            state_NTH = layer(state_NTH, mask_NT)
        return state_NTH * mask_NT.unsqueeze(-1)


class ListwiseAttention(nn.Module):
    """Reviews of a product exchange context through a few inducing points: the points attend to the list, the
    list attends to the points; then feed-forward. Cost is linear in the length of the list."""

    def __init__(self, width: int, points: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.points = nn.Parameter(torch.empty(points, width).normal_(std=0.1))
        self.gather = PostNormAttention(width, heads, dropout)
        self.spread = PostNormAttention(width, heads, dropout)
        self.feed_forward = PostNormFeedForward(width, inner, dropout)

    def forward(self, x_PSF: Tensor, mask_PS: Tensor) -> Tensor:
        """`[P, S, F]`."""
        point_PIF = self.gather(self.points.expand(len(x_PSF), -1, -1), x_PSF, mask_PS)
        point_mask_PI = torch.ones(point_PIF.shape[:2], dtype=torch.bool, device=x_PSF.device)
        result: Tensor = self.feed_forward(self.spread(x_PSF, point_PIF, point_mask_PI))
        return result


class SoftTree(nn.Module):
    """A complete binary tree with soft decisions: node j goes right with probability σ(w_jᵀ x); the score is
    the expected value of the leaf, Σ_leaf μ_leaf(x) v_leaf."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.depth = depth
        self.gates = nn.Linear(width, 2**depth - 1, bias=False)
        self.leaves = nn.Parameter(torch.empty(2**depth).normal_(std=0.1))

    def forward(self, x_BF: Tensor) -> Tensor:
        """`[B]`."""
        return self.leaf_probabilities(x_BF) @ self.leaves

    def leaf_probabilities(self, x_BF: Tensor) -> Tensor:
        """μ, `[B, 2^depth]`; rows sum to 1. Nodes are numbered level by level."""
        right_BJ = torch.sigmoid(self.gates(x_BF))
        reach_BX = x_BF.new_ones(len(x_BF), 1)
        for level in range(self.depth):
            gate_BX = right_BJ[:, 2**level - 1 : 2 ** (level + 1) - 1]
            # a node's two children stand side by side, so each level is in order from left to right
            reach_BX = torch.stack([reach_BX * (1 - gate_BX), reach_BX * gate_BX], 2).flatten(1)
        return reach_BX


class GBDT(TextMethod):
    """score = tree(listwise attention over a product's reviews (features as MCR's, on jointly attended
    states))."""

    title = "GBDT-LCM"
    reference = "Nguyen et al., Findings of ACL 2023"
    config_class = Config
    quick = {
        "embedding": 32,
        "positions": 64,
        "hidden": 24,
        "layers": 1,
        "heads": 2,
        "ffn": 48,
        "common": 16,
        "graph_layers": 1,
        "graph_hidden": 16,
        "text_keep": 4,
        "text_filters": 2,
        "image_sizes": 2,
        "image_filters": 4,
        "image_keep": 4,
        "inducing": 4,
    }
    released = None
    reads_images = True
    sampling = "lists"
    departures = (
        Departure(
            "Inducing points are parameters.",
            "Released, they are drawn afresh at every forward pass, evaluation included, so that a score is "
            "random.",
            ("P7", "P21"),
        ),
        Departure(
            "The padding mask of a list is used; a short list is not filled up with copies.",
            "Released, the mask is computed and ignored, so that a score depends on the padding.",
            ("P21",),
        ),
        Departure(
            "ListNet as stated: cross-entropy against the labels' softmax. `listnet=swapped` is what was trained.",
            "Released, its two arguments are swapped, which pushes all mass to the top label.",
            ("P21",),
        ),
        Departure(
            "The loss is ListNet under every protocol, on lists of a product's reviews.",
            "It is the method; a pairwise loss would leave the listwise context without a purpose.",
            ("P10",),
        ),
        Departure(
            "One cosine map of the texts is pooled.",
            "Released, nine identical copies of it are.",
        ),
        Departure(
            "Means and poolings see valid positions only; an item without images has no RoI.",
            "Released, as in MCR and MCL.",
            ("P16", "P17", "P18"),
        ),
        Departure(
            "A score depends on the product's other reviews in the list, by design of the method.",
            "Dev and test lists are whole products, so that nothing else can enter.",
            ("P21",),
        ),
    )

    config: Config

    def __init__(self, config: Config, corpus: CorpusShape) -> None:
        super().__init__(config, corpus)
        c = config
        words = word_tables(config, corpus)
        self.product_embedding = words("product")
        self.review_embedding = words("review")
        self.embedding_dropout = Dropout(c.embedding_dropout)
        self.product_position = nn.Parameter(torch.empty(c.positions, c.embedding).normal_(std=0.02))
        self.review_position = nn.Parameter(torch.empty(c.positions, c.embedding).normal_(std=0.02))
        self.product_text, self.review_text = Encoder(c.embedding, c), Encoder(c.embedding, c)
        self.product_image, self.review_image = Encoder(corpus.roi_width, c), Encoder(corpus.roi_width, c)
        self.joint = PostNormLayer(c.hidden, c.heads, c.ffn, c.dropout)
        self.text_pooling = KernelMaxPooling(1, c.text_sizes, c.text_filters, c.text_keep)
        self.image_pooling = KernelMaxPooling(1, c.image_sizes, c.image_filters, c.image_keep)
        self.context = ContextFeatures(
            c.hidden, c.hidden, c.common, c.graph_layers, c.graph_hidden, released=False
        )
        self.listwise = ListwiseAttention(c.features, c.inducing, c.heads, c.ffn, c.dropout)
        self.tree = SoftTree(c.features, c.depth)

    def score(self, batch: Batch) -> Tensor:
        score_B: Tensor = self.tree(self.scorer_input(batch))
        return score_B

    def loss(self, batch: Batch, ranking_loss: RankingLoss) -> Tensor:
        """ListNet over each product's list; the protocol's pairwise loss is not used."""
        slot_B, length_P = list_slots(batch.product_B, len(batch.products))
        mask_PS = length_mask(length_P, int(length_P.max()))
        score_PS = to_lists(self.score(batch), batch.product_B, slot_B, mask_PS)
        label_PS = to_lists(batch.label_B, batch.product_B, slot_B, mask_PS)
        return listnet(score_PS, label_PS, mask_PS, swapped=self.config.listnet == "swapped")

    def scorer_input(self, batch: Batch) -> Tensor:
        """`[B, F]`, features of rows in the context of their product's list: what enters the tree."""
        row_BF = self.row_features(batch)
        slot_B, length_P = list_slots(batch.product_B, len(batch.products))
        mask_PS = length_mask(length_P, int(length_P.max()))
        list_PSF: Tensor = self.listwise(to_lists(row_BF, batch.product_B, slot_B, mask_PS), mask_PS)
        return list_PSF[batch.product_B, slot_B]

    def row_features(self, batch: Batch) -> Tensor:
        """`[B, F]` without context: pooled text and image maps, f1..f5 of the jointly attended states."""
        product, review = self.encode(batch.products, True), self.encode(batch.reviews, False)
        features = []
        for rows in row_steps(batch):
            p_B, r_B = batch.product_B[rows], batch.review_B[rows]
            features.append(self.match([state[p_B] for state in product], [state[r_B] for state in review]))
        return torch.cat(features)

    def encode(self, items: Items, is_product: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Text states, text mask, RoI states, RoI mask of distinct items."""
        assert items.roi_NVF is not None
        embedding = self.product_embedding if is_product else self.review_embedding
        position_TE = self.product_position if is_product else self.review_position
        text = self.product_text if is_product else self.review_text
        image = self.product_image if is_product else self.review_image
        place_T = torch.arange(items.token_NT.shape[1], device=items.token_NT.device)
        word_NTE = embedding(items.token_NT) + position_TE[place_T.clamp(max=len(position_TE) - 1)]
        text_mask_NT, image_mask_NV = items.token_mask_NT, items.roi_mask_NV
        text_NTH = text(self.embedding_dropout(word_NTE), text_mask_NT)
        return text_NTH, text_mask_NT, image(items.roi_NVF, image_mask_NV), image_mask_NV

    def match(self, product: list[Tensor], review: list[Tensor]) -> Tensor:
        """Features of rows; arguments as `encode` returns them, one for a row."""
        parts = [product[0], review[0], product[2], review[2]]
        masks = [product[1], review[1], product[3], review[3]]
        joined_BTH = self.joint(torch.cat(parts, 1), torch.cat(masks, 1))
        joined = joined_BTH.split_with_sizes([part.shape[1] for part in parts], 1)
        p_text, r_text, p_image, r_image = joined
        row_B = torch.arange(len(p_text), device=p_text.device)
        context = self.context(
            self.context.product(p_text, masks[0], p_image, masks[2]),
            self.context.review(r_text, masks[1], r_image, masks[3]),
            (row_B, row_B),
        )
        pooled = [
            pooling.cosines(
                unit_vectors(left).unsqueeze(1), unit_vectors(right).unsqueeze(1), (row_B, row_B), cells
            )
            for pooling, left, right, cells in (
                # as released: texts are matched before the joint layer, images after it
                (self.text_pooling, product[0], review[0], (masks[0], masks[1])),
                (self.image_pooling, p_image, r_image, (masks[2], masks[3])),
            )
        ]
        return torch.cat([*pooled, context], 1)


def list_slots(product_B: Tensor, n_products: int) -> tuple[Tensor, Tensor]:
    """Each row's place in its product's list `[B]`, and the lists' lengths `[P]`."""
    length_P = torch.bincount(product_B, minlength=n_products)
    # rows of a product need not be neighbours; a stable sort keeps their order
    order_B = torch.argsort(product_B, stable=True)
    start_P = length_P.cumsum(0) - length_P
    slot_B = torch.empty_like(product_B)
    slot_B[order_B] = torch.arange(len(product_B), device=product_B.device) - start_P[product_B[order_B]]
    return slot_B, length_P


def to_lists(x: Tensor, product_B: Tensor, slot_B: Tensor, mask_PS: Tensor) -> Tensor:
    """Rows `[B, ...]` as padded lists `[P, S, ...]`."""
    lists = x.new_zeros(*mask_PS.shape, *x.shape[1:])
    return lists.index_put((product_B, slot_B), x)


def listnet(score_PS: Tensor, label_PS: Tensor, mask_PS: Tensor, swapped: bool = False) -> Tensor:
    """Mean over lists of -Σ_i softmax(y)_i log softmax(s)_i; with `swapped`, -Σ_i softmax(s)_i log softmax(y)_i."""
    # a product without rows would be a softmax over nothing: NaN
    used_P = mask_PS.any(1)
    mask_PS, score_PS, label_PS = mask_PS[used_P], score_PS[used_P], label_PS[used_P]
    target_PS, source_PS = (score_PS, label_PS) if swapped else (label_PS, score_PS)
    weight_PS = target_PS.masked_fill(~mask_PS, -torch.inf).softmax(1)
    # a padded slot's weight is 0 and its logarithm -inf, whose product is NaN: hence the second fill
    log_PS = source_PS.masked_fill(~mask_PS, -torch.inf).log_softmax(1).masked_fill(~mask_PS, 0)
    return -(weight_PS * log_PS).sum(1).mean()
