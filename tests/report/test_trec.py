"""`bench export --format trec`: what standard tools read of it, and that their values are ours."""

from __future__ import annotations

import csv
from pathlib import Path

import ir_measures
import numpy as np
import pandas as pd
import pytest
from ir_measures import AP, RR, nDCG

from benchmark.core.metrics import METRICS, per_product_metrics
from benchmark.report.trec import qrels_text, run_text, strictly_decreasing
from tests.command_line import bench
from tests.fixtures_runs import make_consistent, write_run

STANDARD = {"map": AP(rel=1), "ndcg@3": nDCG @ 3, "ndcg@5": nDCG @ 5, "mrr": RR(rel=1)}
"""Ours -> what trec_eval computes against the gains."""


def tied_reviews(seed: int) -> pd.DataFrame:
    """50 products with 1 to 12 reviews, rows of a product not together, scores of few values."""
    rng = np.random.default_rng(seed)
    product = rng.permutation(np.repeat(np.arange(50), rng.integers(1, 13, 50)))
    n = len(product)
    label = np.where(product < 5, 0, rng.integers(0, 5, n))
    return pd.DataFrame(
        {
            "review_id": [f"r{number}" for number in rng.permutation(n)],
            "product_id": [f"p {number}%" for number in product],
            "label": label,
            "score": rng.integers(-2, 3, n) / np.float32(3),
        }
    )


@pytest.mark.parametrize("threshold", [0, 2])
def test_standard_tools_compute_our_values(tmp_path: Path, threshold: int) -> None:
    reviews = tied_reviews(threshold)
    label = reviews["label"].to_numpy()
    (tmp_path / "run").write_text(run_text(reviews, "tag"))
    (tmp_path / "gains").write_text(qrels_text(reviews, np.where(label > threshold, 2**label - 1, 0)))
    (tmp_path / "labels").write_text(qrels_text(reviews, label))
    product, ids = pd.factorize(reviews["product_id"])
    ours = per_product_metrics(
        label, reviews["score"], product, len(ids), threshold=threshold, ties="file-order"
    )
    gains = {grade: 2**grade - 1 if grade > threshold else 0 for grade in range(5)}
    of_labels = {
        "map": AP(rel=threshold + 1),
        "ndcg@3": nDCG(gains=gains) @ 3,
        "ndcg@5": nDCG(gains=gains) @ 5,
        "mrr": RR(rel=threshold + 1),
    }
    for file, measures in (("gains", STANDARD), ("labels", of_labels)):
        for metric, measure in measures.items():
            found = {
                one.query_id: one.value
                for one in ir_measures.iter_calc(
                    [measure],
                    list(ir_measures.read_trec_qrels(str(tmp_path / file))),
                    list(ir_measures.read_trec_run(str(tmp_path / "run"))),
                )
            }
            names = [name.replace("%", "%25").replace(" ", "%20") for name in ids]
            assert found.keys() == set(names)
            np.testing.assert_allclose([found[name] for name in names], ours[metric], atol=1e-9)


def test_with_ties_a_reader_would_find_other_values() -> None:
    """The test above can fail: with tied scores written as they are, the tool orders them in its own way."""
    reviews = tied_reviews(1)
    label = reviews["label"].to_numpy()
    lines = [
        ir_measures.ScoredDoc(product, review, float(score))
        for product, review, score in zip(
            reviews["product_id"], reviews["review_id"], reviews["score"], strict=True
        )
    ]
    gains = [
        ir_measures.Qrel(product, review, int(2**grade - 1))
        for product, review, grade in zip(reviews["product_id"], reviews["review_id"], label, strict=True)
    ]
    product, ids = pd.factorize(reviews["product_id"])
    ours = per_product_metrics(label, reviews["score"], product, len(ids), ties="file-order")
    theirs = ir_measures.calc_aggregate([AP(rel=1)], gains, lines)[AP(rel=1)]
    assert abs(theirs - ours["map"].mean()) > 1e-3


def test_scores_fall_strictly_and_move_as_little_as_they_must() -> None:
    given = np.array([0.5, 0.5, 0.5, 0.25, 0.0, -0.0, -1.0], np.float32)
    made = strictly_decreasing(given)
    assert (np.diff(made) < 0).all()
    assert made[0] == given[0]
    assert made[3] == given[3]
    assert np.abs(made - given).max() < 1e-7
    low = np.full(3, np.finfo(np.float32).min)
    assert strictly_decreasing(low).tolist() == [3.0, 2.0, 1.0]
    assert strictly_decreasing(given[:0]).tolist() == []


def test_the_export_of_a_results_folder_is_read_back(tmp_path: Path) -> None:
    results = tmp_path / "results"
    for method in ("mcr", "mmss"):
        for seed in (0, 1):
            write_run(results, method, seed)
    write_run(results, "mmss", 0, drop=("ptrt",), training={"relevance_threshold": 1, "epochs": 3})
    make_consistent(results)
    folders = [tmp_path / name for name in ("once", "again")]
    for folder in folders:
        bench("export", "--results", str(results), "--format", "trec", "--out", str(folder))
    once, again = (
        {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        for folder in folders
    )
    assert once == again
    with (folders[0] / "index.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["mcr", "mcr", "mmss", "mmss", "mmss-no-ptrt"]
    assert len({row["gains_file"] for row in rows}) == 2
    assert len({row["labels_file"] for row in rows}) == 1
    for row in rows:
        read = ir_measures.calc_aggregate(
            list(STANDARD.values()),
            list(ir_measures.read_trec_qrels(str(folders[0] / row["gains_file"]))),
            list(ir_measures.read_trec_run(str(folders[0] / row["run_file"]))),
        )
        for metric in METRICS:
            assert read[STANDARD[metric]] == pytest.approx(float(row[metric]), abs=1e-9), (row, metric)


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "results", "mcr", 0)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    where = ("--results", str(tmp_path / "results"), "--out", str(tmp_path / "out"))
    assert "empty folder" in bench("export", "--format", "trec", *where, code=2).stderr
    assert [file.name for file in tmp_path.iterdir()] == ["results", "out"] or len(
        list(tmp_path.iterdir())
    ) == 2
    nothing = ("--results", str(tmp_path / "none"), "--out", str(tmp_path / "new"))
    assert "no finished runs" in bench("export", "--format", "trec", *nothing, code=2).stderr
