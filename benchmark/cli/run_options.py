"""The options that commands which make runs share: what is run, and how it is carried out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark.cli import common, names, opening
from benchmark.cli.where import Cluster, ClusterConfig
from benchmark.core.words import split_list

if TYPE_CHECKING:
    from benchmark.data.fields import Votes
    from benchmark.engine.plan import Choices


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


@dataclass(frozen=True)
class RunOptions:
    """What is run, beside methods and data: all of it can change a number."""

    seeds: common.Seeds = "0,1,2,3,4"
    preset: common.Preset = None
    protocol: common.Protocol = "fair"
    set_: common.Set = None
    device: common.Device = "auto"

    @property
    def named_preset(self) -> str:
        return "quick" if self.preset is None else self.preset

    def choices(
        self, data: tuple[tuple[str, ...], tuple[str, ...]], overrides: tuple[str, ...] = (), **more: Any
    ) -> Choices:
        """A plan's choices over the picked (data sets, categories); `overrides` come after those of `--set`."""
        from benchmark.engine.plan import Choices

        return Choices(
            datasets=data[0],
            categories=data[1],
            seeds=names.parse_seeds(self.seeds),
            preset=self.named_preset,
            protocol=self.protocol,
            overrides=(*(self.set_ or ()), *overrides),
            device=self.device,
            **more,
        )


@dataclass(frozen=True)
class JobOptions:
    """How a job is carried out: nothing here changes a number, but for where the data comes from."""

    data: common.DataRoot = None
    results: common.Results = common.DEFAULT_RESULTS
    jobs: common.Jobs = None
    cache: common.Cache = None
    vectors: common.Vectors = None
    labels_from_votes: opening.FromVotes = False
    votes_column: opening.VotesColumn = None
    keep_weights: Annotated[
        bool, typer.Option("--keep-weights", help="Keep the selected weights of every run.")
    ] = False
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print what would be run and how long it would take, measured in short trials; run and keep nothing.",
        ),
    ] = False
    force: Annotated[bool, typer.Option("--force", help="Do finished runs again.")] = False
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first failed run.")] = False
    checkpoint_every: CheckpointEvery = None
    timeout: Timeout = None
    cluster: Cluster = None
    cluster_config: ClusterConfig = None
    log: Annotated[
        list[str] | None,
        typer.Option(
            "--log",
            metavar="WHERE",
            autocompletion=names.completing(lambda: ("tensorboard", "wandb", "mlflow")),
            help="Also write each run to tensorboard, wandb or mlflow, or tell a class of yours of it (module:Class, "
            "FILE.py:Class, with start, epoch and end); repeatable.",
        ),
    ] = None
    json: common.Json = False

    @property
    def callbacks(self) -> tuple[str, ...]:
        """Those of `log`, checked; UsageError for one that cannot be had."""
        if not self.log:
            return ()
        from benchmark.engine import callbacks

        return callbacks.check(split_list(self.log))

    @property
    def votes(self) -> Votes:
        return opening.votes_of(self.labels_from_votes, self.votes_column)
