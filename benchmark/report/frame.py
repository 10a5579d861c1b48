"""All values of a results folder as one tidy table (torch-free)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from benchmark.core.errors import UsageError
from benchmark.core.files import written_beside
from benchmark.core.metrics import PAPER_METRICS
from benchmark.runs.store import StoredRun, load_runs

COLUMNS = ("run", "dataset", "category", "method", "seed", "metric", "product", "value")
CONDITIONS = (
    *("corpus", "synthetic", "shuffle_labels", "protocol", "preset", "device"),
    *("relevance_threshold", "overrides"),
)
"""What two rows must share, beside the data set, before they are compared."""
FORMATS = ("csv", "parquet")
METRICS = (*PAPER_METRICS, "mrr")


def frame(
    results: str | Path | Iterable[StoredRun],
    dataset: str | None = None,
    metrics: Sequence[str] = METRICS,
    *,
    conditions: bool = False,
) -> pd.DataFrame:
    """One row per run, metric and test product, with COLUMNS.

    `run` is the run's identity; `method` its name, with the parts that an ablation dropped (`mmss-no-ptrt`);
    `value` is 0..1. Runs come by path, products in the data's order. What they share (protocol, preset, data) and what
    they do not is in `load_runs(results)[i].spec`: look there before two rows are compared.

    Args:
        results: a results folder, or runs that were loaded (and chosen, or `rescored`) already.
        dataset: only this data set.
        conditions: columns CONDITIONS follow `seed`, for rows that leave the runs behind.
    """
    runs = load_runs(Path(results)) if isinstance(results, str | Path) else results
    before, after = COLUMNS[:5], COLUMNS[5:]
    columns = [*before, *(CONDITIONS if conditions else ()), *after]
    parts = [
        _of_run(run, metric, columns)
        for run in runs
        if dataset in (None, run.spec.dataset)
        for metric in metrics
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def write_frame(runs: Sequence[StoredRun], out: Path, form: str) -> int:
    """Write the frame of these runs, with their conditions, as a file of one of FORMATS; returns its rows.

    UsageError if there are no runs.
    """
    if not runs:
        raise UsageError("there are no finished runs to export.")
    table = frame(runs, conditions=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    with written_beside(out) as unfinished:
        if form == "csv":
            table.to_csv(unfinished, index=False, lineterminator="\n")
        else:
            import duckdb

            with duckdb.connect() as con:
                con.register("values_of_runs", table)
                name = str(unfinished).replace("'", "''")
                con.execute(f"COPY (SELECT * FROM values_of_runs) TO '{name}' (FORMAT parquet)")
    return len(table)


def _of_run(run: StoredRun, metric: str, columns: Sequence[str]) -> pd.DataFrame:
    spec = run.spec
    given = run.conditions
    made = {
        **{name: getattr(given, name) for name in CONDITIONS},
        "overrides": " ".join(given.overrides),
        "run": run.id,
        "dataset": spec.dataset,
        "category": spec.category,
        "method": spec.model,
        "seed": spec.seed,
        "metric": metric,
        "product": list(run.products),
        "value": run.values(metric),
    }
    return pd.DataFrame(made, columns=list(columns))
