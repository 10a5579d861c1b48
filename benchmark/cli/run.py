"""`bench run`, `bench ablate`."""

from __future__ import annotations

from typing import Annotated

import typer

from benchmark.cli import common, names, opening
from benchmark.cli.app import RUN
from benchmark.cli.job import Job, JobOptions
from benchmark.cli.output import handled
from benchmark.cli.where import Cluster, ClusterConfig
from benchmark.core.errors import EXIT_RUN_FAILED, UsageError
from benchmark.models import PROPOSED


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=RUN)(run)
    app.command(rich_help_panel=RUN)(ablate)


KeepWeights = Annotated[bool, typer.Option("--keep-weights", help="Keep the selected weights of every run.")]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Print what would be run and how long it would take, measured in short trials; run and keep nothing.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Do finished runs again.")]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Stop at the first failed run.")]
CheckpointEvery = Annotated[
    float | None,
    typer.Option(
        "--checkpoint-every",
        min=0,
        metavar="SECONDS",
        help="After an epoch, save where a run stands if it was not saved for so long; 0: after every epoch. "
        "Default: 60.",
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        min=1,
        metavar="SECONDS",
        help="End a run that takes longer; it is tried once more, then recorded as failed. Default: never.",
    ),
]


@handled
def run(
    all_categories: Annotated[
        bool, typer.Option("--all-categories", help="All categories of the chosen data sets (default: both).")
    ] = False,
    named: common.Named = None,
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
    labels_from_votes: opening.FromVotes = False,
    votes_column: opening.VotesColumn = None,
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
    checkpoint_every: CheckpointEvery = None,
    timeout: Timeout = None,
    cluster: Cluster = None,
    cluster_config: ClusterConfig = None,
    json_: common.Json = False,
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
    from benchmark.engine.plan import Choices

    datasets, categories = names.pick_data(data, dataset, category)
    chosen = names.pick_methods(method)
    choices = Choices(
        datasets=datasets,
        categories=categories,
        methods=chosen,
        seeds=names.parse_seeds(seeds),
        preset="quick" if preset is None else preset,
        protocol=protocol,
        overrides=(*(set_ or ()), *([f"train.precision={precision}"] if precision is not None else [])),
        device=device,
        shuffle_labels=shuffle_labels,
    )
    votes = opening.votes_of(labels_from_votes, votes_column)
    options = JobOptions(
        *(data, results, jobs, cache, vectors, votes, keep_weights, force, fail_fast, json_),
        checkpoint_every=checkpoint_every,
        timeout=timeout,
        cluster=cluster,
        cluster_config=cluster_config,
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
    seeds: common.Seeds = "0,1,2,3,4",
    data: common.DataRoot = None,
    results: common.Results = common.DEFAULT_RESULTS,
    preset: common.Preset = None,
    protocol: common.Protocol = "fair",
    set_: common.Set = None,
    jobs: common.Jobs = None,
    device: common.Device = "auto",
    vectors: common.Vectors = None,
    labels_from_votes: opening.FromVotes = False,
    votes_column: opening.VotesColumn = None,
    cache: common.Cache = None,
    keep_weights: KeepWeights = False,
    dry_run: DryRun = False,
    force: Force = False,
    fail_fast: FailFast = False,
    checkpoint_every: CheckpointEvery = None,
    timeout: Timeout = None,
    cluster: Cluster = None,
    cluster_config: ClusterConfig = None,
    format_: common.Format = None,
    json_: common.Json = False,
) -> None:
    """Run MM-SS without some of its parts (and in full) where that is missing; print Table 4's rows. With --proposed,
    another method without the parts that it declares.

    For clothing of both data sets, as in the paper, unless told otherwise; of a data set of your own, for its
    first category.
    """
    from benchmark import models
    from benchmark.engine.plan import Choices

    own = names.one_method(proposed)
    parts = models.load(own).drops
    if not parts:
        raise UsageError(f"{own} declares no part that can be dropped: drops = (...) in its class.")
    datasets, categories = names.pick_data(data, common.both(named, dataset), category, first=True)
    choices = Choices(
        datasets=datasets,
        categories=categories,
        methods=(own,),
        seeds=names.parse_seeds(seeds),
        preset="quick" if preset is None else preset,
        protocol=protocol,
        overrides=tuple(set_ or ()),
        drops=((), *names.parse_drops(drop, parts)),
        proposed=own,
        device=device,
    )
    votes = opening.votes_of(labels_from_votes, votes_column)
    options = JobOptions(
        *(data, results, jobs, cache, vectors, votes, keep_weights, force, fail_fast, json_),
        checkpoint_every=checkpoint_every,
        timeout=timeout,
        cluster=cluster,
        cluster_config=cluster_config,
    )
    job = Job([choices], options)
    if dry_run:
        job.show_plan()
        return
    failed = job.carry_out(summary=False)
    from benchmark.cli.table import print_ablation

    print_ablation(job.plan.specs, results, "json" if json_ else format_, own)
    if failed:
        raise typer.Exit(EXIT_RUN_FAILED)
