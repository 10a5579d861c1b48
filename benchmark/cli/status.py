"""`bench status`: a grid of what is done, failed and running in a results folder, and the time left."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark.cli import common, names, output
from benchmark.cli.app import RUN
from benchmark.cli.job import describe
from benchmark.cli.output import handled
from benchmark.cli.progress import UNREADABLE, share_done
from benchmark.core.errors import UsageError
from benchmark.core.files import read_json
from benchmark.core.words import count, duration

if TYPE_CHECKING:
    from benchmark.runs.store import StoredRun

WATCH_SECONDS = 3.0
"""Between two looks at the folder."""


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=RUN)(status)


@handled
def status(
    results: common.Results = common.DEFAULT_RESULTS,
    named: common.Named = None,
    dataset: common.Datasets = None,
    seeds: Annotated[
        str | None,
        typer.Option("--seeds", metavar="LIST", help="Seeds wanted. Default: all that were begun."),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every few seconds, until Ctrl-C.")
    ] = False,
    json_: common.Json = False,
) -> None:
    """What is done, failed and running in a results folder, and the time left."""
    chosen, wanted = common.both(named, dataset), names.parse_seeds(seeds) if seeds else ()
    if watch:
        if json_ or not output.on_terminal():
            raise UsageError("--watch is for a terminal, without --json.")
        _watch(results, chosen, wanted)
        return
    state = look(results, chosen, wanted)
    if json_:
        output.print_json(state.to_json(results))
    else:
        output.show(state.render(results))


def _watch(results: Path, chosen: Sequence[str] | None, wanted: Sequence[int]) -> None:
    from rich.console import Console

    console = Console()
    while True:
        state = look(results, chosen, wanted)
        console.clear()
        output.show(state.render(results))
        print("Ctrl-C ends this.", flush=True)
        try:
            time.sleep(WATCH_SECONDS)
        except KeyboardInterrupt:
            return


@dataclass(frozen=True)
class Running:
    """A run under way, from its unfinished folder."""

    folder: str
    spec: dict[str, Any]
    share: float
    """Of its epochs."""
    seconds: float
    alive: bool
    """Whether it gave a sign of life in the last minute."""


@dataclass
class State:
    """What a results folder holds."""

    runs: list[StoredRun]
    failures: list[dict[str, Any]]
    running: list[Running]
    wanted: tuple[int, ...] = ()
    places: dict[str, dict[tuple[str, str, str], dict[str, list[Any]]]] = field(default_factory=dict)
    """Setting -> (dataset, category, model) -> state -> what is in it."""

    def __post_init__(self) -> None:
        for run in self.runs:
            self._put(str(run.spec.conditions), vars(run.spec) | {"model": run.spec.model}, "done", run)
        for failure in self.failures:
            self._put(_conditions(failure["spec"]), failure["spec"], "failed", failure)
        for one in self.running:
            self._put(_conditions(one.spec), one.spec, "running", one)

    def _put(self, setting: str, spec: Any, state: str, what: Any) -> None:
        model = spec.get("model") or "-".join(
            [spec["method"], *(f"no-{part}" for part in spec.get("drop", ()))]
        )
        key = (spec["dataset"], spec["category"], model)
        cell = self.places.setdefault(setting, {}).setdefault(key, {})
        cell.setdefault(state, []).append(what)
        cell.setdefault("seeds", []).append(int(spec["seed"]))

    def seeds(self, setting: str) -> set[int]:
        cells = self.places[setting].values()
        return set(self.wanted) or {seed for cell in cells for seed in cell["seeds"]}

    def left(self) -> float | None:
        """Seconds until the seeds begun are done everywhere, at the pace of the runs under way; None if none is
        under way or none of its method is known."""
        alive = [one for one in self.running if one.alive]
        if not alive:
            return None
        total = 0.0
        for setting, cells in self.places.items():
            for (_, _, model), cell in cells.items():
                missing = len(self.seeds(setting)) - len(cell.get("done", ())) - len(cell.get("failed", ()))
                if missing > 0:
                    pace = self._pace(setting, model, cell)
                    if pace is None:
                        return None
                    total += pace * max(0.0, missing - sum(one.share for one in cell.get("running", ())))
        return total / len(alive)

    def _pace(self, setting: str, model: str, cell: dict[str, list[Any]]) -> float | None:
        """Mean seconds of a run here, else of the method elsewhere, else what the runs under way promise."""
        elsewhere = [
            run for key, one in self.places[setting].items() if key[2] == model for run in one.get("done", ())
        ]
        times = [run.provenance["seconds"]["total"] for run in cell.get("done") or elsewhere]
        times = times or [one.seconds / one.share for one in cell.get("running", ()) if one.share > 0.02]
        return sum(times) / len(times) if times else None

    def render(self, results: Path) -> str:
        if not self.places:
            return f"no runs in {results}. Start with: bench run --all-categories"
        parts = []
        for setting, cells in self.places.items():
            n_wanted = len(self.seeds(setting))
            parts += [f"{setting}: seeds done of {n_wanted} wanted", "", _grid(cells, n_wanted), ""]
        dead = sum(not one.alive for one in self.running)
        alive = len(self.running) - dead
        summary = f"{count(len(self.runs), 'run')} done, {len(self.failures)} failed, {alive} running"
        if dead:
            summary += f", {count(dead, 'unfinished folder')} of runs that were killed"
        left = self.left()
        parts.append(summary + (f"; about {duration(left)} left" if left is not None else ""))
        parts += [line for failure in self.failures for line in _told(failure, results)]
        return "\n".join(parts)

    def to_json(self, results: Path) -> dict[str, Any]:
        left = self.left()
        return {
            "done": [
                describe(run.spec, results) | {"seconds": run.provenance["seconds"]["total"]}
                for run in self.runs
            ],
            "failed": [
                {"id": failure["identity"], "spec": failure["spec"], "reason": failure["reason"]}
                for failure in self.failures
            ],
            "unfinished": sorted(one.folder for one in self.running),
            "running": [
                {"folder": one.folder, "spec": one.spec, "share": one.share}
                for one in self.running
                if one.alive
            ],
            "seconds_left": None if left is None else round(left, 1),
        }


def look(results: Path, datasets: Sequence[str] | None = None, wanted: Sequence[int] = ()) -> State:
    """The state of a results folder, of the chosen data sets."""
    from benchmark.runs import store

    runs, failures = store.load_runs(results), store.load_failures(results)
    running = [one for folder in sorted((results / ".partial").glob("*")) if (one := _running(folder))]
    found = [*(run.spec.dataset for run in runs), *(one["spec"]["dataset"] for one in failures)]
    chosen = names.pick_stored(datasets, [*found, *(one.spec["dataset"] for one in running)])
    return State(
        [run for run in runs if run.spec.dataset in chosen],
        [failure for failure in failures if failure["spec"]["dataset"] in chosen],
        [one for one in running if one.spec["dataset"] in chosen],
        tuple(wanted),
    )


def _running(folder: Path) -> Running | None:
    from benchmark.runs.spec import spec_from_json

    try:
        spec = read_json(folder / "config.json")
        began = (folder / "config.json").stat().st_mtime
        # whatever has its identity is a whole record
        if not folder.name.startswith(spec_from_json(spec).identity_under(int(spec["numerics"])) + "-"):
            return None
    except UNREADABLE:
        return None
    share, seen = 0.0, began
    try:
        seen = (folder / "progress.json").stat().st_mtime
        share = share_done(folder)
    except UNREADABLE:  # it has just begun
        pass
    now = time.time()
    return Running(folder.name, spec, share, now - began, abs(now - seen) < 60)


def _conditions(spec: dict[str, Any]) -> str:
    from benchmark.runs.spec import spec_from_json

    try:
        return str(spec_from_json(spec).conditions)
    except (TypeError, KeyError):  # of a damaged record only the name is known
        return "of a damaged record"


def _grid(cells: dict[tuple[str, str, str], dict[str, list[Any]]], n_wanted: int) -> str:
    """Methods by categories: `3/5`, `3/5 1 failed`, `3/5 40%` of the run under way."""
    from tabulate import tabulate

    from benchmark import models

    order = {name: number for number, name in enumerate(models.METHODS)}
    places = list(dict.fromkeys((dataset, category) for dataset, category, _ in cells))
    found = sorted(
        {model for _, _, model in cells}, key=lambda model: (order.get(model.partition("-no-")[0], 99), model)
    )
    rows = [[model, *(_cell(cells.get((*place, model)), n_wanted) for place in places)] for model in found]
    return tabulate(
        rows, ["method", *(" ".join(place) for place in places)], tablefmt="github", disable_numparse=True
    )


def _cell(cell: dict[str, list[Any]] | None, n_wanted: int) -> str:
    if cell is None:
        return "-"
    parts = [f"{len(cell.get('done', ()))}/{n_wanted}"]
    if cell.get("failed"):
        parts.append(f"{len(cell['failed'])} failed")
    parts += [f"{one.share:.0%}" if one.alive else "killed" for one in cell.get("running", ())]
    return " ".join(parts)


def _told(failure: dict[str, Any], results: Path) -> list[str]:
    spec = failure["spec"]
    name = f"{spec['dataset']}/{spec['category']} {spec['method']} seed {spec['seed']}"
    lines = [f"failed: {name}: {failure['reason'].splitlines()[0]}"]
    if output.Talk.verbose and failure.get("details"):
        lines += ["", *(f"  {line}" for line in failure["details"].splitlines()), ""]
    if not output.Talk.verbose:
        lines.append(f"  its traceback: {common.with_results('bench status -v', results)}")
    return lines
