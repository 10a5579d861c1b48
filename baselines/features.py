"""`features`: hand-made features of a review and boosted regression trees. No published method: the row that a
network that reads texts and images must beat.

The features are `benchmark.core.surface`'s: length, readability, capitals, punctuation, number of images, age. The
ranker starts from a linear one, which the harness trains like any other method, by gradient steps, with ListNet
on whole lists. At the end of every epoch it is boosted (Friedman, 2001): scikit-learn's gradient boosting fits a few
regression trees to what the ranker leaves of the labels, within each list, for only their order counts. Dev MAP
chooses the epoch, and with it the number of trees.

B rows (product, review), N distinct items, P products (lists), S features, M trees, J nodes of a tree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.gbdt import list_slots, listnet, to_lists
from benchmark.core.errors import UsageError
from benchmark.core.model import Departure, RankingLoss, RankingModel
from benchmark.core.surface import FEATURES
from benchmark.core.types import Batch, CorpusShape, length_mask

LEAF = -1
MOST_TREES = 1000
"""Room for trees in a model; an epoch that would need more adds none, and says so."""


@dataclass(frozen=True)
class Config:
    """The configuration of `features`."""

    trees: int = 10
    """Regression trees that an epoch adds."""
    depth: int = 4
    """Depth of a tree."""
    shrinkage: float = 0.1
    """Factor on each tree's answer."""
    subsample: float = 0.5
    """Share of the epoch's reviews that each tree is fitted to, drawn afresh (stochastic gradient boosting)."""
    min_leaf: int = 10
    """Fewest reviews in a leaf."""

    def __post_init__(self) -> None:
        if not 1 <= self.depth <= 8:
            raise ValueError(f"depth is {self.depth}; it must be in 1..8")
        if self.trees < 1 or self.min_leaf < 1:
            raise ValueError("trees and min_leaf must be at least 1")
        if not 0 < self.subsample <= 1 or not 0 < self.shrinkage <= 1:
            raise ValueError("subsample and shrinkage must be in (0, 1]")


class Trees(nn.Module):
    """A sum of binary regression trees as plain arrays, so that weights files hold it: buffers `[M, J]`."""

    def __init__(self, n_trees: int, depth: int) -> None:
        super().__init__()
        shape, self.depth = (n_trees, 2 ** (depth + 1) - 1), depth
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("feature", torch.full(shape, LEAF, dtype=torch.int64))
        self.register_buffer("threshold", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("branch", torch.zeros(*shape, 2, dtype=torch.int64))
        self.register_buffer("value", torch.zeros(shape, dtype=torch.float64))

    count: Tensor
    feature: Tensor
    threshold: Tensor
    branch: Tensor
    value: Tensor

    def forward(self, x_BS: Tensor) -> Tensor:
        """float64 `[B]`: at a node x goes left where its feature is at most the threshold."""
        x_BS = x_BS.double()
        used, tree_M = int(self.count), torch.arange(int(self.count), device=x_BS.device)
        node_BM = torch.zeros(len(x_BS), used, dtype=torch.int64, device=x_BS.device)
        for _ in range(self.depth):
            feature_BM = self.feature[tree_M, node_BM]
            right_BM = x_BS.gather(1, feature_BM.clamp(min=0)) > self.threshold[tree_M, node_BM]
            next_BM = self.branch[tree_M, node_BM, right_BM.long()]
            node_BM = torch.where(feature_BM == LEAF, node_BM, next_BM)
        return self.value[tree_M, node_BM].sum(1)

    @property
    def room(self) -> int:
        return len(self.feature) - int(self.count)

    def add(self, tree: Any, shrinkage: float) -> None:
        """Append a fitted scikit-learn tree (its documented `tree_`)."""
        place, leaf_J = int(self.count), tree.children_left == tree.children_right
        size = slice(0, tree.node_count)
        self.feature[place, size] = torch.from_numpy(np.where(leaf_J, LEAF, tree.feature))
        self.threshold[place, size] = torch.from_numpy(tree.threshold.copy())
        both = np.stack([tree.children_left, tree.children_right], 1)
        self.branch[place, size] = torch.from_numpy(both.astype(np.int64))
        self.value[place, size] = torch.from_numpy(shrinkage * tree.value[:, 0, 0])
        self.count += 1


class Features(RankingModel):
    """score = linear(features) + sum of the trees."""

    title = "Hand-made features"
    reference = "this benchmark; gradient boosting: Friedman, Annals of Statistics 2001"
    config_class = Config
    reads_surface = True
    sampling = "lists"
    departures = (
        Departure("no published method", "a row to read the others against: what needs no reading of a text"),
        Departure("the loss is ListNet, boosting is on squared errors", "it is a listwise method"),
    )
    config: Config

    def __init__(self, config: Config, corpus: CorpusShape) -> None:
        super().__init__(config, corpus)
        _library()
        self.linear = nn.Linear(len(FEATURES), 1, bias=False)
        self.trees = Trees(MOST_TREES, config.depth)
        self.register_buffer("seed", torch.randint(2**31, ()))
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []
        """Of each step of this epoch: features `[B, S]`, labels `[B]`, the product's row `[B]`."""

    seed: Tensor

    def score(self, batch: Batch) -> Tensor:
        assert batch.reviews.surface_NS is not None
        return self.ranked(batch.reviews.surface_NS[batch.review_B])

    def ranked(self, x_BS: Tensor) -> Tensor:
        """Scores `[B]` of features `[B, S]`."""
        linear_B: Tensor = self.linear(x_BS).squeeze(-1)
        trees_B: Tensor = self.trees(x_BS)
        return linear_B.to(x_BS.dtype) + trees_B.to(x_BS.dtype)

    def loss(self, batch: Batch, ranking_loss: RankingLoss) -> Tensor:
        """ListNet over each product's list; in training it also notes what the trees are fitted to."""
        slot_B, length_P = list_slots(batch.product_B, len(batch.products))
        mask_PS = length_mask(length_P, int(length_P.max()))
        score_PS = to_lists(self.score(batch), batch.product_B, slot_B, mask_PS)
        if self.training:
            assert batch.reviews.surface_NS is not None
            x_BS = batch.reviews.surface_NS[batch.review_B]
            self._seen.append((x_BS, batch.label_B, batch.products.row_N[batch.product_B]))
        return listnet(score_PS, to_lists(batch.label_B, batch.product_B, slot_B, mask_PS), mask_PS)

    def end_epoch(self, epoch: int) -> dict[str, Any]:
        """Boost: trees fitted to what the ranker leaves of this epoch's labels; how many trees there are."""
        if not self._seen:
            return {}
        x_BS, label_B, product_B = (torch.cat(part) for part in zip(*self._seen, strict=True))
        self._seen.clear()
        added = self.config.trees if self.trees.room >= self.config.trees else 0
        if added:
            with torch.no_grad():
                left_B = (label_B - self.ranked(x_BS)).double().cpu().numpy()
            rest_B = centred(left_B, product_B.cpu().numpy())
            for tree in self._fitted(x_BS.float().cpu().numpy(), rest_B, int(self.seed) + epoch):
                self.trees.add(tree, self.config.shrinkage)
        return {"trees": int(self.trees.count), "trees_added": added}

    def _fitted(self, x_BS: NDArray[np.float32], rest_B: NDArray[np.float64], seed: int) -> list[Any]:
        ensemble = _library().GradientBoostingRegressor(
            n_estimators=self.config.trees,
            learning_rate=self.config.shrinkage,
            max_depth=self.config.depth,
            min_samples_leaf=self.config.min_leaf,
            subsample=self.config.subsample,
            init="zero",
            random_state=seed % 2**32,
        )
        return [stage[0].tree_ for stage in ensemble.fit(x_BS, rest_B).estimators_]

    def checkpoint_state(self) -> dict[str, Tensor]:
        """What was noted of the epoch under way."""
        if not self._seen:
            return {}
        x, label, product = (torch.cat(part) for part in zip(*self._seen, strict=True))
        return {"features": x, "labels": label, "products": product}

    def restore_checkpoint(self, state: Mapping[str, Tensor]) -> None:
        self._seen = [(state["features"], state["labels"], state["products"])] if state else []


def centred(value_B: NDArray[np.float64], list_B: NDArray[np.int64]) -> NDArray[np.float64]:
    """Values less the mean of their list."""
    _, place_B = np.unique(list_B, return_inverse=True)
    mean_P = np.bincount(place_B, weights=value_B) / np.bincount(place_B)
    rest_B: NDArray[np.float64] = value_B - mean_P[place_B]
    return rest_B


def _library() -> Any:
    """scikit-learn's ensembles; UsageError with what to do where it is not installed."""
    try:
        from sklearn import ensemble
    except ImportError as error:
        raise UsageError(
            "the method `features` needs scikit-learn: pip install 'mrhp-bench[features]'."
        ) from error
    return ensemble
