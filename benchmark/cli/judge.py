"""`bench stats`, `bench compare`, `bench claims`: is it real, is it the paper's, does the claim hold? No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli import common, names, output
from benchmark.cli.app import LOOK
from benchmark.cli.output import handled
from benchmark.cli.table import From, stored_runs
from benchmark.core.errors import EXIT_CHECK, UsageError
from benchmark.data.datasets import BUILT_IN
from benchmark.models import PROPOSED

if TYPE_CHECKING:
    from benchmark.report.grid import Setting


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=LOOK)(stats)
    app.command(rich_help_panel=LOOK)(compare)
    app.command(rich_help_panel=LOOK)(claims)


Wanted = Annotated[
    str | None,
    typer.Option("--seeds", metavar="LIST", help="What makes a cell complete. Default: the seeds found."),
]


@handled
def stats(
    named: common.Named = None,
    dataset: common.Datasets = None,
    against: Annotated[
        str,
        typer.Option("--against", help="Whom to compare MM-SS with: best (in each cell), all, or a method."),
    ] = "best",
    proposed: common.Proposed = PROPOSED,
    robust: Annotated[
        bool,
        typer.Option(
            "--robust", help="Add other tests and the hierarchical bootstrap, each with what it assumes."
        ),
    ] = False,
    power: Annotated[
        bool, typer.Option("--power", help="Add how many seeds a difference worth having would need.")
    ] = False,
    worthwhile: common.Worthwhile = 0.5,
    seeds: Wanted = None,
    results: common.Results = common.DEFAULT_RESULTS,
    source: From = None,
    threshold: common.Threshold = None,
    ties: common.Ties = "expected",
    json_: common.Json = False,
) -> None:
    """Test MM-SS (or another, with --proposed) against the baselines: seeds and products crossed, Holm over the
    family."""
    from benchmark.report.significance import stats_report

    wanted = names.parse_seeds(seeds) if seeds else None
    settings = _settings(common.both(named, dataset), results, source, threshold, ties)
    own, against = names.one_method(proposed), names.rival(against)  # stored runs may name it
    reports = [
        stats_report(
            setting, against, robust=robust, power=power, worthwhile=worthwhile, seeds=wanted, proposed=own
        )
        for setting in settings
    ]
    if json_:
        output.print_json([report.to_json() for report in reports])
    else:
        output.show("\n".join(report.render() for report in reports))


@handled
def compare(
    named: common.Named = None,
    dataset: common.Datasets = None,
    seeds: Wanted = None,
    results: common.Results = common.DEFAULT_RESULTS,
    source: From = None,
    threshold: common.Threshold = None,
    ties: common.Ties = "expected",
    json_: common.Json = False,
) -> None:
    """Put every published number beside ours and judge it; exit code 4 if one fails."""
    from benchmark.report.compare import compare as judged

    wanted = names.parse_seeds(seeds) if seeds else None
    settings = _settings(common.both(named, dataset), results, source, threshold, ties)
    reports = [judged(setting, seeds=wanted) for setting in settings]
    if json_:
        output.print_json([report.to_json() for report in reports])
    else:
        output.show("\n".join(report.render() for report in reports))
    if any(report.failed for report in reports):
        raise typer.Exit(EXIT_CHECK)


@handled
def claims(
    seeds: Wanted = None,
    results: common.Results = common.DEFAULT_RESULTS,
    source: From = None,
    threshold: common.Threshold = None,
    ties: common.Ties = "expected",
    json_: common.Json = False,
) -> None:
    """The paper's claims C1 to C7: supported, refuted or undecided, with the numbers and what would decide."""
    from benchmark.report.grid import matching_settings
    from benchmark.report.paper_claims import check_claims, render, summary

    wanted = names.parse_seeds(seeds) if seeds else None
    groups = matching_settings(_found(None, results, source, threshold, ties))
    if not groups:
        groups = [[]]  # nothing was run: every claim is undecided, and the report says what would decide it
    checked = [(group, check_claims(group, seeds=wanted)) for group in groups]
    if json_:
        output.print_json(
            [
                {
                    "setting": _name(group),
                    "summary": summary(found),
                    "claims": [claim.to_json() for claim in found],
                }
                for group, found in checked
            ]
        )
        return
    for group, found in checked:
        output.show(f"## Claims, judged on {_name(group)}\n\n{render(found)}")


def _settings(
    dataset: Sequence[str] | None, results: Path, source: Path | None, threshold: int | None, ties: str
) -> list[Setting]:
    """The settings with undiminished runs; UsageError if there is none."""
    found = _found(dataset, results, source, threshold, ties)
    if not found:
        raise UsageError(
            f"no finished runs of {' or '.join(dataset or BUILT_IN)} in {source or results}. "
            "Start with: bench run --all-categories"
        )
    return found


def _found(
    dataset: Sequence[str] | None, results: Path, source: Path | None, threshold: int | None, ties: str
) -> list[Setting]:
    """The settings with undiminished runs, if there are any."""
    from benchmark.report.grid import group_settings

    with stored_runs(results, source, threshold, ties) as runs:
        chosen = names.pick_stored(dataset, (run.spec.dataset for run in runs))
        found = [
            setting
            for setting in group_settings(runs)
            if setting.conditions.dataset in chosen and setting.methods
        ]
        for setting in found:  # an archive's files are gone after this block: read what is needed now
            for run in setting.runs:
                run.load()
    return found


def _name(settings: Sequence[Setting]) -> str:
    if not settings:
        return "no runs"
    conditions, run = settings[0].conditions, settings[0].runs[0]
    return f"{conditions}; relevant: label > {conditions.relevance_threshold}, ties: {run.ties}"
