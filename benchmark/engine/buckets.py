"""A few shapes that all batches of a run fit into: a GPU can play back steps whose shapes it has seen (torch-free).

S steps. A shape says how many distinct products and reviews a batch holds, and how many words and RoIs each of them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]

MOST_SHAPES = 6
"""Each costs memory and a capture."""
WORTH = 0.02
"""Share of all work that one more shape must save."""
CANDIDATES = 64
"""The most frequent rounded shapes, of which the few are chosen."""


class Shape(NamedTuple):
    """Sizes of a batch's arrays."""

    products: int
    reviews: int
    product_tokens: int
    review_tokens: int
    product_rois: int
    review_rois: int

    def covers(self, other: Shape) -> bool:
        return all(mine >= its for mine, its in zip(self, other, strict=True))


STEP = Shape(8, 8, 16, 16, 16, 16)
"""What sizes are rounded up to before the few are chosen: whole tiles of a matrix unit."""


def cost(shape_X6: Int64) -> NDArray[np.float64]:
    """What steps of these shapes cost, up to a factor: positions that are computed."""
    products, reviews, *lengths = (column.astype(np.float64) for column in shape_X6.T)
    total: NDArray[np.float64] = products * (lengths[0] + lengths[2] + 1) + reviews * (
        lengths[1] + lengths[3] + 1
    )
    return total


def choose(exact_S6: Int64, limit: Shape, most: int = MOST_SHAPES) -> list[Shape]:
    """At most `most` shapes, `limit` among them, into which these steps fit with little padding: one after the other
    the shape that saves most, as long as it saves `WORTH` of the work."""
    limit_16 = np.array([limit])
    rounded_S6 = np.minimum(-(-exact_S6 // np.array(STEP)) * np.array(STEP), limit_16)
    found, count = np.unique(rounded_S6, axis=0, return_counts=True)
    frequent = np.argsort(-count, kind="stable")[:CANDIDATES]
    candidate_C6 = found[frequent]
    covers_CS = (candidate_C6[:, None] >= exact_S6[None]).all(2)
    cost_CS = np.where(covers_CS, cost(candidate_C6)[:, None], np.inf)
    best_S = np.full(len(exact_S6), float(cost(limit_16)[0]))
    chosen = [limit]
    while len(chosen) < most and len(candidate_C6):
        saved_C = (best_S - np.minimum(best_S, cost_CS)).sum(1)
        place = int(saved_C.argmax())
        if saved_C[place] <= WORTH * best_S.sum():
            break
        chosen.append(Shape(*candidate_C6[place].tolist()))
        best_S = np.minimum(best_S, cost_CS[place])
    return chosen


def fitting(shapes: list[Shape], exact_S6: Int64) -> Int64:
    """Of each step the number of the cheapest shape that it fits into. ValueError where there is none."""
    shape_K6 = np.array(shapes)
    covers_KS = (shape_K6[:, None] >= exact_S6[None]).all(2)
    if not covers_KS.any(0).all():
        raise ValueError("a step fits into none of the shapes")
    cost_KS = np.where(covers_KS, cost(shape_K6)[:, None], np.inf)
    cheapest_S: Int64 = cost_KS.argmin(0).astype(np.int64)
    return cheapest_S
