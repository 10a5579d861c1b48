"""A plan and how it is carried out: what `run`, `ablate`, `multiverse` and `controls` share."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from benchmark.cli import common, output
from benchmark.cli.output import say
from benchmark.cli.stopping import stoppable
from benchmark.cli.where import carries_out_elsewhere, chosen_place, outcomes_of
from benchmark.core.errors import EXIT_INTERRUPTED, EXIT_RUN_FAILED, EXIT_STOPPED

if TYPE_CHECKING:
    from benchmark.cli.run_options import JobOptions
    from benchmark.engine.execute import Outcome, RunOptions
    from benchmark.engine.plan import Choices, Plan
    from benchmark.runs.spec import RunSpec


class Job:
    """A plan and how to carry it out: what `run`, `ablate` and `multiverse` share.

    Several choices (of the same data sets and categories) make one plan.
    """

    def __init__(self, choices: Sequence[Choices], options: JobOptions) -> None:
        from benchmark.cli.opening import open_data
        from benchmark.data.store import cache_root
        from benchmark.engine.memo import Memo
        from benchmark.engine.plan import expand, make_plan
        from benchmark.runs import writer

        self.options = options
        self.json = options.json
        self.place = chosen_place(options.cluster, options.cluster_config, options.jobs)
        self.results = options.results
        self.callbacks = options.callbacks
        self.source, corpora = open_data(
            choices[0].datasets,
            choices[0].categories,
            options.data,
            options.cache,
            options.vectors,
            options.votes,
            quiet=options.json,
        )
        self.elsewhere = carries_out_elsewhere(self.place, choices[0].device)
        memo = Memo(cache_root(options.cache) / "configurations.json")
        self.specs_of = [expand(chosen, corpora, elsewhere=self.elsewhere, memo=memo) for chosen in choices]
        self.specs = [spec for specs in self.specs_of for spec in specs]
        self.plan: Plan = make_plan(self.specs, self.results, options.force)
        self.jobs = self._jobs()
        for corpus in corpora:
            writer.write_data(self.results, corpus)

    def _jobs(self) -> int:
        from benchmark.cluster.settings import MOST_AT_ONCE
        from benchmark.engine.machine import jobs_at_once

        if self.place is not None:
            return self.options.jobs or MOST_AT_ONCE
        device = self.specs[0].device if self.specs else "cpu"
        threads = max((spec.config["training"]["threads"] for spec in self.specs), default=1)
        jobs, note = jobs_at_once(self.options.jobs, device, threads)
        if note:
            say(note)
        return jobs

    def headline(self) -> str:
        from benchmark.core.words import count

        plan = self.plan
        again = f" ({len(plan.failed)} failed before)" if plan.failed else ""
        return f"{count(len(plan.specs), 'run')}: {len(plan.done)} done, {len(plan.to_do)} to run{again}"

    def show_plan(self) -> None:
        """What is done, failed and to do, and what it would take."""
        from benchmark.speed.estimate import estimate_plan

        estimate = None
        if not self.elsewhere:  # what it takes on other machines cannot be measured on this one
            estimate = estimate_plan(self.plan, self.source, self.results, self.jobs)
        if self.json:
            failed = {spec.identity: reason for spec, reason in self.plan.failed}
            done = {spec.identity for spec in self.plan.done}
            output.print_json(
                {
                    "runs": [
                        describe(spec, self.results)
                        | {
                            "state": "done" if spec.identity in done else "to do",
                            "failed_before": failed.get(spec.identity),
                        }
                        for spec in self.plan.specs
                    ],
                    "jobs": self.jobs,
                    "estimate": estimate and estimate.to_json(),
                }
            )
            return
        output.show(self.headline())
        output.show(_overview(self.plan))
        self._note_kernels(output.show)
        for spec, reason in self.plan.failed:
            output.show(f"failed before: {spec}: {reason.splitlines()[0]}")
        if estimate is not None:
            output.show(estimate.render())

    def carry_out(self, summary: bool = True) -> list[Outcome]:
        """Do what is to do; returns the failures. Raises typer.Exit with the documented code."""
        from benchmark.cli.progress import RunsProgress
        from benchmark.core.words import duration
        from benchmark.engine.stop import Stop
        from benchmark.runs import claims, writer

        writer.sweep_partial(self.results)
        claims.sweep_claims(self.results)
        plan, failed, finished, seconds = self.plan, [], 0, 0.0
        if not self.json:
            where = f"{self.jobs} at a time" if self.place is None else f"on {self.options.cluster}"
            say(self.headline() + (f", {where}" if plan.to_do else ""))
            self._note_kernels(say)
        started = time.monotonic()
        stop = Stop()
        with stoppable(stop), RunsProgress(plan.to_do, self.jobs, self.results, quiet=self.json) as progress:
            outcomes = outcomes_of(self, self._run_options(), stop)
            with contextlib.closing(outcomes):
                for outcome in outcomes:
                    if outcome.state == "stopped":
                        continue
                    progress(outcome)
                    finished += outcome.ok
                    if not outcome.ok:
                        failed.append(outcome)
                        if self.options.fail_fast:
                            break
        # what a job that was killed beside this one has left, now that its claims are void
        writer.sweep_partial(self.results)
        if stop.reason and finished + len(failed) < len(plan.to_do):
            say(
                f"\nstopped by {stop.reason}: {len(plan.done) + finished} of {len(plan.specs)} runs are done and "
                "kept, those under way are saved. The same command goes on from there."
            )
            raise typer.Exit(EXIT_INTERRUPTED if stop.reason == "SIGINT" else EXIT_STOPPED)
        seconds = time.monotonic() - started
        if summary:
            self._summarise(finished, failed, seconds, duration)
            if failed:
                raise typer.Exit(EXIT_RUN_FAILED)
        return failed

    def _run_options(self) -> RunOptions:
        from benchmark.engine.checkpoint import CHECKPOINT_SECONDS
        from benchmark.engine.execute import RunOptions

        every = self.options.checkpoint_every
        return RunOptions(
            self.options.keep_weights,
            CHECKPOINT_SECONDS if every is None else every,
            force=self.options.force,
            log=self.callbacks,
        )

    def _note_kernels(self, tell: Callable[[str], None]) -> None:
        """Why runs on this CPU will be slower than they could be, if so."""
        if not any(spec.device == "cpu" for spec in self.plan.to_do):
            return
        from benchmark.kernels import compiled

        if compiled.problem():
            tell(f"note: {compiled.problem()}")

    def _summarise(self, finished: int, failed: Sequence[Outcome], seconds: float, duration: Any) -> None:
        from benchmark.core.words import count
        from benchmark.runs import files

        plan = self.plan
        if self.json:
            reasons = {outcome.spec.identity: outcome.reason for outcome in failed}
            output.print_json(
                {
                    "planned": len(plan.specs),
                    "done_before": len(plan.done),
                    "done_now": finished,
                    "failed": len(failed),
                    "seconds": round(seconds, 3),
                    "runs": [
                        describe(spec, self.results) | {"failed": reasons.get(spec.identity)}
                        for spec in plan.specs
                    ],
                }
            )
            return
        if not plan.to_do:
            whole = "the run is" if len(plan.specs) == 1 else f"all {len(plan.specs):,} runs are"
            output.show(f"nothing to do: {whole} done in {self.results}.")
        else:
            output.show(
                f"{count(finished, 'run')} done in {duration(seconds)}, {len(failed)} failed; "
                f"{len(plan.done)} done before."
            )
        for outcome in failed:
            output.show(f"failed: {outcome.spec}: {outcome.reason}")
            again = common.with_results("bench status -v", self.results)
            output.show(f"  its traceback: {files.failure_file(outcome.spec, self.results)}, or: {again}")
        if not failed:
            shown = " ".join(dict.fromkeys(spec.dataset for spec in plan.specs))
            for dataset in shown.split():
                print("see: " + common.with_results(f"bench table --dataset {dataset}", self.results))


def describe(spec: RunSpec, results: Path) -> dict[str, Any]:
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
