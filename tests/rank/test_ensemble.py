"""Several seeds as one ranker: the mean of their ranks, which seeds may be joined, and what it gains."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import rankdata

import benchmark
from benchmark.core.errors import EXIT_USAGE, DataError, UsageError
from benchmark.core.metrics import per_product_metrics
from benchmark.rank import order
from benchmark.rank.ensemble import groups, measure
from benchmark.runs.store import load_runs
from tests.command_line import bench
from tests.rank.conftest import Trained


def test_places_against_scipy() -> None:
    random = np.random.default_rng(0)
    product_R = random.integers(0, 9, 200)
    score_SR = random.integers(0, 5, (3, 200)).astype(float)  # many ties
    place_R, mean_R = order.places(score_SR[0], product_R), order.mean_places(score_SR, product_R)
    share_R = order.shares(mean_R, product_R)
    for product in range(9):
        own = np.flatnonzero(product_R == product)
        np.testing.assert_array_equal(place_R[own], rankdata(-score_SR[0, own], method="ordinal"))
        expected = np.mean([rankdata(-score_R[own]) for score_R in score_SR], axis=0)
        np.testing.assert_allclose(mean_R[own], expected)
        np.testing.assert_allclose(share_R[own], (len(own) - expected) / (len(own) - 1))
    assert order.shares(np.ones(1), np.zeros(1, dtype=int)).tolist() == [1.0]
    assert not len(order.places(np.zeros(0), np.zeros(0, dtype=int)))


def test_an_ensemble_ranks_by_the_mean_of_its_seeds_ranks(trained: Trained, tmp_path: Path) -> None:
    """Against the seeds' own rankings, by scipy."""
    folders = [trained.model("mmss", seed) for seed in (0, 1, 2)]
    given = (trained.products, trained.reviews)
    alone = [benchmark.load_ranker(folder).rank(*given, images=trained.images) for folder in folders]
    together = benchmark.load_ranker(folders).rank(*given, images=trained.images, explain=True)
    for product, own in together.groupby("product_id"):
        places = [rankdata(-one.loc[own.index, "score"].to_numpy()) for one in alone]
        mean = np.mean(places, axis=0)
        np.testing.assert_array_equal(own["rank"], rankdata(mean, method="ordinal"), str(product))
        np.testing.assert_allclose(own["score"], (len(own) - mean) / max(len(own) - 1, 1))
    stored = [trained.runs["mmss", seed].scores["score_ptrt"] for seed in (0, 1, 2)]
    np.testing.assert_allclose(together["score_ptrt"], np.mean(stored, axis=0))
    trained.reviews.to_csv(tmp_path / "reviews.csv", index=False)
    models = [word for folder in folders for word in ("--model", str(folder))]
    words = ["rank", "--input", str(tmp_path / "reviews.csv"), *models]
    made = bench(*words, "--ensemble", "--images", str(trained.images), "--json")
    assert len(json.loads(made.stdout)["models"]) == 3
    assert "--ensemble" in bench(*words, code=EXIT_USAGE).stderr
    assert "several --model" in bench(*words[:5], "--ensemble", code=EXIT_USAGE).stderr


def test_what_does_not_belong_together_is_refused(trained: Trained) -> None:
    first = trained.model("mmss", 0)
    for other, said in (
        (first, "seed 0 is there twice"),
        (trained.model("mcr"), r"method\.\w+ is 'mmss\.model:MMSS' in one"),
    ):
        with pytest.raises(UsageError, match=said):
            benchmark.load_ranker([first, other])
    with pytest.raises(UsageError, match="no model folder"):
        benchmark.load_ranker([])


def test_the_gain_is_that_of_the_stored_scores(trained: Trained) -> None:
    """Metrics of the mean of ranks, computed by another way from scores.csv."""
    listed = bench("model", "ensemble", "--results", str(trained.results), "--json")
    (found,) = json.loads(listed.stdout)["results"]
    assert (found["method"], found["seeds"]) == ("mmss", [0, 1, 2])
    runs = [trained.runs["mmss", seed] for seed in (0, 1, 2)]
    table = runs[0].scores
    product_R = np.unique(table["product_id"], return_inverse=True)[1]
    mean_R = np.zeros(len(table))
    for run in runs:
        places = table.assign(score=run.scores["score"]).groupby("product_id")["score"].rank(ascending=False)
        mean_R += places.to_numpy() / 3
    t = runs[0].relevance_threshold
    together = per_product_metrics(
        table["label"], -np.round(mean_R, 9), product_R, product_R.max() + 1, threshold=t
    )
    for name, values in found["metrics"].items():
        alone = [run.per_product[name].mean() for run in runs]
        assert list(values["of_seed"].values()) == pytest.approx(alone)
        assert values["mean"] == pytest.approx(np.mean(alone))
        assert values["ensemble"] == pytest.approx(together[name].mean())
        assert values["gain"] == pytest.approx(together[name].mean() - np.mean(alone))
    text = bench("model", "ensemble", "--results", str(trained.results), "--method", "mm-ss").stdout
    assert f"{100 * found['metrics']['map']['ensemble']:.2f}" in text
    none = bench("model", "ensemble", "--results", str(trained.results), "--method", "mcr", code=EXIT_USAGE)
    assert "no method of mcr has two finished seeds" in none.stderr


def test_runs_are_grouped_by_all_but_their_seed(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {group[0].spec.method: len(group) for group in groups(load_runs(trained.results))}
    assert sizes.pop("mmss") == 3
    assert set(sizes.values()) == {1}
    run, other = trained.runs["mmss", 0], trained.runs["egcnn", 0]
    with pytest.raises(UsageError, match="no seeds of one method"):
        measure([run, other])
    with pytest.raises(UsageError, match="two seeds"):
        measure([run])
    changed, own = replace(trained.runs["mmss", 1]), run.scores
    others = own.iloc[::-1].reset_index(drop=True)
    monkeypatch.setattr(type(run), "scores", property(lambda self: others if self is changed else own))
    with pytest.raises(DataError, match="different reviews"):
        measure([run, changed])
