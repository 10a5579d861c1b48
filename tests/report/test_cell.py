"""A report of any number of runs reads each of them a fixed number of times."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.core.metrics import PAPER_METRICS, per_product_metrics
from benchmark.report import cell as cells
from benchmark.report.grid import group_settings
from benchmark.report.paper_claims import check_claims
from benchmark.report.significance import stats_report
from benchmark.report.tables import ablation_table, results_table
from benchmark.runs import stored
from benchmark.runs.reviews import Recent
from benchmark.runs.store import load_runs, rescored
from tests.fixtures_runs import N_PRODUCTS, write_run

METHODS, CATEGORIES, SEEDS = ("bimpm", "mcr", "mcl", "mmss"), ("clothing", "home"), 3
DROPS = [("ptrt",), ("b",), ("d",)]
OF_A_RUN = 4 * 8 * N_PRODUCTS
"""Bytes of the metrics of a run."""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("results")
    for seed in range(SEEDS):
        for category in CATEGORIES:
            for method in METHODS:
                write_run(place, method, seed, category=category, arrays=True)
        for drop in DROPS:
            write_run(place, "mmss", seed, drop=drop, arrays=True)
    return place


def counted(monkeypatch: pytest.MonkeyPatch, most_bytes: int) -> Counter[Path]:
    """How often each run's values are made from now on, where the values of few runs fit into memory."""
    reads: Counter[Path] = Counter()
    made = stored.StoredRun._read_values

    def counting(run: stored.StoredRun) -> Any:
        reads[run.folder] += 1
        return made(run)

    monkeypatch.setattr(stored.StoredRun, "_read_values", counting)
    size = stored._VALUES._size
    monkeypatch.setattr(stored, "_VALUES", Recent(most_bytes, size))
    cells._SIDES.clear()
    return reads


@pytest.mark.parametrize("threshold", [None, 1])
def test_a_table_reads_each_run_once(
    results: Path, monkeypatch: pytest.MonkeyPatch, threshold: int | None
) -> None:
    runs = rescored(load_runs(results), threshold)
    (plain,) = group_settings(runs)
    expected = results_table(plain)
    reads = counted(monkeypatch, most_bytes=OF_A_RUN)
    (setting,) = group_settings(rescored(load_runs(results), threshold))
    assert results_table(setting) == expected
    full = {run.folder for run in runs if not run.spec.drop}
    assert len(full) == len(METHODS) * len(CATEGORIES) * SEEDS
    assert reads == dict.fromkeys(full, 1)


def test_so_do_tests_and_claims(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = counted(monkeypatch, most_bytes=OF_A_RUN)
    (setting,) = group_settings(load_runs(results))
    assert len(stats_report(setting, "all").findings) == 3 * 2 * len(PAPER_METRICS)
    assert set(reads.values()) == {1}
    (setting,) = group_settings([run for run in load_runs(results) if not run.spec.drop])
    check_claims([setting])
    assert set(reads.values()) == {1}


def test_an_ablation_reads_each_run_at_most_twice(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for its mean, once beside the full model, which is held meanwhile."""
    reads = counted(monkeypatch, most_bytes=2 * SEEDS * OF_A_RUN)
    (setting,) = group_settings(load_runs(results))
    table = ablation_table([setting])
    assert len(table.facts["tests"]) == len(DROPS) * len(PAPER_METRICS)
    assert len(reads) == (1 + len(DROPS)) * SEEDS
    assert max(reads.values()) <= 2


def test_what_is_kept_is_of_one_threshold_and_tie_policy(results: Path) -> None:
    """The same files judged otherwise are other values, though the runs are the same."""
    for threshold, ties in ((None, "expected"), (1, "expected"), (None, "file-order")):
        (setting,) = group_settings(rescored(load_runs(results), threshold, ties))  # type: ignore[arg-type]
        cell = setting.cell("home", "mcr")
        for run, *found in zip(
            cell.runs, *(cell.seed_means(metric) for metric in PAPER_METRICS), strict=True
        ):
            row_of = {product: row for row, product in enumerate(run.products)}
            values = per_product_metrics(
                run.scores["label"], run.scores["score"], [row_of[one] for one in run.scores["product_id"]],
                N_PRODUCTS, threshold=threshold or 0, ties=ties,  # type: ignore[arg-type]
            )  # fmt: skip
            np.testing.assert_allclose(found, [values[metric].mean() for metric in PAPER_METRICS], rtol=1e-12)
