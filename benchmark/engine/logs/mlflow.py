"""`--log mlflow`: one run of MLflow per run.

`MLFLOW_TRACKING_URI` and `MLFLOW_EXPERIMENT_NAME` say where; without them it is a file store in RESULTS/logs/mlflow,
experiment `mrhp-bench`. A run that is made again takes the place of the earlier one.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import Any

from benchmark.engine.callbacks import LoggedRun, numbers, results_of

EXPERIMENT = "mrhp-bench"
IDENTITY = "mrhp_bench.id"
"""Tag with the run's identity."""
STATUS = {"done": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
LONGEST = 500
"""Characters of a parameter's value, which every version of MLflow takes."""


class Log:
    """Configuration as parameters, an epoch's numbers at its step, test values at the end."""

    def start(self, run: LoggedRun) -> None:
        own = run.folder("mlflow")
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if not uri:
            uri = (own / "store").as_uri()
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow 3 asks for it
        self.client: Any = importlib.import_module("mlflow").MlflowClient(tracking_uri=uri)
        experiment = self._experiment(own)
        for earlier in self.client.search_runs([experiment], f"tags.`{IDENTITY}` = '{run.id}'"):
            self.client.delete_run(earlier.info.run_id)
        tags = {IDENTITY: run.id, "conditions": run.conditions, "mlflow.runName": run.name}
        self.id = self.client.create_run(experiment, tags=tags).info.run_id
        about = {name: getattr(run, name) for name in ("dataset", "category", "method", "seed")}
        fields = {
            f"{part}.{name}": value for part, values in run.config.items() for name, value in values.items()
        }
        for name, value in {**about, **fields}.items():
            self.client.log_param(self.id, name, str(value)[:LONGEST])
        self.step = 0

    def epoch(self, run: LoggedRun, entry: Mapping[str, Any]) -> None:
        self.step = int(entry["epoch"])
        self._log(numbers(entry))

    def end(self, run: LoggedRun, result: Mapping[str, Any]) -> None:
        self._log(results_of(result))
        if result.get("reason"):
            self.client.set_tag(self.id, "reason", str(result["reason"])[:LONGEST])
        self.client.set_terminated(self.id, STATUS[result["state"]])

    def _log(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            # a metric's name there has no @
            self.client.log_metric(self.id, name.replace("@", "_at_"), value, step=self.step)

    def _experiment(self, folder: Any) -> str:
        """The id of the experiment, made by the first of the runs that go on side by side."""
        from filelock import FileLock

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        with FileLock(str(folder / "experiment.lock")):
            found = self.client.get_experiment_by_name(name)
            made: str = self.client.create_experiment(name) if found is None else found.experiment_id
        return made
