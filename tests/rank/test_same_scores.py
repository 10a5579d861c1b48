"""An exported model gives the run's own test scores, to the last bit, whatever else it ranks beside."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import benchmark
from benchmark import models
from tests.command_line import bench
from tests.rank.conftest import Trained


@pytest.fixture(params=list(models.METHODS))
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_method_gives_the_scores_of_its_run(trained: Trained, method: str, tmp_path: Path) -> None:
    """By `bench rank` on a CSV file with a products file, and from Python on half of the products in another order."""
    stored = trained.runs[method, 0].scores
    trained.reviews.to_csv(tmp_path / "reviews.csv", index=False)
    trained.products.to_csv(tmp_path / "products.csv", index=False)
    words = ["rank", "--model", str(trained.model(method)), "--input", str(tmp_path / "reviews.csv")]
    words += ["--products", str(tmp_path / "products.csv"), "--images", str(trained.images)]
    bench(*words, "--out", str(tmp_path / "ranked.csv"))
    with (tmp_path / "ranked.csv").open(newline="", encoding="utf-8") as file:
        ranked = list(csv.DictReader(file))
    assert [row["review_id"] for row in ranked] == list(stored["review_id"])
    np.testing.assert_array_equal([float(row["score"]) for row in ranked], stored["score"])

    ranker = benchmark.load_ranker(trained.model(method))
    chosen = sorted(trained.products["product_id"])[::-2]
    parts = [trained.reviews[trained.reviews["product_id"] == product] for product in chosen]
    others = pd.concat(parts, ignore_index=True)
    again = ranker.rank(trained.products, others, images=trained.images)
    expected = stored.set_index("review_id").loc[list(others["review_id"]), "score"]
    np.testing.assert_array_equal(again["score"], expected)
    assert len(set(again["score"])) > len(again) // 2


def test_places_are_those_of_the_scores(trained: Trained) -> None:
    ranked = benchmark.load_ranker(trained.model("egcnn")).rank(trained.products, trained.reviews)
    for _, own in ranked.groupby("product_id"):
        assert sorted(own["rank"]) == list(range(1, len(own) + 1))
        best_first = own.sort_values("rank")["score"].to_numpy()
        assert (np.diff(best_first) <= 0).all()


def test_without_images_a_review_has_none(trained: Trained) -> None:
    """A method that looks at images scores otherwise without them, one that reads alone does not."""
    for method, same in (("mcr", False), ("bimpm", True)):
        ranker = benchmark.load_ranker(trained.model(method))
        bare = ranker.rank(trained.products, trained.reviews)
        seen = ranker.rank(trained.products, trained.reviews, images=trained.images)
        assert np.array_equal(bare["score"], seen["score"]) == same


def test_the_subtasks_are_those_of_the_run(trained: Trained) -> None:
    ranked = benchmark.load_ranker(trained.model("mmss")).rank(
        trained.products, trained.reviews, images=trained.images, explain=True
    )
    stored = trained.runs["mmss", 0].scores
    names = [name for name in stored.columns if name.startswith("score_")]
    assert len(names) == 5
    for name in names:
        np.testing.assert_array_equal(ranked[name], stored[name])
