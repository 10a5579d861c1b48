"""`bench run`, `bench ablate`."""

from __future__ import annotations

from typing import Annotated

import typer

from benchmark.cli import common, names
from benchmark.cli.app import RUN
from benchmark.cli.job import Job
from benchmark.cli.output import handled
from benchmark.cli.run_options import JobOptions, RunOptions
from benchmark.core.errors import EXIT_RUN_FAILED, UsageError
from benchmark.models import PROPOSED


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=RUN)(run)
    app.command(rich_help_panel=RUN)(ablate)


@handled
def run(
    all_categories: Annotated[
        bool, typer.Option("--all-categories", help="All categories of the chosen data sets (default: both).")
    ] = False,
    named: common.Named = None,
    dataset: common.Datasets = None,
    category: common.Categories = None,
    method: common.Methods = None,
    precision: Annotated[
        str | None, typer.Option("--precision", help="float32, tf32 or bf16. Default: float32.")
    ] = None,
    shuffle_labels: Annotated[
        bool,
        typer.Option(
            "--shuffle-labels",
            help="Negative control: permute the labels of each product in train and dev (which selects the epoch).",
        ),
    ] = False,
    *,
    what: RunOptions,
    how: JobOptions,
) -> None:
    """Train and test every chosen method on every chosen category with every seed.

    Finished runs are skipped, so the same command goes on where an earlier one stopped.
    """
    dataset = common.both(named, dataset)
    if not all_categories and not dataset and not category:
        raise UsageError(
            "say what to run: --all-categories, or --dataset and --category (see `bench run --help`)."
        )
    if all_categories and category:
        raise UsageError("--all-categories and --category exclude each other.")
    choices = what.choices(
        names.pick_data(how.data, dataset, category),
        overrides=() if precision is None else (f"train.precision={precision}",),
        methods=names.pick_methods(method),
        shuffle_labels=shuffle_labels,
    )
    job = Job([choices], how)
    if how.dry_run:
        job.show_plan()
    else:
        job.carry_out()


@handled
def ablate(
    drop: Annotated[
        list[str],
        typer.Option(
            "--drop",
            metavar="PART",
            autocompletion=names.complete_parts,
            help="ptrt pvrv ptrv pvrt rtrv d b, or all; a list with commas drops one after the other, ptrt+d both "
            "at once; repeatable.",
        ),
    ],
    named: common.Named = None,
    dataset: common.Datasets = None,
    category: common.Categories = None,
    proposed: common.Proposed = PROPOSED,
    format_: common.Format = None,
    *,
    what: RunOptions,
    how: JobOptions,
) -> None:
    """Run MM-SS without some of its parts (and in full) where that is missing; print Table 4's rows. With --proposed,
    another method without the parts that it declares.

    For clothing of both data sets, as in the paper, unless told otherwise; of a data set of your own, for its
    first category.
    """
    from benchmark import models
    from benchmark.cli.table import print_ablation

    own = names.one_method(proposed)
    parts = models.load(own).drops
    if not parts:
        raise UsageError(f"{own} declares no part that can be dropped: drops = (...) in its class.")
    choices = what.choices(
        names.pick_data(how.data, common.both(named, dataset), category, first=True),
        methods=(own,),
        drops=((), *names.parse_drops(drop, parts)),
        proposed=own,
    )
    job = Job([choices], how)
    if how.dry_run:
        job.show_plan()
        return
    failed = job.carry_out(summary=False)
    print_ablation(job.plan.specs, how.results, "json" if how.json else format_, own)
    if failed:
        raise typer.Exit(EXIT_RUN_FAILED)
