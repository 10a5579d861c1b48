"""Training pairs against a naive loop, the goldens and the draw probabilities; speed; lists."""

from __future__ import annotations

import json
import time
from collections import Counter
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from benchmark.engine.pairs import pair_plan, training_groups, training_lists

GOLDENS = files("benchmark") / "checks" / "recorded"

tables = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=40)


def naive_plan(product, label, gap, weighted):
    """The definition, review by review: {positive row: {negative row: probability}}."""
    share = Counter(label)
    plan = {}
    for row, (p, y) in enumerate(zip(product, label, strict=True)):
        ladder = sorted({label[i] for i in range(len(label)) if product[i] == p}, reverse=True)
        if y not in ladder[: max(0, len(ladder) - 1 - gap)]:
            continue
        rows = [i for i in range(len(label)) if product[i] == p and label[i] < y - gap]
        weight = [1 - share[label[i]] / len(label) if weighted else 1.0 for i in rows]
        plan[row] = {i: w / sum(weight) for i, w in zip(rows, weight, strict=True)}
    return plan


def split(table):
    return [p for p, _ in table], [y for _, y in table]


@given(tables, st.integers(0, 2), st.booleans())
def test_plan_equals_naive_loop(table, gap, weighted):
    product, label = split(table)
    plan = pair_plan(product, label, gap=gap, weighted=weighted)
    expected = naive_plan(product, label, gap, weighted)
    assert plan.positive_G.tolist() == list(expected)
    for group, row in enumerate(plan.positive_G.tolist()):
        rows, probability = plan.negatives(group)
        found = dict(zip(rows.tolist(), probability.tolist(), strict=True))
        assert found == pytest.approx(expected[row], abs=1e-12)


@given(tables, st.integers(0, 2), st.booleans(), st.integers(1, 3), st.integers(0, 2**31))
def test_groups_hold_positives_with_eligible_negatives(table, gap, weighted, duplicates, seed):
    product, label = split(table)
    groups = training_groups(
        product, label, gap=gap, negatives=3, seed=seed, epoch=1, weighted=weighted, duplicates=duplicates
    )
    expected = naive_plan(product, label, gap, weighted)
    assert groups.shape == (duplicates * len(expected), 4)
    assert groups.dtype == np.int64
    assert groups[:, 0].tolist() == [row for row in expected for _ in range(duplicates)]
    for positive, *negatives in groups.tolist():
        assert set(negatives) <= expected[positive].keys()


@pytest.mark.parametrize(
    ("labels", "pairs"),
    [([0, 4], set()), ([0, 1, 2], {(2, 0)}), ([0, 2, 4], {(4, 0), (4, 2)}), ([3], set()), ([], set())],
)
def test_gap_one_by_hand(labels, pairs):
    groups = training_groups([0] * len(labels), labels, gap=1, negatives=50, seed=0, epoch=1)
    found = {(labels[positive], labels[k]) for positive, *negatives in groups.tolist() for k in negatives}
    assert found == pairs


def test_draws_follow_the_probabilities():
    """Chi-square over 60,000 draws of one positive; labels have unequal shares, products are mixed."""
    random = np.random.default_rng(0)
    product = random.integers(0, 3, 60)
    label = random.choice(5, 60, p=[0.4, 0.3, 0.1, 0.1, 0.1])
    for weighted in (True, False):
        plan = pair_plan(product, label, gap=1, weighted=weighted)
        group = int(np.argmax(plan.stop_G - plan.start_G))
        groups = training_groups(product, label, gap=1, negatives=60_000, seed=5, epoch=2, weighted=weighted)
        rows, probability = plan.negatives(group)
        count = np.bincount(groups[group, 1:], minlength=60)[rows]
        assert len(rows) > 5
        assert chisquare(count, 60_000 * probability).pvalue > 1e-4
    # the two distributions differ enough for this size that the test can tell them apart
    uniform = np.full(len(rows), 1 / len(rows))
    weighted_rows, weighted_probability = pair_plan(product, label, gap=1).negatives(group)
    assert np.array_equal(weighted_rows, rows)
    assert chisquare(60_000 * weighted_probability, 60_000 * uniform).pvalue < 1e-4


def test_pure_function_of_seed_and_epoch():
    random = np.random.default_rng(1)
    product, label = random.integers(0, 20, 300), random.integers(0, 5, 300)

    def draw(seed, epoch):
        return training_groups(product, label, gap=1, negatives=7, seed=seed, epoch=epoch)

    assert np.array_equal(draw(0, 1), draw(0, 1))
    assert not np.array_equal(draw(0, 1), draw(0, 2))
    assert not np.array_equal(draw(0, 1), draw(1, 1))
    # the released code's flaw: row i of an epoch repeats row i + 1 of the one before
    assert not np.array_equal(draw(0, 2)[:-1, 1:], draw(0, 1)[1:, 1:])


def test_duplicates_get_their_own_negatives():
    label = np.r_[np.zeros(50), 2, 4].astype(int)
    first, second = training_groups([0] * 52, label, gap=1, negatives=7, seed=0, epoch=1, duplicates=2)
    assert first[0] == second[0] == 51
    assert not np.array_equal(first, second)


def golden_cases():
    return list(json.loads((GOLDENS / "pairs.json").read_text())["cases"])


@pytest.mark.parametrize("case", golden_cases())
def test_goldens(case):
    golden = json.loads((GOLDENS / "pairs.json").read_text())
    expected = golden["cases"][case]
    products, reviews, label = zip(*golden["relation"], strict=True)
    product = np.unique(products, return_inverse=True)[1]
    plan = pair_plan(product, label, gap=expected["interval"], weighted=expected["weighted"])
    groups = training_groups(
        product, label, gap=expected["interval"], negatives=7, seed=0, epoch=1,
        weighted=expected["weighted"], duplicates=expected["num_dup"],
    )  # fmt: skip
    emitted = Counter(reviews[row] for row in groups[:, 0])
    assert emitted == {name: value["times_emitted"] for name, value in expected["positives"].items()}
    assert groups.size == expected["n_rows"]
    for group, row in enumerate(plan.positive_G):
        rows, probability = plan.negatives(group)
        eligible = {entry["id"]: entry["prob"] for entry in expected["positives"][reviews[row]]["negatives"]}
        assert {reviews[i]: p for i, p in zip(rows, probability, strict=True)} == pytest.approx(eligible)


def test_two_hundred_times_the_reference_speed():
    """The reference takes 1.28 s per 1,000 positives at K = 7."""
    random = np.random.default_rng(2)
    label = random.choice(5, 200_000, p=[0.35, 0.25, 0.2, 0.12, 0.08])
    product = np.repeat(np.arange(10_000), 20)
    seconds = []
    for epoch in range(3):
        started = time.perf_counter()
        groups = training_groups(product, label, gap=1, negatives=7, seed=0, epoch=epoch)
        seconds.append(time.perf_counter() - started)
    assert len(groups) > 50_000
    assert 1.28 / (1000 * min(seconds) / len(groups)) > 200


@settings(max_examples=50)
@given(tables, st.integers(1, 12), st.integers(0, 2**31))
def test_lists(table, size, seed):
    product, label = (np.array(column, dtype=int) for column in split(table))
    lists = training_lists(product, label, size=size, seed=seed, epoch=1)
    eligible = [p for p in np.unique(product) if len(set(label[product == p])) >= 3]
    assert [int(product[rows[0]]) for rows in lists] == eligible
    for p, rows in zip(eligible, lists, strict=True):
        assert (product[rows] == p).all()
        assert len(set(rows.tolist())) == len(rows) == min(size, (product == p).sum())


def test_lists_are_uniform_draws_seeded_by_epoch():
    label = np.arange(12) % 5
    count = np.zeros(12)
    for epoch in range(4000):
        (rows,) = training_lists(np.zeros(12), label, size=3, seed=1, epoch=epoch)
        count[rows] += 1
    assert chisquare(count).pvalue > 1e-4
    again = training_lists(np.zeros(12), label, size=3, seed=1, epoch=3999)[0]
    assert np.array_equal(rows, again)
