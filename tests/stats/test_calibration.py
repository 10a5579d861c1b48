"""Size, coverage, width and power of the crossed test, by simulation of worlds in which the truth is known.

`python -m tests.stats.calibration` prints the same as a table, beside the test's first version.
"""

import numpy as np
import pytest

from benchmark.core.metrics import per_product_metrics
from benchmark.stats.crossed import components
from tests.stats.regimes import (
    ALIKE,
    DETERMINISTIC,
    NORMAL,
    ODD,
    PAIRED,
    Regime,
    difference_for,
    outcome,
)

EVERY = [*NORMAL, *ALIKE, *ODD, *DETERMINISTIC, *PAIRED]


@pytest.mark.parametrize("regime", EVERY, ids=str)
def test_a_true_null_is_rejected_at_most_at_the_nominal_rate(regime):
    found = outcome(regime)
    assert found.size <= 0.07
    assert found.coverage >= 0.93
    assert found.size >= (0.0 if regime.tied else 0.003 if regime.cautious else 0.008)
    if (regime.n, regime.seeds, regime.seed_sd) == (12, (5, 5), 0.007) and regime.kind == "normal":
        assert found.half_width <= 0.15


@pytest.mark.parametrize(
    ("seeds", "least"), [((3, 3), 0.52), ((3, 10), 0.63), ((5, 5), 0.79), ((10, 10), 0.84)]
)
def test_power_is_close_to_that_of_a_test_that_knows_the_variances(seeds, least):
    """Which finds these differences with 90%."""
    powers, wrong = [], []
    for regime in (one for one in NORMAL if one.seeds == seeds and one.n < 2000):
        better_by = difference_for(regime)
        powers.append(outcome(regime, sims=400, better_by=better_by).size)
        wrong.append(outcome(regime, sims=400, better_by=better_by).coverage < 0.93)
    assert np.mean(powers) >= least
    assert not any(wrong)


def test_the_better_method_wins():
    regime, rng = Regime((5, 5), 300), np.random.default_rng(7)
    parts = components(*regime.draw(rng, 600, better_by=0.03))
    found = np.abs(parts.difference) > parts.half_width()
    assert (found & (parts.difference > 0)).mean() > 0.6
    assert (found & (parts.difference < 0)).mean() < 0.005


def test_equal_rankers_are_told_apart_at_the_nominal_rate_on_average_precision():
    """AP of simulated rankings, bounded and skewed as real values are, instead of normal effects."""
    rng = np.random.default_rng(9)
    n, size, seeds, sims = 40, 8, 5, 250
    product = np.repeat(np.arange(n * seeds * 2 * sims), size)
    label = np.tile(rng.integers(0, 3, (sims, 1, 1, n, size)), (1, 2, seeds, 1, 1))
    taste = rng.normal(0, 1, (sims, 2, 1, n, size))  # what a method thinks of a review, whatever its seed
    score = label + taste + rng.normal(0, 1, (sims, 2, seeds, n, size))
    values = per_product_metrics(label.ravel(), score.ravel(), product, product[-1] + 1)["map"]
    x = values.reshape(sims, 2, seeds, n)
    p = components(x[:, 0], x[:, 1]).p_value()
    assert 0.01 <= (p < 0.05).mean() <= 0.09  # 250 simulations: one standard error is 1.4 points
