"""How many seeds would be needed to see a difference?"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaincinv, ndtr

from benchmark.stats.crossed import MIN_SEEDS, Components, components
from benchmark.stats.sides import Floats, check_tables, residual_mean_square

MAX_SEEDS = 1000
"""Beyond this, more seeds are no answer."""
DRAWS = 1024
"""Repetitions that a power is averaged over; at evenly spread points, so good to 0.2 points."""


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
    """Variances of one observation's parts; v_A, v_B, v_P and v_E follow for any numbers of seeds."""

    seed_A: float
    seed_B: float
    product: float
    """Of the product's own difference between the methods."""
    residual_A: float
    residual_B: float
    n: int

    def runs(self, seeds_A: int, seeds_B: int, level: float) -> _Runs:
        """What the crossed test would make of many repetitions of an experiment of this size.

        With normal effects the seeds' and products' mean squares, the residual ones and the difference are
        independent, the former multiples of chi square, so the test's half width is drawn without any score.
        """
        z_A, z_B, z_AE, z_BE, z_P = self._chi_squares(seeds_A, seeds_B)
        n, E_A, E_B = self.n, self.residual_A / seeds_A, self.residual_B / seeds_B
        # what v_A and v_B are expected to be: the seeds' variance and a residual averaged over n products
        true_A, true_B = self.seed_A / seeds_A + E_A / n, self.seed_B / seeds_B + E_B / n
        drawn = Components(
            difference=np.zeros(DRAWS),
            v_seeds=(true_A * z_A, true_B * z_B),
            # v_P sees the residual too, as far as averaging over seeds has left it
            v_P=(self.product + E_A + E_B) / n * z_P,
            v_E=(E_A * z_AE + E_B * z_BE) / n,
            seeds=(seeds_A, seeds_B),
            n=n,
        )
        # each residual once (it is in true_A and true_B), though both v_seeds and v_P show it
        sd = float(np.sqrt(true_A + true_B + self.product / n))
        return _Runs(drawn.half_width(level), sd)

    def _chi_squares(self, seeds_A: int, seeds_B: int) -> list[Floats]:
        """Mean squares over their expectations, `[DRAWS]` each, at the points of one Sobol sequence."""
        dfs = (
            seeds_A - 1,
            seeds_B - 1,
            (seeds_A - 1) * (self.n - 1),
            (seeds_B - 1) * (self.n - 1),
            self.n - 1,
        )
        return [2 * gammaincinv(df / 2, points) / df for df, points in zip(dfs, _sobol_points(), strict=True)]


@dataclass(frozen=True)
class _Runs:
    half_width: Floats
    """Of the test's interval, one per repetition."""
    sd: float
    """True standard deviation of the difference of means."""

    def power(self, difference: float) -> float:
        """Chance that the interval leaves out 0 if this is the true difference."""
        if self.sd == 0:
            return 1.0
        above, below = (difference - self.half_width) / self.sd, (-difference - self.half_width) / self.sd
        return float(np.mean(ndtr(above) + ndtr(below)))


@functools.cache
def _sobol_points() -> Floats:
    """`[5, DRAWS]` points that fill the unit cube evenly, always the same ones, never 0 or 1."""
    from scipy.stats import qmc  # slow to import, and needed for powers only

    # unscrambled points are multiples of 1 / DRAWS from 0 on: half a step moves all inside the cube
    points: Floats = qmc.Sobol(5, scramble=False).random(DRAWS).T + 0.5 / DRAWS
    return points


def seeds_needed(
    a: ArrayLike, b: ArrayLike, difference: float, *, power: float = 0.8, alpha: float = 0.05
) -> SeedsNeeded:
    """Seeds per method with which a true `difference` gives p < `alpha` with probability `power`.

    The variance components come from the tables `[seeds, products]`; a component whose estimate is negative
    counts as 0. `power_now` is for the numbers of seeds that the tables have. ValueError with fewer than 2
    seeds on a side, one product, or a difference not above 0.
    """
    x_A, x_B = check_tables(a, b)
    if not difference > 0:
        raise ValueError(f"the difference to be seen must be positive, not {difference}")
    model = _fit(x_A, x_B)
    now = model.runs(x_A.shape[0], x_B.shape[0], 1 - alpha)
    return SeedsNeeded(
        difference=difference,
        power=power,
        alpha=alpha,
        seeds=_fewest_seeds(model, difference, power, alpha),
        power_now=now.power(difference),
        smallest_with_any_seeds=_smallest_difference(model, power, alpha),
    )


def _fit(x_A: Floats, x_B: Floats) -> _Model:
    (s_A, n), s_B = x_A.shape, x_B.shape[0]
    if min(s_A, s_B, n) < 2:
        raise ValueError("variance components need two seeds on each side and two products")
    residual_A, residual_B = float(residual_mean_square(x_A)), float(residual_mean_square(x_B))
    parts = components(x_A, x_B)
    return _Model(
        # the seeds' means vary by their own effect and by a residual averaged over n products
        seed_A=max(0.0, float(parts.v_seeds[0]) * s_A - residual_A / n),
        seed_B=max(0.0, float(parts.v_seeds[1]) * s_B - residual_B / n),
        # the residual's part of v_P is just v_E
        product=max(0.0, float(parts.v_P - parts.v_E) * n),
        residual_A=residual_A,
        residual_B=residual_B,
        n=n,
    )


def _fewest_seeds(model: _Model, difference: float, power: float, alpha: float) -> int | None:
    """Bisection: power grows with the number of seeds."""

    def enough(seeds: int) -> bool:
        return model.runs(seeds, seeds, 1 - alpha).power(difference) >= power

    if not enough(MAX_SEEDS):
        return None
    low, high = MIN_SEEDS - 1, MAX_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _smallest_difference(model: _Model, power: float, alpha: float) -> float:
    runs = model.runs(MAX_SEEDS, MAX_SEEDS, 1 - alpha)
    low, high = 0.0, 1e-6
    while runs.power(high) < power:
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if runs.power(middle) >= power else (middle, high)
    return high
