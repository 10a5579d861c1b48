"""The primary test: two methods, several seeds each, the same products; both are samples.

A method here is what its training procedure gives, not five particular models; a data set is a sample of
products. So seeds and products are both random effects, crossed, and the variance of the difference of
means has a part for each (two-way random effects; Satterthwaite's degrees of freedom). A test that takes
the products alone as the sample finds almost anything significant, one over five seeds almost nothing.

Names follow the equations: S seeds (S_A and S_B where they differ), n products. Seeds are not paired between
methods, products are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

Floats = NDArray[np.float64]

MIN_SEEDS = 3
"""Fewer on either side: no test."""


@dataclass(frozen=True)
class CrossedResult:
    """What the crossed test says of A against B. Values are in the unit of the input (0..1 for metrics)."""

    difference: float
    """Mean of A minus mean of B, over seeds and products."""
    p_value: float | None
    """Two-sided; None where no test is possible, `reason` says why. 1 where nothing varies."""
    df: float | None
    """Satterthwaite's degrees of freedom of t; None without a test or where nothing varies."""
    interval: tuple[float, float] | None
    """For the difference, at `level`; None without a test."""
    v_A: float
    """Variance of A's mean that its seeds show (0 with one seed)."""
    v_B: float
    v_P: float
    """Variance of the difference that the products show (0 with one product)."""
    v_E: float
    """The residual's part, which v_A, v_B and v_P all contain: counted twice in their sum."""
    variance: float
    """v = max(v_A + v_B + v_P - v_E, v_P), of the difference."""
    n_seeds: tuple[int, int]
    n_products: int
    level: float = 0.95
    reason: str | None = None


@dataclass(frozen=True)
class Components:
    """The parts of the variance of a difference; each a float array over whatever leading axes came in."""

    difference: Floats
    v_A: Floats
    v_B: Floats
    v_P: Floats
    v_E: Floats

    @property
    def variance(self) -> Floats:
        return np.maximum(self.v_A + self.v_B + self.v_P - self.v_E, self.v_P)


def crossed_test(a: ArrayLike, b: ArrayLike, *, level: float = 0.95) -> CrossedResult:
    """Test of A against B from their values `[seeds, products]`, the same products in the same order.

    Args:
        a, b: one value per seed and product; the numbers of seeds may differ.
        level: of the interval.

    Raises:
        ValueError: not two-dimensional, empty, other products on one side, or a value is not finite.
    """
    x_A, x_B = check_tables(a, b)
    parts = components(x_A, x_B)
    seeds, n = (x_A.shape[0], x_B.shape[0]), x_A.shape[1]
    reason = _why_no_test(seeds, n)
    p_value, df, interval = None, None, None
    if reason is None:
        # Sums of n values in [0, 1] carry rounding errors: far below this, "variance" is noise of arithmetic.
        scale = max(float(np.abs(x_A).max()), float(np.abs(x_B).max()))
        p_values, dfs, half_widths = decide(parts, seeds, n, level=level, nothing=(1e-13 * scale) ** 2)
        p_value, half_width = float(p_values), float(half_widths)
        df = float(dfs) if np.isfinite(dfs) else None
        interval = (float(parts.difference) - half_width, float(parts.difference) + half_width)
    return CrossedResult(
        difference=float(parts.difference),
        p_value=p_value,
        df=df,
        interval=interval,
        v_A=float(parts.v_A),
        v_B=float(parts.v_B),
        v_P=float(parts.v_P),
        v_E=float(parts.v_E),
        variance=float(parts.variance),
        n_seeds=seeds,
        n_products=n,
        level=level,
        reason=reason,
    )


def components(x_A: Floats, x_B: Floats) -> Components:
    """Variance components from `[..., S_A, n]` and `[..., S_B, n]`, for all leading axes at once.

    v_M = var_s(mean_p x_M) / S_M and v_P = var_p(mean_s x_A - mean_s x_B) / n, with n-1 variances;
    v_E = MSE_A / (S_A n) + MSE_B / (S_B n), MSE_M being the residual mean square of the two-way table.
    """
    n = x_A.shape[-1]
    by_product_A, by_product_B = x_A.mean(axis=-2), x_B.mean(axis=-2)
    by_product = by_product_A - by_product_B
    return Components(
        difference=by_product_A.mean(axis=-1) - by_product_B.mean(axis=-1),
        v_A=_sample_variance(x_A.mean(axis=-1)) / x_A.shape[-2],
        v_B=_sample_variance(x_B.mean(axis=-1)) / x_B.shape[-2],
        v_P=_sample_variance(by_product) / n,
        v_E=residual_mean_square(x_A) / (x_A.shape[-2] * n) + residual_mean_square(x_B) / (x_B.shape[-2] * n),
    )


def residual_mean_square(x: Floats) -> Floats:
    """sum (x - seed mean - product mean + grand mean)^2 / ((S-1)(n-1)) of `[..., S, n]`; 0 if S or n is 1."""
    n_seeds, n = x.shape[-2:]
    if n_seeds < 2 or n < 2:
        return np.zeros(x.shape[:-2])
    by_product = x - x.mean(axis=-2, keepdims=True)
    residual = by_product - by_product.mean(axis=-1, keepdims=True)
    total = np.einsum("...sp,...sp->...", residual, residual)
    mean_square: Floats = total / ((n_seeds - 1) * (n - 1))
    return mean_square


def decide(
    parts: Components, seeds: tuple[int, int], n: int, *, level: float = 0.95, nothing: float = 0.0
) -> tuple[Floats, Floats, Floats]:
    """(p value, degrees of freedom, half width of the interval), elementwise over the parts.

    t = d / sqrt(v), df = v^2 / (v_A^2/(S_A-1) + v_B^2/(S_B-1) + v_P^2/(n-1) + v_E^2/((S-1)(n-1))) with S the
    smaller number of seeds. Where v <= `nothing`, nothing varies: p = 1, df NaN, half width 0.

    v_E is subtracted in v but adds to the uncertainty of v: where it exceeds v (few products that the methods
    treat alike) df falls, even below 1, and the test says little rather than too much.
    """
    v = parts.variance
    varies = v > nothing
    safe = np.where(varies, v, 1.0)
    spread = (
        parts.v_A**2 / (seeds[0] - 1)
        + parts.v_B**2 / (seeds[1] - 1)
        + parts.v_P**2 / (n - 1)
        + parts.v_E**2 / ((min(seeds) - 1) * (n - 1))
    )
    df = np.where(varies, safe**2 / np.where(varies & (spread > 0), spread, 1.0), np.nan)
    usable_df = np.where(varies, df, 1.0)
    t = parts.difference / np.sqrt(safe)
    p_value = np.where(varies, 2 * stdtr(usable_df, -np.abs(t)), 1.0)
    half_width = np.where(varies, stdtrit(usable_df, (1 + level) / 2) * np.sqrt(safe), 0.0)
    return p_value, df, half_width


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


def check_tables(a: ArrayLike, b: ArrayLike) -> tuple[Floats, Floats]:
    """Both as float64 `[seeds, products]`; ValueError if they are not two tables over the same products."""
    x_A, x_B = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    for name, x in (("a", x_A), ("b", x_B)):
        if x.ndim != 2 or x.size == 0:
            raise ValueError(f"{name} must be [seeds, products] and not empty, its shape is {list(x.shape)}")
        if not np.isfinite(x).all():
            raise ValueError(f"{name} holds values that are not finite")
    if x_A.shape[1] != x_B.shape[1]:
        raise ValueError(f"a has {x_A.shape[1]} products, b has {x_B.shape[1]}: they must be the same ones")
    return x_A, x_B


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
