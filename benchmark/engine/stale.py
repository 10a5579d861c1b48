"""Runs that no present configuration asks for: what made them has changed since (numerics, code, defaults)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark import models
from benchmark.core.errors import BenchError, UsageError
from benchmark.engine import resolve
from benchmark.engine.plan import asked_again
from benchmark.runs.described import data_sets_of
from benchmark.runs.spec import NUMERICS_VERSION
from benchmark.runs.store import StoredRun


@dataclass(frozen=True)
class Stale:
    run: StoredRun
    why: str


@dataclass(frozen=True)
class Sorted:
    """Stored runs, by whether the request that made them would give them today."""

    stale: tuple[Stale, ...]
    unknown: tuple[Stale, ...]
    """Of which it cannot be said here (the method is not installed, its encoder not there); these are kept."""
    asked_for: tuple[StoredRun, ...]


def sort_runs(runs: Sequence[StoredRun]) -> Sorted:
    """Judge every run by the method, the defaults and the numerics of this installation."""
    data_sets = data_sets_of(runs)
    stale, unknown, asked_for = [], [], []
    for run in runs:
        known = models.METHODS.get(run.spec.method)
        if known is None or not known.installed:
            unknown.append(Stale(run, f"{run.spec.method} is not installed here"))
            continue
        try:
            resolve.resolve(
                run.spec.method,
                data_sets[run.spec.dataset],
                run.spec.category,
                preset=run.spec.preset,
                protocol=run.spec.protocol,
                overrides=resolve.qualify_overrides(run.spec.overrides, (run.spec.method,)),
            )
        except UsageError as error:
            stale.append(Stale(run, f"cannot be asked for: {error}"))
            continue
        try:
            today = asked_again(run.spec, data_sets[run.spec.dataset])
        except (BenchError, OSError) as error:
            unknown.append(Stale(run, str(error)))
            continue
        if today.identity == run.id and run.numerics == NUMERICS_VERSION:
            asked_for.append(run)
        elif run.numerics != NUMERICS_VERSION:
            stale.append(Stale(run, f"numerics version {run.numerics}, now {NUMERICS_VERSION}"))
        elif change := _changed(run.spec.config, json.loads(json.dumps(today.config))):
            stale.append(Stale(run, f"other configuration: {change}"))
        else:
            stale.append(Stale(run, "the method's code has changed"))
    return Sorted(tuple(stale), tuple(unknown), tuple(asked_for))


def _changed(before: object, now: object, name: str = "") -> str:
    """`model.hidden 20 -> 24, training.epochs 12 -> 14`."""
    if isinstance(before, dict) and isinstance(now, dict):
        parts = (
            _changed(before.get(key), now.get(key), f"{name}.{key}".strip("."))
            for key in sorted(before.keys() | now.keys())
        )
        return ", ".join(part for part in parts if part)
    return "" if before == now else f"{name} {before} -> {now}"


def remove(runs: Sequence[StoredRun], results: Path) -> None:
    """Delete the folders of runs, and folders of a method or category that are empty then."""
    for run in runs:
        # the mark first: what a kill leaves is no run, and is done again
        (run.folder / "done").unlink(missing_ok=True)
        shutil.rmtree(run.folder)
        for above in (run.folder.parent, run.folder.parent.parent):
            if above != results and not any(above.iterdir()):
                above.rmdir()
