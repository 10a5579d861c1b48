"""The judge of many score lists against the metrics computed list by list: equal bit for bit."""

import numpy as np
import pytest

from benchmark.core.judge import Judge
from benchmark.core.metrics import METRICS, per_product_metrics, random_order_expectation, tied_pair_share


def data(seed, n_products=40, n_reviews=600):
    rng = np.random.default_rng(seed)
    product = np.concatenate([np.arange(n_products), rng.integers(0, n_products, n_reviews - n_products)])
    if seed % 2:
        product.sort()
    label = rng.integers(0, 5, n_reviews) * (rng.random(n_reviews) < 0.7)
    return rng, label, product


def scores(rng, n, kind):
    found = rng.normal(size=n).astype(np.float32)
    if kind == "ties":
        found = np.round(found, 1)
        found[::7] = -0.0
        found[1::7] = 0.0
    if kind == "constant":
        found[:] = 0.5
    return found.astype(np.float64) if kind == "double" else found


@pytest.mark.parametrize("kind", ["plain", "ties", "constant", "double"])
@pytest.mark.parametrize("threshold", [0, 1, 3])
def test_bit_for_bit_the_metrics_of_one_list(kind, threshold):
    for seed in range(6):
        rng, label, product = data(seed)
        judge = Judge(label, product, 40, threshold)
        for _ in range(3):
            score = scores(rng, len(label), kind)
            for ties in ("expected", "file-order"):
                found = judge.metrics(score, ties)
                wanted = per_product_metrics(label, score, product, 40, threshold=threshold, ties=ties)
                assert tuple(found) == METRICS
                for name in METRICS:
                    assert found[name].tobytes() == wanted[name].tobytes(), (name, ties)


def test_a_double_that_is_no_float32_counts_as_it_is():
    label, product = np.array([0, 1]), np.array([0, 0])
    close = np.array([1.0, 1.0 + 1e-12])  # equal as float32
    assert Judge(label, product, 1, 0).metrics(close)["map"].tolist() == [1.0]
    assert Judge(label, product, 1, 0).metrics(close.astype(np.float32))["map"].tolist() == [0.75]


@pytest.mark.parametrize("kind", ["plain", "ties", "constant"])
def test_what_file_order_adds_and_the_share_of_tied_pairs(kind):
    rng, label, product = data(3)
    score = scores(rng, len(label), kind)
    share, gain = Judge(label, product, 40, 0).tie_gain(score)
    stable, expected = (
        per_product_metrics(label, score, product, 40, ties=ties) for ties in ("file-order", "expected")
    )
    assert share == tied_pair_share(score, product, 40)
    for name in METRICS:
        assert gain[name].tobytes() == (stable[name] - expected[name] + 0.0).tobytes()


def test_counts_and_the_random_order():
    _, label, product = data(5)
    judge = Judge(label, product, 40, 1)
    wanted = random_order_expectation(label, product, 40, 1)
    assert {name: value.tobytes() for name, value in judge.random.items()} == {
        name: value.tobytes() for name, value in wanted.items()
    }
    assert judge.n_reviews_P.tolist() == [int((product == p).sum()) for p in range(40)]
    assert judge.n_relevant_P.tolist() == [int((label[product == p] > 1).sum()) for p in range(40)]


def test_many_products_need_the_wider_sort():
    rng = np.random.default_rng(0)
    n = 70_000  # 17 bits twice and 32: too many for one number of 64
    product = rng.permutation(np.repeat(np.arange(n), 2))[: 2 * n]
    label, score = rng.integers(0, 3, 2 * n), rng.normal(size=2 * n).astype(np.float32)
    found, wanted = (
        Judge(label, product, n, 0).metrics(score),
        per_product_metrics(label, score, product, n),
    )
    for name in METRICS:
        assert found[name].tobytes() == wanted[name].tobytes()


def test_scores_that_are_not_finite_or_too_few_are_refused():
    judge = Judge([0, 1, 2], [0, 0, 1], 2, 0)
    with pytest.raises(ValueError, match="row 2, a review of product 1"):
        judge.metrics([0.0, 1.0, np.nan])
    with pytest.raises(ValueError, match="2 scores for 3 labels"):
        judge.metrics([0.0, 1.0])
