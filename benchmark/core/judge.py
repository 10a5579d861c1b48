"""Metrics of many score lists over the same reviews: what the scores do not decide is computed once (torch-free).

The values are those of `metrics.per_product_metrics` bit for bit. R reviews, P products. Sorting the reviews by
product and then by score moves reviews within their products only, so the rank, the discount and the product at
every sorted place are the same for all score lists; what is left is one sort and a few sums.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmark.core.metrics import (
    Floats,
    Ints,
    Ties,
    per_product_metrics,
    random_order_expectation,
)

_DEEPEST = 5
"""The largest k of an NDCG@k."""


class Judge:
    """The reviews of a split, their labels and a relevance threshold, ready to judge scores."""

    def __init__(self, label_R: ArrayLike, product_R: ArrayLike, n_products: int, threshold: float) -> None:
        """`product_R` numbers the products 0..P-1 in the order in which values are returned."""
        self.label_R = np.asarray(label_R, dtype=np.float64)
        self.product_R: Ints = np.asarray(product_R, dtype=np.int64)
        self.n_products = n_products
        self.threshold = threshold
        relevant_R = self.label_R > threshold
        self._relevant_R = relevant_R
        self._gain_R = np.where(relevant_R, np.exp2(self.label_R) - 1, 0.0)
        self.n_reviews_P: Ints = np.bincount(self.product_R, minlength=n_products)
        self.n_relevant_P: Ints = np.bincount(self.product_R[relevant_R], minlength=n_products)

    # At the places after sorting ------------------------------------------------------------------------

    @cached_property
    def _product(self) -> Ints:
        return np.repeat(np.arange(self.n_products), self.n_reviews_P)

    @cached_property
    def _rank(self) -> Ints:
        """1 for the best of its product."""
        return 1 + np.arange(len(self._product)) - _before(self.n_reviews_P)[self._product]

    @cached_property
    def _hits_before_product(self) -> Ints:
        """Relevant reviews of the products that come before."""
        return _before(self.n_relevant_P)[self._product]

    @cached_property
    def _top(self) -> dict[int, tuple[Ints, Ints, Floats]]:
        """k -> the places of rank 1..k, their products, their discounts."""
        found = {}
        for k in (3, _DEEPEST):
            places = np.flatnonzero(self._rank <= k)
            found[k] = (places, self._product[places], 1 / np.log2(self._rank[places] + 1.0))
        return found

    @cached_property
    def _best_dcg(self) -> dict[int, Floats]:
        """k -> DCG@k of the best order."""
        best_first = np.lexsort((-self._gain_R, self.product_R))
        return {k: self._dcg(best_first, k) for k in self._top}

    @cached_property
    def random(self) -> dict[str, Floats]:
        """Expected value of every metric when a product's reviews are shuffled, `[P]` each."""
        return random_order_expectation(self.label_R, self.product_R, self.n_products, self.threshold)

    @cached_property
    def _pairs(self) -> int:
        """Pairs of reviews of one product."""
        return int((self._rank - 1).sum())

    # Judging --------------------------------------------------------------------------------------------

    def metrics(self, score_R: ArrayLike, ties: Ties = "expected") -> dict[str, Floats]:
        """AP, NDCG@3, NDCG@5 and reciprocal rank, float64 `[P]` each; see `metrics.per_product_metrics`.

        Scores count in their own precision: float32 ones are sorted faster, float64 ones that are float32
        numbers give the same values.
        """
        score_R, order = self._sorted(score_R)
        found = self._of_order(order)
        tied_P = self._tied_products(score_R[order]) if ties == "expected" else np.zeros(0, dtype=np.int64)
        if len(tied_P):
            for name, values in self._of_products(tied_P, score_R, order, ties).items():
                found[name][tied_P] = values
        return found

    def tie_gain(self, score_R: ArrayLike) -> tuple[float, dict[str, Floats]]:
        """(share of pairs of reviews of one product that have equal scores, what `file-order` adds to the
        `expected` value of every metric, `[P]` each)."""
        score_R, order = self._sorted(score_R)
        sorted_R = score_R[order]
        tied_P = self._tied_products(sorted_R)
        gain = {name: np.zeros(self.n_products) for name in self.random}
        if not len(tied_P):
            return 0.0, gain
        stable, expected = (
            self._of_products(tied_P, score_R, order, policy) for policy in ("file-order", "expected")
        )
        for name in gain:
            gain[name][tied_P] = stable[name] - expected[name]
        place = np.arange(len(sorted_R))
        block_start = np.maximum.accumulate(np.where(self._ties(sorted_R), 0, place))
        return float((place - block_start).sum() / self._pairs), gain

    def _sorted(self, score_R: ArrayLike) -> tuple[NDArray[np.floating[Any]], Ints]:
        """(scores, the order by product, best first, equal ones in file order)."""
        scores = np.asarray(score_R)
        if scores.dtype not in (np.float32, np.float64):
            scores = scores.astype(np.float64)
        if scores.shape != self.label_R.shape:
            raise ValueError(f"{len(scores)} scores for {len(self.label_R)} labels")
        if not np.isfinite(scores).all():
            row = int(np.flatnonzero(~np.isfinite(scores))[0])
            raise ValueError(
                f"{np.sum(~np.isfinite(scores))} score(s) are not finite; the first is {scores[row]} in row "
                f"{row}, a review of product {self.product_R[row]}"
            )
        narrow = scores if scores.dtype == np.float32 else scores.astype(np.float32)
        bits = [int(n - 1).bit_length() for n in (max(self.n_products, 1), max(len(scores), 1))]
        if sum(bits) + 32 > 64 or not (narrow is scores or np.array_equal(narrow, scores)):
            return scores, np.lexsort((-scores, self.product_R))
        # one number per review, (product, score descending, row): sorting numbers is ten times faster
        words = (narrow + np.float32(0)).view(np.uint32)  # + 0: -0.0 is equal to 0.0
        falling = np.where(words >> 31 != 0, words, ~words & np.uint32(0x7FFFFFFF)).astype(np.uint64)
        key = self.product_R.astype(np.uint64) << np.uint64(32 + bits[1])
        key |= falling << np.uint64(bits[1])
        key |= np.arange(len(scores), dtype=np.uint64)
        key.sort()
        return scores, (key & np.uint64((1 << bits[1]) - 1)).astype(np.int64)

    def _of_order(self, order: Ints) -> dict[str, Floats]:
        """The metrics of one order, without regard to ties."""
        place = np.flatnonzero(self._relevant_R[order])
        product, rank = self._product[place], self._rank[place]
        # the n-th relevant review of all is the (n - those of the products before)-th of its own product
        hits = np.arange(1, len(place) + 1) - self._hits_before_product[place]
        first = hits == 1
        reciprocal = np.zeros(self.n_products)
        reciprocal[product[first]] = 1 / rank[first]
        return {
            "map": _unit(self._sum(product, hits / rank), self.n_relevant_P),
            "ndcg@3": _unit(self._dcg(order, 3), self._best_dcg[3]),
            "ndcg@5": _unit(self._dcg(order, 5), self._best_dcg[5]),
            "mrr": reciprocal,
        }

    def _of_products(
        self, chosen_P: Ints, score_R: NDArray[np.floating[Any]], order: Ints, ties: Ties
    ) -> dict[str, Floats]:
        """The metrics of some products, by the general rule; `order` is that of all reviews."""
        number_P = np.full(self.n_products, -1)
        number_P[chosen_P] = np.arange(len(chosen_P))
        own_R = number_P[self.product_R]
        chosen_R = own_R >= 0
        rows = np.flatnonzero(chosen_R)
        place_R = np.cumsum(chosen_R) - 1  # in `rows`
        return per_product_metrics(
            self.label_R[rows],
            score_R[rows],
            own_R[rows],
            len(chosen_P),
            threshold=self.threshold,
            ties=ties,
            order=place_R[order[chosen_R[order]]],
        )

    def _ties(self, sorted_R: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        """Whether the score at a sorted place is equal to that before it, in the same product."""
        tied = np.zeros(len(sorted_R), dtype=np.bool_)
        tied[1:] = (sorted_R[1:] == sorted_R[:-1]) & (self._rank[1:] > 1)
        return tied

    def _tied_products(self, sorted_R: NDArray[np.floating[Any]]) -> Ints:
        return np.unique(self._product[self._ties(sorted_R)])

    def _dcg(self, order: Ints, k: int) -> Floats:
        places, product, discount = self._top[k]
        return self._sum(product, self._gain_R[order[places]] * discount)

    def _sum(self, product: Ints, value: Floats) -> Floats:
        total: Floats = np.bincount(product, weights=value, minlength=self.n_products).astype(np.float64)
        return total


def _before(count_P: Ints) -> Ints:
    """Sum over the products that come before each."""
    return np.cumsum(count_P) - count_P


def _unit(numerator: Floats, denominator: NDArray[Any]) -> Floats:
    """The quotient, 0 where the denominator is 0; rounding is not let above 1."""
    quotient = np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
    result: Floats = np.minimum(quotient, 1.0)
    return result
