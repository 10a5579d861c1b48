"""`bench model export`, `bench model ensemble`: trained models as folders, and what several seeds gain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli import common, names, output
from benchmark.cli.app import YOURS, Commands
from benchmark.cli.output import handled, say
from benchmark.core.errors import UsageError

model = typer.Typer(
    cls=Commands, help="Trained models: `bench model export`, `bench model ensemble`.", rich_markup_mode=None
)


def register(app: typer.Typer) -> None:
    model.command("export")(export)
    model.command("ensemble")(ensemble)
    app.add_typer(model, name="model", rich_help_panel=YOURS)


@handled
def export(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="A run's folder, the beginning of its identity, or amazon/home/mmss/0."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="A new folder: the --model of `bench rank`.")
    ],
    results: common.Results = common.DEFAULT_RESULTS,
    method: Annotated[
        str | None,
        typer.Option("--method", metavar="FILE.py:Class", help="The run's method, where its file has moved."),
    ] = None,
    json_: common.Json = False,
) -> None:
    """Write the model of a run that was made with --keep-weights to a folder of data, with a model card.

    The folder has weights, configuration, words, tokenizer and hashes, nothing that can be run; `bench rank` ranks new
    reviews with it.
    """
    from benchmark.report.show import find_run

    found = find_run(results, run)
    if method is not None:
        from benchmark import models

        models.register(method, found.spec.method)
    from benchmark.rank.export import export as export_run

    folder = export_run(found, out)
    if json_:
        output.print_json({"out": str(out), "id": folder.id, "run": found.id, "files": sorted(folder.sums)})
        return
    print(f"{out}: model {folder.id} of {found.spec}")
    say(
        f"its card is {out / 'README.md'}; go on with: bench rank --model {out} --input reviews.csv --out ranked.csv"
    )


@handled
def ensemble(
    named: common.Named = None,
    dataset: common.Datasets = None,
    category: common.Categories = None,
    method: common.Methods = None,
    results: common.Results = common.DEFAULT_RESULTS,
    json_: common.Json = False,
) -> None:
    """What the seeds of a method gain on test as one ranker: MAP, N@3, N@5 of each, of their mean, of the ensemble.

    From stored scores; no weights are needed. `bench rank --ensemble` ranks with several exported seeds.
    """
    from benchmark.core.words import split_list
    from benchmark.rank.ensemble import groups, measure, render
    from benchmark.runs.store import load_runs

    runs = load_runs(results)
    chosen = names.pick_stored(common.both(named, dataset), {run.spec.dataset for run in runs})
    methods = None if method is None else names.pick_methods(method)
    categories = (
        names.pick("category", category, sorted({run.spec.category for run in runs})) if category else None
    )
    runs = [
        run
        for run in runs
        if run.spec.dataset in chosen
        and (methods is None or run.spec.method in methods)
        and (categories is None or run.spec.category in categories)
    ]
    several = [group for group in groups(runs) if len(group) > 1]
    if not several:
        asked = f" of {', '.join(split_list(method))}" if method else ""
        raise UsageError(
            f"{results}: no method{asked} has two finished seeds there; `bench run --seeds 0-4 ...`."
        )
    measured = [measure(group) for group in several]
    if json_:
        output.print_json([one.to_json() for one in measured])
    else:
        output.show(render(measured))
