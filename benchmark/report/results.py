"""Tables 1 and 2: every method on every category of one data set (torch-free)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from benchmark import models
from benchmark.core.metrics import PAPER_METRICS
from benchmark.data.published import METRIC_LABELS, published_value
from benchmark.report import opponents
from benchmark.report.captions import (
    RANKING_SENTENCE,
    incomplete_sentences,
    listed,
    metric_sentence,
    paper_sentences,
    provenance_sentence,
    setting_sentences,
    synthetic_title,
    test_sentences,
)
from benchmark.report.facts import comparison_facts, method_title, setting_facts
from benchmark.report.grid import Cell, Comparison, Setting, best_baseline
from benchmark.report.paper_data import paper_categories
from benchmark.report.sentinels import ORACLE_LABEL
from benchmark.report.table import Column, Entry, Row, Table

MODALITY_LABELS = {"text": "Text-only", "multimodal": "Multimodal"}
RANDOM_LABEL = "Random order (expected)"
REFERENCE_LABELS = {"random": RANDOM_LABEL, "oracle": ORACLE_LABEL}


def results_table(
    setting: Setting,
    *,
    with_paper: bool = False,
    with_sentinels: bool = True,
    seeds: Sequence[int] | None = None,
    categories: Sequence[str] | None = None,
    proposed: str = models.PROPOSED,
) -> Table:
    """Table 1 (Lazada) or 2 (Amazon) from one setting, or the same table for a data set of one's own.

    Rows: the paper's methods in its order, run or not, and any other method that was run; then the trivial
    scorers. Columns: the categories that the setting has runs of. Marks on the proposed method's row: crossed
    test against the best baseline run in the cell, Holm over the family; no mark and no bold where a method
    that was run lacks seeds (it may be the best), or where the metric cannot tell two orders apart.

    Args:
        with_paper: put the published value beside each cell, where the data are the paper's.
        with_sentinels: give the trivial scorers rows of their own; they are tested against in any case.
        seeds: what makes a cell complete; default: every seed that the setting has.
    """
    present = [
        category for category, _ in setting.fingerprints if categories is None or category in categories
    ]
    with_paper = with_paper and setting.data_set.in_paper
    chosen = setting.seeds if seeds is None else tuple(seeds)
    return _Results(setting, chosen, tuple(present), proposed, with_paper, with_sentinels).table()


@dataclass(frozen=True)
class _Results:
    setting: Setting
    seeds: tuple[int, ...]
    categories: tuple[str, ...]
    proposed: str
    with_paper: bool
    with_sentinels: bool

    def table(self) -> Table:
        setting = self.setting
        number = setting.data_set.paper_table
        grid = [[self.entry(name, column) for column in self.columns] for name in self.names]
        ranked = _ranked(grid, [self.decided(column) for column in self.columns])
        return Table(
            kind="results",
            number=number,
            title=f"Results on {setting.data_set.title}{synthetic_title(setting)}",
            headers=("Type", "Method"),
            columns=tuple(self.columns),
            rows=(
                *(self.row(name, entries) for name, entries in zip(self.names, ranked, strict=True)),
                *self.reference_rows(),
            ),
            caption=tuple(self.caption(number)),
            facts={
                "settings": [setting_facts(setting)],
                "seeds": list(self.seeds),
                "tests": [
                    comparison_facts(one, best=one is best_baseline(family, one.category))
                    for family in self.families.values()
                    for one in family
                ],
                "against_trivial": [one.to_json() for one in self.trivial],
                "cannot_tell": [list(place) for place in sorted(self.scorers.mute)],
            },
        )

    # Content

    @cached_property
    def columns(self) -> list[Column]:
        return [
            Column(
                self.setting.data_set.category_title(category),
                METRIC_LABELS[metric],
                {"dataset": self.setting.conditions.dataset, "category": category, "metric": metric},
            )
            for category in self.categories
            for metric in PAPER_METRICS
        ]

    @cached_property
    def names(self) -> list[str]:
        """The paper's methods and whatever else was run, in the registry's order."""
        extra = [name for name in self.setting.methods if name not in models.METHODS]
        known = [name for name in models.METHODS if name in {*models.DEFAULT_METHODS, *self.setting.methods}]
        return [*known, *extra]

    @cached_property
    def cells(self) -> dict[tuple[str, str], Cell]:
        """(method, category) -> cell."""
        return {
            (name, category): self.setting.cell(category, name, seeds=self.seeds)
            for name in self.names
            for category in self.categories
        }

    @cached_property
    def families(self) -> dict[str, list[Comparison]]:
        return {
            metric: self.setting.family(metric, proposed=self.proposed, seeds=self.seeds)
            for metric in PAPER_METRICS
        }

    @cached_property
    def scorers(self) -> opponents.TrivialScorers:
        return opponents.trivial_scorers(self.setting, self.categories)

    @cached_property
    def trivial(self) -> list[opponents.AgainstTrivial]:
        cells = [cell for cell in self.cells.values() if cell.runs]
        return [
            one for metric in PAPER_METRICS for one in opponents.against_trivial(cells, self.scorers, metric)
        ]

    @cached_property
    def incomplete(self) -> dict[str, list[str]]:
        """Category -> methods that were run there but lack seeds."""
        return {
            category: [
                name
                for name in self.names
                if self.cells[name, category].runs and not self.cells[name, category].complete
            ]
            for category in self.categories
        }

    def decided(self, column: Column) -> bool:
        """Whether it is known who is best in a column."""
        category, metric = column.keys["category"], column.keys["metric"]
        return not self.incomplete[category] and (category, metric) not in self.scorers.mute

    def entry(self, name: str, column: Column) -> Entry:
        category, metric = column.keys["category"], column.keys["metric"]
        made = cell_entry(self.cells[name, category], metric)
        if name == self.proposed and self.decided(column):
            against = best_baseline(self.families[metric], category)
            made = replace(made, mark=against.mark if against else "")
        number = self.setting.data_set.paper_table
        if self.with_paper and number is not None and category in paper_categories(self.setting):
            value = published_value(self.setting.conditions.dataset, category, name, metric, table=number)
            made = replace(made, published=value.printed if value else "")
        return made

    def row(self, name: str, entries: Sequence[Entry]) -> Row:
        method = models.METHODS.get(name)
        section = "Other" if method is None else MODALITY_LABELS[method.modality]
        return Row(section, method_title(name), name, tuple(entries))

    def reference_rows(self) -> list[Row]:
        """What is attainable with the labels at hand, what a random order gives, and the trivial scorers."""
        by_name = {
            category: {one.name: one for one in found} for category, found in self.scorers.by_category.items()
        }
        labels = {one.name: one.label for found in self.scorers.by_category.values() for one in found}

        def entry(column: Column, name: str) -> Entry:
            values = by_name[column.keys["category"]][name].values
            return Entry(missing="-") if values is None else Entry(value=100 * values[column.keys["metric"]])

        names = [*REFERENCE_LABELS, *(name for name in labels if name not in REFERENCE_LABELS)]
        shown = names if self.with_sentinels else list(REFERENCE_LABELS)
        return [
            Row(
                "Reference",
                REFERENCE_LABELS.get(name) or labels[name],
                name,
                tuple(entry(column, name) for column in self.columns),
            )
            for name in shown
        ]

    # Words

    def caption(self, number: int | None) -> list[str]:
        setting = self.setting
        any_cell = {
            category: next(
                (cell for (_, at), cell in self.cells.items() if at == category and cell.runs), None
            )
            for category in self.categories
        }
        return [
            f"{setting.data_set.title}, test split, in percent: mean over seeds "
            f"{listed(self.seeds)} ± standard deviation over seeds (n-1). {RANKING_SENTENCE}",
            *setting_sentences(setting),
            f"{metric_sentence(setting)}, hence the row '{ORACLE_LABEL}': the reviews ranked by their labels.",
            *opponents.mute_sentences(setting, self.scorers),
            *incomplete_sentences(setting, self.incomplete, self.cells),
            *test_sentences(setting, self.families, self.proposed, self.seeds, any_cell),
            *opponents.trivial_sentences(setting, self.trivial),
            *paper_sentences(setting, self.categories, self.with_paper, number),
            provenance_sentence(run for cell in self.cells.values() for run in cell.runs),
        ]


def cell_entry(cell: Cell, metric: str, decimals: int = 1) -> Entry:
    """A cell's mean and spread in percent, or why there is none."""
    made = Entry(
        decimals=decimals,
        seeds=tuple(run.spec.seed for run in cell.runs),
        seed_values=tuple(float(100 * value) for value in cell.seed_means(metric)) if cell.runs else (),
        runs=tuple(run.id for run in cell.runs),
    )
    if not cell.complete:
        return replace(made, missing=cell.missing)
    sd = 100 * cell.sd(metric) if len(made.runs) > 1 else None
    return replace(made, value=100 * cell.mean(metric), sd=sd)


def _ranked(grid: list[list[Entry]], decided: Sequence[bool]) -> list[list[Entry]]:
    """The same entries with best and second best of each decided column marked, by unrounded values."""
    ranked = [list(entries) for entries in grid]
    for column in (number for number, known in enumerate(decided) if known):
        values = sorted({entries[column].value for entries in grid} - {None}, key=_descending)[:2]
        for entries in ranked:
            if entries[column].value in values:
                rank = 1 + values.index(entries[column].value)
                entries[column] = replace(entries[column], rank=rank)
    return ranked


def _descending(value: float | None) -> float:
    return -(value or 0.0)
