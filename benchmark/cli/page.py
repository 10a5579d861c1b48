"""`bench report`, `bench plot`: what was found, to look at. Both read files only; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark.cli import common, names, output
from benchmark.cli.app import LOOK
from benchmark.cli.output import handled, say
from benchmark.cli.table import From, stored_runs
from benchmark.core.errors import UsageError
from benchmark.core.files import write_atomically
from benchmark.core.words import count
from benchmark.models import METHODS, PROPOSED

if TYPE_CHECKING:
    from benchmark.report.grid import Setting
    from benchmark.runs.store import StoredRun


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=LOOK)(report)
    app.command(rich_help_panel=LOOK)(plot)


DEFAULT_CONTROLS = "controls"
"""Folder within the results folder where `bench controls` puts its runs."""


@handled
def report(
    out: Annotated[Path, typer.Option("--out", metavar="FILE.html", help="The page to write.")] = Path(
        "report.html"
    ),
    results: common.Results = common.DEFAULT_RESULTS,
    source: From = None,
    named: common.Named = None,
    dataset: common.Datasets = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="ROOT", help="Release whose texts the cases show. `mini` is found by itself."
        ),
    ] = None,
    controls: Annotated[
        Path | None,
        typer.Option(
            "--controls", metavar="DIR", help="Runs of `bench controls`. Default: RESULTS/controls."
        ),
    ] = None,
    proposed: common.Proposed = PROPOSED,
    worthwhile: common.Worthwhile = 0.5,
    threshold: common.Threshold = None,
    ties: common.Ties = "expected",
    no_pictures: Annotated[
        bool, typer.Option("--no-pictures", help="Tables and texts alone: quicker, smaller.")
    ] = False,
    cache: common.Cache = None,
    json_: common.Json = False,
) -> None:
    """One self-contained page: the answer, tables, pictures, tests, cases, claims, provenance.

    It loads nothing, is readable without a script, in light and dark, on a phone and printed.
    """
    from benchmark.report.html import Extras, build
    from benchmark.report.html.page import ALL_KINDS
    from benchmark.report.html.texts import local_texts
    from benchmark.report.plots import canvas

    if data is not None and not data.is_dir():
        raise UsageError(f"--data {data}: no such folder.")
    with stored_runs(results, source, threshold, ties) as found:
        runs = _chosen(found, common.both(named, dataset), source or results)
        extras = Extras(
            texts=local_texts(data, cache),
            controls=_controls(controls or results / DEFAULT_CONTROLS, controls is not None, cache),
            results=str(results),
        )
        kinds = () if no_pictures else ALL_KINDS
        own = names.one_method(proposed)  # stored runs may name it
        page = build(runs, extras, worthwhile=worthwhile, plots=kinds, proposed=own)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, page)
    if not canvas.available() and not no_pictures:
        say(f"pictures are left out, for they need matplotlib: {canvas.INSTALL}")
    size = len(page.encode())
    if json_:
        output.print_json({"out": str(out), "bytes": size, "runs": len(runs)})
    else:
        say(f"wrote {out}: {count(len(runs), 'run')}, {size / 1e6:.1f} MB")


@handled
def plot(
    kind: Annotated[
        str,
        typer.Argument(metavar="KIND", help="forest, dots, curves, labels, products, cd, decisions or cost."),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Ends in .svg, .pdf or .png.")],
    results: common.Results = common.DEFAULT_RESULTS,
    source: From = None,
    dataset: common.Datasets = None,
    category: common.Categories = None,
    method: common.Methods = None,
    metric: Annotated[str, typer.Option("--metric", help="map, ndcg@3 or ndcg@5.")] = "map",
    seed: Annotated[
        int | None, typer.Option("--seed", help="Whose pseudo labels are shown. Default: the first.")
    ] = None,
    setting: Annotated[
        int, typer.Option("--setting", min=1, help="Which setting, where the runs are of several.")
    ] = 1,
    columns: Annotated[
        int | None, typer.Option("--columns", min=1, help="Panels side by side. Default: up to three.")
    ] = None,
    proposed: common.Proposed = PROPOSED,
    worthwhile: common.Worthwhile = 0.5,
    json_: common.Json = False,
) -> None:
    """One figure for a paper: the same picture as in the report.

    forest: differences with intervals; dots: every seed; curves: loss and dev MAP; labels: pseudo labels and
    sigmas; products: won and lost; cd: average ranks; decisions: what alternatives move; cost: time, memory.
    """
    from benchmark.core.words import understood
    from benchmark.data.datasets import categories_of
    from benchmark.report.plots import canvas, kinds

    canvas.require()
    make = kinds.KINDS[understood("picture", kind, tuple(kinds.KINDS))]
    with stored_runs(results, source) as found:
        runs = _chosen(found, dataset, source or results)
        own = names.one_method(proposed)  # stored runs may name it
        part, effects = _setting(runs, setting, own)
        subject = kinds.Subject(
            tuple(part),
            tuple(effects) if kind == "decisions" else (),
            metric=understood("metric", metric, kinds.METRICS),
            worthwhile=worthwhile,
            categories=names.pick("category", category or (), categories_of(one.data_set for one in part)),
            methods=names.pick_methods(method) if method else tuple(METHODS),
            seed=seed,
            proposed=own,
        )
        picture = make(subject)
        if picture is None:
            raise UsageError(f"the runs in {source or results} have nothing to show in a picture {kind!r}.")
        canvas.save(picture, out, columns)
    if json_:
        output.print_json({"out": str(out), "title": picture.title, "caption": picture.caption})
    else:
        say(f"wrote {out}: {picture.title}")
        say(picture.caption)


def _chosen(found: Sequence[StoredRun], dataset: Sequence[str] | None, place: Path) -> list[StoredRun]:
    chosen = names.pick_stored(dataset, (run.spec.dataset for run in found))
    runs = [run for run in found if run.spec.dataset in chosen]
    if not runs:
        raise UsageError(
            f"no finished runs of {' or '.join(chosen)} in {place}. Start with: bench run --all-categories"
        )
    return runs


def _setting(runs: Sequence[StoredRun], number: int, proposed: str) -> tuple[list[Setting], list[Any]]:
    """The chosen setting of both data sets, and what decisions moved; says so if there are others."""
    from benchmark.report.grid import group_settings
    from benchmark.report.html.page import parts_of
    from benchmark.report.html.sections import decision_effects

    settings = group_settings(runs)
    parts = parts_of(settings)
    if number > len(parts):
        raise UsageError(f"--setting {number}: the runs are of {len(parts)}.")
    if len(parts) > 1:
        for place, part in enumerate(parts, start=1):
            say(f"{'*' if place == number else ' '} --setting {place}: {part[0].conditions}")
    return parts[number - 1], decision_effects(settings, proposed)


def _controls(folder: Path, asked_for: bool, cache: Path | None) -> list[dict[str, Any]]:
    """Verdicts of the controls that were run into `folder`; none if there are no runs."""
    from benchmark.checks.controls import of_finished_runs
    from benchmark.report.html.texts import embedded_corpus
    from benchmark.runs.store import load_runs

    runs = load_runs(folder)
    if asked_for and not runs:
        raise UsageError(f"--controls {folder}: there are no finished runs of `bench controls`.")
    root = embedded_corpus(cache) if {run.spec.corpus for run in runs} == {"mini"} else None
    return [one.to_json() for one in of_finished_runs(runs, root)]
