"""Training pairs and lists, drawn anew each epoch (torch-free).

R reviews of one split in table order; G ranking groups; K negatives. For each product sort its distinct
labels; the lowest `1 + gap` of them, by position, give no positives; every review with one of the others is
a positive; its negatives are drawn with replacement from the product's reviews with
`label < y - gap`, with probability proportional to `1 - share of that label in the training set`
(`weighted`) or uniformly (released code of MCR, SANCL and MCL; D-NEG).

So with gap 1 a product needs three distinct labels, labels {0, 4} give nothing, and a product's two lowest
labels are never positives.

A draw is a pure function of (seed, epoch). The released code seeds row i of epoch e like row i + 1 of
epoch e - 1 and gives all duplicates of a positive the same negatives; ours are independent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmark.core.seeding import generator

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MIN_DISTINCT_LABELS = 3
"""A product with fewer distinct labels gives no training list (GBDT-LCM, Nguyen et al., 2023)."""


@dataclass(frozen=True)
class PairPlan:
    """Positives and, for each, its eligible negatives: a slice of the reviews sorted by (product, label)."""

    positive_G: Ints
    """Review rows in table order."""
    sorted_row_R: Ints
    start_G: Ints
    """First eligible negative, a position in `sorted_row_R`."""
    stop_G: Ints
    weight_R: Floats
    """Unnormalised probability of each review, in sorted order."""

    def __len__(self) -> int:
        return len(self.positive_G)

    def negatives(self, group: int) -> tuple[Ints, Floats]:
        """Eligible negatives of one positive: review rows, and the probability of each (they sum to 1)."""
        part = slice(int(self.start_G[group]), int(self.stop_G[group]))
        weight = self.weight_R[part]
        return self.sorted_row_R[part], weight / weight.sum()


def pair_plan(product_R: ArrayLike, label_R: ArrayLike, *, gap: int, weighted: bool = True) -> PairPlan:
    """Who is a positive and who may be its negative; the deterministic half of `training_groups`.

    `product_R` are product numbers, `label_R` helpfulness labels (whole numbers).
    """
    product = np.asarray(product_R, dtype=np.int64)
    label = np.asarray(label_R).astype(np.int64)
    # lexsort's last key counts most: by product, then label, then table order
    row = np.lexsort((np.arange(len(label)), label, product))
    sorted_product, sorted_label = product[row], label[row]

    # each sorted review's position among its product's distinct labels, 0 for the lowest
    first_of_product = _starts(sorted_product)
    new_label = first_of_product | np.r_[True, np.diff(sorted_label) != 0][: len(row)]
    # counts on through all products; each product's first value is taken off below
    rung = np.cumsum(new_label)
    product_start = np.maximum.accumulate(np.where(first_of_product, np.arange(len(row)), 0))
    rung_R = rung - rung[product_start] if len(row) else rung

    positive = np.flatnonzero(rung_R > gap)
    # back to table order: a group's number decides which random numbers it gets
    positive = positive[np.argsort(row[positive])]
    # (product, label) as one number, so that `label < y - gap` is a slice that ends at a binary search
    low = int(label.min(initial=0)) - gap
    # `low` leaves room for gap below the lowest label: key - gap never falls into the product before
    span = int(label.max(initial=0)) - low + 1
    key = sorted_product * span + (sorted_label - low)
    stop = np.searchsorted(key, key[positive] - gap, side="left")
    return PairPlan(row[positive], row, product_start[positive], stop, _weights(sorted_label, weighted))


def training_groups(
    product_R: ArrayLike,
    label_R: ArrayLike,
    *,
    gap: int,
    negatives: int,
    seed: int,
    epoch: int,
    weighted: bool = True,
    duplicates: int = 1,
) -> Ints:
    """Review rows `[G, 1 + K]`, the positive first, groups in the positives' table order (the training loop
    shuffles them). Each positive appears `duplicates` times, each time with its own draw.
    """
    plan = pair_plan(product_R, label_R, gap=gap, weighted=weighted)
    group_G = np.repeat(np.arange(len(plan)), duplicates)
    random = generator(seed, "pairs", epoch)
    negative_GK = _draw(plan, group_G, random.random((len(group_G), negatives)))
    return np.concatenate([plan.positive_G[group_G][:, None], negative_GK], axis=1)


def training_lists(
    product_R: ArrayLike,
    label_R: ArrayLike,
    *,
    size: int,
    seed: int,
    epoch: int,
    min_labels: int = MIN_DISTINCT_LABELS,
) -> list[Ints]:
    """One list of review rows for each product with at least `min_labels` distinct labels, in product order:
    `size` of its reviews drawn without replacement, in random order; all of them where it has fewer.
    """
    product = np.asarray(product_R, dtype=np.int64)
    label = np.asarray(label_R).astype(np.int64)
    pairs = np.unique(np.stack([product, label]), axis=1)
    known, n_labels = np.unique(pairs[0], return_counts=True)
    row = np.flatnonzero(np.isin(product, known[n_labels >= min_labels]))
    # a random key per review: the first `size` of a product in key order are a uniform draw
    key = generator(seed, "lists", epoch).random(len(product))[row]
    row = row[np.lexsort((key, product[row]))]
    parts = np.split(row, np.flatnonzero(_starts(product[row]))[1:]) if len(row) else []
    return [part[:size] for part in parts]


def _draw(plan: PairPlan, group_G: Ints, uniform_GK: Floats) -> Ints:
    """Inverse-CDF sampling: `uniform_GK` in [0, 1) -> review rows of eligible negatives."""
    total = np.r_[0.0, np.cumsum(plan.weight_R)]
    start, stop = plan.start_G[group_G, None], plan.stop_G[group_G, None]
    target = total[start] + uniform_GK * (total[stop] - total[start])
    place = np.searchsorted(total, target, side="right") - 1
    # rounding can push a draw just over an end of its slice
    row_GK: Ints = plan.sorted_row_R[np.clip(place, start, stop - 1)]
    return row_GK


def _weights(label_R: Ints, weighted: bool) -> Floats:
    if not weighted or not len(label_R):
        return np.ones(len(label_R))
    _, inverse, count = np.unique(label_R, return_inverse=True, return_counts=True)
    weight: Floats = 1.0 - count[inverse] / len(label_R)
    return weight


def _starts(sorted_R: Ints) -> NDArray[np.bool_]:
    """True where a new value begins."""
    starts: NDArray[np.bool_] = np.r_[True, np.diff(sorted_R) != 0][: len(sorted_R)]
    return starts
