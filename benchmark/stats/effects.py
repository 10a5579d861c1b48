"""How large, and how often: what stands beside a p value."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from benchmark.stats.crossed import SAME, check_tables


class WinTieLoss(NamedTuple):
    """Numbers of products."""

    win: int
    tie: int
    loss: int


def probability_better(a: ArrayLike, b: ArrayLike) -> float:
    """P(A > B): the share of pairs of one seed of A with one of B in which A's mean is higher, a tie
    counting one half. 0.5: neither; 1: every seed of A beats every seed of B."""
    x_A, x_B = check_tables(a, b)
    gap = x_A.mean(axis=1)[:, None] - x_B.mean(axis=1)[None, :]
    return float(np.mean(np.where(np.abs(gap) <= SAME, 0.5, gap > 0)))


def win_tie_loss(a: ArrayLike, b: ArrayLike) -> WinTieLoss:
    """On how many products A's mean over seeds is above, equal to, below B's."""
    x_A, x_B = check_tables(a, b)
    gap = x_A.mean(axis=0) - x_B.mean(axis=0)
    win, loss = int((gap > SAME).sum()), int((gap < -SAME).sum())
    return WinTieLoss(win, len(gap) - win - loss, loss)
