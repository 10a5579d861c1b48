"""The paper's tables, from finished runs (torch-free): what stands in each cell, and the caption.

A table is content only; `benchmark.report.formats` turns it into Markdown, LaTeX, CSV or JSON. It is a
function of the runs' per-product values and provenance alone: no dates, no durations, so the same results
give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmark import models
from benchmark.core.errors import UsageError
from benchmark.core.metrics import PAPER_METRICS
from benchmark.data.catalog import SPLITS
from benchmark.data.dataset_file import from_record
from benchmark.data.datasets import BUILT_IN, rank
from benchmark.data.published import (
    METRIC_LABELS,
    PART_LABELS,
    published_count,
    published_value,
)
from benchmark.report.captions import (
    RANKING_SENTENCE,
    coverage_sentences,
    inconsistency_sentences,
    listed,
    metric_sentence,
    paper_sentence,
    place,
    provenance_sentence,
    reference_sentence,
    setting_sentences,
    split_count,
    synthetic_title,
    test_sentences,
)
from benchmark.report.facts import ablation_label, comparison_facts, setting_facts, significance, variant_name
from benchmark.report.grid import Cell, Comparison, Setting, best_baseline, compare_pairs
from benchmark.report.sentinels import Sentinel, sentinels
from benchmark.report.table import Column, Entry, Row, Table
from benchmark.runs.store import StoredRun

STATISTICS_TABLE_NUMBER = 3
ABLATION_TABLE_NUMBER = 4
MODALITY_LABELS = {"text": "Text-only", "multimodal": "Multimodal"}
RANDOM_ROW, CEILING_ROW = "Random order (expected)", "Best attainable"


def results_table(
    setting: Setting,
    *,
    with_paper: bool = False,
    with_sentinels: bool = False,
    seeds: Sequence[int] | None = None,
    categories: Sequence[str] | None = None,
    proposed: str = models.PROPOSED,
) -> Table:
    """Table 1 (Lazada) or 2 (Amazon) from one setting, or the same table for a data set of one's own.

    Rows: the paper's methods in its order, run or not, and any other method that was run. Marks on the
    proposed method's row: crossed test against the best baseline run in the cell, Holm over the family.

    Args:
        with_paper: put the published value beside each cell, if the data set is in the paper.
        with_sentinels: add the trivial scorers to the reference rows.
        seeds: what makes a cell complete; default: every seed that the setting has.
        categories: default: all of the data set.
    """
    data_set = setting.data_set
    categories = data_set.category_names if categories is None else categories
    with_paper = with_paper and data_set.in_paper
    seeds = setting.seeds if seeds is None else tuple(seeds)
    columns = [
        Column(
            data_set.category_title(category),
            METRIC_LABELS[metric],
            {"dataset": setting.conditions.dataset, "category": category, "metric": metric},
        )
        for category in categories
        for metric in PAPER_METRICS
    ]
    names = [name for name in models.METHODS if name in {*models.DEFAULT_METHODS, *setting.methods}]
    cells = {
        name: {category: setting.cell(category, name, seeds=seeds) for category in categories}
        for name in names
    }
    families = {metric: setting.family(metric, proposed=proposed, seeds=seeds) for metric in PAPER_METRICS}
    number = data_set.paper_table

    def entry(name: str, column: Column) -> Entry:
        category, metric = column.keys["category"], column.keys["metric"]
        made = cell_entry(cells[name][category], metric)
        if name == proposed:
            against = best_baseline(families[metric], category)
            made = replace(made, mark=against.mark if against else "")
        if with_paper and number is not None:
            value = published_value(setting.conditions.dataset, category, name, metric, table=number)
            made = replace(made, published=value.printed if value else "")
        return made

    grid = _ranked([[entry(name, column) for column in columns] for name in names])
    rows = [
        Row(MODALITY_LABELS[models.METHODS[name].modality], models.METHODS[name].title, name, tuple(entries))
        for name, entries in zip(names, grid, strict=True)
    ]
    any_cell = {
        category: next((cells[name][category] for name in names if cells[name][category].runs), None)
        for category in categories
    }
    caption = [
        f"{data_set.title}, test split, in percent: mean over seeds "
        f"{listed(seeds)} ± standard deviation over seeds (n-1). {RANKING_SENTENCE}",
        *setting_sentences(setting),
        f"{metric_sentence(setting)}, hence the row '{CEILING_ROW}'.",
        *test_sentences(setting, families, proposed, seeds, any_cell),
        *paper_sentence(with_paper, number),
        provenance_sentence(run for name in names for cell in cells[name].values() for run in cell.runs),
    ]
    return Table(
        kind="results",
        number=number,
        title=f"Results on {data_set.title}{synthetic_title(setting)}",
        headers=("Type", "Method"),
        columns=tuple(columns),
        rows=(
            *rows,
            *_reference_rows(columns, any_cell),
            *(_sentinel_rows(columns, any_cell) if with_sentinels else []),
        ),
        caption=tuple(caption),
        facts={
            "settings": [setting_facts(setting)],
            "seeds": list(seeds),
            "tests": [
                comparison_facts(one, best=one is best_baseline(family, one.category))
                for family in families.values()
                for one in family
            ],
        },
    )


def cell_entry(cell: Cell, metric: str, decimals: int = 1) -> Entry:
    """A cell's mean and spread in percent, or why there is none."""
    runs, seeds = tuple(run.id for run in cell.runs), tuple(run.spec.seed for run in cell.runs)
    if not cell.complete:
        return Entry(missing=cell.missing, decimals=decimals, seeds=seeds, runs=runs)
    sd = 100 * cell.sd(metric) if len(runs) > 1 else None
    return Entry(value=100 * cell.mean(metric), sd=sd, decimals=decimals, seeds=seeds, runs=runs)


def _ranked(grid: list[list[Entry]]) -> list[list[Entry]]:
    """The same entries with best and second best of each column marked, by unrounded values."""
    ranked = [list(entries) for entries in grid]
    for column in range(len(grid[0]) if grid else 0):
        values = sorted({entries[column].value for entries in grid} - {None}, key=_descending)[:2]
        for entries in ranked:
            if entries[column].value in values:
                rank = 1 + values.index(entries[column].value)
                entries[column] = replace(entries[column], rank=rank)
    return ranked


def _descending(value: float | None) -> float:
    return -(value or 0.0)


def _reference_rows(columns: Sequence[Column], any_cell: Mapping[str, Cell | None]) -> list[Row]:
    """What a random order would give on average, and what is attainable at all."""

    def entry(column: Column, what: str) -> Entry:
        cell = any_cell[column.keys["category"]]
        if cell is None:
            return Entry(missing="-")
        value = cell.random_order(column.keys["metric"]) if what == "random" else cell.ceiling
        return Entry(value=100 * value)

    return [
        Row("Reference", label, what, tuple(entry(column, what) for column in columns))
        for label, what in ((RANDOM_ROW, "random"), (CEILING_ROW, "ceiling"))
    ]


def _sentinel_rows(columns: Sequence[Column], any_cell: Mapping[str, Cell | None]) -> list[Row]:
    """The trivial scorers; `oracle` and `random` are reference rows already."""
    by_category = {
        category: {one.name: one for one in _sentinels(cell.runs[0])}
        for category, cell in any_cell.items()
        if cell is not None
    }

    def entry(column: Column, name: str) -> Entry:
        found = by_category.get(column.keys["category"])
        values = found[name].values if found else None
        return Entry(missing="-") if values is None else Entry(value=100 * values[column.keys["metric"]])

    names = {one.name: one.label for found in by_category.values() for one in found.values()}
    return [
        Row("Reference", label, name, tuple(entry(column, name) for column in columns))
        for name, label in names.items()
        if name not in ("oracle", "random")
    ]


def _sentinels(run: StoredRun) -> list[Sentinel]:
    return sentinels(run.test_reviews, run.relevance_threshold, run.ties)


# Table 3 ----------------------------------------------------------------------------------------------------


def statistics_table(corpora: Sequence[Mapping[str, Any]], *, with_paper: bool = False) -> Table:
    """Table 3: products and reviews of every split, from the corpora's manifests.

    UsageError if there are none.
    """
    if not corpora:
        raise UsageError("no corpus to count: run something first, or name one with --data.")
    columns = [
        Column(split.capitalize(), what.capitalize(), {"split": split, "what": what})
        for split in SPLITS
        for what in ("products", "reviews")
    ]

    def entry(manifest: Mapping[str, Any], column: Column) -> Entry:
        split, what = column.keys["split"], column.keys["what"]
        count = published_count(manifest["dataset"], manifest["category"], split, what)
        return Entry(
            value=float(split_count(manifest, split, what)),
            decimals=0,
            published=f"{count:,}" if with_paper and count is not None else "",
        )

    with_paper = with_paper and any(manifest["dataset"] in BUILT_IN for manifest in corpora)
    rows = [
        Row(
            from_record(manifest["data_set"], "manifest").title,
            place(manifest),
            f"{manifest['dataset']}/{manifest['category']}",
            tuple(entry(manifest, column) for column in columns),
        )
        for manifest in corpora
    ]
    synthetic = any(manifest["synthetic"] for manifest in corpora)
    names = ", ".join(
        f"{m['dataset']}/{m['category']} {m['label']}{' (synthetic)' if m['synthetic'] else ''} "
        f"{m['fingerprint'][:12]}"
        for m in corpora
    )
    return Table(
        kind="statistics",
        number=_number(STATISTICS_TABLE_NUMBER, (manifest["dataset"] for manifest in corpora)),
        title=f"Sizes of the data sets{' (synthetic corpus)' if synthetic else ''}",
        headers=("Data set", "Category"),
        columns=tuple(columns),
        rows=tuple(rows),
        caption=(
            "Numbers of products and reviews as packed; no review of any split is dropped.",
            f"Corpora and fingerprints: {names}.",
            *paper_sentence(with_paper, STATISTICS_TABLE_NUMBER),
        ),
        facts={"corpora": [dict(manifest) for manifest in corpora]},
    )


# Table 4 ----------------------------------------------------------------------------------------------------


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

    A difference's mark is the crossed test's of full against reduced, two-sided, Holm over the parts and
    categories of one data set and metric.
    """
    by_dataset = {setting.conditions.dataset: setting for setting in settings}
    if len(by_dataset) != len(settings) or not settings:
        raise UsageError("an ablation table takes one setting for each of one or two data sets.")
    ordered = [by_dataset[dataset] for dataset in sorted(by_dataset, key=rank)]
    shown = {setting.conditions.dataset: _ablation_categories(setting, categories) for setting in ordered}
    with_paper = with_paper and any(setting.data_set.in_paper for setting in ordered)
    columns = [
        Column(
            setting.place(category),
            METRIC_LABELS[metric],
            {"dataset": setting.conditions.dataset, "category": category, "metric": metric},
        )
        for setting in ordered
        for category in shown[setting.conditions.dataset]
        for metric in PAPER_METRICS
    ]
    single = [(part,) for part in PART_LABELS]
    combined = dict.fromkeys(drop for setting in ordered for drop in setting.drops if drop not in single)
    variants: list[tuple[str, ...]] = [(), *single, *combined]
    wanted = {
        setting.conditions.dataset: _ablation_seeds(setting, shown[setting.conditions.dataset], method)
        if seeds is None
        else tuple(seeds)
        for setting in ordered
    }

    def cell(column: Column, drop: Sequence[str]) -> Cell:
        dataset = column.keys["dataset"]
        return by_dataset[dataset].cell(column.keys["category"], method, drop, wanted[dataset])

    tests = _ablation_tests(columns, variants, cell)

    def entry(column: Column, drop: tuple[str, ...]) -> Entry:
        made = cell_entry(cell(column, drop), column.keys["metric"], decimals=2)
        test = tests.get((_key(column), drop))
        if test is not None:
            # The test is of reduced against full, so a cost is negative, as the difference is printed.
            made = replace(made, delta=100 * test.result.difference, mark=significance(test.p_holm))
        if with_paper:
            keys = column.keys
            value = published_value(
                keys["dataset"], keys["category"], method, keys["metric"], table=4, drop=drop
            )
            made = replace(made, published=value.printed if value else "")
        return made

    rows = [
        Row(
            "",
            ablation_label(drop, method),
            variant_name(method, drop),
            tuple(entry(c, drop) for c in columns),
        )
        for drop in variants
    ]
    return Table(
        kind="ablation",
        number=_number(ABLATION_TABLE_NUMBER, by_dataset),
        title=f"Ablation of {models.get(method).title}{synthetic_title(ordered[0])}",
        headers=("", "Model"),
        columns=tuple(columns),
        rows=tuple(rows),
        caption=(
            "Test split, in percent: mean over seeds "
            + ", ".join(f"{listed(wanted[s.conditions.dataset])} ({s.data_set.title})" for s in ordered)
            + " ± standard deviation over seeds (n-1); in parentheses the difference to the full model in points.",
            "Without ptrt to rtrv: that subtask is removed, its interaction stays; module(d): all subtasks removed; "
            "module(b): no interactions and no subtasks.",
            *dict.fromkeys(
                sentence
                for setting in ordered
                for sentence in setting_sentences(setting, shown[setting.conditions.dataset])
            ),
            f"{metric_sentence(ordered[0])}.",
            *coverage_sentences([run for column in columns for run in cell(column, ()).runs]),
            *reference_sentence(columns, lambda column: cell(column, ())),
            "Differences: crossed test over seeds and products (two-way random effects), two-sided, unit: seeds x "
            "products; Holm over the parts of one data set and metric; * p < 0.05, ** p < 0.01.",
            *paper_sentence(with_paper, ABLATION_TABLE_NUMBER),
            *inconsistency_sentences(with_paper, columns, method),
            provenance_sentence(
                run for column in columns for drop in variants for run in cell(column, drop).runs
            ),
        ),
        facts={
            "settings": [setting_facts(setting) for setting in ordered],
            "tests": [comparison_facts(test) for test in tests.values()],
        },
    )


def _ablation_categories(setting: Setting, categories: Sequence[str] | None) -> tuple[str, ...]:
    """Those of the data set's categories that are shown, in its order."""
    names = setting.data_set.category_names
    return names[:1] if categories is None else tuple(name for name in names if name in categories)


def _number(number: int, datasets: Iterable[str]) -> int | None:
    """The paper's number of a table, if one of the data sets in it is the paper's."""
    return number if any(dataset in BUILT_IN for dataset in datasets) else None


def _ablation_seeds(setting: Setting, categories: Sequence[str], method: str) -> tuple[int, ...]:
    """Seeds of the method's runs, full or reduced, in these categories: further seeds elsewhere do not count."""
    runs = [run for run in setting.runs if run.spec.method == method and run.spec.category in categories]
    return tuple(sorted({run.spec.seed for run in runs}))


def _key(column: Column) -> tuple[str, ...]:
    return tuple(column.keys.values())


def _ablation_tests(
    columns: Sequence[Column],
    variants: Sequence[tuple[str, ...]],
    cell: Callable[[Column, Sequence[str]], Cell],
) -> dict[tuple[tuple[str, ...], tuple[str, ...]], Comparison]:
    """Reduced against full for every column and variant that is complete; a family is a data set and metric."""
    tests: dict[tuple[tuple[str, ...], tuple[str, ...]], Comparison] = {}
    families = dict.fromkeys((column.keys["dataset"], column.keys["metric"]) for column in columns)
    for dataset, metric in families:
        places = [
            (column, drop)
            for column in columns
            if (column.keys["dataset"], column.keys["metric"]) == (dataset, metric)
            and cell(column, ()).complete
            for drop in variants
            if drop and cell(column, drop).complete
        ]
        compared = compare_pairs([(cell(column, drop), cell(column, ())) for column, drop in places], metric)
        tests |= {(_key(column), drop): one for (column, drop), one in zip(places, compared, strict=True)}
    return tests
