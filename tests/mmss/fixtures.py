"""A toy corpus held in lists, and batches made of it by hand, for the tests of MM-SS."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.core.types import Batch, CorpusShape, Items
from mmss.config import Config
from mmss.model import MMSS

VOCABULARY, ROI_WIDTH, CLS = 60, 12, 2
SMALL: dict[str, Any] = {
    "encoder": "scratch",
    "scratch_layers": 1,
    "scratch_width": 16,
    "scratch_feedforward": 16,
    "scratch_positions": 64,
    "encoder_learning_rate": 3e-3,
    "encoder_dropout": 0.0,
    "width": 12,
    "d_g": 8,
}

Item = tuple[NDArray[np.int64], NDArray[np.float32]]


class Toy:
    """Products and reviews with random texts and RoIs; every third item has no image. A review's label is
    how many of its words are its product's, so there is something to learn from the texts."""

    def __init__(self, n_products: int = 8, n_reviews: int = 40, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.products = [self._item(rng, i) for i in range(n_products)]
        self.reviews = [self._item(rng, i) for i in range(n_reviews)]
        self.product_R = np.sort(rng.integers(0, n_products, n_reviews))
        self.label_R = rng.integers(0, 5, n_reviews)
        for row, (words, _) in enumerate(self.reviews):
            own = self.products[self.product_R[row]][0][1:]
            words[1 : 1 + self.label_R[row]] = rng.choice(own, self.label_R[row])

    @staticmethod
    def _item(rng: np.random.Generator, index: int) -> Item:
        words = rng.integers(3, VOCABULARY, rng.integers(5, 10))
        n_rois = 0 if index % 3 == 0 else int(rng.integers(1, 5))
        return np.concatenate([[CLS], words]), rng.normal(size=(n_rois, ROI_WIDTH)).astype(np.float32)

    @property
    def shape(self) -> CorpusShape:
        return CorpusShape(VOCABULARY, VOCABULARY, VOCABULARY, ROI_WIDTH, len(self.reviews))

    @property
    def labels(self) -> Tensor:
        return torch.tensor(self.label_R, dtype=torch.float32)

    def batch(
        self,
        rows: NDArray[np.int64] | list[int],
        group_size: int | None = None,
        *,
        more_tokens: int = 0,
        more_rois: int = 0,
    ) -> Batch:
        """Review rows as a batch, padded to the longest and further by the numbers given."""
        rows = np.asarray(rows)
        product_N, product_B = np.unique(self.product_R[rows], return_inverse=True)
        review_N, review_B = np.unique(rows, return_inverse=True)
        return Batch(
            _pack([self.products[i] for i in product_N], product_N, more_tokens, more_rois),
            _pack([self.reviews[i] for i in review_N], review_N, more_tokens, more_rois),
            torch.tensor(product_B),
            torch.tensor(review_B),
            torch.tensor(self.label_R[rows], dtype=torch.float32),
            group_size,
        )

    def pairs(self, count: int, seed: int = 0) -> Batch:
        """Groups of one positive and one negative of the same product."""
        rng = np.random.default_rng(seed)
        groups: list[int] = []
        while len(groups) < 2 * count:
            positive = int(rng.integers(len(self.reviews)))
            lower = np.flatnonzero(
                (self.product_R == self.product_R[positive]) & (self.label_R < self.label_R[positive])
            )
            if len(lower):
                groups += [positive, int(rng.choice(lower))]
        return self.batch(groups, group_size=2)

    def model(self, seed: int = 0, **fields: Any) -> MMSS:
        """A small MM-SS, in training mode, before its first epoch."""
        torch.manual_seed(seed)
        model = MMSS(Config(**(SMALL | fields)), self.shape)
        model.train()
        model.start_training(self.labels)
        return model


def _pack(items: list[Item], row_N: NDArray[np.int64], more_tokens: int, more_rois: int) -> Items:
    tokens = max(len(words) for words, _ in items) + more_tokens
    rois = max(1, max(len(roi) for _, roi in items)) + more_rois
    token_NT = np.zeros((len(items), tokens), dtype=np.int64)
    roi_NVF = np.zeros((len(items), rois, ROI_WIDTH), dtype=np.float32)
    for index, (words, roi) in enumerate(items):
        token_NT[index, : len(words)] = words
        roi_NVF[index, : len(roi)] = roi
    return Items(
        torch.tensor(token_NT),
        torch.tensor([len(words) for words, _ in items]),
        torch.tensor(roi_NVF),
        torch.tensor([len(roi) for _, roi in items]),
        torch.tensor(row_N),
    )


def hinge(score_B: Tensor, batch: Batch) -> Tensor:
    """Eq. 13 with margin 1, mean over groups."""
    assert batch.group_size is not None
    score_GK = score_B.view(-1, batch.group_size)
    return torch.relu(1 - score_GK[:, :1] + score_GK[:, 1:]).sum(dim=1).mean()


def step(model: MMSS, batch: Batch, optimiser: torch.optim.Optimizer | None = None) -> float:
    """One training step (without an optimiser: loss and gradients only); returns the loss."""
    model.zero_grad()
    loss = model.loss(batch, hinge)
    loss.backward()
    if optimiser is not None:
        optimiser.step()
    return loss.item()
