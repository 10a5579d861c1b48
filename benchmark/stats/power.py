"""How many seeds would be needed to see a difference?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import nctdtr, stdtrit

from benchmark.stats.crossed import MIN_SEEDS, Floats, check_tables, components, residual_mean_square

MAX_SEEDS = 1000
"""Beyond this, more seeds are no answer."""


@dataclass(frozen=True)
class SeedsNeeded:
    """The answer for one comparison, from the variance components that its runs show."""

    difference: float
    """The true difference to be seen, in the unit of the input."""
    power: float
    alpha: float
    seeds: int | None
    """Seeds per method; None if even MAX_SEEDS do not suffice: the test split has too few products."""
    power_now: float
    """Chance of p < alpha with the seeds there are."""
    smallest_with_any_seeds: float
    """The difference that MAX_SEEDS would show with this power: what the number of products allows."""


@dataclass(frozen=True)
class _Model:
    """Variances of one observation's parts; v_A, v_B, v_P and v_E follow for any number of seeds."""

    seed_A: float
    seed_B: float
    product: float
    """Of the product's own difference between the methods."""
    residual_A: float
    residual_B: float
    n: int

    def power(self, difference: float, seeds: int, alpha: float) -> float:
        """Of the two-sided crossed test (noncentral t with Satterthwaite's degrees of freedom)."""
        v_E = (self.residual_A + self.residual_B) / (seeds * self.n)
        v_A = self.seed_A / seeds + self.residual_A / (seeds * self.n)
        v_B = self.seed_B / seeds + self.residual_B / (seeds * self.n)
        v_P = self.product / self.n + v_E
        v = v_A + v_B + v_P - v_E
        if v <= 0:
            return 1.0
        spread = (v_A**2 + v_B**2) / (seeds - 1) + v_P**2 / (self.n - 1)
        df = v**2 / (spread + v_E**2 / ((seeds - 1) * (self.n - 1)))
        critical = float(stdtrit(df, 1 - alpha / 2))
        shift = difference / float(np.sqrt(v))
        # SciPy underflows to NaN in the tail far from a large shift, where there is nothing.
        below_upper, below_lower = np.nan_to_num(nctdtr(df, shift, np.array([critical, -critical])))
        return float(1 - below_upper + below_lower)


def seeds_needed(
    a: ArrayLike, b: ArrayLike, difference: float, *, power: float = 0.8, alpha: float = 0.05
) -> SeedsNeeded:
    """Seeds per method with which a true `difference` gives p < `alpha` with probability `power`.

    The variance components come from the tables `[seeds, products]`; a component whose estimate is negative
    counts as 0. ValueError with fewer than 2 seeds on a side, one product, or a difference not above 0.
    """
    x_A, x_B = check_tables(a, b)
    if not difference > 0:
        raise ValueError(f"the difference to be seen must be positive, not {difference}")
    model = _fit(x_A, x_B)
    now = min(x_A.shape[0], x_B.shape[0])
    return SeedsNeeded(
        difference=difference,
        power=power,
        alpha=alpha,
        seeds=_fewest_seeds(model, difference, power, alpha),
        power_now=model.power(difference, now, alpha),
        smallest_with_any_seeds=_smallest_difference(model, power, alpha),
    )


def _fit(x_A: Floats, x_B: Floats) -> _Model:
    (s_A, n), s_B = x_A.shape, x_B.shape[0]
    if min(s_A, s_B, n) < 2:
        raise ValueError("variance components need two seeds on each side and two products")
    residual_A, residual_B = float(residual_mean_square(x_A)), float(residual_mean_square(x_B))
    parts = components(x_A, x_B)
    return _Model(
        seed_A=max(0.0, float(parts.v_A) * s_A - residual_A / n),
        seed_B=max(0.0, float(parts.v_B) * s_B - residual_B / n),
        product=max(0.0, float(parts.v_P - parts.v_E) * n),
        residual_A=residual_A,
        residual_B=residual_B,
        n=n,
    )


def _fewest_seeds(model: _Model, difference: float, power: float, alpha: float) -> int | None:
    """Bisection: power grows with the number of seeds."""
    if model.power(difference, MAX_SEEDS, alpha) < power:
        return None
    low, high = MIN_SEEDS - 1, MAX_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        if model.power(difference, middle, alpha) >= power:
            high = middle
        else:
            low = middle
    return high


def _smallest_difference(model: _Model, power: float, alpha: float) -> float:
    low, high = 0.0, 1e-6
    while model.power(high, MAX_SEEDS, alpha) < power:
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        if model.power(middle, MAX_SEEDS, alpha) >= power:
            high = middle
        else:
            low = middle
    return high
