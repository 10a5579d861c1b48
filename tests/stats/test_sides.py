"""What is kept of a table `[seeds, products]` says as much as the table, in less."""

import numpy as np
import pytest

from benchmark.stats import crossed_test, fixed_test, probability_better, win_tie_loss
from benchmark.stats.crossed import SAME
from benchmark.stats.sides import fixed_side, side
from tests.stats.drawing import draw


def tables(seed: int = 3):
    """Of six and four seeds; some products differ nowhere, some between the methods alone."""
    rng = np.random.default_rng(seed)
    a, b = draw(rng, 6, 40, seed_sd=0.02), draw(rng, 4, 40, seed_sd=0.02, mean=0.1)
    a[:, :7] = b[:, :7] = 0.25
    a[:, 7:9] = 0.5
    b[:, 7:9] = 0.75
    return a, b


def test_the_test_of_two_sides_is_that_of_their_tables():
    a, b = tables()
    assert crossed_test(side(a), side(b)) == crossed_test(a, b) == crossed_test(side(a), b)
    # the tables themselves, not by way of sides
    both = np.concatenate([a, b])
    result = crossed_test(side(a), side(b))
    assert result.n_informative == sum(both[:, p].max() - both[:, p].min() > SAME for p in range(40)) == 33
    assert result.difference == a.mean(axis=0).mean() - b.mean(axis=0).mean()
    assert result.n_seeds == (6, 4)


@pytest.mark.parametrize("factor", [1, -1, -3])
def test_rounding_is_judged_by_the_largest_value_of_either_sign(factor):
    a, b = (factor * x for x in tables())
    assert side(a).scale == max(abs(value) for row in a for value in row)
    assert crossed_test(side(a), side(b)) == crossed_test(a, b)


def test_effects_of_sides_by_loops():
    a, b = tables()
    pairs = [(x.mean(), y.mean()) for x in a for y in b]
    better = sum(1.0 if x > y + SAME else 0.5 if abs(x - y) <= SAME else 0.0 for x, y in pairs) / len(pairs)
    assert probability_better(side(a), side(b)) == probability_better(a, b) == pytest.approx(better)
    gaps = [a[:, p].mean() - b[:, p].mean() for p in range(40)]
    found = win_tie_loss(side(a), side(b))
    assert found == win_tie_loss(a, b)
    assert found == (
        sum(g > SAME for g in gaps),
        sum(abs(g) <= SAME for g in gaps),
        sum(g < -SAME for g in gaps),
    )
    assert found.tie == 7


def test_a_scorer_without_seeds():
    a, b = tables()
    direct = fixed_test(a, b[0])
    assert fixed_test(side(a), fixed_side(b[0], len(a))) == direct
    assert direct.n_seeds == (6, 1)
    rows = np.tile(b[0], (len(a), 1))
    assert direct.difference == crossed_test(a, rows).difference


def test_what_is_kept_hardly_grows_with_the_seeds():
    rng = np.random.default_rng(0)
    few, many = (side(rng.random((seeds, 500))).nbytes for seeds in (5, 50))
    assert many - few == 45 * 8  # a mean more for each
    assert few < 5 * 500 * 8


def test_what_is_no_table_is_named():
    a, b = tables()
    with pytest.raises(ValueError, match="a holds values that are not finite"):
        crossed_test(np.where(a == 0.5, np.nan, a), b)
    with pytest.raises(ValueError, match=r"b must be \[seeds, products\]"):
        crossed_test(side(a), b[0])
    with pytest.raises(ValueError, match="a has 40 products, b has 39"):
        crossed_test(side(a), side(b[:, 1:]))
    with pytest.raises(ValueError, match=r"the table must be .* not empty"):
        side(np.zeros((3, 0)))
