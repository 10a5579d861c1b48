"""`bench case`: Figure 4, products as people would read them. Reads files only; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli import common, names, output
from benchmark.cli.app import LOOK
from benchmark.cli.output import handled
from benchmark.cli.table import From, stored_runs
from benchmark.core.errors import UsageError
from benchmark.core.words import understood
from benchmark.models import PROPOSED

if TYPE_CHECKING:
    from benchmark.runs.store import StoredRun


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=LOOK)(case)


@handled
def case(
    named: common.Named = None,
    product: Annotated[
        str | None, typer.Option("--product", metavar="ID", help="The product with this id.")
    ] = None,
    review: Annotated[
        str | None, typer.Option("--review", metavar="ID", help="The product of this review, read in full.")
    ] = None,
    results: common.Results = common.DEFAULT_RESULTS,
    source: From = None,
    dataset: common.Datasets = None,
    category: common.Categories = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Default: the first that has both runs.")] = None,
    proposed: common.Proposed = PROPOSED,
    without: Annotated[
        str | None,
        typer.Option(
            "--without",
            metavar="PART",
            help="Beside it, the method without this part (ptrt+d: without both). Default: d, the SSP-Labels; of "
            "another method the first of its ablations that was run.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="ROOT", help="Release with the texts. `mini` is found by itself."),
    ] = None,
    cache: common.Cache = None,
    json_: common.Json = False,
) -> None:
    """Show test products as MM-SS ranks their reviews, beside its ranking without SSP-Labels (Figure 4); with
    --proposed, as another method does.

    By default, per category, the product at which SSP-Labels help most and the one at which they hurt most, with each
    subtask's prediction for each review. Needs `bench ablate --drop d` for the comparison.
    """
    from benchmark.report.case import cases, pairs, render
    from benchmark.report.html.texts import local_texts

    if data is not None and not data.is_dir():
        raise UsageError(f"--data {data}: no such folder.")
    with stored_runs(results, source) as found:
        runs = found
        if dataset or named:
            chosen = names.pick_stored(common.both(named, dataset), (run.spec.dataset for run in found))
            runs = [run for run in found if run.spec.dataset in chosen]
        wanted = None
        if category:
            wanted = names.pick("category", category, sorted({run.spec.category for run in runs}))
        texts = local_texts(data, cache)
        asked = product is not None or review is not None
        shown, unknown = [], None
        own = names.one_method(proposed)  # stored runs may name it
        for pair in pairs(runs, wanted, seed, own, _parts(without, own, runs)):
            try:
                shown += cases(pair, texts, product, review)
            except UsageError as error:  # an id is one of a single category
                unknown = error
        if asked and not shown and unknown is not None:
            raise unknown
    if json_:
        output.print_json([one.to_json() for one in shown])
    else:
        output.show("\n\n".join(map(render, shown)))


def _parts(given: str | None, method: str, runs: Sequence[StoredRun]) -> tuple[str, ...] | None:
    """The parts of an ablation that was run; UsageError for any other."""
    if given is None:
        return None
    ran = {
        "+".join(run.spec.drop): run.spec.drop for run in runs if run.spec.method == method and run.spec.drop
    }
    if not ran:
        raise UsageError(
            f"--without {given}: no ablation of {method} was run: bench ablate --proposed {method}"
        )
    return ran[understood("part that was dropped", given, tuple(ran))]
