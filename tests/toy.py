"""Small batches for tests: random items, padded and combined in any way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from benchmark.core.surface import FEATURES
from benchmark.core.types import Batch, CorpusShape, Items

VOCABULARY, ROI_WIDTH = 30, 6
SHAPE = CorpusShape(VOCABULARY, VOCABULARY, VOCABULARY, ROI_WIDTH, 50)


@dataclass
class Item:
    """One product or review: token ids, RoIs `[V, F]` (V may be 0)."""

    tokens: list[int]
    rois: np.ndarray


def random_item(random: np.random.Generator, n_tokens: int, n_rois: int, first: int | None = None) -> Item:
    """`first`: a token id to start with, as a [CLS]."""
    tokens = random.integers(3, VOCABULARY, n_tokens).tolist()
    if first is not None:
        tokens[0] = first
    return Item(tokens, random.normal(size=(n_rois, ROI_WIDTH)).astype(np.float32))


def collate(items: list[Item], extra_tokens: int = 0, extra_rois: int = 0) -> Items:
    """Right-padded to the longest item and some more; at least one RoI row, as the harness pads."""
    T = max(len(item.tokens) for item in items) + extra_tokens
    V = max(1, *(len(item.rois) for item in items)) + extra_rois
    token_NT = torch.zeros(len(items), T, dtype=torch.int64)
    roi_NVF = torch.zeros(len(items), V, ROI_WIDTH)
    for row, item in enumerate(items):
        token_NT[row, : len(item.tokens)] = torch.tensor(item.tokens)
        roi_NVF[row, : len(item.rois)] = torch.from_numpy(item.rois)
    return Items(
        token_NT,
        torch.tensor([len(item.tokens) for item in items]),
        roi_NVF,
        torch.tensor([len(item.rois) for item in items]),
        torch.arange(len(items)),
        torch.stack([surface(item) for item in items]),
    )


def surface(item: Item) -> torch.Tensor:
    """Hand-made features, a function of the item alone."""
    random = np.random.default_rng([*item.tokens, len(item.rois)])
    return torch.from_numpy(random.normal(size=len(FEATURES))).float()


def batch(
    products: list[Item],
    reviews: list[list[Item]],
    *,
    extra_tokens: int = 0,
    extra_rois: int = 0,
    group_size: int | None = None,
) -> Batch:
    """All reviews of all products, product by product."""
    owner = [p for p, own in enumerate(reviews) for _ in own]
    flat = [item for own in reviews for item in own]
    return Batch(
        collate(products, extra_tokens, extra_rois),
        collate(flat, extra_tokens, extra_rois),
        torch.tensor(owner),
        torch.arange(len(flat)),
        torch.arange(len(flat)).remainder(5).float(),
        group_size,
    )


def as_double(given: Batch) -> Batch:
    return given.map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
