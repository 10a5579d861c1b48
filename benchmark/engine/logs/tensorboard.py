"""`--log tensorboard`: event files in RESULTS/logs/tensorboard, a folder per run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from benchmark.engine.callbacks import LoggedRun, numbers, results_of


class Log:
    """An epoch's numbers at its step; configuration and outcome as texts."""

    def start(self, run: LoggedRun) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        folder = run.folder("tensorboard") / run.name / run.id
        for earlier in folder.glob("events.*"):  # of the same run, whose epochs come again
            earlier.unlink()
        self.writer = SummaryWriter(str(folder))
        about = {"id": run.id, "conditions": run.conditions, **run.config}
        self.writer.add_text("configuration", f"```\n{json.dumps(about, indent=1)}\n```")
        self.step = 0

    def epoch(self, run: LoggedRun, entry: Mapping[str, Any]) -> None:
        self.step = int(entry["epoch"])
        for name, value in numbers(entry).items():
            self.writer.add_scalar(name, value, self.step)
        self.writer.flush()

    def end(self, run: LoggedRun, result: Mapping[str, Any]) -> None:
        for name, value in results_of(result).items():
            self.writer.add_scalar(name, value, self.step)
        self.writer.add_text("outcome", f"{result['state']} {result.get('reason', '')}".strip())
        self.writer.close()
