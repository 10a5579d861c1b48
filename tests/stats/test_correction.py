"""Holm against the closed test, its family-wise rate, and marks between equal methods."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.stats import holm
from benchmark.stats.crossed import components
from tests.stats.drawing import draw


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
    p = np.stack([components(own, draw(rng, 5, 60, **shape)).p_value() for _ in range(baselines)])
    families = p.reshape(baselines, tables, categories).transpose(1, 0, 2).reshape(tables, -1)
    assert 0.015 <= (families < 0.05).mean() <= 0.07
    assert np.mean([holm(family).min() < 0.05 for family in families]) <= 0.08
