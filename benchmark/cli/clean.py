"""`bench clean`: remove stored runs that no present configuration asks for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli import common, names, output
from benchmark.cli.app import RUN
from benchmark.cli.output import handled
from benchmark.core.words import count

if TYPE_CHECKING:
    from benchmark.engine.stale import Stale


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=RUN)(clean)


@handled
def clean(
    dataset: common.Datasets = None,
    method: common.Methods = None,
    results: common.Results = common.DEFAULT_RESULTS,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would be removed; remove nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove what is listed.")] = False,
    json_: common.Json = False,
) -> None:
    """List the runs that no present configuration asks for (a default, the method's code or the numerics version has
    changed since); with --yes, remove them.

    Runs of methods that are not installed here are kept.
    """
    from benchmark.engine.stale import remove, sort_runs
    from benchmark.runs import store

    runs = store.load_runs(results)
    chosen = names.pick_stored(dataset, (run.spec.dataset for run in runs))
    methods = names.pick_methods(method) if method else ()
    runs = [run for run in runs if run.spec.dataset in chosen and (not methods or run.spec.method in methods)]
    found = sort_runs(runs)
    removing = yes and not dry_run
    if json_:
        output.print_json(
            {
                "stale": [
                    {"id": one.run.id, "folder": str(one.run.folder), "why": one.why} for one in found.stale
                ],
                "unknown": [{"id": one.run.id, "why": one.why} for one in found.unknown],
                "asked_for": len(found.asked_for),
                "removed": removing,
            }
        )
    else:
        _list("no present configuration asks for", found.stale)
        _list("kept, for it cannot be said", found.unknown)
        output.show(
            f"{count(len(found.stale), 'run')} {'removed' if removing else 'to remove'}, "
            f"{len(found.unknown)} kept unjudged, {len(found.asked_for)} asked for."
        )
        if found.stale and not removing and not dry_run:
            output.show("Nothing was removed; with --yes they are.")
    if removing:
        remove([one.run for one in found.stale], results)


def _list(title: str, runs: Iterable[Stale]) -> None:
    for one in runs:
        output.show(f"{title}: {one.run.spec} ({one.run.folder}): {one.why}")
