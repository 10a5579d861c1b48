"""The primary test: two methods, several seeds each, the same products; both are samples.

A method here is what its training procedure gives, not five particular models; a data set is a sample of
products. So seeds and products are both random effects, crossed, and the variance of the difference of
means has a part for each (two-way random effects; Satterthwaite's degrees of freedom). A test that takes
the products alone as the sample finds almost anything significant, one over five seeds almost nothing.

Two forms. Between different methods products are paired and seeds are not (`crossed_test`). One method
against a variant of itself shares seed, batches and initial weights, so equal seeds are paired too
(`paired_test`). The model of both is `y ~ method + (1|product) + (1|product:method) + (1|run)`.

Names follow the equations: S seeds (S_A and S_B where they differ), n products, v_. variances of a mean.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit

from benchmark.stats.sides import (
    Floats,
    Margins,
    Side,
    check_tables,
    fixed_side,
    margins,
    residual_mean_square,
    side,
    sides,
)

MIN_SEEDS = 3
"""Fewer on either side: no test."""
T_SEEDS = 5
"""From this many seeds on each side the critical value is Student's; below, it is Cochran and Cox's."""
MIN_PRODUCTS = 20
"""Fewer products on which any two scores differ: a p value and an interval, but no verdict."""
SAME = 1e-12
"""Values closer than this are equal: they differ by the order of a sum."""


@dataclass(frozen=True)
class CrossedResult:
    """What the test says of A against B. Values are in the unit of the input (0..1 for metrics)."""

    difference: float
    """Mean of A minus mean of B, over seeds and products."""
    p_value: float | None
    """Two-sided: the level at which the interval touches 0. None where no test is possible."""
    df: float | None
    """Satterthwaite's degrees of freedom of t; None without a test or where nothing varies."""
    interval: tuple[float, float] | None
    """For the difference, at `level`; a point where nothing varies; None without a test."""
    v_seeds: tuple[float, ...]
    """Variance of each side's mean that its seeds show, (v_A, v_B); (v_S,) of the difference if paired."""
    v_P: float
    """Variance of the difference that the products show (0 with one product)."""
    v_E: float
    """The residual's part, which v_seeds and v_P all contain: counted twice in their sum."""
    variance: float
    """v = max(sum of v_seeds + v_P - v_E, v_P, sum of v_seeds), of the difference."""
    n_seeds: tuple[int, int]
    n_products: int
    n_informative: int
    """Products on which any two of the compared scores differ."""
    level: float = 0.95
    paired: bool = False
    """Equal seeds were paired."""
    reason: str | None = None
    """Why there is no verdict: no test is possible, or there are too few products to trust one."""


@dataclass(frozen=True)
class Components:
    """The parts of the variance of a difference; each a float array over whatever leading axes came in."""

    difference: Floats
    v_seeds: tuple[Floats, ...]
    """(v_A, v_B), or (v_S,) where seeds are paired."""
    v_P: Floats
    v_E: Floats
    seeds: tuple[int, ...]
    """The numbers of seeds behind v_seeds."""
    n: int

    @property
    def v_S(self) -> Floats:
        """All that the seeds show."""
        total: Floats = np.sum(np.stack(self.v_seeds), axis=0)
        return total

    @property
    def variance(self) -> Floats:
        """max(v_S + v_P - v_E, v_P, v_S): the residual is counted once, and no part can be argued away."""
        v_S = self.v_S
        # v_E is an estimate and may exceed v_S or v_P: the bare sum could fall below either, even below 0
        return np.maximum(np.maximum(v_S + self.v_P - self.v_E, self.v_P), v_S)

    @property
    def df(self) -> Floats:
        """v^2 / (sum of v_M^2 / (S_M - 1) + v_P^2 / (n - 1)); infinite where nothing varies.

        Only what enters v with a plus sign stands in the denominator, so it is never below
        1 / (1/(S_min - 1) + 1/(n - 1)).
        """
        spread = self.v_P**2 / (self.n - 1)
        for v, n_seeds in zip(self.v_seeds, self.seeds, strict=True):
            spread = spread + v**2 / (n_seeds - 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(spread > 0, self.variance**2 / spread, np.inf)

    def critical(self, level: float = 0.95) -> Floats:
        """The critical value of |d| / sqrt(v), two-sided.

        Of Student's t with `df`; with fewer than T_SEEDS seeds on a side the mean of the parts' own critical
        values, weighted by the parts (Cochran and Cox): two or three degrees of freedom are too few to
        estimate how many there are.
        """
        return self._critical(np.asarray((1 - level) / 2))

    def half_width(self, level: float = 0.95) -> Floats:
        """Of the interval; 0 where nothing varies."""
        v = self.variance
        return np.where(v > 0, self.critical(level) * np.sqrt(v), 0.0)

    def p_value(self) -> Floats:
        """The level at which the interval touches 0; where nothing varies 1 for no difference, else 0."""
        v = self.variance
        t = np.abs(self.difference) / np.sqrt(np.where(v > 0, v, 1.0))
        p = self._cochran_cox_p(t) if min(self.seeds) < T_SEEDS else 2 * stdtr(self._usable_df, -t)
        return np.where(v > 0, p, np.where(self.difference == 0, 1.0, 0.0))

    @property
    def _usable_df(self) -> Floats:
        # finite for stdtr and stdtrit; at 1e12 Student's t is the normal to all digits
        return np.minimum(self.df, 1e12)

    def _critical(self, tail: Floats) -> Floats:
        if min(self.seeds) >= T_SEEDS:
            student: Floats = -stdtrit(self._usable_df, tail)
            return student
        total = self.v_S + self.v_P
        # `tail` is the lower one, so these quantiles are negative: hence the minus at the end
        value = self.v_P * stdtrit(self.n - 1, tail)
        for v, n_seeds in zip(self.v_seeds, self.seeds, strict=True):
            value = value + v * stdtrit(n_seeds - 1, tail)
        return -value / np.where(total > 0, total, 1.0)

    def _cochran_cox_p(self, t: Floats) -> Floats:
        """Bisection of the logarithm of p, down to 4e-44: the critical value falls as p grows."""
        low, high = np.full(t.shape, -100.0), np.zeros(t.shape)
        for _ in range(60):
            middle = (low + high) / 2
            beyond = self._critical(np.exp(middle) / 2) > t
            low, high = np.where(beyond, middle, low), np.where(beyond, high, middle)
        # the upper end of the bracket: a p value is never stated too small
        return np.exp(high)


def crossed_test(a: ArrayLike | Side, b: ArrayLike | Side, *, level: float = 0.95) -> CrossedResult:
    """Test of A against B from their values `[seeds, products]`, the same products in the same order.

    Args:
        a, b: one value per seed and product, or the `side` of such a table; the numbers of seeds may differ.
        level: of the interval.

    Raises:
        ValueError: not two-dimensional, empty, other products on one side, or a value is not finite.
    """
    one, other = sides(a, b)
    spread_P = np.maximum(one.high_P, other.high_P) - np.minimum(one.low_P, other.low_P)
    parts = _components(one.margins, other.margins)
    seeds = (len(one.seed_means), len(other.seed_means))
    return _result(parts, seeds, int((spread_P > SAME).sum()), max(one.scale, other.scale), level)


def fixed_test(a: ArrayLike | Side, b: ArrayLike | Side, *, level: float = 0.95) -> CrossedResult:
    """Test of A `[seeds, products]` against a scorer without seeds, `[products]` or its `fixed_side`: that side's seeds
    show no variance, and A's number of seeds decides whether a test is possible."""
    one = a if isinstance(a, Side) else side(a, "a")
    n_seeds = len(one.seed_means)
    other = b if isinstance(b, Side) else fixed_side(b, n_seeds)
    return replace(crossed_test(one, other, level=level), n_seeds=(n_seeds, 1))


def paired_test(a: ArrayLike, b: ArrayLike, *, level: float = 0.95) -> CrossedResult:
    """Test of A against a variant of itself: row s of both is the same seed.

    Args:
        a, b: `[seeds, products]`, of the same shape, rows in the same order of seeds.

    Raises:
        ValueError: as `crossed_test`, or different numbers of seeds.
    """
    x_A, x_B = check_tables(a, b)
    if x_A.shape != x_B.shape:
        raise ValueError(f"{len(x_A)} and {len(x_B)} seeds: a paired test needs the same ones on both sides")
    gap = x_A - x_B
    informative = int((np.abs(gap) > SAME).any(axis=0).sum())
    scale = max(float(np.abs(x_A).max()), float(np.abs(x_B).max()))
    result = _result(paired_components(gap), (len(gap), len(gap)), informative, scale, level)
    return replace(result, paired=True)


def components(x_A: Floats, x_B: Floats) -> Components:
    """Variance components from `[..., S_A, n]` and `[..., S_B, n]`, for all leading axes at once.

    v_M = var_s(mean_p x_M) / S_M and v_P = var_p(mean_s x_A - mean_s x_B) / n, with n-1 variances;
    v_E = MSE_A / (S_A n) + MSE_B / (S_B n), MSE_M being the residual mean square of the two-way table.
    """
    return _components(margins(x_A), margins(x_B))


def _components(a: Margins, b: Margins) -> Components:
    n, seeds = a.product_mean.shape[-1], (a.seed_mean.shape[-1], b.seed_mean.shape[-1])
    return Components(
        difference=a.product_mean.mean(axis=-1) - b.product_mean.mean(axis=-1),
        v_seeds=tuple(_sample_variance(one.seed_mean) / one.seed_mean.shape[-1] for one in (a, b)),
        v_P=_sample_variance(a.product_mean - b.product_mean) / n,
        v_E=a.residual / (seeds[0] * n) + b.residual / (seeds[1] * n),
        seeds=seeds,
        n=n,
    )


def paired_components(gap: Floats) -> Components:
    """The same from one table of differences `[..., S, n]` between runs of equal seed."""
    n_seeds, n = gap.shape[-2:]
    by_product = gap.mean(axis=-2)
    return Components(
        difference=by_product.mean(axis=-1),
        v_seeds=(_sample_variance(gap.mean(axis=-1)) / n_seeds,),
        v_P=_sample_variance(by_product) / n,
        v_E=residual_mean_square(gap) / (n_seeds * n),
        seeds=(n_seeds,),
        n=n,
    )


def seed_interval(means: ArrayLike, *, level: float = 0.95) -> tuple[float, float] | None:
    """t interval of one method's mean on these products, from its seeds' means; None with fewer than 3 seeds.

    The products are fixed here: this is for the comparison with a number that somebody else obtained on the
    same test products.
    """
    x = np.asarray(means, dtype=np.float64)
    if len(x) < MIN_SEEDS:
        return None
    half_width = float(stdtrit(len(x) - 1, (1 + level) / 2) * np.sqrt(_sample_variance(x) / len(x)))
    return float(x.mean()) - half_width, float(x.mean()) + half_width


def _result(
    parts: Components, seeds: tuple[int, int], informative: int, scale: float, level: float
) -> CrossedResult:
    p_value, df, interval = None, None, None
    reason = _why_no_test(seeds, parts.n)
    if reason is None:
        parts = _without_rounding(parts, scale)
        difference, half_width = float(parts.difference), float(parts.half_width(level))
        p_value, interval = float(parts.p_value()), (difference - half_width, difference + half_width)
        df = float(parts.df) if parts.variance > 0 else None
        if informative < MIN_PRODUCTS:
            reason = f"too few products: scores differ on {informative}, a verdict needs {MIN_PRODUCTS}"
    return CrossedResult(
        difference=float(parts.difference),
        p_value=p_value,
        df=df,
        interval=interval,
        v_seeds=tuple(float(v) for v in parts.v_seeds),
        v_P=float(parts.v_P),
        v_E=float(parts.v_E),
        variance=float(parts.variance),
        n_seeds=seeds,
        n_products=parts.n,
        n_informative=informative,
        level=level,
        reason=reason,
    )


def _without_rounding(parts: Components, scale: float) -> Components:
    """Sums of n values carry rounding errors: a variance far below the values' scale is noise of arithmetic,
    and so is a difference where nothing else varies."""
    # a few hundred roundings of a double of this size
    nothing = 1e-13 * scale
    if parts.variance > nothing**2:
        return parts
    zero = np.zeros_like(parts.v_P)
    difference = np.where(np.abs(parts.difference) <= nothing, 0.0, parts.difference)
    return replace(
        parts, difference=difference, v_seeds=tuple(zero for _ in parts.v_seeds), v_P=zero, v_E=zero
    )


def _why_no_test(seeds: tuple[int, int], n: int) -> str | None:
    if min(seeds) < MIN_SEEDS:
        return f"{seeds[0]} and {seeds[1]} seeds: a test needs {MIN_SEEDS} on each side"
    if n < 2:
        return "one product: a test needs two"
    return None


def _sample_variance(x: Floats) -> Floats:
    """n-1 variance along the last axis; 0 for a single value."""
    if x.shape[-1] < 2:
        return np.zeros(x.shape[:-1])
    variance: Floats = np.var(x, axis=-1, ddof=1)
    return variance
