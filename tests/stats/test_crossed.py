"""The crossed test against plain loops, R's mixed model, its own bounds, and what it must say of odd tables."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from scipy.optimize import brentq

from benchmark.stats import crossed_test, fixed_test, paired_test
from benchmark.stats.crossed import MIN_PRODUCTS, components, paired_components
from tests.stats.drawing import draw

LMER = Path(__file__).parent / "fixtures" / "crossed_lmer"


def variance(values):
    values = list(values)
    return sum((v - sum(values) / len(values)) ** 2 for v in values) / (len(values) - 1)


def residual(x):
    (s, n), total = x.shape, 0.0
    for i in range(s):
        for j in range(n):
            total += (x[i, j] - x[i].mean() - x[:, j].mean() + x.mean()) ** 2
    return total / ((s - 1) * (n - 1))


def by_loops(a, b):
    """(v_A, v_B), v_P, v_E, v and df of the unpaired test."""
    (s_A, n), s_B = a.shape, len(b)
    v_A, v_B = variance(row.mean() for row in a) / s_A, variance(row.mean() for row in b) / s_B
    v_P = variance(a[:, p].mean() - b[:, p].mean() for p in range(n)) / n
    v_E = residual(a) / (s_A * n) + residual(b) / (s_B * n)
    v = max(v_A + v_B + v_P - v_E, v_P, v_A + v_B)
    df = v**2 / (v_A**2 / (s_A - 1) + v_B**2 / (s_B - 1) + v_P**2 / (n - 1))
    return (v_A, v_B), v_P, v_E, v, df


def test_components_and_students_t_by_loops():
    rng = np.random.default_rng(0)
    a, b = draw(rng, 6, 24, seed_sd=0.02), draw(rng, 5, 24, seed_sd=0.05, mean=0.1)
    result = crossed_test(a, b)
    v_seeds, v_P, v_E, v, df = by_loops(a, b)
    difference = a.mean() - b.mean()
    t = scipy_stats.t(df)
    assert result.difference == pytest.approx(difference)
    assert result.v_seeds == pytest.approx(v_seeds)
    assert [result.v_P, result.v_E, result.variance] == pytest.approx([v_P, v_E, v])
    assert result.df == pytest.approx(df)
    assert result.p_value == pytest.approx(2 * t.cdf(-abs(difference) / v**0.5))
    assert result.interval == pytest.approx(tuple(difference + np.array(t.interval(0.95)) * v**0.5))
    assert (result.n_seeds, result.n_products, result.n_informative) == ((6, 5), 24, 24)
    assert (result.reason, result.paired) == (None, False)


@pytest.mark.parametrize("seeds", [(3, 3), (4, 9), (7, 3)])
def test_few_seeds_get_the_cochran_cox_critical_value(seeds):
    rng = np.random.default_rng([1, *seeds])
    a, b = draw(rng, seeds[0], 30, seed_sd=0.03, mean=0.15), draw(rng, seeds[1], 30, seed_sd=0.01)
    (v_A, v_B), v_P, _, v, _ = by_loops(a, b)

    def critical(level):
        upper = (1 + level) / 2
        values = [scipy_stats.t.ppf(upper, df) for df in (seeds[0] - 1, seeds[1] - 1, 29)]
        return np.dot([v_A, v_B, v_P], values) / (v_A + v_B + v_P)

    result = crossed_test(a, b)
    assert result.interval[1] - result.difference == pytest.approx(critical(0.95) * v**0.5)
    t = abs(result.difference) / v**0.5
    assert result.p_value == pytest.approx(
        1 - brentq(lambda level: critical(level) - t, 0, 1 - 1e-9), rel=1e-5
    )


def test_paired_by_seed_by_loops():
    rng = np.random.default_rng(2)
    shared = draw(rng, 5, 24, seed_sd=0.05)
    a, b = shared + draw(rng, 5, 24, seed_sd=0.01), shared + draw(rng, 5, 24, seed_sd=0.01)
    gap = a - b
    v_S, v_P = variance(row.mean() for row in gap) / 5, variance(gap[:, p].mean() for p in range(24)) / 24
    v_E = residual(gap) / (5 * 24)
    v = max(v_S + v_P - v_E, v_P, v_S)
    df = v**2 / (v_S**2 / 4 + v_P**2 / 23)
    result = paired_test(a, b)
    assert result.paired
    assert [*result.v_seeds, result.v_P, result.v_E, result.variance] == pytest.approx([v_S, v_P, v_E, v])
    assert result.df == pytest.approx(df)
    assert result.p_value == pytest.approx(2 * scipy_stats.t.cdf(-abs(gap.mean()) / v**0.5, df))
    with pytest.raises(ValueError, match="5 and 4 seeds"):
        paired_test(a, b[:4])


def test_pairing_sees_what_shared_seeds_hide():
    rng = np.random.default_rng(3)
    shared = draw(rng, 5, 60, seed_sd=0.1, residual_sd=0.3)
    a = shared + 0.01 + rng.normal(0, 0.02, shared.shape)
    assert paired_test(a, shared).p_value < 0.01
    assert crossed_test(a, shared).p_value > 0.5
    # Rows in another order are other pairs.
    assert paired_test(a, shared[::-1]).p_value > 0.3


def test_the_answer_is_that_of_the_mixed_model_in_r():
    """`lmer.R` made both files: 300 products, 5 seeds, 2 methods."""
    with (LMER / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    tables = {"A": np.full((5, 300), np.nan), "B": np.full((5, 300), np.nan)}
    for row in rows:
        tables[row["m"]][int(row["s"]) - 1, int(row["p"]) - 1] = float(row["y"])
    expected = json.loads((LMER / "expected.json").read_text())["satterthwaite"]
    result = crossed_test(tables["B"], tables["A"])  # R reports the second level against the first
    assert result.difference == pytest.approx(expected["difference"], abs=1e-6)
    assert result.variance**0.5 == pytest.approx(expected["standard_error"], abs=1e-6)
    assert result.p_value == pytest.approx(expected["p"], abs=0.01)
    assert result.df == pytest.approx(expected["df"], abs=0.5)


def test_a_fixed_opponent_has_no_variance_over_seeds():
    rng = np.random.default_rng(4)
    a, fixed = draw(rng, 5, 30, seed_sd=0.02), rng.random(30)
    result = fixed_test(a, fixed)
    v_A, v_P = variance(row.mean() for row in a) / 5, variance(a.mean(axis=0) - fixed) / 30
    v = max(v_A + v_P - residual(a) / 150, v_P, v_A)
    df = v**2 / (v_A**2 / 4 + v_P**2 / 29)
    t = (a.mean() - fixed.mean()) / v**0.5
    assert result.p_value == pytest.approx(2 * scipy_stats.t.cdf(-abs(t), df))
    assert (result.n_seeds, result.v_seeds[1]) == ((5, 1), 0)
    assert "5 and 1" not in (result.reason or "")
    assert fixed_test(a[:2], fixed).p_value is None


def test_when_both_sides_are_fixed_it_is_the_paired_t_over_products():
    rng = np.random.default_rng(5)
    a, b = rng.random(40), rng.random(40)
    result = crossed_test(np.tile(a, (5, 1)), np.tile(b, (5, 1)))
    assert result.p_value == pytest.approx(scipy_stats.ttest_rel(a, b).pvalue)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(3, 6),
    st.integers(3, 6),
    st.integers(2, 9),
    st.sampled_from([2, 3, 99]),
)
@settings(max_examples=200, deadline=None)
def test_degrees_of_freedom_and_intervals_are_bounded_whatever_the_table(seed, s_A, s_B, n, distinct):
    """Few distinct values give tables in which parts of the variance vanish or cancel."""
    rng = np.random.default_rng(seed)
    shared = rng.integers(0, distinct, (6, n)) * (rng.random() < 0.5)
    a, b = (
        (shared[:s] + rng.integers(0, distinct, (s, n)) * (rng.random((s, n)) < rng.random()))
        / (2 * distinct)
        for s in (s_A, s_B)
    )
    for result in [crossed_test(a, b)] + ([paired_test(a, b)] if s_A == s_B else []):
        fewest = min(s_A, s_B) - 1
        if result.df is not None:
            assert result.df >= 1 / (1 / fewest + 1 / (n - 1)) * (1 - 1e-9)
        low, high = result.interval
        assert high - low <= 2 * 12.8 * result.variance**0.5 + 1e-9  # 12.7: t with one degree of freedom
        assert result.variance <= 1
        assert 0 <= result.p_value <= 1


def test_one_differing_score_gives_no_astronomic_interval():
    x = np.random.default_rng(6).random((3, 18))
    y = x.copy()
    y[0, 0] += 1e-3
    for test in (crossed_test, paired_test):
        low, high = test(x, y).interval
        assert high - low < 0.5


def test_five_seeds_by_twelve_products_stay_within_fifteen_points():
    rng = np.random.default_rng(7)
    effects = {"seed_sd": 0.007, "interaction_sd": 0.05, "residual_sd": 0.1, "sims": 20_000}
    parts = components(draw(rng, 5, 12, **effects), draw(rng, 5, 12, **effects))
    assert parts.half_width().max() < 0.15


@pytest.mark.parametrize("seeds", [3, 5])
def test_p_is_the_level_at_which_the_interval_touches_zero(seeds):
    rng = np.random.default_rng([8, seeds])
    for test in (crossed_test, paired_test):
        for _ in range(10):
            a, b = draw(rng, seeds, 30, seed_sd=0.01, mean=0.07), draw(rng, seeds, 30, seed_sd=0.01)
            p = test(a, b).p_value
            low, high = test(a, b, level=1 - p).interval
            assert min(abs(low), abs(high)) < 1e-6


def test_the_interval_holds_zero_exactly_when_p_is_above_its_level():
    rng = np.random.default_rng(3)
    seen = set()
    for i in range(60):
        seeds = 3 + 2 * (i % 2)
        a = draw(rng, seeds, 30, seed_sd=0.01, mean=0.07 + 0.05 * (seeds == 3))
        result = crossed_test(a, draw(rng, seeds, 30, seed_sd=0.01))
        holds_zero = result.interval[0] <= 0 <= result.interval[1]
        assert holds_zero == (result.p_value >= 0.05)
        seen.add((seeds, holds_zero))
    assert len(seen) == 4


@pytest.mark.parametrize("seeds", [3, 5])
def test_without_any_variance_p_and_interval_agree(seeds):
    x = np.tile(np.linspace(0.1, 0.9, 30), (seeds, 1))
    for test in (crossed_test, paired_test):
        same, shifted = test(x, x), test(x + 0.03, x)
        assert (same.difference, same.p_value, same.df, same.interval) == (0, 1, None, (0, 0))
        assert "too few products" in same.reason
        assert (shifted.p_value, shifted.df, shifted.reason) == (0, None, None)
        assert shifted.interval == pytest.approx((0.03, 0.03))
        # The same constant reached by another order of summation is still nothing to test.
        assert test(x, x + 1e-17).p_value == 1
        assert test(np.full((5, 30), 0.1), np.full((5, 30), 0.1) * 3 / 3).p_value == 1


def test_few_informative_products_are_too_few_for_a_verdict():
    rng = np.random.default_rng(9)
    a = np.tile(rng.random(100), (5, 1))
    b = a.copy()
    b[:, : MIN_PRODUCTS - 1] -= 0.2
    b[2, 99] += 1e-15  # rounding
    for test in (crossed_test, paired_test):
        result = test(a, b)
        assert result.n_informative == MIN_PRODUCTS - 1
        assert "too few products: scores differ on 19" in result.reason
        assert result.interval is not None
        b[2, 50] += 0.1
        assert test(a, b).reason is None
        b[2, 50] -= 0.1


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


def test_many_tables_at_once_are_each_as_alone():
    rng = np.random.default_rng(8)
    for seeds in ((5, 6), (3, 4)):
        a, b = (draw(rng, s, 20, seed_sd=0.02, sims=6) for s in seeds)
        together = components(a, b)
        p_values, widths = together.p_value(), together.half_width()
        for i in range(6):
            alone = crossed_test(a[i], b[i])
            assert alone.p_value == pytest.approx(p_values[i])
            assert alone.df == pytest.approx(together.df[i])
            assert alone.interval[1] - alone.difference == pytest.approx(widths[i])
    gaps = paired_components(a[:, :3] - b[:, :3])
    assert paired_test(a[2, :3], b[2, :3]).p_value == pytest.approx(gaps.p_value()[2])
