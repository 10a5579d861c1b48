"""`bench run`, `bench ablate`, `bench status`."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark.cli import common
from benchmark.cli.common import handled, say
from benchmark.core.errors import EXIT_INTERRUPTED, EXIT_RUN_FAILED, DataError, UsageError

if TYPE_CHECKING:
    from benchmark.plan import Choices, Plan, Source
    from benchmark.records import RunSpec
    from benchmark.runner import Outcome


def register(app: typer.Typer) -> None:
    app.command()(run)
    app.command()(ablate)
    app.command()(status)


KeepWeights = Annotated[bool, typer.Option("--keep-weights", help="Keep the selected weights of every run.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be done and what it would take; do nothing.")
]
Force = Annotated[bool, typer.Option("--force", help="Do finished runs again.")]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Stop at the first failed run.")]


@handled
def run(
    all_categories: Annotated[
        bool, typer.Option("--all-categories", help="All categories of the chosen data sets (default: both).")
    ] = False,
    dataset: common.Datasets = None,
    category: common.Categories = None,
    method: common.Methods = None,
    seeds: common.Seeds = "0,1,2,3,4",
    data: common.DataRoot = None,
    results: common.Results = common.DEFAULT_RESULTS,
    preset: common.Preset = None,
    protocol: common.Protocol = "fair",
    set_: common.Set = None,
    jobs: common.Jobs = None,
    device: common.Device = "auto",
    precision: Annotated[
        str | None, typer.Option("--precision", help="float32, tf32 or bf16. Default: float32.")
    ] = None,
    vectors: common.Vectors = None,
    labels_from_votes: common.FromVotes = False,
    cache: common.Cache = None,
    keep_weights: KeepWeights = False,
    shuffle_labels: Annotated[
        bool,
        typer.Option(
            "--shuffle-labels",
            help="Negative control: permute the labels of each product in train and dev (which selects the epoch).",
        ),
    ] = False,
    dry_run: DryRun = False,
    force: Force = False,
    fail_fast: FailFast = False,
    json_: common.Json = False,
) -> None:
    """Train and test every chosen method on every chosen category with every seed.

    Finished runs are skipped, so the same command goes on where an earlier one stopped.
    """
    if not all_categories and not dataset and not category:
        raise UsageError(
            "say what to run: --all-categories, or --dataset and --category (see `bench run --help`)."
        )
    if all_categories and category:
        raise UsageError("--all-categories and --category exclude each other.")
    from benchmark import models
    from benchmark.data.catalog import CATEGORIES, DATASETS
    from benchmark.plan import Choices, parse_seeds, pick

    chosen = pick("method", method, tuple(models.METHODS)) if method else models.DEFAULT_METHODS
    choices = Choices(
        datasets=pick("dataset", dataset or (), DATASETS),
        categories=pick("category", category or (), CATEGORIES),
        methods=chosen,
        seeds=parse_seeds(seeds),
        preset=preset or "quick",
        protocol=protocol,
        overrides=(*(set_ or ()), *([f"train.precision={precision}"] if precision else [])),
        device=device,
        shuffle_labels=shuffle_labels,
    )
    options = JobOptions(
        data, results, jobs, cache, vectors, labels_from_votes, keep_weights, force, fail_fast, json_
    )
    job = Job([choices], options)
    if dry_run:
        job.show_plan()
    else:
        job.carry_out()


@handled
def ablate(
    drop: Annotated[
        list[str],
        typer.Option("--drop", metavar="PART", help="ptrt pvrv ptrv pvrt rtrv d b, or all; repeatable."),
    ],
    dataset: common.Datasets = None,
    category: common.Categories = None,
    seeds: common.Seeds = "0,1,2,3,4",
    data: common.DataRoot = None,
    results: common.Results = common.DEFAULT_RESULTS,
    preset: common.Preset = None,
    protocol: common.Protocol = "fair",
    set_: common.Set = None,
    jobs: common.Jobs = None,
    device: common.Device = "auto",
    vectors: common.Vectors = None,
    labels_from_votes: common.FromVotes = False,
    cache: common.Cache = None,
    keep_weights: KeepWeights = False,
    dry_run: DryRun = False,
    force: Force = False,
    fail_fast: FailFast = False,
    format_: Annotated[str, typer.Option("--format", help="md, latex, csv or json.")] = "md",
    json_: common.Json = False,
) -> None:
    """Run MM-SS without some of its parts (and in full) where that is missing; print Table 4's rows.

    For clothing of both data sets, as in the paper, unless told otherwise.
    """
    from benchmark import models
    from benchmark.data.catalog import CATEGORIES, DATASETS
    from benchmark.plan import Choices, parse_drops, parse_seeds, pick

    choices = Choices(
        datasets=pick("dataset", dataset or (), DATASETS),
        categories=pick("category", category or ("clothing",), CATEGORIES),
        methods=(models.PROPOSED,),
        seeds=parse_seeds(seeds),
        preset=preset or "quick",
        protocol=protocol,
        overrides=tuple(set_ or ()),
        drops=((), *parse_drops(drop)),
        device=device,
    )
    options = JobOptions(
        data, results, jobs, cache, vectors, labels_from_votes, keep_weights, force, fail_fast, json_
    )
    job = Job([choices], options)
    if dry_run:
        job.show_plan()
        return
    failed = job.carry_out(summary=False)
    from benchmark.cli.tables import print_ablation

    print_ablation(job.plan.specs, results, "json" if json_ else format_)
    if failed:
        raise typer.Exit(EXIT_RUN_FAILED)


@dataclass(frozen=True)
class JobOptions:
    """How a job is carried out: nothing here changes a number, but for where the data comes from."""

    data: Path | None
    results: Path
    jobs: int | None
    cache: Path | None
    vectors: Path | None = None
    labels_from_votes: bool = False
    keep_weights: bool = False
    force: bool = False
    fail_fast: bool = False
    json: bool = False


class Job:
    """A plan and how to carry it out: what `run`, `ablate` and `multiverse` share.

    Several choices (of the same data sets and categories) make one plan.
    """

    def __init__(self, choices: Sequence[Choices], options: JobOptions) -> None:
        from benchmark import records
        from benchmark.plan import expand, make_plan

        self.options = options
        self.json = options.json
        self.results = options.results
        self.source, corpora = open_data(
            choices[0].datasets,
            choices[0].categories,
            options.data,
            options.cache,
            options.vectors,
            options.labels_from_votes,
            quiet=options.json,
        )
        self.specs_of = [expand(chosen, corpora) for chosen in choices]
        self.specs = [spec for specs in self.specs_of for spec in specs]
        self.plan: Plan = make_plan(self.specs, self.results, options.force)
        self.jobs = options.jobs or self._default_jobs()
        for corpus in corpora:
            records.write_data(self.results, corpus)

    def _default_jobs(self) -> int:
        from benchmark.plan import default_jobs

        if self.specs and self.specs[0].device == "cuda":
            return 1
        return default_jobs(max((spec.config["training"]["threads"] for spec in self.specs), default=1))

    def headline(self) -> str:
        plan = self.plan
        again = f" ({len(plan.failed)} failed before)" if plan.failed else ""
        return f"{len(plan.specs)} runs: {len(plan.done)} done, {len(plan.to_do)} to run{again}"

    def show_plan(self) -> None:
        """What is done, failed and to do, and what it would take."""
        from benchmark.estimate import estimate_plan

        estimate = estimate_plan(self.plan, self.source, self.results, self.jobs)
        if self.json:
            failed = {spec.identity: reason for spec, reason in self.plan.failed}
            done = {spec.identity for spec in self.plan.done}
            common.print_json(
                {
                    "runs": [
                        _describe(spec, self.results)
                        | {
                            "state": "done" if spec.identity in done else "to do",
                            "failed_before": failed.get(spec.identity),
                        }
                        for spec in self.plan.specs
                    ],
                    "jobs": self.jobs,
                    "estimate": estimate.to_json(),
                }
            )
            return
        print(self.headline())
        print(_overview(self.plan))
        self._note_kernels(print)
        for spec, reason in self.plan.failed:
            print(f"failed before: {spec}: {reason.splitlines()[0]}")
        print(estimate.render())

    def carry_out(self, summary: bool = True) -> list[Outcome]:
        """Do what is to do; returns the failures. Raises typer.Exit with the documented code."""
        from benchmark import records
        from benchmark.progress import RunsProgress, duration
        from benchmark.runner import run_all

        records.sweep_partial(self.results)
        plan, failed, finished, seconds = self.plan, [], 0, 0.0
        if not self.json:
            say(self.headline() + (f", {self.jobs} at a time" if plan.to_do else ""))
            self._note_kernels(say)
        started = time.monotonic()
        with _terminable(), RunsProgress(plan.to_do, self.jobs, self.results, quiet=self.json) as progress:
            try:
                outcomes = run_all(
                    plan.to_do,
                    self.source,
                    self.results,
                    jobs=self.jobs,
                    keep_weights=self.options.keep_weights,
                )
                with contextlib.closing(outcomes):
                    for outcome in outcomes:
                        progress(outcome)
                        finished += outcome.ok
                        if not outcome.ok:
                            failed.append(outcome)
                            if self.options.fail_fast:
                                break
            except KeyboardInterrupt:
                progress.stop.set()
                say(
                    f"\ninterrupted: {len(plan.done) + finished} of {len(plan.specs)} runs are done and kept. "
                    "The same command goes on from there."
                )
                raise typer.Exit(EXIT_INTERRUPTED) from None
        seconds = time.monotonic() - started
        if summary:
            self._summarise(finished, failed, seconds, duration)
            if failed:
                raise typer.Exit(EXIT_RUN_FAILED)
        return failed

    def _note_kernels(self, tell: Callable[[str], None]) -> None:
        """Why runs on this CPU will be slower than they could be, if so."""
        from benchmark.core import compiled

        if compiled.problem() and any(spec.device == "cpu" for spec in self.plan.to_do):
            tell(f"note: {compiled.problem()}")

    def _summarise(self, finished: int, failed: Sequence[Outcome], seconds: float, duration: Any) -> None:
        plan = self.plan
        if self.json:
            reasons = {outcome.spec.identity: outcome.reason for outcome in failed}
            common.print_json(
                {
                    "planned": len(plan.specs),
                    "done_before": len(plan.done),
                    "done_now": finished,
                    "failed": len(failed),
                    "seconds": round(seconds, 3),
                    "runs": [
                        _describe(spec, self.results) | {"failed": reasons.get(spec.identity)}
                        for spec in plan.specs
                    ],
                }
            )
            return
        if not plan.to_do:
            print(f"nothing to do: all {len(plan.specs)} runs are done in {self.results}.")
        else:
            print(
                f"{finished} runs done in {duration(seconds)}, {len(failed)} failed; {len(plan.done)} were done before."
            )
        for outcome in failed:
            print(f"failed: {outcome.spec}: {outcome.reason}")
        if not failed:
            shown = " ".join(dict.fromkeys(spec.dataset for spec in plan.specs))
            for dataset in shown.split():
                print(f"see: bench table --dataset {dataset} --results {self.results}")


def open_data(
    datasets: Sequence[str],
    categories: Sequence[str],
    data: Path | None,
    cache: Path | None,
    vectors: Path | None = None,
    labels_from_votes: bool = False,
    quiet: bool = False,
) -> tuple[Source, list[Any]]:
    """The data source and its chosen categories, packed if that was not done yet.

    A category that the root does not have is an error only if nothing is left.
    """
    from benchmark.data.pack import cache_root
    from benchmark.plan import Source, available_categories
    from benchmark.progress import counted

    with counted(quiet) as progress:
        if data is None:
            from benchmark.data.mini import mini_root

            data = mini_root(cache_root(cache), progress)
        if not data.is_dir():
            raise DataError(f"{data}: no such folder. --data takes the folder that holds lazada/ or amazon/.")
        pairs = available_categories(data, datasets, categories)
        if not pairs:
            raise DataError(
                f"{data}: none of the chosen categories is there (looked for "
                f"{', '.join(f'{d}/{c}' for d in datasets for c in categories)}). "
                "Expected <ROOT>/<dataset>/<category>/<category>.prd.train and so on; see `bench data check`."
            )
        missing = [f"{d}/{c}" for d in datasets for c in categories if (d, c) not in pairs]
        if missing and not quiet:
            say(f"not in {data}, left out: {', '.join(missing)}")
        source = Source(data, cache, vectors, labels_from_votes)
        return source, [source.open(dataset, category, progress) for dataset, category in pairs]


def _describe(spec: RunSpec, results: Path) -> dict[str, Any]:
    return {
        "id": spec.identity,
        "dataset": spec.dataset,
        "category": spec.category,
        "method": spec.method,
        "seed": spec.seed,
        "drop": list(spec.drop),
        "folder": str(spec.folder(results)),
    }


def _overview(plan: Plan) -> str:
    """Done / planned per method and category."""
    from tabulate import tabulate

    done = {spec.identity for spec in plan.done}
    columns = list(dict.fromkeys((spec.dataset, spec.category) for spec in plan.specs))
    rows = []
    for model in dict.fromkeys(spec.model for spec in plan.specs):
        row = [model]
        for column in columns:
            cell = [
                spec for spec in plan.specs if spec.model == model and (spec.dataset, spec.category) == column
            ]
            row.append(f"{sum(spec.identity in done for spec in cell)}/{len(cell)}")
        rows.append(row)
    return tabulate(rows, ["done/planned", *("/".join(column) for column in columns)], tablefmt="github")


@contextlib.contextmanager
def _terminable() -> Any:
    """SIGTERM (a cluster's time limit) ends like Ctrl-C: what is done is kept."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not in the main thread (a test)
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@handled
def status(
    results: common.Results = common.DEFAULT_RESULTS,
    dataset: common.Datasets = None,
    json_: common.Json = False,
) -> None:
    """What is done, failed and running in a results folder."""
    from benchmark import records
    from benchmark.data.catalog import DATASETS
    from benchmark.plan import pick

    chosen = pick("dataset", dataset or (), DATASETS)
    runs = [run for run in records.load_runs(results) if run.dataset in chosen]
    failures = [failure for failure in records.load_failures(results) if failure["spec"]["dataset"] in chosen]
    running = sorted(folder.name for folder in (results / ".partial").glob("*"))
    if json_:
        common.print_json(
            {
                "done": [
                    _describe(run.spec, results) | {"seconds": run.provenance["seconds"]["total"]}
                    for run in runs
                ],
                "failed": [
                    {"id": failure["identity"], "spec": failure["spec"], "reason": failure["reason"]}
                    for failure in failures
                ],
                "unfinished": running,
            }
        )
        return
    print(_status_text(results, runs, failures, running))


def _status_text(results: Path, runs: Sequence[Any], failures: Sequence[Any], running: Sequence[str]) -> str:
    from tabulate import tabulate

    if not runs and not failures and not running:
        return f"no runs in {results}. Start with: bench run --all-categories"
    rows: dict[tuple[str, ...], list[Any]] = {}
    for run in runs:
        key = (
            run.corpus,
            run.fingerprint[:8],
            run.preset,
            run.protocol,
            run.device,
            run.dataset,
            run.category,
            run.spec.model,
        )
        rows.setdefault(key, []).append(run)
    table = [
        [
            *key,
            ",".join(str(run.seed) for run in sorted(cell, key=lambda run: run.seed)),
            sum(run.provenance["seconds"]["total"] for run in cell) / len(cell),
        ]
        for key, cell in rows.items()
    ]
    headers = [
        "corpus",
        "data",
        "preset",
        "protocol",
        "device",
        "dataset",
        "category",
        "model",
        "seeds",
        "s/run",
    ]
    parts = [tabulate(table, headers, tablefmt="github", floatfmt=".1f")] if table else []
    parts.append(f"{len(runs)} runs done, {len(failures)} failed, {len(running)} unfinished folders")
    for failure in failures:
        spec = failure["spec"]
        name = f"{spec['dataset']}/{spec['category']} {spec['method']} seed {spec['seed']}"
        parts.append(f"failed: {name}: {failure['reason'].splitlines()[0]}")
    return "\n".join(parts)
