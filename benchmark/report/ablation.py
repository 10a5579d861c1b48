"""Table 4: the proposed method without each of its parts (torch-free)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from benchmark import models
from benchmark.core.errors import UsageError
from benchmark.core.metrics import PAPER_METRICS
from benchmark.data.datasets import BUILT_IN, rank
from benchmark.data.published import METRIC_LABELS, PART_LABELS, published_value
from benchmark.report.captions import (
    coverage_sentences,
    inconsistency_sentences,
    listed,
    metric_sentence,
    paper_sentences,
    provenance_sentence,
    reference_sentence,
    setting_sentences,
    synthetic_title,
)
from benchmark.report.facts import ablation_label, comparison_facts, setting_facts, significance, variant_name
from benchmark.report.grid import Cell, Comparison, Setting, compare_pairs
from benchmark.report.paper_data import paper_categories
from benchmark.report.results import cell_entry
from benchmark.report.table import ABLATION_TABLE_NUMBER, Column, Entry, Row, Table

Drop = tuple[str, ...]


def ablation_table(
    settings: Sequence[Setting],
    *,
    with_paper: bool = False,
    seeds: Sequence[int] | None = None,
    categories: Sequence[str] | None = None,
    method: str = models.PROPOSED,
) -> Table:
    """Table 4: the full model, then the model without each part, with the differences.

    Args:
        settings: one per data set, alike in all but data set and data (`matching_settings`).
        categories: of each data set those among them; default: its first, which the paper ablates.

    A difference's mark is the test's of reduced against full, paired by seed, two-sided, Holm over the parts
    and categories of one data set and metric.
    """
    by_dataset = {setting.conditions.dataset: setting for setting in settings}
    if len(by_dataset) != len(settings) or not settings:
        raise UsageError("an ablation table takes one setting for each of one or two data sets.")
    ordered = {dataset: by_dataset[dataset] for dataset in sorted(by_dataset, key=rank)}
    shown = {dataset: _shown(setting, categories) for dataset, setting in ordered.items()}
    wanted = {
        dataset: _ablation_seeds(setting, shown[dataset], method) if seeds is None else tuple(seeds)
        for dataset, setting in ordered.items()
    }
    return _Ablation(ordered, wanted, shown, method, with_paper).table()


@dataclass(frozen=True)
class _Ablation:
    settings: Mapping[str, Setting]
    """Data set -> its setting, in the paper's order."""
    seeds: Mapping[str, tuple[int, ...]]
    categories: Mapping[str, tuple[str, ...]]
    """Data set -> its categories that are shown."""
    method: str
    with_paper: bool

    def table(self) -> Table:
        settings = list(self.settings.values())
        return Table(
            kind="ablation",
            number=ABLATION_TABLE_NUMBER if any(name in BUILT_IN for name in self.settings) else None,
            title=f"Ablation of {models.get(self.method).title}{synthetic_title(settings[0])}",
            headers=("", "Model"),
            columns=tuple(self.columns),
            rows=tuple(
                Row(
                    "",
                    ablation_label(drop, self.method),
                    variant_name(self.method, drop),
                    tuple(self.entry(column, drop) for column in self.columns),
                )
                for drop in self.variants
            ),
            caption=tuple(self.caption(settings)),
            facts={
                "settings": [setting_facts(setting) for setting in settings],
                "tests": [comparison_facts(test) for test in self.tests.values()],
            },
        )

    @cached_property
    def columns(self) -> list[Column]:
        return [
            Column(
                setting.place(category),
                METRIC_LABELS[metric],
                {"dataset": dataset, "category": category, "metric": metric},
            )
            for dataset, setting in self.settings.items()
            for category in self.categories[dataset]
            for metric in PAPER_METRICS
        ]

    @cached_property
    def variants(self) -> list[Drop]:
        """The full model, each part that Table 4 removes, and what else was run."""
        single = [(part,) for part in PART_LABELS] if self.method == models.PROPOSED else []
        run = (drop for setting in self.settings.values() for drop in setting.drops_of(self.method))
        return [(), *single, *dict.fromkeys(drop for drop in run if drop not in single)]

    def cell(self, column: Column, drop: Drop) -> Cell:
        return self._cell(column.keys["dataset"], column.keys["category"], drop)

    def _cell(self, dataset: str, category: str, drop: Drop) -> Cell:
        return self.settings[dataset].cell(category, self.method, drop, self.seeds[dataset])

    @cached_property
    def tests(self) -> dict[tuple[tuple[str, ...], Drop], Comparison]:
        """Reduced against full for every column and variant that is complete; a family is a data set and
        metric."""
        tests: dict[tuple[tuple[str, ...], Drop], Comparison] = {}
        for dataset, categories in self.categories.items():
            places = [
                (category, drop)
                for category in categories
                if self._cell(dataset, category, ()).complete
                for drop in self.variants
                if drop and self._cell(dataset, category, drop).complete
            ]
            pairs = [
                (self._cell(dataset, category, drop), self._cell(dataset, category, ()))
                for category, drop in places
            ]
            for metric, compared in compare_pairs(pairs, PAPER_METRICS, paired=True).items():
                tests |= {
                    ((dataset, category, metric), drop): one
                    for (category, drop), one in zip(places, compared, strict=True)
                }
        return tests

    def entry(self, column: Column, drop: Drop) -> Entry:
        keys = column.keys
        made = cell_entry(self.cell(column, drop), keys["metric"], decimals=2)
        test = self.tests.get((_key(column), drop))
        if test is not None:
            # The test is of reduced against full, so a cost is negative, as the difference is printed.
            made = replace(made, delta=100 * test.result.difference, mark=significance(test.p_holm))
        if self.with_paper and keys["category"] in paper_categories(self.settings[keys["dataset"]]):
            value = published_value(
                keys["dataset"], keys["category"], self.method, keys["metric"], table=4, drop=drop
            )
            made = replace(made, published=value.printed if value else "")
        return made

    def caption(self, settings: Sequence[Setting]) -> list[str]:
        beside = [
            column
            for column in self.columns
            if column.keys["category"] in paper_categories(self.settings[column.keys["dataset"]])
        ]
        return [
            "Test split, in percent: mean over seeds "
            + ", ".join(
                f"{listed(self.seeds[name])} ({one.data_set.title})" for name, one in self.settings.items()
            )
            + " ± standard deviation over seeds (n-1); in parentheses the difference to the full model in points.",
            "Without ptrt to rtrv: that subtask is removed, its interaction stays; module(d): all subtasks removed; "
            "module(b): no interactions and no subtasks.",
            *dict.fromkeys(
                sentence
                for name, setting in self.settings.items()
                for sentence in setting_sentences(setting, self.categories[name])
            ),
            f"{metric_sentence(settings[0])}.",
            *coverage_sentences([run for column in self.columns for run in self.cell(column, ()).runs]),
            *reference_sentence(self.columns, lambda column: self.cell(column, ())),
            *self.test_sentences(),
            *dict.fromkeys(
                sentence
                for name, setting in self.settings.items()
                for sentence in paper_sentences(
                    setting, self.categories[name], self.with_paper, ABLATION_TABLE_NUMBER
                )
            ),
            *inconsistency_sentences(self.with_paper, beside, self.method),
            provenance_sentence(
                run
                for column in self.columns
                for drop in self.variants
                for run in self.cell(column, drop).runs
            ),
        ]

    def test_sentences(self) -> list[str]:
        """How the differences were tested, and which could not be."""
        unpaired = [
            f"{ablation_label(drop, self.method)} ({self.settings[key[0]].data_set.title})"
            for (key, drop), test in self.tests.items()
            if not test.result.paired
        ]
        reasons = dict.fromkeys(test.result.reason for test in self.tests.values() if test.result.reason)
        return [
            "Differences: crossed test over seeds and products (two-way random effects), paired by seed (full and "
            "reduced share seed, batches and initial weights), two-sided, unit: seeds x products; Holm over the "
            "parts of one data set and metric; * p < 0.05, ** p < 0.01.",
            *(
                [f"Other seeds than the full model, so not paired: {', '.join(dict.fromkeys(unpaired))}."]
                if unpaired
                else []
            ),
            *(f"No verdict where: {reason}." for reason in reasons),
        ]


def _shown(setting: Setting, categories: Sequence[str] | None) -> tuple[str, ...]:
    """Those of the data set's categories that are shown, in its order."""
    names = setting.data_set.category_names
    return names[:1] if categories is None else tuple(name for name in names if name in categories)


def _ablation_seeds(setting: Setting, categories: Sequence[str], method: str) -> tuple[int, ...]:
    """Seeds of the method's runs, full or reduced, in these categories: further seeds elsewhere do not count."""
    return tuple(
        sorted(
            {
                run.spec.seed
                for run in setting.runs
                if run.spec.method == method and run.spec.category in categories
            }
        )
    )


def _key(column: Column) -> tuple[str, ...]:
    return tuple(column.keys.values())
