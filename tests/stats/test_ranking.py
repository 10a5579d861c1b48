"""Average ranks, by counting, and the critical difference against the published critical values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmark.stats.ranking import AverageRanks, average_ranks

Q_05 = {3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102, 10: 3.164}
"""Methods -> critical value of the two-tailed Nemenyi test, Table 5(a) of Demsar (JMLR 2006)."""


@pytest.mark.parametrize("n_methods", Q_05)
def test_the_critical_difference_is_the_published_one(n_methods: int) -> None:
    found = average_ranks(np.random.default_rng(0).random((6, n_methods)))
    wanted = Q_05[n_methods] * np.sqrt(n_methods * (n_methods + 1) / (6 * 6))
    assert found.critical_difference == pytest.approx(wanted, rel=5e-4)
    assert found.n_cells == 6


def test_ranks_by_counting() -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(0, 5, (14, 4)) / 4  # with ties
    above = (values[:, None, :] > values[:, :, None]).sum(axis=2)
    equal = (values[:, None, :] == values[:, :, None]).sum(axis=2)
    found = average_ranks(values)
    np.testing.assert_allclose(found.ranks, (above + (equal + 1) / 2).mean(axis=0))
    assert found.p_value == pytest.approx(stats.friedmanchisquare(*values.T).pvalue)


def test_groups_are_the_longest_runs_within_the_critical_difference() -> None:
    ranks = AverageRanks(np.array([4.0, 1.0, 2.5, 6.0]), 2.0, 0.01, 6)
    # in order 1, 2.5, 4, 6: 1 with 2.5, 2.5 with 4, 4 with 6
    assert ranks.groups() == [(0, 1), (1, 2), (2, 3)]
    assert AverageRanks(np.array([1.0, 4.0, 7.0]), 2.0, 0.01, 6).groups() == []
    assert AverageRanks(np.array([2.0, 2.1, 2.2]), 2.0, 0.9, 6).groups() == [(0, 2)]


def test_equal_methods_share_the_middle_rank_and_differ_by_nothing() -> None:
    found = average_ranks(np.full((6, 5), 0.7))
    assert found.ranks.tolist() == [3.0] * 5
    assert found.p_value == 1.0


@pytest.mark.parametrize("shape", [(1, 4), (6, 2), (3,)])
def test_too_little_is_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="two data sets and three methods"):
        average_ranks(np.zeros(shape))


def test_values_that_are_not_finite_are_an_error() -> None:
    with pytest.raises(ValueError, match="not finite"):
        average_ranks([[0.1, 0.2, np.nan], [0.1, 0.2, 0.3]])
