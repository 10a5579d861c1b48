"""`bench stats`, `bench compare`, `bench claims`: is it real, is it the paper's, does the claim hold? No torch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
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
    from benchmark.report.significance import Report as StatsReport


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

    @contextlib.contextmanager
    def settings(self, dataset: Sequence[str] | None) -> Iterator[list[Setting]]:
        """As `found`; UsageError if there is none."""
        with self.found(dataset) as found:
            if not found:
                raise UsageError(
                    f"no finished runs of {' or '.join(dataset or BUILT_IN)} in {self.source or self.results}. "
                    "Start with: bench run --all-categories"
                )
            yield found

    @contextlib.contextmanager
    def found(self, dataset: Sequence[str] | None) -> Iterator[list[Setting]]:
        """The settings with undiminished runs, if there are any; an archive's for as long as the context lasts."""
        from benchmark.report.grid import group_settings

        with stored_runs(self.results, self.source, self.threshold, self.ties) as runs:
            chosen = names.pick_stored(dataset, (run.spec.dataset for run in runs))
            yield [
                setting
                for setting in group_settings(runs)
                if setting.conditions.dataset in chosen and setting.methods
            ]


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
    from benchmark.report.significance import stats_report

    form = understood("format", format_, STATS_FORMATS) if format_ else None
    with read.settings(common.both(named, dataset)) as settings:
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
        _say(reports, form, width, read.json)


def _say(reports: Sequence[StatsReport], form: str | None, width: str, json: bool) -> None:
    """In the form asked for."""
    from benchmark.report.latex import Layout
    from benchmark.report.significance_text import to_latex

    if form == "latex":
        print("\n".join(to_latex(report, Layout(width.lower())) for report in reports), end="")
    elif form == "md":
        print("\n".join(report.render() for report in reports))
    else:
        _tell(reports, json or form == "json")


@handled
def compare(named: common.Named = None, dataset: common.Datasets = None, *, read: Read) -> None:
    """Put every published number beside ours and judge it; exit code 4 if one fails."""
    from benchmark.report.compare import compare as judged

    with read.settings(common.both(named, dataset)) as settings:
        reports = [judged(setting, seeds=read.wanted) for setting in settings]
        _tell(reports, read.json)
    if any(report.failed for report in reports):
        raise typer.Exit(EXIT_CHECK)


@handled
def claims(*, read: Read) -> None:
    """The paper's claims C1 to C7: supported, refuted or undecided, with the numbers and what would decide.

    They are about MM-SS; another method has none here, and is judged by `bench stats --proposed`."""
    from benchmark.report.grid import matching_settings
    from benchmark.report.paper_claims import check_claims, render, summary

    with read.found(None) as settings:
        # nothing was run: every claim is undecided, and the report says what would decide it
        groups = matching_settings(settings) or [[]]
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
