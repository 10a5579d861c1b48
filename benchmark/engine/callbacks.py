"""`--log`: callbacks that watch a run, each a class of three methods (torch-free to import).

    start(run)          before the first epoch; `run` is a `LoggedRun`
    epoch(run, entry)   after every epoch; `entry` is the epoch's line in log.jsonl
    end(run, result)    when the run has ended, however it did; see `ended`

One object per run, made without arguments in the process that trains. What a callback does cannot change a run: it
gets copies, the generators are put back after it, and what it raises is a note; it then hears no more of this run. A
run that goes on from a checkpoint is started anew, and its earlier epochs come again.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import importlib.util
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.core.code import locate
from benchmark.core.errors import BenchError, UsageError
from benchmark.core.plugins import import_place
from benchmark.core.words import check_choice
from benchmark.runs.spec import RunSpec

BUILT_IN: Mapping[str, str] = {
    name: f"benchmark.engine.logs.{name}:Log" for name in ("tensorboard", "wandb", "mlflow")
}
METHODS = ("start", "epoch", "end")
FOLDER = "logs"
"""Below the results folder: where the built-in callbacks write unless their libraries are told otherwise."""

MOST_SAID = 300
"""Characters of what went wrong: some libraries write essays."""


@dataclass(frozen=True)
class LoggedRun:
    """What a callback is told of a run."""

    id: str
    """The run's identity, 16 hexadecimal digits."""
    dataset: str
    category: str
    method: str
    """With the parts that an ablation dropped: `mmss-no-ptrt`."""
    seed: int
    conditions: str
    """`mini (synthetic), protocol fair, preset quick, device cpu`."""
    config: Mapping[str, Any]
    """`{"training": {...}, "model": {...}}`, resolved."""
    results: Path
    """The results folder."""

    @property
    def name(self) -> str:
        """`lazada/home/mcr/seed-0`."""
        return f"{self.dataset}/{self.category}/{self.method}/seed-{self.seed}"

    def folder(self, library: str) -> Path:
        """`RESULTS/logs/<library>`, made if it is not there."""
        folder = self.results.absolute() / FOLDER / library
        folder.mkdir(parents=True, exist_ok=True)
        return folder


class Callbacks:
    """All callbacks of one run, none of which can do it harm."""

    def __init__(self, names: Sequence[str], spec: RunSpec, results: Path) -> None:
        self.run = LoggedRun(
            id=spec.identity,
            dataset=spec.dataset,
            category=spec.category,
            method=spec.model,
            seed=spec.seed,
            conditions=str(spec.conditions),
            config=copy.deepcopy(dict(spec.config)),
            results=results,
        )
        self.problems: list[str] = []
        """What went wrong, for the record of the run."""
        self._on_gpu = spec.device == "cuda"
        self._watching: dict[str, Any] = {}
        for name in names:
            with self._harmless(name, "start"):
                self._watching[name] = load(name)()

    def start(self) -> None:
        self._tell("start")

    def epoch(self, entry: Mapping[str, Any]) -> None:
        self._tell("epoch", entry)

    def end(self, result: Mapping[str, Any]) -> None:
        self._tell("end", result)

    def _tell(self, what: str, *said: Mapping[str, Any]) -> None:
        for name, callback in list(self._watching.items()):
            with self._harmless(name, what):
                getattr(callback, what)(self.run, *copy.deepcopy(said))

    @contextlib.contextmanager
    def _harmless(self, name: str, what: str) -> Iterator[None]:
        try:
            with _undisturbed(self._on_gpu):
                yield
        except (Exception, SystemExit) as error:
            self._watching.pop(name, None)
            reason = str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
            reason = reason.partition("\n")[0][:MOST_SAID]
            self.problems.append(f"--log {name} failed at {what} and was left out from there: {reason}")
            print(f"note: {self.run.name}: {self.problems[-1]}", file=sys.stderr, flush=True)


def ended(state: str, **facts: Any) -> dict[str, Any]:
    """What `end` is told: `state` is `done`, `failed` or `stopped`.

    A run that is done tells `best_epoch`, `best_dev`, `test` (means over products, 0..1), `seconds` and `folder`; one
    that is not, `reason`. One that was stopped goes on when the same command is given again.
    """
    return {"state": state, **facts}


def check(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each once, with files by their whole path; UsageError for one that is unknown, whose library is not
    installed, or whose class lacks one of METHODS."""
    checked = []
    for name in names:
        if ":" in name:
            where, _, attribute = name.rpartition(":")
            full = f"{locate(name).file}:{attribute}" if where.endswith(".py") else name
            lacking = [one for one in METHODS if not callable(getattr(load(full), one, None))]
            if lacking:
                raise UsageError(f"--log {name}: it has no {' and no '.join(lacking)}.")
            checked.append(full)
        else:
            check_choice("log", name, tuple(BUILT_IN))
            if importlib.util.find_spec(name) is None:
                raise UsageError(f"--log {name}: it is not installed: pip install 'mrhp-bench[{name}]'.")
            checked.append(name)
    return tuple(dict.fromkeys(checked))


def load(name: str) -> Any:
    """The class of a callback: a built-in one, `module:Class` or `path/to/file.py:Class`. UsageError without it."""
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
    place = locate(name)
    try:
        return getattr(import_place(place), place.attribute)
    except Exception as error:  # whatever a file of somebody's does when it is imported
        raise UsageError(f"--log {name}: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _undisturbed(on_gpu: bool) -> Iterator[None]:
    """Puts back what a run's numbers depend on in this process: generators, number of threads, default type."""
    import numpy as np
    import torch

    drawn = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 (theirs, not ours)
    on_device = torch.cuda.get_rng_state() if on_gpu else None
    threads, kind, gradients = torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()
    try:
        yield
    finally:
        random.setstate(drawn[0])
        np.random.set_state(drawn[1])  # noqa: NPY002
        torch.set_rng_state(drawn[2])
        if on_device is not None:
            torch.cuda.set_rng_state(on_device)
        torch.set_default_dtype(kind)
        torch.set_grad_enabled(gradients)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def numbers(value: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of an entry under names with slashes: `{"loss": 1.0, "coverage/epoch": 0.9}`. Lists are left out."""
    found: dict[str, float] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            found |= numbers(item, f"{prefix}{key}/")
        elif isinstance(item, int | float) and not isinstance(item, bool):
            found[f"{prefix}{key}"] = float(item)
    return found


def results_of(result: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a result under `test/` and `best_dev/`, empty for a run that is not done."""
    return numbers({name: result[name] for name in ("test", "best_dev", "best_epoch") if name in result})
