"""Made-up runs with all that the report shows: five methods on both data sets, epochs, pseudo labels, ablations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmark.runs.store import StoredRun, load_runs
from tests.fixtures_runs import write_run

QUALITY = {"bimpm": 0.50, "egcnn": 0.52, "mcr": 0.55, "mcl": 0.56, "mmss": 0.62}
SUBTASKS = ("ptrt", "pvrv", "ptrv", "pvrt", "rtrv")


def epochs(method: str, n: int = 3) -> list[dict[str, Any]]:
    """A log of n epochs; MM-SS's with the quartiles of its pseudo labels and its sigmas."""
    return [_epoch(epoch, method) for epoch in range(1, n + 1)]


def _epoch(epoch: int, method: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"epoch": epoch, "loss": 1.0 / epoch, "dev_map": 0.5 + 0.01 * epoch}
    if method == "mmss":
        quartiles = {"mean": 1.0, "q25": 0.2, "median": 0.9, "q75": 1.8 + 0.1 * epoch, "mean_change": 0.1}
        entry["notes"] = {
            "sigma": dict.fromkeys(SUBTASKS, 1.0 - 0.01 * epoch),
            "pseudo_labels": {
                "tasks": {"g": {"mean_chi": 1.0}} | dict.fromkeys(SUBTASKS, quartiles),
                "samples": {"row": [0, 1], "label": [0.0, 4.0]}
                | {task: [0.1 * epoch, 4.0 - 0.1 * epoch] for task in SUBTASKS},
            },
        }
    return entry


def write_report_runs(results: Path, **fields: Any) -> list[StoredRun]:
    """Three seeds of every method and category, and two ablations on clothing."""
    for dataset in ("lazada", "amazon"):
        for category in ("clothing", "electronics", "home"):
            for method, value in QUALITY.items():
                for seed in range(3):
                    write_run(
                        results, method, seed, dataset=dataset, category=category, value=value,
                        log=epochs(method), **fields,
                    )  # fmt: skip
        for seed in range(3):
            for part in ("ptrt", "d"):
                write_run(results, "mmss", seed, dataset=dataset, value=0.58, drop=(part,), **fields)
    return load_runs(results)
