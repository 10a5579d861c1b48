"""Metrics against hand-worked cases, scikit-learn, and the mean over every order of tied reviews."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from benchmark.core.metrics import (
    METRICS,
    ceiling,
    per_product_metrics,
    random_order_expectation,
    tied_pair_share,
)


def one_product(labels, scores, **options):
    values = per_product_metrics(labels, scores, np.zeros(len(labels), dtype=int), 1, **options)
    return {name: value[0] for name, value in values.items()}


def by_loop(labels_in_order, threshold):
    """The definitions, read rank by rank for one already ordered product."""
    relevant = [label > threshold for label in labels_in_order]
    gains = [2.0**y - 1 if hit else 0.0 for y, hit in zip(labels_in_order, relevant, strict=True)]

    def dcg(values, k):
        return sum(value / np.log(i + 2) for i, value in enumerate(values[:k]))

    precisions = [sum(relevant[: i + 1]) / (i + 1) for i, hit in enumerate(relevant) if hit]
    result = {"map": float(np.mean(precisions)) if precisions else 0.0}
    for k in (3, 5):
        ideal = dcg(sorted(gains, reverse=True), k)
        result[f"ndcg@{k}"] = dcg(gains, k) / ideal if ideal else 0.0
    result["mrr"] = 1 / (relevant.index(True) + 1) if any(relevant) else 0.0
    return result


def by_permutation(labels, scores, threshold):
    """Mean of the definitions over every order of the reviews that the scores allow."""
    values = []
    for order in itertools.permutations(range(len(labels))):
        ordered = [scores[i] for i in order]
        if all(a >= b for a, b in itertools.pairwise(ordered)):
            values.append(by_loop([labels[i] for i in order], threshold))
    return {name: np.mean([value[name] for value in values]) for name in METRICS}


def test_worked_example():
    values = one_product([1, 2, 0, 0], [0.7, 0.2, 0.5, 0.4])
    assert values["map"] == pytest.approx((1 + 2 / 4) / 2)
    values = one_product([0, 1, 2, 0], [0.4, 0.2, 0.5, 0.7])
    assert values["map"] == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert values["mrr"] == pytest.approx(1 / 2)
    assert values["ndcg@3"] == pytest.approx((3 / np.log(3)) / (3 / np.log(2) + 1 / np.log(3)))
    assert values["ndcg@3"] == pytest.approx(0.52, abs=0.005)


def test_a_product_with_nothing_relevant_scores_zero_and_stays_in_the_mean():
    labels, scores, product = [1, 1, 3, 0], [2.0, 1.0, 2.0, 1.0], [0, 0, 1, 1]
    values = per_product_metrics(labels, scores, product, 2, threshold=1)
    for name in METRICS:
        np.testing.assert_array_equal(values[name], [0.0, 1.0])
    np.testing.assert_array_equal(ceiling(labels, product, 2, threshold=1), [0.0, 1.0])
    np.testing.assert_array_equal(ceiling(labels, product, 2), [1.0, 1.0])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=6),
    st.sampled_from([0, 1, 2]),
)
def test_expected_is_the_mean_over_every_order_of_tied_reviews(reviews, threshold):
    labels, scores = zip(*reviews, strict=True)
    ours = one_product(labels, scores, threshold=threshold)
    for name, value in by_permutation(labels, scores, threshold).items():
        assert ours[name] == pytest.approx(value, abs=1e-12), name


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-2, 2)), min_size=1, max_size=30))
def test_file_order_is_a_stable_sort(reviews):
    labels, scores = zip(*reviews, strict=True)
    order = sorted(range(len(labels)), key=lambda i: -scores[i])  # Python's sort is stable
    ours = one_product(labels, scores, ties="file-order")
    for name, value in by_loop([labels[i] for i in order], 0).items():
        assert ours[name] == pytest.approx(value, abs=1e-12), name


def test_many_products_with_scattered_rows_against_scikit_learn():
    rng = np.random.default_rng(1)
    product = rng.permutation(np.repeat(np.arange(40), rng.integers(2, 30, 40)))
    labels, scores = rng.integers(0, 5, len(product)), rng.normal(size=len(product))
    ours = per_product_metrics(labels, scores, product, 40, threshold=1)
    for p in range(40):
        y, s = labels[product == p], scores[product == p]
        gain = np.where(y > 1, 2.0**y - 1, 0)
        if not gain.any():
            assert ours["map"][p] == ours["ndcg@5"][p] == 0
            continue
        assert ours["map"][p] == pytest.approx(average_precision_score(y > 1, s), abs=1e-12)
        for k in (3, 5):
            assert ours[f"ndcg@{k}"][p] == pytest.approx(ndcg_score([gain], [s], k=k), abs=1e-12)


def test_random_order_is_what_shuffling_gives():
    rng = np.random.default_rng(2)
    labels, product = rng.integers(0, 5, 60), np.repeat([0, 1, 2], 20)
    labels[product == 2] = 0
    exact = random_order_expectation(labels, product, 3)
    drawn = [per_product_metrics(labels, rng.random(60), product, 3) for _ in range(1500)]
    for name in METRICS:
        values = np.array([draw[name] for draw in drawn])
        error = values.std(axis=0, ddof=1) / np.sqrt(len(drawn))
        assert (np.abs(values.mean(axis=0) - exact[name]) <= 4.5 * error + 1e-12).all(), name


def test_a_perfect_order_reaches_the_ceiling_and_a_reversed_one_does_not():
    labels, product = [0, 4, 2, 1, 3, 0], [0, 0, 0, 0, 0, 1]
    best = per_product_metrics(labels, labels, product, 2)
    worst = per_product_metrics(labels, [-y for y in labels], product, 2)
    for name in METRICS:
        np.testing.assert_allclose(best[name], ceiling(labels, product, 2))
        assert worst[name][0] < best[name][0]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_values_lie_in_the_unit_interval_and_tied_rows_may_be_in_any_order(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 200))
    product, labels, scores = rng.integers(0, 9, n), rng.integers(0, 5, n), rng.integers(0, 3, n) * 1.0
    values = per_product_metrics(labels, scores, product, 9)
    shuffle = rng.permutation(n)
    again = per_product_metrics(labels[shuffle], scores[shuffle], product[shuffle], 9)
    for name in METRICS:
        assert (values[name] >= 0).all()
        assert (values[name] <= 1).all()
        np.testing.assert_allclose(again[name], values[name], atol=1e-12)


def test_one_huge_block_of_ties_keeps_its_precision():
    labels = np.zeros(50_000, dtype=int)
    labels[:3] = 1
    product = np.zeros(50_000, dtype=int)
    mrr = random_order_expectation(labels, product, 1)["mrr"][0]
    # First of 3 among n by another route: survival products P(first > j), summed over 1/j - 1/(j+1).
    j = np.arange(1, 49_998)
    survival = np.cumprod((50_000 - 3 - j + 1) / (50_000 - j + 1))
    assert mrr == pytest.approx(1 - np.sum(survival * (1 / j - 1 / (j + 1))), rel=1e-8)


def test_tied_pair_share():
    # Product 0: four reviews, six pairs, one tied; product 1: one review, no pair.
    assert tied_pair_share([1, 2, 2, 3, 2], [0, 0, 0, 0, 1], 2) == pytest.approx(1 / 6)
    assert tied_pair_share([5, 5, 5], [0, 0, 0], 1) == 1
    assert tied_pair_share([5, 5], [0, 1], 2) == 0


def test_nothing_at_all_is_fine():
    assert per_product_metrics([], [], np.zeros(0, dtype=int), 2)["map"].tolist() == [0, 0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_names_the_product(bad):
    with pytest.raises(ValueError, match=r"row 2, a review of product 7"):
        per_product_metrics([1, 0, 2], [0.5, 0.1, bad], [3, 3, 7], 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1], [0.1, 0.2], [0], 1), "2 scores for 1 labels"),
        (([1, 2], [0.1, 0.2], [0], 1), "1 product numbers for 2 labels"),
        (([1], [0.1], [4], 2), r"lie in 0\.\.1"),
        (([1], [0.1], [0.0], 1), "must be integers"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        per_product_metrics(*arguments)


def test_an_unknown_tie_policy_is_refused():
    with pytest.raises(ValueError, match="expected, file-order"):
        one_product([1], [0.1], ties="random")


def test_a_large_split_takes_a_moment():
    rng = np.random.default_rng(3)
    product = np.sort(rng.integers(0, 4500, 100_000))
    labels, scores = rng.integers(0, 5, 100_000), rng.normal(size=100_000).round(1)
    start = time.process_time()
    per_product_metrics(labels, scores, product, 4500)
    assert time.process_time() - start < 10  # well below 1 where nothing else runs
