"""`bench stats`, `bench compare`, `bench claims`: is it real, is it the paper's, does the claim hold? No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Protocol

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


@dataclass(frozen=True)
class Read:
    """Which stored runs are judged, and how they are read."""

    seeds: Annotated[
        str | None,
        typer.Option("--seeds", metavar="LIST", help="What makes a cell complete. Default: the seeds found."),
    ] = None
    results: common.Results = common.DEFAULT_RESULTS
    source: From = None
    threshold: common.Threshold = None
    ties: common.Ties = "expected"
    json: common.Json = False

    @property
    def wanted(self) -> tuple[int, ...] | None:
        return names.parse_seeds(self.seeds) if self.seeds else None

    def settings(self, dataset: Sequence[str] | None) -> list[Setting]:
        """The settings with undiminished runs; UsageError if there is none."""
        found = self.found(dataset)
        if not found:
            raise UsageError(
                f"no finished runs of {' or '.join(dataset or BUILT_IN)} in {self.source or self.results}. "
                "Start with: bench run --all-categories"
            )
        return found

    def found(self, dataset: Sequence[str] | None) -> list[Setting]:
        """The settings with undiminished runs, if there are any."""
        from benchmark.report.grid import group_settings

        with stored_runs(self.results, self.source, self.threshold, self.ties) as runs:
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


STATS_FORMATS = ("md", "latex", "json")


class Report(Protocol):
    """What is said of one setting."""

    def render(self) -> str: ...
    def to_json(self) -> dict[str, Any]: ...


def _tell(reports: Sequence[Report], json: bool) -> None:
    if json:
        output.print_json([report.to_json() for report in reports])
    else:
        output.show("\n".join(report.render() for report in reports))


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
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            autocompletion=names.completing(lambda: STATS_FORMATS),
            help="md, latex (the comparisons alone) or json. Default: tables that fit on a terminal, md elsewhere.",
        ),
    ] = None,
    width: common.Width = "page",
    *,
    read: Read,
) -> None:
    """Test MM-SS (or another, with --proposed) against the baselines: seeds and products crossed, Holm over the
    family."""
    from benchmark.core.words import understood
    from benchmark.report.latex import Layout
    from benchmark.report.significance import stats_report
    from benchmark.report.significance_text import to_latex

    form = understood("format", format_, STATS_FORMATS) if format_ else None
    settings = read.settings(common.both(named, dataset))
    own, against = names.one_method(proposed), names.rival(against)  # stored runs may name it
    reports = [
        stats_report(
            setting,
            against,
            robust=robust,
            power=power,
            worthwhile=worthwhile,
            seeds=read.wanted,
            proposed=own,
        )
        for setting in settings
    ]
    if form == "latex":
        print("\n".join(to_latex(report, Layout(width.lower())) for report in reports), end="")
    elif form == "md":
        print("\n".join(report.render() for report in reports))
    else:
        _tell(reports, read.json or form == "json")


@handled
def compare(named: common.Named = None, dataset: common.Datasets = None, *, read: Read) -> None:
    """Put every published number beside ours and judge it; exit code 4 if one fails."""
    from benchmark.report.compare import compare as judged

    reports = [judged(setting, seeds=read.wanted) for setting in read.settings(common.both(named, dataset))]
    _tell(reports, read.json)
    if any(report.failed for report in reports):
        raise typer.Exit(EXIT_CHECK)


@handled
def claims(*, read: Read) -> None:
    """The paper's claims C1 to C7: supported, refuted or undecided, with the numbers and what would decide.

    They are about MM-SS; another method has none here, and is judged by `bench stats --proposed`."""
    from benchmark.report.grid import matching_settings
    from benchmark.report.paper_claims import check_claims, render, summary

    groups = matching_settings(read.found(None))
    if not groups:
        groups = [[]]  # nothing was run: every claim is undecided, and the report says what would decide it
    checked = [(group, check_claims(group, seeds=read.wanted)) for group in groups]
    if read.json:
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


def _name(settings: Sequence[Setting]) -> str:
    if not settings:
        return "no runs"
    conditions, run = settings[0].conditions, settings[0].runs[0]
    return f"{conditions}; relevant: label > {conditions.relevance_threshold}, ties: {run.ties}"
