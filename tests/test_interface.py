"""The Python interface: what it gives is what the files hold, and reading needs no torch."""

from __future__ import annotations

import csv
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import benchmark
from benchmark import models
from benchmark.core.errors import BenchError, UsageError
from benchmark.data.mini.corpus import MiniSpec, write_corpus
from tests.fixtures_runs import write_run

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def results(tmp_path):
    for seed in (0, 1):
        for method in ("mcr", "mmss"):
            write_run(tmp_path, method, seed, value=0.4)
    write_run(tmp_path, "mmss", 0, drop=("d",))
    write_run(tmp_path, "mcr", 0, dataset="amazon", category="home")
    return tmp_path


def test_a_frame_holds_every_value_of_every_file(results):
    table = benchmark.frame(str(results))
    assert list(table.columns) == [
        "run",
        "dataset",
        "category",
        "method",
        "seed",
        "metric",
        "product",
        "value",
    ]
    expected = {}
    for file in results.glob("runs/*/*/*/*/per_product.csv"):
        identity = file.parent.name.rpartition("-")[2]
        with file.open() as lines:
            for row in csv.DictReader(lines):
                for metric in ("map", "ndcg@3", "ndcg@5", "mrr"):
                    expected[identity, metric, row["product_id"]] = float(row[metric])
    found = {(row.run, row.metric, row.product): row.value for row in table.itertuples()}
    assert len(found) == len(table)
    assert found == expected
    assert set(table["method"]) == {"mcr", "mmss", "mmss-no-d"}
    assert set(benchmark.frame(results, "amazon")["category"]) == {"home"}


def test_runs_that_were_chosen_make_a_frame_too(results):
    runs = [run for run in benchmark.load_runs(results) if run.spec.seed == 1]
    table = benchmark.frame(runs, metrics=["map"])
    assert set(table["seed"]) == {1}
    means = table.groupby("run")["value"].mean()
    for run in runs:
        assert means[run.id] == pytest.approx(run.per_product["map"].mean())


def test_no_runs_make_an_empty_frame(tmp_path):
    assert benchmark.frame(tmp_path).empty
    assert list(benchmark.frame(tmp_path).columns)[-1] == "value"


def test_the_test_is_the_harness_own():
    random = np.random.default_rng(0)
    a, b = random.random((2, 5, 40))
    from benchmark.stats.crossed import crossed_test

    assert benchmark.crossed_test(a, b) == crossed_test(a, b)


def test_reading_takes_no_torch(results):
    code = (
        "import sys, benchmark\n"
        f"assert len(benchmark.frame({str(results)!r}))\n"
        "benchmark.crossed_test, benchmark.paired_test, benchmark.run\n"
        "assert 'torch' not in sys.modules\n"
        "assert {'frame', 'load_runs', 'run'} <= set(dir(benchmark))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        benchmark.nothing  # noqa: B018


def test_run_trains_what_is_missing_and_gives_all(tmp_path, monkeypatch):
    monkeypatch.setenv("MRHP_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(models, "METHODS", dict(models.METHODS))
    write_corpus(
        tmp_path / "root",
        MiniSpec(train_products=12, dev_products=4, test_products=4, roi_width=16, categories=("home",)),
    )
    settings = {
        "dataset": "lazada",
        "data": tmp_path / "root",
        "results": tmp_path / "results",
        "overrides": {"train.epochs": 1},
        "jobs": 1,
    }
    first = benchmark.run("bimpm", seeds=[0], **settings)
    assert [(run.spec.method, run.spec.seed) for run in first] == [("bimpm", 0)]
    ended = first[0].provenance["finished"]
    again = benchmark.run(["bimpm", models.load("convknrm")], seeds=[0], **settings)
    assert [run.spec.method for run in again] == ["bimpm", "convknrm"]
    assert again[0].provenance["finished"] == ended
    with pytest.raises(UsageError, match="unknown category"):
        benchmark.run("bimpm", category="garden", **settings)
    with pytest.raises(UsageError, match="unknown method"):
        benchmark.run("bimmp", **settings)
    (tmp_path / "faulty.py").write_text(
        "from baselines.bimpm import BiMPM\n\n\nclass Faulty(BiMPM):\n"
        "    def score(self, batch):\n        raise ValueError('not today')\n"
    )
    with pytest.raises(
        BenchError, match=r"not today \(.*faulty\.py:6, in score; the full traceback is in .*\.failed\.json\)"
    ):
        benchmark.run(f"{tmp_path / 'faulty.py'}:Faulty", seeds=[0], **settings)


def test_the_version_is_the_installed_packages_and_costs_nothing_until_it_is_asked_for() -> None:
    """A process that reads feature files is started for every processor."""
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import benchmark; print('importlib.metadata' in sys.modules, benchmark.__version__)"
    )
    words = [sys.executable, "-I", "-S", "-c", program]
    found = subprocess.run(words, capture_output=True, text=True, check=True)
    assert found.stdout.split()[0] == "False"
    assert benchmark.__version__ == metadata.version("mrhp-bench")
    assert "__version__" in dir(benchmark)
    with pytest.raises(AttributeError, match="no attribute 'x'"):
        _ = benchmark.x
