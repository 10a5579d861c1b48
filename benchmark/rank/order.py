"""Places of reviews within their product, by one score or by several seeds' scores. Torch-free.

S seeds, R reviews.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Int = NDArray[np.int64]


def places(score_R: NDArray[np.floating], product_R: Int) -> Int:
    """`[R]`, 1 for the highest score of each product; equal scores in the order in which they stand."""
    # the last key is the first to sort by: product, then falling score, then position
    order = np.lexsort((np.arange(len(score_R)), -score_R, product_R))
    place_R = np.empty(len(order), dtype=np.int64)
    place_R[order] = np.arange(len(order)) - _starts(product_R[order]) + 1
    return place_R


def mean_places(score_SR: NDArray[np.floating], product_R: Int) -> Float:
    """`[R]`, the mean over seeds of each review's place within its product; equal scores share the mean of the places
    that they take together."""
    place_R: Float = np.mean([_shared_places(score_R, product_R) for score_R in score_SR], axis=0)
    return place_R


def shares(place_R: Float, product_R: Int) -> Float:
    """Places as scores, `[R]`: the share of a product's other reviews that stand below, 1 at the top; 1 for a product's
    only review."""
    count_R = np.bincount(product_R)[product_R]
    share_R: Float = np.where(count_R > 1, (count_R - place_R) / np.maximum(count_R - 1, 1), 1.0)
    return share_R


def _shared_places(score_R: NDArray[np.floating], product_R: Int) -> Float:
    order = np.lexsort((-score_R, product_R))
    product, score = product_R[order], score_R[order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (product[1:] != product[:-1]) | (score[1:] != score[:-1])
    group = np.cumsum(new) - 1
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(order)) - 1
    middle = (first + last) / 2 - _starts(product)[first] + 1
    place_R = np.empty(len(order))
    place_R[order] = middle[group]
    return place_R


def _starts(sorted_product_R: Int) -> Int:
    """Of each position, where its product begins."""
    return np.searchsorted(sorted_product_R, sorted_product_R).astype(np.int64)
