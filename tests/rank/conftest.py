"""Runs of every method on the tiny corpus, their weights kept, and the test split as a person would have it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from benchmark import models
from benchmark.data.catalog import TABLE_COLUMNS
from benchmark.data.findings import Findings
from benchmark.data.source import Source
from benchmark.data.tables import read_table
from benchmark.engine.execute import RunOptions, execute
from benchmark.engine.plan import Choices, expand
from benchmark.rank.export import export
from benchmark.runs.store import StoredRun, load_runs
from benchmark.runs.writer import write_data


@dataclass(frozen=True)
class Trained:
    """What the tests of a ranking start from."""

    results: Path
    runs: dict[tuple[str, int], StoredRun]
    """(method, seed) -> its run."""
    products: pd.DataFrame
    reviews: pd.DataFrame
    """Of the test split, in the relation table's order, without labels."""
    images: Path
    model: Callable[..., Path]
    """(method, seed=0) -> the run's exported folder."""


@pytest.fixture(scope="session")
def trained(corpus: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    place = tmp_path_factory.mktemp("ranking")
    results = place / "results"
    source = Source(corpus, cache)
    data = source.open("amazon", "home")
    write_data(results, data)
    for methods, seeds in ((tuple(models.METHODS), (0,)), (("mmss",), (1, 2))):
        choices = Choices(("amazon",), ("home",), methods, seeds, overrides=("train.epochs=1",), device="cpu")
        for spec in expand(choices, [data]):
            outcome = execute(spec, source, results, RunOptions(keep_weights=True))
            assert outcome.ok, outcome.reason
    runs = {(run.spec.method, run.spec.seed): run for run in load_runs(results)}
    folder = corpus / "amazon" / "home"
    tables = {
        kind: pd.DataFrame(read_table(folder / f"home.{kind}.test", kind, Findings()))
        for kind in TABLE_COLUMNS
    }
    reviews = tables["rel"][["product_id", "review_id"]].merge(
        tables["rvw"][["review_id", "content", "time"]], on="review_id", how="left", validate="one_to_one"
    )
    made: dict[tuple[str, int], Path] = {}

    def model(method: str, seed: int = 0) -> Path:
        if (method, seed) not in made:
            made[method, seed] = export(runs[method, seed], place / f"{method}-{seed}").path
        return made[method, seed]

    products = tables["prd"][["product_id", "name", "description"]]
    return Trained(results, runs, products, reviews, folder / "features" / "test", model)
