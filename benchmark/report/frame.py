"""All values of a results folder as one tidy table (torch-free)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from benchmark.core.metrics import PAPER_METRICS
from benchmark.runs.store import StoredRun, load_runs

COLUMNS = ("run", "dataset", "category", "method", "seed", "metric", "product", "value")
METRICS = (*PAPER_METRICS, "mrr")


def frame(
    results: str | Path | Iterable[StoredRun], dataset: str | None = None, metrics: Sequence[str] = METRICS
) -> pd.DataFrame:
    """One row per run, metric and test product, with COLUMNS.

    `run` is the run's identity; `method` its name, with the parts that an ablation dropped (`mmss-no-ptrt`);
    `value` is 0..1. Runs come by path, products in the data's order. What they share (protocol, preset, data) and what
    they do not is in `load_runs(results)[i].spec`: look there before two rows are compared.

    Args:
        results: a results folder, or runs that were loaded (and chosen, or `rescored`) already.
        dataset: only this data set.
    """
    runs = load_runs(Path(results)) if isinstance(results, str | Path) else results
    parts = [
        _of_run(run, metric) for run in runs if dataset in (None, run.spec.dataset) for metric in metrics
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))


def _of_run(run: StoredRun, metric: str) -> pd.DataFrame:
    spec, values = run.spec, run.per_product
    made = {
        "run": run.id,
        "dataset": spec.dataset,
        "category": spec.category,
        "method": spec.model,
        "seed": spec.seed,
        "metric": metric,
        "product": values["product_id"],
        "value": values[metric],
    }
    return pd.DataFrame(made, columns=list(COLUMNS))
