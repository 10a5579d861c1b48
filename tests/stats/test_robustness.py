"""The other tests against SciPy, brute force and theory; effect sizes by hand."""

import itertools

import numpy as np
import pytest
from scipy import stats as scipy_stats

from benchmark.stats import (
    hierarchical_bootstrap,
    paired_t_p_value,
    probability_better,
    robustness,
    seed_interval,
    seed_permutation,
    sign_flip_p_value,
    variance_shares,
    welch_p_value,
    win_tie_loss,
)
from benchmark.stats.crossed import components
from tests.stats.drawing import draw


def test_the_seed_interval_is_students_t():
    means = [0.61, 0.63, 0.60, 0.64]
    expected = scipy_stats.t.interval(0.95, 3, loc=np.mean(means), scale=scipy_stats.sem(means))
    assert seed_interval(means) == pytest.approx(expected)
    assert seed_interval(means[:2]) is None


def test_effect_sizes():
    a = np.array([[0.5, 0.5, 0.4], [0.7, 0.5, 0.6]])  # seeds 0.4667 and 0.6
    b = np.array([[0.6, 0.5, 0.3], [0.6, 0.5, 0.7]])  # seeds 0.4667 and 0.6
    assert probability_better(a, b) == pytest.approx((0.5 + 0 + 1 + 0.5) / 4)
    assert tuple(win_tie_loss(a, b)) == (0, 3, 0)
    assert probability_better(a + 1, b) == 1
    c = a + np.array([0.1, 0, -0.1])
    assert tuple(win_tie_loss(c, b)) == (1, 1, 1)
    assert tuple(win_tie_loss(b, c)) == (1, 1, 1)


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(11)
    return draw(rng, 5, 60, seed_sd=0.01, mean=0.03), draw(rng, 4, 60, seed_sd=0.02)


def test_robustness_tests_against_scipy(pair):
    a, b = pair
    welch = scipy_stats.ttest_ind(a.mean(axis=1), b.mean(axis=1), equal_var=False)
    assert welch_p_value(a, b) == pytest.approx(welch.pvalue)
    paired = scipy_stats.ttest_rel(a.mean(axis=0), b.mean(axis=0))
    assert paired_t_p_value(a, b) == pytest.approx(paired.pvalue)

    def gap(x, y, axis):
        return np.abs(np.mean(x, axis=axis) - np.mean(y, axis=axis))

    exact = scipy_stats.permutation_test(
        (a.mean(axis=1), b.mean(axis=1)), gap, vectorized=True, n_resamples=np.inf, alternative="greater"
    )
    ours = seed_permutation(a, b, np.random.default_rng(0))
    assert ours.p_value == pytest.approx(exact.pvalue)
    assert (ours.smallest_possible, ours.exact) == (1 / 126, True)


def test_five_against_five_seeds_cannot_go_below_two_of_252():
    a, b = np.arange(5.0)[:, None] + [[10, 10]], np.arange(5.0)[:, None] + [[0, 0]]
    result = seed_permutation(a, b, np.random.default_rng(0))
    assert result.p_value == result.smallest_possible == pytest.approx(2 / 252)


def test_many_seeds_are_permuted_at_random():
    rng = np.random.default_rng(12)
    a, b = rng.normal(0, 1, (12, 3)), rng.normal(0.2, 1, (12, 3))
    result = seed_permutation(a, b, rng)
    assert not result.exact
    assert result.p_value == pytest.approx(welch_p_value(a, b), abs=0.03)


def test_sign_flips_against_every_assignment_of_signs():
    rng = np.random.default_rng(13)
    a, b = rng.random((3, 10)), rng.random((3, 10)) - 0.15
    gap = a.mean(axis=0) - b.mean(axis=0)
    every = np.array(list(itertools.product([1, -1], repeat=10))) @ gap
    exact = np.mean(np.abs(every) >= abs(gap.sum()) - 1e-12)
    assert sign_flip_p_value(a, b, rng, replicates=20_000) == pytest.approx(exact, abs=0.012)


def test_the_smallest_sign_flip_p_is_one_over_replicates_plus_one():
    a, b = np.ones((3, 40)) + np.arange(40) * 0.01, np.zeros((3, 40))
    assert sign_flip_p_value(a, b, np.random.default_rng(0), replicates=999) == 1 / 1000
    assert sign_flip_p_value(a, a, np.random.default_rng(0), replicates=999) == 1


def test_the_bootstrap_interval_has_the_spread_that_theory_gives(pair):
    """Resampling S seeds and n products keeps (S-1)/S and (n-1)/n of their variances."""
    a, b = pair
    interval = hierarchical_bootstrap(a, b, np.random.default_rng(1), replicates=4000)
    parts = components(a, b)
    v_A, v_B = parts.v_seeds
    v = v_A * 4 / 5 + v_B * 3 / 4 + parts.v_P * 59 / 60
    middle = (interval.low + interval.high) / 2
    assert middle == pytest.approx(float(parts.difference), abs=0.15 * v**0.5)
    assert (interval.high - interval.low) / (2 * 1.96) == pytest.approx(v**0.5, rel=0.1)


def test_the_same_generator_gives_the_same_block_twice(pair):
    first, second = (robustness(*pair, np.random.default_rng(3), replicates=700) for _ in range(2))
    assert first == second
    assert first != robustness(*pair, np.random.default_rng(4), replicates=700)


def test_variance_shares_find_the_planted_source():
    rng = np.random.default_rng(14)
    by_seed = [draw(rng, 20, 400, seed_sd=0.1, interaction_sd=0.01, residual_sd=0.01) for _ in range(2)]
    by_product = [draw(rng, 20, 400, seed_sd=0.0, interaction_sd=0.2, residual_sd=0.01) for _ in range(2)]
    assert variance_shares(*by_seed).seed > 0.9
    assert variance_shares(*by_product).product > 0.9
    shares = variance_shares(*by_seed)
    assert shares.seed + shares.product + shares.residual == pytest.approx(1)
    assert variance_shares(np.ones((3, 4)), np.ones((3, 4))).seed == 0


def test_without_variance_a_shift_is_certain_in_these_tests_too():
    a = np.full((5, 30), 0.6)
    for b, p in ((a, 1.0), (a - 0.1, 0.0)):
        assert welch_p_value(a, b) == paired_t_p_value(a, b) == p
