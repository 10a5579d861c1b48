"""`seeds_needed` against simulations of the real test."""

import numpy as np
import pytest

from benchmark.stats import seeds_needed
from tests.stats.drawing import draw
from tests.stats.regimes import Regime, outcome

CASES = [
    Regime(seeds, n, seed_sd, interaction_sd=interaction_sd)
    for seeds in ((3, 3), (3, 10), (5, 5), (10, 10))
    for n, seed_sd, interaction_sd in ((40, 0.0, 0.0), (40, 0.02, 0.05), (300, 0.007, 0.05), (300, 0.02, 0.0))
]


def tables_with(regime, rng):
    """Two tables whose estimated variance components are exactly those of a regime's normal effects."""
    n, (s_A, s_B) = regime.n, regime.seeds

    def centred(shape):
        """Noise without row or column means, of mean square one per residual degree of freedom."""
        x = rng.normal(0, 1, shape)
        x = x - x.mean(axis=0, keepdims=True) - x.mean(axis=1, keepdims=True) + x.mean()
        return x * np.sqrt((shape[0] - 1) * (shape[1] - 1) / (x**2).sum())

    def standard(size):
        x = rng.normal(0, 1, size)
        return (x - x.mean()) / x.std(ddof=1)

    residual = regime.residual_sd**2
    sides = []
    for s in (s_A, s_B):
        seed = standard(s)[:, None] * np.sqrt(regime.seed_sd**2 + residual / n)
        sides.append(seed + centred((s, n)) * regime.residual_sd)
    product = 2 * regime.interaction_sd**2 + residual / s_A + residual / s_B
    return sides[0] + standard(n)[None, :] * np.sqrt(product), sides[1]


@pytest.mark.parametrize("regime", CASES, ids=str)
def test_power_now_is_that_of_the_real_test_within_two_points(regime):
    a, b = tables_with(regime, np.random.default_rng(1))
    better_by = 2.5 * regime.sd()
    promised = seeds_needed(a, b, better_by).power_now
    assert promised == pytest.approx(outcome(regime, sims=6000, better_by=better_by).size, abs=0.02)


def test_the_number_of_seeds_gives_the_power_it_promises_and_one_fewer_does_not():
    regime = Regime((5, 5), 200, 0.02)
    a, b = tables_with(regime, np.random.default_rng(2))
    answer = seeds_needed(a, b, 0.03)

    def simulated(seeds):
        return outcome(Regime((seeds, seeds), 200, 0.02), sims=4000, better_by=0.03).size

    assert 3 < answer.seeds < 20
    assert simulated(answer.seeds) > 0.78
    assert simulated(answer.seeds - 1) < 0.82
    assert simulated(answer.seeds) - simulated(answer.seeds - 2) > 0.02


def test_more_seeds_cannot_replace_products():
    rng = np.random.default_rng(16)
    a, b = (draw(rng, 5, 20, seed_sd=0.01, interaction_sd=0.3) for _ in range(2))
    answer = seeds_needed(a, b, 0.005)
    assert answer.seeds is None
    assert answer.smallest_with_any_seeds > 0.1
    assert seeds_needed(a, b, 1.01 * answer.smallest_with_any_seeds).seeds is not None
    with pytest.raises(ValueError, match="positive"):
        seeds_needed(a, b, 0)


def test_a_power_is_the_same_twice():
    rng = np.random.default_rng(3)
    a, b = (draw(rng, 4, 30, seed_sd=0.01) for _ in range(2))
    assert seeds_needed(a, b, 0.05) == seeds_needed(a, b, 0.05)
