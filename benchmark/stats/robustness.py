"""What other tests would say, beside the primary one, each labelled with what it takes as the sample.

Welch and the permutation test take the seeds as the sample and the products as the population. The paired
t and the sign flips take the products as the sample and these trained models as the methods: "given these
trained models". The hierarchical bootstrap resamples both.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike
from scipy.special import stdtr

from benchmark.stats.crossed import SAME, components
from benchmark.stats.sides import Floats, check_tables

EXACT_LIMIT = 20_000
"""Assignments of seeds to methods, up to which all are listed."""
CHUNK = 500
"""Replicates drawn at once; bounds memory, and the stream of draws is the same for any."""


@dataclass(frozen=True)
class Interval:
    low: float
    high: float
    level: float


@dataclass(frozen=True)
class PermutationResult:
    p_value: float
    smallest_possible: float
    """With so few seeds no smaller p exists: 2/252 for five against five."""
    exact: bool
    """All assignments listed; else drawn at random."""


@dataclass(frozen=True)
class VarianceShares:
    """Shares of the variance of the difference; they sum to 1 (all 0 where nothing varies)."""

    seed: float
    product: float
    residual: float


@dataclass(frozen=True)
class Robustness:
    """The block for one comparison; None where a test is not possible."""

    welch: float | None
    permutation: PermutationResult | None
    paired_t: float | None
    sign_flips: float | None
    bootstrap: Interval
    shares: VarianceShares


def robustness(a: ArrayLike, b: ArrayLike, rng: Generator, *, replicates: int = 4999) -> Robustness:
    """All of the block for tables `[seeds, products]`; two calls with equal generators give the same."""
    x_A, x_B = check_tables(a, b)
    return Robustness(
        welch=welch_p_value(x_A, x_B),
        permutation=seed_permutation(x_A, x_B, rng),
        paired_t=paired_t_p_value(x_A, x_B),
        sign_flips=sign_flip_p_value(x_A, x_B, rng, replicates=replicates),
        bootstrap=hierarchical_bootstrap(x_A, x_B, rng, replicates=replicates),
        shares=variance_shares(x_A, x_B),
    )


def welch_p_value(a: ArrayLike, b: ArrayLike) -> float | None:
    """Welch's t over the seeds' means, two-sided; None with one seed on a side."""
    mean_A, mean_B = _seed_means(a, b)
    if min(len(mean_A), len(mean_B)) < 2:
        return None
    v_A, v_B = mean_A.var(ddof=1) / len(mean_A), mean_B.var(ddof=1) / len(mean_B)
    v = v_A + v_B
    if v <= SAME**2:
        return _without_variance(mean_A.mean() - mean_B.mean())
    df = v**2 / (v_A**2 / (len(mean_A) - 1) + v_B**2 / (len(mean_B) - 1))
    return float(2 * stdtr(df, -abs(mean_A.mean() - mean_B.mean()) / np.sqrt(v)))


def seed_permutation(a: ArrayLike, b: ArrayLike, rng: Generator) -> PermutationResult | None:
    """Two-sided permutation test over the seeds' means, exact up to EXACT_LIMIT assignments.

    None with one seed on a side.
    """
    mean_A, mean_B = _seed_means(a, b)
    n_A, n_B = len(mean_A), len(mean_B)
    if min(n_A, n_B) < 2:
        return None
    pooled = np.concatenate([mean_A, mean_B])
    observed = abs(mean_A.mean() - mean_B.mean())
    n_assignments = comb(n_A + n_B, n_A)
    exact = n_assignments <= EXACT_LIMIT
    if exact:
        chosen = np.array(list(combinations(range(n_A + n_B), n_A)))
    else:
        # permuted shuffles each row on its own; permutation would only exchange rows
        chosen = rng.permuted(np.tile(np.arange(n_A + n_B), (EXACT_LIMIT, 1)), axis=1)[:, :n_A]
    sum_A = pooled[chosen].sum(axis=1)
    gap = np.abs(sum_A / n_A - (pooled.sum() - sum_A) / n_B)
    # room for rounding: the observed assignment is among them, summed in another order, and must count
    extreme = int((gap >= observed - SAME).sum())
    # With equal numbers of seeds an assignment and its mirror image are equally extreme.
    smallest = (2 if n_A == n_B else 1) / n_assignments
    # of random assignments the observed one is counted in: p is never 0
    p_value = extreme / n_assignments if exact else (extreme + 1) / (EXACT_LIMIT + 1)
    return PermutationResult(p_value, smallest if exact else 1 / (EXACT_LIMIT + 1), exact)


def paired_t_p_value(a: ArrayLike, b: ArrayLike) -> float | None:
    """Paired t over products of seed-averaged values, given these trained models; None with one product."""
    gap = _product_gaps(a, b)
    if len(gap) < 2:
        return None
    v = gap.var(ddof=1) / len(gap)
    if v <= SAME**2:
        return _without_variance(gap.mean())
    return float(2 * stdtr(len(gap) - 1, -abs(gap.mean()) / np.sqrt(v)))


def sign_flip_p_value(a: ArrayLike, b: ArrayLike, rng: Generator, *, replicates: int = 4999) -> float:
    """Randomisation test over products of seed-averaged values: each product's difference changes sign with
    probability 1/2. p = (extreme + 1) / (replicates + 1), two-sided, given these trained models."""
    gap = _product_gaps(a, b)
    observed = abs(gap.sum())
    extreme = 0
    for start in range(0, replicates, CHUNK):
        signs = rng.integers(0, 2, size=(min(CHUNK, replicates - start), len(gap)), dtype=np.int8)
        flipped = np.abs(2 * (signs @ gap) - gap.sum())
        extreme += int((flipped >= observed - SAME * len(gap)).sum())
    return (extreme + 1) / (replicates + 1)


def hierarchical_bootstrap(
    a: ArrayLike, b: ArrayLike, rng: Generator, *, replicates: int = 4999, level: float = 0.95
) -> Interval:
    """Percentile interval of the difference: products are resampled once for both methods, seeds for each.

    With S seeds the resampled means spread by only (S-1)/S of the seeds' variance, so with few seeds the
    interval is a little too short; the crossed test's is not.
    """
    x_A, x_B = check_tables(a, b)
    n = x_A.shape[1]
    drawn: list[Floats] = []
    for start in range(0, replicates, CHUNK):
        size = min(CHUNK, replicates - start)
        product_counts = rng.multinomial(n, np.full(n, 1 / n), size=size).astype(np.float64)
        means = [_resampled_seed_mean(x, product_counts, rng) for x in (x_A, x_B)]
        drawn.append(means[0] - means[1])
    low, high = np.quantile(np.concatenate(drawn), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level)


def variance_shares(a: ArrayLike, b: ArrayLike) -> VarianceShares:
    """What the difference's uncertainty comes from. A component whose estimate is negative counts as 0."""
    x_A, x_B = check_tables(a, b)
    parts = components(x_A, x_B)
    v_E = float(parts.v_E)
    seed = max(0.0, float(parts.v_S) - v_E)
    product = max(0.0, float(parts.v_P) - v_E)
    total = seed + product + v_E
    if total <= 0:
        return VarianceShares(0.0, 0.0, 0.0)
    return VarianceShares(seed / total, product / total, v_E / total)


def _resampled_seed_mean(x: Floats, product_counts: Floats, rng: Generator) -> Floats:
    """[replicates]: the mean over resampled seeds of `x` [seeds, products] at given product counts."""
    n_seeds, n = x.shape
    seed_counts = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=len(product_counts))
    mean: Floats = np.einsum("rs,rs->r", product_counts @ x.T, seed_counts) / (n_seeds * n)
    return mean


def _without_variance(difference: float) -> float:
    """p where nothing varies: a difference is then certain, and so is its absence."""
    return 1.0 if abs(difference) <= SAME else 0.0


def _seed_means(a: ArrayLike, b: ArrayLike) -> tuple[Floats, Floats]:
    x_A, x_B = check_tables(a, b)
    return x_A.mean(axis=1), x_B.mean(axis=1)


def _product_gaps(a: ArrayLike, b: ArrayLike) -> Floats:
    x_A, x_B = check_tables(a, b)
    gaps: Floats = x_A.mean(axis=0) - x_B.mean(axis=0)
    return gaps
