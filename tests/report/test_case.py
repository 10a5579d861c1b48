"""`bench case`: which products are shown, what stands beside each review, and what is said where something lacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmark.core.errors import UsageError
from benchmark.report.case import LISTED, cases, pairs, render, standardised
from benchmark.runs.store import load_runs
from tests.command_line import bench, results_of
from tests.fixtures_runs import reseal, write_run

LABELS = [2, 1, 0, 0]
WITH = {"P000": [4, 3, 2, 1], "P001": [1, 2, 3, 4], "P002": [9, 7, 1, 0]}
WITHOUT = {"P000": [1, 2, 3, 4], "P001": [40, 30, 20, 10], "P002": [90, 10, 70, 0]}


def rewrite(folder: Path, scores: dict[str, list[float]], *parts: str) -> None:
    table = pd.DataFrame(
        {
            "review_id": [f"R{i:04}" for i in range(12)],
            "product_id": np.repeat(list(scores), 4),
            "label": LABELS * 3,
            "score": np.concatenate(list(scores.values())).astype(float),
        }
    )
    for place, part in enumerate(parts):
        table[f"score_{part}"] = table["score"] + 10 * (place + 1)
    table.to_csv(folder / "scores.csv", index=False)
    reseal(folder)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    products = list(WITH)
    for seed in (0, 1):
        folder = write_run(tmp_path, "mmss", seed, products=products)
        rewrite(folder, WITH, "ptrt", "pvrv")
    rewrite(write_run(tmp_path, "mmss", 1, products=products, drop=("d",)), WITHOUT)
    write_run(tmp_path, "mcr", 0, products=products)
    return tmp_path


def test_the_products_at_which_the_labels_help_and_hurt_most(results: Path) -> None:
    (pair,) = pairs(load_runs(results))
    assert pair.run.spec.seed == 1, "the first seed that has both runs"
    help_, hurt = cases(pair, lambda run: None)
    assert (help_.product_id, hurt.product_id) == ("P000", "P001")
    # of the five pairs with different labels: all in order, and all in reverse
    assert (help_.agreement, help_.agreement_without) == (1.0, -1.0)
    assert (hurt.agreement, hurt.agreement_without) == (-1.0, 1.0)


def test_what_stands_beside_a_review(results: Path) -> None:
    (pair,) = pairs(load_runs(results))
    (case,) = cases(pair, lambda run: None, product="P002")
    assert [review.review_id for review in case.reviews] == ["R0008", "R0009", "R0010", "R0011"]
    second = case.reviews[1]
    assert (second.rank, second.rank_without, second.label, second.without) == (2, 3, 1, 10.0)
    assert second.subtasks == {"ptrt": 17.0, "pvrv": 27.0}
    scaled = [
        (np.array(values[:4]) - np.mean(values)) / np.std(values)
        for values in (WITH["P002"], WITHOUT["P002"])
    ]
    difference = scaled[0] - scaled[1]
    np.testing.assert_allclose([review.difference for review in case.reviews], difference)
    assert case.differs_most == f"R{8 + int(np.abs(difference).argmax()):04}"
    assert not standardised(np.full(3, 2.0)).any()


def test_a_review_leads_to_its_product(results: Path) -> None:
    (pair,) = pairs(load_runs(results))
    (case,) = cases(pair, lambda run: None, review="R0005")
    assert (case.product_id, case.asked) == ("P001", "R0005")
    assert "asked for" in render(case)
    with pytest.raises(UsageError, match="one of product P001"):
        cases(pair, lambda run: None, product="P000", review="R0005")
    with pytest.raises(UsageError, match="no review 'R5'"):
        cases(pair, lambda run: None, review="R5")


def test_without_the_ablation_or_the_predictions_it_says_so(results: Path) -> None:
    (pair,) = pairs(load_runs(results), seed=0)
    assert pair.without is None
    best, worst = cases(pair, lambda run: None)
    assert (best.product_id, worst.product_id) == ("P000", "P001")
    assert best.differs_most == ""
    assert "bench ablate --drop d" in render(best)
    rewrite(pair.run.folder, WITH)
    (pair,) = pairs(load_runs(results), seed=0)
    assert "stored no predictions" in render(cases(pair, lambda run: None)[0])
    with pytest.raises(UsageError, match="no finished run of MM-SS with seed 7"):
        pairs(load_runs(results), seed=7)


def test_a_long_list_keeps_its_ends_and_what_is_spoken_of(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "mmss", 0, products=["P000"])
    rows = 3 * LISTED
    pd.DataFrame(
        {
            "review_id": [f"R{i:04}" for i in range(rows)],
            "product_id": "P000",
            "label": [i % 3 for i in range(rows)],
            "score": [float(-i) for i in range(rows)],
        }
    ).to_csv(folder / "scores.csv", index=False)
    reseal(folder)
    (pair,) = pairs(load_runs(tmp_path))
    (case,) = cases(pair, lambda run: None, review="R0015")
    text = render(case)
    assert len(case.reviews) == rows
    assert text.count("R00") == LISTED + 1
    assert "... 9 more ..." in text
    assert f"... {rows - LISTED // 2 - 16} more ..." in text


def test_the_command(results: Path) -> None:
    shown = bench("case", "--results", str(results)).stdout
    assert shown.count("agreement") + shown.count("Agreement") == 2
    assert "ptrt" in shown
    (one,) = results_of(bench("case", "--results", str(results), "--product", "P002", "--json").stdout)
    assert one["reviews"][0]["subtasks"] == {"ptrt": 19.0, "pvrv": 29.0}
    assert "no product" in bench("case", "--results", str(results), "--product", "P9", code=2).stderr
    assert "no such folder" in bench("case", "--data", str(results / "x"), code=2).stderr


def test_another_method_beside_itself_without_a_part(tmp_path: Path) -> None:
    products = list(WITH)
    for seed in (0, 1):
        rewrite(write_run(tmp_path, "mcr", seed, products=products), WITH, "text")
    rewrite(write_run(tmp_path, "mcr", 1, products=products, drop=("images",)), WITHOUT, "text")
    write_run(tmp_path, "mmss", 0, products=products)
    where = ("case", "--results", str(tmp_path), "--proposed", "MCR", "--json")
    found = results_of(bench(*where).stdout)
    assert [one["product_id"] for one in found] == ["P000", "P001"]
    assert {(one["method"], one["seed"], tuple(one["drop"])) for one in found} == {("mcr", 1, ("images",))}
    (asked,) = results_of(bench(*where, "--without", "images", "--product", "P002").stdout)
    assert [review["without"] for review in asked["reviews"]] == [90.0, 10.0, 70.0, 0.0]
    text = bench("case", "--results", str(tmp_path), "--proposed", "mcr").stdout
    assert "images help most here" in text
    assert "-1.00 without images" in text
    assert " rank label    score w/o imag (rank)    text" in text
    assert "subtasks" not in text
    wrong = bench(*where, "--without", "image", code=2).stderr
    assert "Did you mean images?" in wrong
    none = bench("case", "--results", str(tmp_path), "--without", "d", code=2).stderr
    assert "no ablation of mmss was run" in none
    alone = bench("case", "--results", str(tmp_path), "--proposed", "mcr", "--seed", "0").stdout
    assert "No run without images of this seed: bench ablate --proposed mcr --drop images" in alone


def test_a_method_that_is_not_the_papers_has_no_part_to_be_without(tmp_path: Path) -> None:
    write_run(tmp_path, "mcr", 0, products=list(WITH))
    text = bench("case", "--results", str(tmp_path), "--proposed", "mcr").stdout
    assert "ranked best" in text
    assert "No run without" not in text
