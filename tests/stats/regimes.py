"""Worlds in which the truth is known, and what a test makes of many experiments in each.

Both methods are drawn alike (but for what a regime makes deterministic), so their true difference is 0, or
`better_by` where that is given. Seed, method-by-product and residual effects; values in 0..1, where 0.01 is a
point. Used by the calibration test of the suite and by `python -m tests.stats.calibration`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from benchmark.stats.crossed import Components, components, paired_components

VALUES_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class Regime:
    seeds: tuple[int, int]
    n: int
    seed_sd: float = 0.007
    interaction_sd: float = 0.05
    """Of one method's own effect of a product."""
    residual_sd: float = 0.1
    kind: str = "normal"
    """normal; tied (80% of the products at 0 or 1), ceiling (half of them at 1), heavy (interactions by t with
    2.5 degrees of freedom), outlier (a tenth of the seeds lose 10 points)."""
    fixed: int = 0
    """How many of the sides are deterministic: one value per product, whatever the seed."""
    paired: float | None = None
    """Correlation of the residuals and of the seeds' effects between equal seeds; None: the unpaired test."""

    def __str__(self) -> str:
        seeds = f"{self.seeds[0]}/{self.seeds[1]}"
        words = [f"{seeds} seeds", f"{self.n} products", f"seed sd {100 * self.seed_sd:g}", self.kind]
        words += ["no interaction"] * (not self.interaction_sd)
        words += [f"{self.fixed} deterministic"] * bool(self.fixed)
        words += [] if self.paired is None else [f"paired r={self.paired:g}"]
        return ", ".join(words)

    @property
    def tied(self) -> bool:
        return self.kind in ("tied", "ceiling")

    @property
    def cautious(self) -> bool:
        """Where the test rejects less than it may: methods that differ on no product beyond noise, and an
        outlier among three seeds."""
        return not self.interaction_sd or (self.kind == "outlier" and min(self.seeds) < 5)

    @property
    def sims(self) -> int:
        return 600 if self.n >= 2000 else 2000 if self.n > 60 else 5000

    def sd(self) -> float:
        """True standard deviation of the difference of means, for normal effects."""
        share = 1 if self.paired is None else 1 - self.paired
        varying = [s for side, s in enumerate(self.seeds) if side >= self.fixed]
        own = self.seed_sd**2 + self.residual_sd**2 / self.n
        return float(np.sqrt(share * sum(own / s for s in varying) + 2 * self.interaction_sd**2 / self.n))

    def draw(self, rng, sims, better_by=0.0):
        """Two arrays `[sims, seeds, products]`."""
        common = self._product(rng, sims)
        a, b = (self._side(rng, sims, side) for side in (0, 1))
        if self.paired is not None:
            shared = self._runs(rng, sims, self.seeds[0])
            a, b = (x + np.sqrt(self.paired) * shared for x in (a, b))
        a, b = common + a + better_by, common + b
        return (np.clip(a, 0, 1), np.clip(b, 0, 1)) if self.tied else (a, b)

    def _product(self, rng, sims):
        """What both methods make of a product alike; it cancels unless values are clipped."""
        if self.kind == "tied":
            return rng.normal(0.5, 2.0, (sims, 1, self.n))
        return rng.normal(1.0, 0.2, (sims, 1, self.n)) if self.kind == "ceiling" else np.array(0.5)

    def _side(self, rng, sims, side):
        shape = (sims, 1, self.n)
        if self.kind == "heavy":  # t with 2.5 degrees of freedom has variance 5
            product = rng.standard_t(2.5, shape) * self.interaction_sd / 5**0.5
        else:
            product = rng.normal(0, self.interaction_sd, shape)
        if side < self.fixed:
            return np.repeat(product, self.seeds[side], axis=1)
        own = 1 if self.paired is None else np.sqrt(1 - self.paired)
        return product + own * self._runs(rng, sims, self.seeds[side])

    def _runs(self, rng, sims, n_seeds):
        seed = rng.normal(0, self.seed_sd, (sims, n_seeds, 1))
        if self.kind == "outlier":
            seed = seed - 0.1 * (rng.random(seed.shape) < 0.1)
        return seed + rng.normal(0, self.residual_sd, (sims, n_seeds, self.n))


@dataclass(frozen=True)
class Outcome:
    """Shares of experiments; the half width is the largest, in the unit of the values."""

    size: float
    half_width: float
    coverage: float


Half = Callable[[Components], np.ndarray]


def half_width(parts: Components) -> np.ndarray:
    return parts.half_width(0.95)


def outcome(regime: Regime, *, half: Half = half_width, sims: int | None = None, better_by=0.0) -> Outcome:
    """Of the test at the 5% level. `size` is the share in which 0 lies outside the interval (the power, if
    one side is `better_by` better), `coverage` that in which the truth lies inside."""
    rng = np.random.default_rng([hash_of(regime), int(1e6 * better_by)])
    wanted = left = sims or regime.sims
    outside, inside, widest = 0, 0, 0.0
    while left:
        size = min(left, max(1, VALUES_AT_ONCE // (regime.n * max(regime.seeds))))
        a, b = regime.draw(rng, size, better_by)
        parts = components(a, b) if regime.paired is None else paired_components(a - b)
        width = half(parts)
        outside += int((np.abs(parts.difference) > width).sum())
        inside += int((np.abs(parts.difference - better_by) <= width).sum())
        widest = max(widest, float(width.max()))
        left -= size
    return Outcome(outside / wanted, widest, inside / wanted)


def difference_for(regime: Regime, power: float = 0.9) -> float:
    """What a test that knows the variances finds with this chance, at the 5% level."""
    low, high = 0.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        found = ndtr(middle - 1.959964) + ndtr(-middle - 1.959964)
        low, high = (middle, high) if found < power else (low, middle)
    return high * regime.sd()


def hash_of(regime: Regime) -> int:
    """The same in every process, unlike `hash`."""
    return zlib.crc32(str(regime).encode())


SEEDS = ((3, 3), (3, 10), (5, 5), (10, 10))
NORMAL = [
    Regime(seeds, n, seed_sd)
    for seeds in SEEDS
    for n in (12, 50, 300, 2000)
    for seed_sd in (0.0, 0.007, 0.02)
    if n < 2000 or seed_sd == 0.007
]
ALIKE = [
    Regime(seeds, n, seed_sd, interaction_sd=0.0)
    for seeds in SEEDS
    for n in (12, 60)
    for seed_sd in (0.0, 0.007)
]
ODD = [
    Regime(seeds, n, kind=kind)
    for kind in ("heavy", "outlier", "tied", "ceiling")
    for seeds in SEEDS
    for n in (50, 300)
]
DETERMINISTIC = [
    Regime(seeds, n, seed_sd, fixed=fixed)
    for fixed in (1, 2)
    for seeds in ((3, 3), (5, 5), (10, 10))
    for n in (12, 50, 300)
    for seed_sd in ((0.0, 0.007, 0.02) if fixed == 1 else (0.007,))
]
PAIRED = [
    Regime((s, s), n, seed_sd, interaction_sd=interaction_sd, kind=kind, paired=0.9)
    for s in (3, 5, 10)
    for n in (12, 50, 300)
    for seed_sd, interaction_sd, kind in (
        (0.007, 0.02, "normal"),
        (0.05, 0.15, "normal"),
        (0.007, 0.15, "heavy"),
        (0.007, 0.02, "tied"),
    )
]
GROUPS = {
    "normal": NORMAL,
    "methods that treat products alike": ALIKE,
    "heavy tails, outliers, ties, ceilings": ODD,
    "deterministic sides": DETERMINISTIC,
    "paired": PAIRED,
}
