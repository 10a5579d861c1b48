"""`bench table`. It reads files only: neither torch nor a GPU is needed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from benchmark import models
from benchmark.cli import common, names, output
from benchmark.cli.app import LOOK
from benchmark.cli.output import handled
from benchmark.core.errors import UsageError
from benchmark.models import PROPOSED

if TYPE_CHECKING:
    from benchmark.report.table import Table
    from benchmark.runs.spec import RunSpec
    from benchmark.runs.store import StoredRun


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=LOOK)(table)


From = Annotated[
    Path | None,
    typer.Option("--from", metavar="FILE.zip", help="Read what `bench export` wrote instead of a folder."),
]


@dataclass(frozen=True)
class Form:
    """In what form tables are written."""

    format_: common.Format = None
    width: common.Width = "page"
    deviations: Annotated[str, typer.Option("--deviations", help="Of LaTeX: small, plain or none.")] = "small"
    per_seed: Annotated[
        bool, typer.Option("--per-seed", help="Of CSV: one row per cell and seed, not per cell.")
    ] = False
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write to a file.")] = None

    def write(self, tables: Sequence[Table], format_: str | None) -> None:
        from benchmark.report.formats import render_all
        from benchmark.report.latex import Layout

        layout = Layout(self.width.lower(), self.deviations.lower())
        text = render_all(tables, format_ or "md", layout=layout, per_seed=self.per_seed)
        output.write_or_print(text.rstrip("\n"), self.out, as_is=format_ is not None)


@handled
def table(
    named: common.Named = None,
    dataset: common.Datasets = None,
    results: common.Results = common.DEFAULT_RESULTS,
    source: From = None,
    statistics: Annotated[bool, typer.Option("--statistics", help="Table 3: the sizes of the data.")] = False,
    ablation: Annotated[bool, typer.Option("--ablation", help="Table 4: MM-SS without its parts.")] = False,
    with_paper: Annotated[
        bool, typer.Option("--with-paper", help="Put the published value beside each cell.")
    ] = False,
    sentinels: Annotated[
        bool,
        typer.Option(
            "--sentinels/--no-sentinels", help="Rows for the trivial scorers (longest review first, ...)."
        ),
    ] = True,
    proposed: common.Proposed = PROPOSED,
    seeds: Annotated[
        str | None,
        typer.Option("--seeds", metavar="LIST", help="What makes a cell complete. Default: the seeds found."),
    ] = None,
    threshold: common.Threshold = None,
    ties: common.Ties = "expected",
    json_: common.Json = False,
    *,
    form: Form,
) -> None:
    """Print the paper's tables from finished runs: Table 1 for lazada, Table 2 for amazon; the same table for a
    data set of your own.

    Runs of different data, protocols, presets, devices or overrides never meet in one table: each such
    setting gets a table of its own.
    """
    from benchmark.core.words import understood
    from benchmark.report.formats import FORMATS

    dataset = common.both(named, dataset)
    format_ = "json" if json_ else form.format_
    format_ = understood("format", format_, tuple(FORMATS)) if format_ else None
    if form.per_seed and (format_ != "csv" or statistics):
        raise UsageError("--per-seed is of results as CSV: bench table --format csv --per-seed.")
    if statistics and ablation:
        raise UsageError("--statistics and --ablation are two tables; ask for one.")
    wanted = names.parse_seeds(seeds) if seeds else None
    with stored_runs(results, source, threshold, ties) as runs:
        chosen = names.pick_stored(dataset, (run.spec.dataset for run in runs))
        runs = [run for run in runs if run.spec.dataset in chosen]
        if not runs:
            place = source or results
            raise UsageError(
                f"no finished runs of {' or '.join(chosen)} in {place}. Start with: bench run --all-categories"
            )
        if statistics:
            tables = [size_table(runs, with_paper)]
        elif ablation:
            tables = ablation_tables(runs, with_paper, wanted, proposed=proposed)
        else:
            tables = results_tables(runs, with_paper, sentinels, wanted, proposed)
        form.write(tables, format_)


@contextlib.contextmanager
def stored_runs(
    results: Path, source: Path | None, threshold: int | None = None, ties: str = "expected"
) -> Iterator[list[StoredRun]]:
    """The finished runs of a folder, or of an export for as long as the context lasts.

    Their values per product are recomputed where `threshold` or `ties` asks for it.
    """
    from benchmark.core.metrics import Ties
    from benchmark.core.words import understood
    from benchmark.report import export as exporting
    from benchmark.runs import store

    policy = cast(Ties, understood("tie policy", ties, get_args(Ties)))
    if threshold is not None and not 0 <= threshold <= 3:
        raise UsageError(f"--threshold {threshold}: labels are 0..4, so T is 0, 1, 2 or 3.")
    with contextlib.nullcontext(results) if source is None else exporting.opened(source) as folder:
        runs = store.rescored(store.load_runs(folder), threshold, policy)
        remember_methods(runs)
        yield runs


def remember_methods(runs: Iterable[StoredRun]) -> None:
    """A method that is not installed here is known by what its runs say of it: --proposed may name it."""
    for run in runs:
        models.remember(run.spec.method, run.spec.title, run.spec.modality)


def results_tables(
    runs: Sequence[StoredRun],
    with_paper: bool,
    sentinels: bool,
    seeds: Sequence[int] | None,
    proposed: str = PROPOSED,
) -> list[Table]:
    from benchmark.report.grid import group_settings
    from benchmark.report.tables import results_table

    settings = group_settings(runs)
    own = names.one_method(proposed)  # stored runs may name it
    return [
        results_table(setting, with_paper=with_paper, with_sentinels=sentinels, seeds=seeds, proposed=own)
        for setting in settings
        if setting.methods
    ]


def size_table(runs: Sequence[StoredRun], with_paper: bool) -> Table:
    from benchmark.report.grid import manifests
    from benchmark.report.tables import statistics_table

    return statistics_table(manifests(runs), with_paper=with_paper)


def ablation_tables(
    runs: Sequence[StoredRun],
    with_paper: bool,
    seeds: Sequence[int] | None,
    categories: Sequence[str] = (),
    proposed: str = PROPOSED,
) -> list[Table]:
    """Table 4 of every setting with ablations: for the given categories, else for those that were ablated."""
    from benchmark.report.grid import group_settings, matching_settings
    from benchmark.report.tables import ablation_table

    settings = group_settings(runs)
    own = names.one_method(proposed)
    settings = [setting for setting in settings if setting.drops_of(own)]
    if not settings:
        raise UsageError("no finished ablation. Start with: bench ablate --drop all")
    shown = categories or list(
        {run.spec.category for run in runs if run.spec.drop and run.spec.method == own}
    )
    return [
        ablation_table(group, with_paper=with_paper, seeds=seeds, categories=shown, method=own)
        for group in matching_settings(settings)
    ]


def print_ablation(specs: Sequence[RunSpec], results: Path, format_: str | None, proposed: str) -> None:
    """Table 4's rows for these runs."""
    from benchmark.report.formats import render_all
    from benchmark.runs import files, store

    runs = [store.load_run(spec.folder(results)) for spec in specs if files.is_done(spec, results)]
    if not runs:
        raise UsageError("none of the runs is done.")
    categories = list(dict.fromkeys(spec.category for spec in specs))
    text = render_all(ablation_tables(runs, False, None, categories, proposed), format_ or "md")
    output.write_or_print(text.rstrip("\n"), None, as_is=format_ is not None)
