"""The statistics against SciPy, plain loops, brute force, and simulations of a known truth."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from benchmark.core.metrics import per_product_metrics
from benchmark.stats import (
    crossed_test,
    hierarchical_bootstrap,
    holm,
    paired_t_p_value,
    probability_better,
    robustness,
    seed_interval,
    seed_permutation,
    seeds_needed,
    sign_flip_p_value,
    variance_shares,
    welch_p_value,
    win_tie_loss,
)
from benchmark.stats.crossed import components, decide


def draw(rng, n_seeds, n, *, seed_sd, interaction_sd=0.15, residual_sd=0.15, mean=0.0, sims=None):
    """Values of one method, [sims?, seeds, products]: seed + method-by-product + residual effects."""
    lead = () if sims is None else (sims,)
    return (
        mean
        + rng.normal(0, seed_sd, (*lead, n_seeds, 1))
        + rng.normal(0, interaction_sd, (*lead, 1, n))
        + rng.normal(0, residual_sd, (*lead, n_seeds, n))
    )


def test_crossed_components_by_loops():
    rng = np.random.default_rng(0)
    a, b = draw(rng, 4, 7, seed_sd=0.02), draw(rng, 3, 7, seed_sd=0.05, mean=0.1)
    result = crossed_test(a, b)

    def variance(values):
        return sum((v - sum(values) / len(values)) ** 2 for v in values) / (len(values) - 1)

    def residual(x):
        (s, n), total = x.shape, 0.0
        for i in range(s):
            for j in range(n):
                total += (x[i, j] - x[i].mean() - x[:, j].mean() + x.mean()) ** 2
        return total / ((s - 1) * (n - 1))

    v_A = variance([row.mean() for row in a]) / 4
    v_B = variance([row.mean() for row in b]) / 3
    v_P = variance([a[:, p].mean() - b[:, p].mean() for p in range(7)]) / 7
    v_E = residual(a) / 28 + residual(b) / 21
    v = max(v_A + v_B + v_P - v_E, v_P)
    df = v**2 / (v_A**2 / 3 + v_B**2 / 2 + v_P**2 / 6 + v_E**2 / (2 * 6))
    difference = a.mean() - b.mean()
    t = scipy_stats.t(df)
    assert result.difference == pytest.approx(difference)
    assert [result.v_A, result.v_B, result.v_P, result.v_E] == pytest.approx([v_A, v_B, v_P, v_E])
    assert result.variance == pytest.approx(v)
    assert result.df == pytest.approx(df)
    assert result.p_value == pytest.approx(2 * t.cdf(-abs(difference) / v**0.5))
    assert result.interval == pytest.approx(tuple(difference + np.array(t.interval(0.95)) * v**0.5))
    assert (result.n_seeds, result.n_products, result.reason) == ((4, 3), 7, None)


def test_exchanging_the_methods_turns_the_sign_and_nothing_else():
    rng = np.random.default_rng(1)
    a, b = draw(rng, 5, 40, seed_sd=0.01), draw(rng, 3, 40, seed_sd=0.03)
    one, other = crossed_test(a, b), crossed_test(b, a)
    assert one.difference == pytest.approx(-other.difference)
    assert one.p_value == pytest.approx(other.p_value)
    assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]))


def test_permuting_seeds_or_products_of_both_changes_nothing():
    rng = np.random.default_rng(2)
    a, b = draw(rng, 5, 40, seed_sd=0.01), draw(rng, 5, 40, seed_sd=0.01)
    products = rng.permutation(40)
    again = crossed_test(a[::-1, products], b[:, products])
    assert again.p_value == pytest.approx(crossed_test(a, b).p_value)


def test_the_interval_holds_zero_exactly_when_p_is_above_its_level():
    rng = np.random.default_rng(3)
    seen = set()
    for _ in range(60):
        a, b = draw(rng, 5, 30, seed_sd=0.01, mean=0.07), draw(rng, 5, 30, seed_sd=0.01)
        result = crossed_test(a, b)
        holds_zero = result.interval[0] <= 0 <= result.interval[1]
        assert holds_zero == (result.p_value >= 0.05)
        seen.add(holds_zero)
    assert seen == {True, False}


def test_identical_scores_give_p_one():
    x = np.tile(np.linspace(0.1, 0.9, 9), (5, 1))
    result = crossed_test(x, x)
    assert (result.difference, result.p_value, result.df) == (0, 1, None)
    # The same constant reached by another order of summation is still nothing to test.
    assert crossed_test(x, x + 1e-17).p_value == 1
    assert crossed_test(np.full((5, 30), 0.1), np.full((5, 30), 0.1) * 3 / 3).p_value == 1


@pytest.mark.parametrize(("seeds", "n", "reason"), [((2, 5), 9, "2 and 5 seeds"), ((5, 5), 1, "one product")])
def test_too_little_for_a_test_says_so(seeds, n, reason):
    rng = np.random.default_rng(4)
    result = crossed_test(rng.random((seeds[0], n)), rng.random((seeds[1], n)))
    assert result.p_value is result.interval is result.df is None
    assert reason in result.reason
    assert np.isfinite(result.difference)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros((3, 4)), np.zeros((3, 5)), "a has 4 products, b has 5"),
        (np.zeros(4), np.zeros((3, 4)), "a must be"),
        (np.zeros((3, 0)), np.zeros((3, 0)), "not empty"),
        (np.zeros((3, 2)), np.full((3, 2), np.nan), "b holds values that are not finite"),
    ],
)
def test_tables_that_do_not_fit_are_refused(a, b, message):
    with pytest.raises(ValueError, match=message):
        crossed_test(a, b)


# Calibration. Seeds' spread from none to that of an unstable method; products from a toy split to Lazada's.
REGIMES = [
    (n, spread, seeds)
    for n, spread, seeds in itertools.product((10, 50, 300, 2000), (0.0, 0.007, 0.05), ((5, 5), (3, 5)))
    if seeds == (5, 5) or n <= 300
]


def rejection_rate(rng, n, spread, seeds, *, sims=1500, better_by=0.0, **effects):
    """Shares of simulated pairs of methods in which A is found better, and worse, at the 5% level."""
    better, worse, left = 0, 0, sims
    while left:
        size = min(left, max(1, 1_000_000 // (n * max(seeds))))
        a = draw(rng, seeds[0], n, seed_sd=spread, mean=better_by, sims=size, **effects)
        b = draw(rng, seeds[1], n, seed_sd=spread, sims=size, **effects)
        parts = components(a, b)
        significant = decide(parts, seeds, n)[0] < 0.05
        better += int((significant & (parts.difference > 0)).sum())
        worse += int((significant & (parts.difference < 0)).sum())
        left -= size
    return better / sims, worse / sims


@pytest.mark.parametrize(("n", "spread", "seeds"), REGIMES)
def test_a_true_null_is_rejected_at_the_nominal_rate(n, spread, seeds):
    rng = np.random.default_rng([5, n, int(spread * 1000), seeds[0]])
    sims = 600 if n == 2000 else 1500
    assert 0.015 <= sum(rejection_rate(rng, n, spread, seeds, sims=sims)) <= 0.07


def test_without_any_product_effect_the_test_is_conservative_not_liberal():
    """Methods that treat every product alike on average: v_P estimates only noise, and max(.., v_P) errs on
    the safe side."""
    rng = np.random.default_rng(6)
    for n in (10, 300):
        assert sum(rejection_rate(rng, n, 0.007, (5, 5), interaction_sd=0.0)) <= 0.05


def test_the_better_method_wins():
    better, worse = rejection_rate(np.random.default_rng(7), 300, 0.007, (5, 5), better_by=0.04)
    assert better > 0.6
    assert worse < 0.005


def test_the_vectorised_simulation_is_the_public_test():
    rng = np.random.default_rng(8)
    a, b = draw(rng, 5, 20, seed_sd=0.02, sims=6), draw(rng, 4, 20, seed_sd=0.02, sims=6)
    together = decide(components(a, b), (5, 4), 20)
    for i in range(6):
        alone = crossed_test(a[i], b[i])
        assert alone.p_value == pytest.approx(together[0][i])
        assert alone.df == pytest.approx(together[1][i])


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
    p = decide(components(x[:, 0], x[:, 1]), (seeds, seeds), n)[0]
    assert 0.01 <= (p < 0.05).mean() <= 0.09  # 250 simulations: one standard error is 1.4 points


@given(st.lists(st.sampled_from([0.001, 0.01, 0.02, 0.03, 0.2, 0.5, 0.9]), min_size=1, max_size=7))
@settings(max_examples=60, deadline=None)
def test_holm_is_the_closed_test_of_bonferroni(p):
    """Adjusted p_i = max over all sets of hypotheses that hold i of Bonferroni's p for that set."""
    subsets = [s for k in range(1, len(p) + 1) for s in itertools.combinations(range(len(p)), k)]
    expected = [max(min(1, len(s) * min(p[j] for j in s)) for s in subsets if i in s) for i in range(len(p))]
    np.testing.assert_allclose(holm(p), expected)


def test_holm_leaves_out_what_was_not_tested():
    np.testing.assert_allclose(holm([0.04, np.nan, 0.01]), [0.04, np.nan, 0.02])
    assert holm([]).tolist() == []
    with pytest.raises(ValueError, match=r"0\.\.1"):
        holm([1.2])


def test_holm_keeps_the_family_wise_rate():
    rng = np.random.default_rng(10)
    false_marks = [np.min(holm(rng.random(24))) < 0.05 for _ in range(2000)]
    assert 0.03 < np.mean(false_marks) < 0.065


def test_marks_between_equal_methods_appear_at_their_nominal_rate():
    """200 tables' families of one metric: a method against 8 baselines in 3 categories, all equally good."""
    rng = np.random.default_rng(17)
    tables, baselines, categories = 200, 8, 3
    shape = {"seed_sd": 0.007, "sims": tables * categories}
    own = draw(rng, 5, 60, **shape)
    p = np.stack(
        [decide(components(own, draw(rng, 5, 60, **shape)), (5, 5), 60)[0] for _ in range(baselines)]
    )
    families = p.reshape(baselines, tables, categories).transpose(1, 0, 2).reshape(tables, -1)
    assert 0.015 <= (families < 0.05).mean() <= 0.07
    assert np.mean([holm(family).min() < 0.05 for family in families]) <= 0.08


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
    v = parts.v_A * 4 / 5 + parts.v_B * 3 / 4 + parts.v_P * 59 / 60
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


def test_the_number_of_seeds_gives_the_power_it_promises():
    rng = np.random.default_rng(15)
    effects = {"interaction_sd": 0.1, "residual_sd": 0.1}
    # Components estimated from very many seeds stand for the truth.
    a, b = (draw(rng, 300, 800, seed_sd=0.02, **effects) for _ in range(2))
    answer = seeds_needed(a, b, 0.02)
    better, worse = rejection_rate(
        rng, 800, 0.02, (answer.seeds, answer.seeds), sims=600, better_by=0.02, **effects
    )
    assert better + worse == pytest.approx(0.8, abs=0.07)
    assert answer.power_now > 0.8


def test_more_seeds_cannot_replace_products():
    rng = np.random.default_rng(16)
    a, b = (draw(rng, 5, 20, seed_sd=0.01, interaction_sd=0.3) for _ in range(2))
    answer = seeds_needed(a, b, 0.005)
    assert answer.seeds is None
    assert answer.smallest_with_any_seeds > 0.1
    assert seeds_needed(a, b, 1.01 * answer.smallest_with_any_seeds).seeds is not None
    with pytest.raises(ValueError, match="positive"):
        seeds_needed(a, b, 0)
