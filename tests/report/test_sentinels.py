"""Trivial scorers by hand, and what the tie policy moves."""

import numpy as np
import pandas as pd
import pytest

from benchmark.report.grid import group_settings
from benchmark.report.sentinels import sentinels, tie_report
from benchmark.runs.store import load_runs
from tests.fixtures_runs import reseal, write_run


def reviews(**columns):
    table = {
        "product_id": ["a", "b", "a", "b", "a"],
        "label": [2, 0, 0, 1, 0],
        "word_count": [3, 9, 50, 20, 7],
        "time": [100.0, 50.0, 200.0, 60.0, 300.0],
        "has_image": [0, 1, 1, 0, 0],
    }
    return pd.DataFrame(table | columns)


def by_name(table, **options):
    return {one.name: one for one in sentinels(table, **options)}


def test_every_scorer_by_hand():
    found = by_name(reviews())
    # Product a: labels 2, 0, 0 in file order; product b: 0, 1.
    assert found["oracle"].values["map"] == 1
    assert found["file-order"].values["map"] == pytest.approx((1 + 1 / 2) / 2)
    assert found["random"].values["map"] == pytest.approx(((1 + 1 / 2 + 1 / 3) / 3 + (1 + 1 / 2) / 2) / 2)
    assert found["longest"].values["map"] == pytest.approx((1 / 3 + 1) / 2)
    assert found["oldest"].values["map"] == pytest.approx((1 + 1 / 2) / 2)
    # a: the review with an image is irrelevant, the other two are tied; b: the relevant one comes second.
    assert found["has-image"].values["map"] == pytest.approx(((1 / 2 + 1 / 3) / 2 + 1 / 2) / 2)


def test_the_threshold_counts():
    found = by_name(reviews(), threshold=1)
    assert found["oracle"].values["ndcg@3"] == pytest.approx(0.5)


def test_what_the_corpus_lacks_has_no_value():
    found = by_name(reviews(time=np.nan, has_image=0))
    assert found["oldest"].values is None
    assert "no times" in found["oldest"].note
    assert found["has-image"].values is None


def test_a_review_without_a_time_comes_last():
    found = by_name(reviews(time=[np.nan, 50.0, 200.0, 60.0, 300.0]))
    assert found["oldest"].values["map"] == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert found["oldest"].note.startswith("1 of 5 reviews have no time")


def test_ties_of_a_constant_scorer(tmp_path):
    folder = write_run(tmp_path, seed=0, products=list("abc"), values=[0.1, 0.2, 0.3])
    table = pd.read_csv(folder / "scores.csv")
    table["score"] = 0.5
    table.to_csv(folder / "scores.csv", index=False)
    reseal(folder)
    (setting,) = group_settings(load_runs(tmp_path))
    report = tie_report(setting.cell("clothing", "mcr"))
    assert report.tied_pairs == 1
    # Labels 2, 1, 0, 0 in file order (all 0 for the first product): file order is the best order.
    expected = by_name(pd.DataFrame(table).assign(word_count=1, time=np.nan, has_image=0))["random"].values[
        "map"
    ]
    assert report.file_order_gain["map"] == pytest.approx(2 / 3 - expected)
    assert tie_report(setting.cell("home", "mcr")) is None
