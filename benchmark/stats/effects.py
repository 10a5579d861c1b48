"""How large, and how often: what stands beside a p value."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from benchmark.stats.crossed import SAME
from benchmark.stats.sides import Side, sides


class WinTieLoss(NamedTuple):
    """Numbers of products."""

    win: int
    tie: int
    loss: int


def probability_better(a: ArrayLike | Side, b: ArrayLike | Side) -> float:
    """P(A > B): the share of pairs of one seed of A with one of B in which A's mean is higher, a tie
    counting one half. 0.5: neither; 1: every seed of A beats every seed of B."""
    one, other = sides(a, b)
    gap = one.seed_means[:, None] - other.seed_means[None, :]
    return float(np.mean(np.where(np.abs(gap) <= SAME, 0.5, gap > 0)))


def win_tie_loss(a: ArrayLike | Side, b: ArrayLike | Side) -> WinTieLoss:
    """On how many products A's mean over seeds is above, equal to, below B's."""
    one, other = sides(a, b)
    gap = one.product_means - other.product_means
    win, loss = int((gap > SAME).sum()), int((gap < -SAME).sum())
    return WinTieLoss(win, len(gap) - win - loss, loss)
