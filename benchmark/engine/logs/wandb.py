"""`--log wandb`: one run of Weights & Biases per run, under its identity.

Its own settings hold: `WANDB_MODE=offline` sends nothing, `WANDB_PROJECT` names another project. What it keeps on disk
lies in RESULTS/logs/wandb unless `WANDB_DIR` says otherwise.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import Any

from benchmark.engine.callbacks import LoggedRun, numbers, results_of

PROJECT = "mrhp-bench"


class Log:
    """An epoch's numbers at its step; test values and the outcome in the summary."""

    def start(self, run: LoggedRun) -> None:
        wandb: Any = importlib.import_module("wandb")
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            dir=os.environ.get("WANDB_DIR") or str(run.folder("wandb")),
            id=run.id,
            name=run.name,
            group=f"{run.dataset}/{run.category}",
            job_type=run.method,
            config={
                "conditions": run.conditions,
                **{name: getattr(run, name) for name in ("dataset", "category", "method", "seed")},
                **run.config,
            },
            # what a run prints is its own business, and nothing of the machine is asked about
            settings=wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True),
        )

    def epoch(self, run: LoggedRun, entry: Mapping[str, Any]) -> None:
        self.run.log(numbers(entry), step=int(entry["epoch"]))

    def end(self, run: LoggedRun, result: Mapping[str, Any]) -> None:
        self.run.summary.update({"state": result["state"], **results_of(result)})
        self.run.finish(exit_code=0 if result["state"] == "done" else 1)
