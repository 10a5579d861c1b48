"""Average ranks of methods over data sets, with the Friedman test and Nemenyi's critical difference.

Demsar (JMLR 2006). Each data set is one observation, so with six categories this says little: it cannot see
seeds or products, and only very large differences of rank pass. The crossed test is the primary one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class AverageRanks:
    """C data sets, M methods."""

    ranks: Floats
    """`[M]`: mean over the data sets; 1 is best, ties share their mean rank."""
    critical_difference: float
    """Two methods whose average ranks differ by less are not told apart."""
    p_value: float
    """Friedman's: the chance of such ranks if all methods were equal."""
    n_cells: int

    def groups(self) -> list[tuple[int, int]]:
        """The longest runs of methods not told apart, as (first, last) places in the order of the ranks;
        only those of two methods or more."""
        ranks = np.sort(self.ranks)
        reach = [int(np.searchsorted(ranks, rank + self.critical_difference, "right")) - 1 for rank in ranks]
        # ranks are sorted, so reach never falls: a run is the longest where it reaches beyond the one before
        ends = [-1, *reach]
        longest = [place for place, (before, end) in enumerate(pairwise(ends)) if end > before]
        return [(first, reach[first]) for first in longest if reach[first] > first]


def average_ranks(value_CM: ArrayLike, level: float = 0.95) -> AverageRanks:
    """Ranks of `[C, M]` values, larger is better.

    Raises:
        ValueError: fewer than two data sets or three methods, or values that are not finite.
    """
    from scipy import stats  # late: a second that only this picture needs

    x = np.asarray(value_CM, dtype=np.float64)
    if x.ndim != 2 or x.shape[0] < 2 or x.shape[1] < 3:
        raise ValueError(f"ranks need two data sets and three methods, not values of shape {list(x.shape)}")
    if not np.isfinite(x).all():
        raise ValueError("the values hold some that are not finite")
    n_cells, n_methods = x.shape
    rank_CM = stats.rankdata(-x, axis=1)
    # Nemenyi's q is the studentized range at infinite degrees of freedom, over the root of 2
    q = float(stats.studentized_range.ppf(level, n_methods, np.inf)) / np.sqrt(2)
    # without any difference between methods Friedman's statistic is 0 / 0
    tied = bool((rank_CM == rank_CM[:, :1]).all())
    p_value = 1.0 if tied else float(stats.friedmanchisquare(*x.T).pvalue)
    return AverageRanks(
        ranks=rank_CM.mean(axis=0),
        critical_difference=float(q * np.sqrt(n_methods * (n_methods + 1) / (6 * n_cells))),
        p_value=p_value,
        n_cells=n_cells,
    )
