"""Ranking metrics, one value per product (torch-free).

R reviews of one split, in file order, `product_R` says whose they are; P products, numbered 0..P-1.
Rows of a product need not be contiguous. A data set's value is the unweighted mean over products.

Relevant means `label > threshold`. A product with nothing relevant scores 0 and stays in the mean
(defect P23), so the mean of the label oracle is `ceiling(...).mean()`, not 1.

Ties (defect P25) are a visible choice:

- `expected`: the exact mean over all orders of tied reviews, in closed form. Within a block of m tied
  reviews of which r are relevant, preceded by s reviews of which R are relevant, the review at place j
  is relevant with probability r/m, and then has on average (j-1)(r-1)/(m-1) relevant ones before it
  inside the block (McSherry and Najork, ECIR 2008).
- `file-order`: a stable sort, what the released code does; a constant scorer then gets the file's score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import pandas as pd

Ties = Literal["expected", "file-order"]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

METRICS = ("map", "ndcg@3", "ndcg@5", "mrr")
"""Names of all metrics, in the order in which they are stored."""
PAPER_METRICS = ("map", "ndcg@3", "ndcg@5")
"""The three that the papers print, MAP first: the primary one."""


@dataclass(frozen=True)
class _Ranking:
    """All reviews, product by product and best score first. Every field has one entry per review; `block`
    fields speak of the review's block of tied reviews (a block of one where nothing is tied)."""

    product: Ints
    rank: Ints
    """1 for the best of the product."""
    relevant: NDArray[np.bool_]
    gain: Floats
    """2^label - 1 where relevant, else 0."""
    place: Ints
    """1..m within the block."""
    block_size: Ints
    """m"""
    block_relevant: Ints
    """r"""
    block_gain: Floats
    """Mean gain of the block: the expected gain at each of its ranks."""
    relevant_before: Ints
    """R, relevant reviews of the product that precede the block."""
    n_products: int

    @cached_property
    def best_gain(self) -> Floats:
        """Gains in the best order of each product."""
        best: Floats = self.gain[np.lexsort((-self.gain, self.product))]
        return best

    def sum_by_product(self, value_R: Floats) -> Floats:
        total: Floats = np.bincount(self.product, weights=value_R, minlength=self.n_products).astype(
            np.float64
        )
        return total


def per_product_metrics(
    label_R: ArrayLike,
    score_R: ArrayLike,
    product_R: ArrayLike,
    n_products: int,
    *,
    threshold: float = 0,
    ties: Ties = "expected",
    order: Ints | None = None,
) -> dict[str, Floats]:
    """AP, NDCG@3, NDCG@5 and reciprocal rank of every product, each float64 [n_products] in [0, 1].

    Keys are `METRICS`. A product number without any review gets 0 like one with nothing relevant, so
    number only the products that have reviews.

    Args:
        order: the reviews by product and, within one, best score first, equal ones as in the file, where that is
            known; else they are sorted.

    Raises:
        ValueError: lengths differ, a product number is out of range, or a score or label is NaN or
            infinite (the message names the product).
    """
    ranking = _rank(label_R, score_R, product_R, n_products, threshold, ties, order)
    return {
        "map": average_precision(ranking),
        "ndcg@3": ndcg_at_k(ranking, 3),
        "ndcg@5": ndcg_at_k(ranking, 5),
        "mrr": reciprocal_rank(ranking),
    }


def average_precision(ranking: _Ranking) -> Floats:
    """Mean over the relevant reviews of the precision at their rank, full list; 0 if none is relevant."""
    m, r, j = ranking.block_size, ranking.block_relevant, ranking.place
    hits_inside = (j - 1) * (r - 1) / np.maximum(m - 1, 1)
    precision_if_relevant = (ranking.relevant_before + 1 + hits_inside) / ranking.rank
    total = ranking.sum_by_product(r / m * precision_if_relevant)
    n_relevant = ranking.sum_by_product(ranking.relevant.astype(np.float64))
    return _unit(total, n_relevant)


def ndcg_at_k(ranking: _Ranking, k: int) -> Floats:
    """DCG over the first k ranks divided by the best possible; 0 if that is 0. Gain 2^label - 1 for relevant
    reviews, discount 1 / log2(rank + 1) (the log's base cancels). A list shorter than k just stops."""
    dcg = _dcg(ranking, ranking.block_gain, k)
    return _unit(dcg, _dcg(ranking, ranking.best_gain, k))


def reciprocal_rank(ranking: _Ranking) -> Floats:
    """1 / rank of the first relevant review; 0 if none is relevant.

    Only the first block that holds a relevant review counts. Its first relevant one is at place j with
    probability C(m-j, r-1) / C(m, r).
    """
    m, r, j = ranking.block_size, ranking.block_relevant, ranking.place
    possible = (ranking.relevant_before == 0) & (r > 0) & (j <= m - r + 1)
    m, r, j = m[possible], r[possible], j[possible]
    chance = np.zeros(len(possible))
    chance[possible] = np.exp(_log_choose(m - j, r - 1) - _log_choose(m, r))
    return np.minimum(ranking.sum_by_product(chance / ranking.rank), 1.0)


def random_order_expectation(
    label_R: ArrayLike, product_R: ArrayLike, n_products: int, threshold: float = 0
) -> dict[str, Floats]:
    """Exact expected value of every metric when a product's reviews are shuffled, [n_products] each."""
    labels = np.asarray(label_R)
    return per_product_metrics(labels, np.zeros(len(labels)), product_R, n_products, threshold=threshold)


def ceiling(label_R: ArrayLike, product_R: ArrayLike, n_products: int, threshold: float = 0) -> Floats:
    """The label oracle's value of every product, of all metrics alike: 1 with a relevant review, else 0."""
    relevant = np.asarray(label_R) > threshold
    product = _product_numbers(product_R, len(relevant), n_products)
    return (np.bincount(product[relevant], minlength=n_products) > 0).astype(np.float64)


def tied_pair_share(score_R: ArrayLike, product_R: ArrayLike, n_products: int) -> float:
    """Share, 0..1, of the pairs of reviews of one product that have equal scores; 0 if there is no pair."""
    ranking = _rank(np.zeros(len(np.asarray(score_R))), score_R, product_R, n_products, 0, "expected")
    # The review at place j is tied with the j - 1 before it in its block; rank - 1 pairs end at it in all.
    pairs = int((ranking.rank - 1).sum())
    return float((ranking.place - 1).sum() / pairs) if pairs else 0.0


def _rank(
    label_R: ArrayLike,
    score_R: ArrayLike,
    product_R: ArrayLike,
    n_products: int,
    threshold: float,
    ties: Ties,
    order: Ints | None = None,
) -> _Ranking:
    if ties not in get_args(Ties):
        raise ValueError(f"ties must be one of {', '.join(get_args(Ties))}, not {ties!r}")
    label, score = np.asarray(label_R, dtype=np.float64), _as_float(score_R)
    product = _product_numbers(product_R, len(label), n_products)
    if len(score) != len(label):
        raise ValueError(f"{len(score)} scores for {len(label)} labels")
    _check_finite("score", score, product)
    _check_finite("label", label, product)

    if order is None:
        order = np.lexsort((-score, product))  # stable: equal scores keep the file's order
    label, score, product = label[order], score[order], product[order]
    first_of_product = _changes(product)
    first_of_block = first_of_product | _changes(score)
    if ties == "file-order":
        first_of_block[:] = True
    position = np.arange(len(label))
    block = np.cumsum(first_of_block) - 1
    block_start = position[first_of_block][block]
    product_start = position[first_of_product][np.cumsum(first_of_product) - 1]

    relevant = label > threshold
    gain = np.where(relevant, np.exp2(label) - 1, 0.0)
    block_size = np.bincount(block)[block]
    hits_until = np.concatenate([[0], np.cumsum(relevant)])
    return _Ranking(
        product=product,
        rank=position - product_start + 1,
        relevant=relevant,
        gain=gain,
        place=position - block_start + 1,
        block_size=block_size,
        block_relevant=hits_until[block_start + block_size] - hits_until[block_start],
        block_gain=np.bincount(block, weights=gain)[block] / block_size,
        relevant_before=hits_until[block_start] - hits_until[product_start],
        n_products=n_products,
    )


def _dcg(ranking: _Ranking, gain_R: Floats, k: int) -> Floats:
    discount = np.where(ranking.rank <= k, 1 / np.log2(ranking.rank + 1.0), 0.0)
    return ranking.sum_by_product(gain_R * discount)


def _unit(numerator: Floats, denominator: Floats) -> Floats:
    """The quotient, 0 where the denominator is 0; rounding is not let above 1."""
    quotient = np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
    return np.minimum(quotient, 1.0)


def _log_choose(n: Ints, k: Ints) -> Floats:
    from scipy.special import gammaln  # only ties need it, and importing it takes longer than most commands

    result: Floats = gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)
    return result


def _changes(value_R: NDArray[Any]) -> NDArray[np.bool_]:
    """True at the first entry and wherever an entry differs from the one before it."""
    changed = np.ones(len(value_R), dtype=np.bool_)
    changed[1:] = value_R[1:] != value_R[:-1]
    return changed


def _as_float(score_R: ArrayLike) -> NDArray[np.floating[Any]]:
    """Scores in their own precision: a tie is equality of what the model returned."""
    score = np.asarray(score_R)
    return score if score.dtype.kind == "f" else score.astype(np.float64)


def _product_numbers(product_R: ArrayLike, n_reviews: int, n_products: int) -> Ints:
    product = np.asarray(product_R)
    if len(product) != n_reviews:
        raise ValueError(f"{len(product)} product numbers for {n_reviews} labels")
    if product.size and product.dtype.kind not in "iu":
        raise ValueError(f"product numbers must be integers, not {product.dtype}")
    product = product.astype(np.int64)
    if product.size and not (product.min() >= 0 and product.max() < n_products):
        raise ValueError(f"product numbers must lie in 0..{n_products - 1}")
    return product


def _check_finite(what: str, value_R: NDArray[Any], product_R: Ints) -> None:
    bad = np.flatnonzero(~np.isfinite(value_R))
    if len(bad):
        row = int(bad[0])
        raise ValueError(
            f"{len(bad)} {what}(s) are not finite; the first is {value_R[row]} "
            f"in row {row}, a review of product {product_R[row]}"
        )


def per_product_table(
    product_ids: Sequence[str],
    product_R: NDArray[np.int64],
    label_R: ArrayLike,
    score_R: ArrayLike,
    threshold: int,
    ties: Ties = "expected",
) -> pd.DataFrame:
    """One row per product: counts, the metrics (0..1) and the expected value of a random order.

    `product_R` is each review's row in `product_ids`.
    """
    import pandas as pd

    n = len(product_ids)
    relevant_R = np.asarray(label_R) > threshold
    values = per_product_metrics(label_R, score_R, product_R, n, threshold=threshold, ties=ties)
    chance = random_order_expectation(label_R, product_R, n, threshold=threshold)
    return pd.DataFrame(
        {
            "product_id": product_ids,
            "n_reviews": np.bincount(product_R, minlength=n),
            "n_relevant": np.bincount(product_R[relevant_R], minlength=n),
            **{name: values[name] for name in METRICS},
            **{f"random_{name}": chance[name] for name in PAPER_METRICS},
        }
    )
