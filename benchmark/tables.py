"""The paper's tables, from finished runs (torch-free): what stands in each cell, and the caption.

A table is content only; `benchmark.table_formats` turns it into Markdown, LaTeX, CSV or JSON. It is a
function of the runs' per-product values and provenance alone: no dates, no durations, so the same results
give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from benchmark import models
from benchmark.cells import Cell, Comparison, Setting, best_baseline, commits_of, compare_pairs
from benchmark.core.errors import UsageError
from benchmark.core.metrics import PAPER_METRICS
from benchmark.data.catalog import CATEGORIES, CATEGORY_LABELS, DATASET_LABELS, DATASETS, SPLITS
from benchmark.published import (
    METRIC_LABELS,
    PART_LABELS,
    published_count,
    published_value,
    published_values,
)
from benchmark.records import StoredRun
from benchmark.sentinels import Sentinel, sentinels

RESULT_TABLE_NUMBER = {"lazada": 1, "amazon": 2}
STATISTICS_TABLE_NUMBER = 3
ABLATION_TABLE_NUMBER = 4
MODALITY_LABELS = {"text": "Text-only", "multimodal": "Multimodal"}
RANDOM_ROW, CEILING_ROW = "Random order (expected)", "Best attainable"


@dataclass(frozen=True)
class Entry:
    """One cell of a table. Numbers are unrounded, in percent (counts as they are)."""

    value: float | None = None
    sd: float | None = None
    """Over seeds, n-1; None where there is none to give."""
    missing: str = ""
    """Printed in place of a value: `4/5 seeds`, `not run`."""
    decimals: int = 1
    rank: int = 0
    """1 best, 2 second best among the complete cells of the column; 0 neither."""
    mark: str = ""
    """`*` or `**`: significant after Holm."""
    delta: float | None = None
    """In percentage points, against the table's reference row."""
    published: str = ""
    """What the paper prints here."""
    seeds: tuple[int, ...] = ()
    runs: tuple[str, ...] = ()
    """Identities of the runs behind the value."""


@dataclass(frozen=True)
class Column:
    group: str
    label: str
    keys: Mapping[str, str] = field(default_factory=dict)
    """What the column is about, by our names: dataset, category, metric, split ..."""


@dataclass(frozen=True)
class Row:
    section: str
    label: str
    name: str
    """Our name: `mcr`, `mmss-no-ptrt`."""
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Table:
    kind: str
    """`results`, `statistics` or `ablation`."""
    number: int
    """Of the paper's table that it remakes."""
    title: str
    headers: tuple[str, str]
    """Of the section and the label column; an empty first one drops the section column."""
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    caption: tuple[str, ...]
    """Sentences."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Further content of the JSON form: the setting, the tests."""


# Tables 1 and 2 ---------------------------------------------------------------------------------------------


def results_table(
    setting: Setting,
    *,
    with_paper: bool = False,
    with_sentinels: bool = False,
    seeds: Sequence[int] | None = None,
    categories: Sequence[str] = CATEGORIES,
    proposed: str = models.PROPOSED,
) -> Table:
    """Table 1 (Lazada) or 2 (Amazon) from one setting.

    Rows: the paper's methods in its order, run or not, and any other method that was run. Marks on the
    proposed method's row: crossed test against the best baseline run in the cell, Holm over the family.

    Args:
        with_paper: put the published value beside each cell.
        with_sentinels: add the trivial scorers to the reference rows.
        seeds: what makes a cell complete; default: every seed that the setting has.
    """
    seeds = setting.seeds if seeds is None else tuple(seeds)
    columns = [
        Column(
            CATEGORY_LABELS[category],
            METRIC_LABELS[metric],
            {"dataset": setting.dataset, "category": category, "metric": metric},
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
    number = RESULT_TABLE_NUMBER[setting.dataset]

    def entry(name: str, column: Column) -> Entry:
        category, metric = column.keys["category"], column.keys["metric"]
        made = cell_entry(cells[name][category], metric)
        if name == proposed:
            against = best_baseline(families[metric], category)
            made = replace(made, mark=against.mark if against else "")
        if with_paper:
            value = published_value(setting.dataset, category, name, metric, table=number)
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
        f"{DATASET_LABELS[setting.dataset]}, test split, in percent: mean over seeds "
        f"{_list(seeds)} ± standard deviation over seeds (n-1). {_RANKING_SENTENCE}",
        *_setting_sentences(setting),
        f"{metric_sentence(setting)}, hence the row '{CEILING_ROW}'.",
        *_test_sentences(families, proposed, seeds, any_cell),
        *_paper_sentence(with_paper, number),
        _provenance_sentence(run for name in names for cell in cells[name].values() for run in cell.runs),
    ]
    return Table(
        kind="results",
        number=number,
        title=f"Results on {DATASET_LABELS[setting.dataset]}{_synthetic_title(setting)}",
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
    runs, seeds = tuple(run.id for run in cell.runs), tuple(run.seed for run in cell.runs)
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


def manifests(runs: Iterable[StoredRun]) -> list[Mapping[str, Any]]:
    """The manifest of every distinct corpus category that the runs saw, in the paper's order."""
    found = {(run.dataset, run.category, run.fingerprint): run for run in runs}
    order = sorted(found, key=lambda key: (DATASETS.index(key[0]), CATEGORIES.index(key[1]), key[2]))
    return [
        {
            "dataset": key[0],
            "category": key[1],
            "fingerprint": key[2],
            "label": found[key].corpus,
            "synthetic": found[key].synthetic,
        }
        | found[key].manifest
        for key in order
    ]


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

    rows = [
        Row(
            DATASET_LABELS[manifest["dataset"]],
            CATEGORY_LABELS[manifest["category"]],
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
        number=STATISTICS_TABLE_NUMBER,
        title=f"Sizes of the data sets{' (synthetic corpus)' if synthetic else ''}",
        headers=("Data set", "Category"),
        columns=tuple(columns),
        rows=tuple(rows),
        caption=(
            "Numbers of products and reviews as packed; no review of any split is dropped.",
            f"Corpora and fingerprints: {names}.",
            *_paper_sentence(with_paper, STATISTICS_TABLE_NUMBER),
        ),
        facts={"corpora": [dict(manifest) for manifest in corpora]},
    )


# Table 4 ----------------------------------------------------------------------------------------------------


def ablation_table(
    settings: Sequence[Setting],
    *,
    with_paper: bool = False,
    seeds: Sequence[int] | None = None,
    categories: Sequence[str] = ("clothing",),
    method: str = models.PROPOSED,
) -> Table:
    """Table 4: the full model, then the model without each part, with the differences.

    Args:
        settings: one per data set, alike in all but data set and data (`matching_settings`).

    A difference's mark is the crossed test's of full against reduced, two-sided, Holm over the parts and
    categories of one data set and metric.
    """
    by_dataset = {setting.dataset: setting for setting in settings}
    if len(by_dataset) != len(settings) or not settings:
        raise UsageError("an ablation table takes one setting for each of one or two data sets.")
    ordered = [by_dataset[dataset] for dataset in DATASETS if dataset in by_dataset]
    columns = [
        Column(
            f"{DATASET_LABELS[setting.dataset]} {CATEGORY_LABELS[category]}",
            METRIC_LABELS[metric],
            {"dataset": setting.dataset, "category": category, "metric": metric},
        )
        for setting in ordered
        for category in categories
        for metric in PAPER_METRICS
    ]
    single = [(part,) for part in PART_LABELS]
    combined = dict.fromkeys(drop for setting in ordered for drop in setting.drops if drop not in single)
    variants: list[tuple[str, ...]] = [(), *single, *combined]
    wanted = {
        setting.dataset: _ablation_seeds(setting, categories, method) if seeds is None else tuple(seeds)
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
        number=ABLATION_TABLE_NUMBER,
        title=f"Ablation of {models.get(method).title}{_synthetic_title(ordered[0])}",
        headers=("", "Model"),
        columns=tuple(columns),
        rows=tuple(rows),
        caption=(
            "Test split, in percent: mean over seeds "
            + ", ".join(f"{_list(wanted[s.dataset])} ({DATASET_LABELS[s.dataset]})" for s in ordered)
            + " ± standard deviation over seeds (n-1); in parentheses the difference to the full model in points.",
            "Without ptrt to rtrv: that subtask is removed, its interaction stays; module(d): all subtasks removed; "
            "module(b): no interactions and no subtasks.",
            *dict.fromkeys(
                sentence for setting in ordered for sentence in _setting_sentences(setting, categories)
            ),
            f"{metric_sentence(ordered[0])}.",
            *_reference_sentence(columns, lambda column: cell(column, ())),
            "Differences: crossed test over seeds and products (two-way random effects), two-sided, unit: seeds x "
            "products; Holm over the parts of one data set and metric; * p < 0.05, ** p < 0.01.",
            *_paper_sentence(with_paper, ABLATION_TABLE_NUMBER),
            *_inconsistency_sentences(with_paper, columns, method),
            _provenance_sentence(
                run for column in columns for drop in variants for run in cell(column, drop).runs
            ),
        ),
        facts={
            "settings": [setting_facts(setting) for setting in ordered],
            "tests": [comparison_facts(test) for test in tests.values()],
        },
    )


def matching_settings(settings: Iterable[Setting]) -> list[list[Setting]]:
    """Settings of different data sets that are alike in everything else, for a table over both data sets.

    Where a data set has several (its data changed), each comes with the first of the other.
    """
    groups: dict[tuple[object, ...], dict[str, list[Setting]]] = {}
    for setting in settings:
        key = (
            setting.corpus,
            setting.synthetic,
            setting.protocol,
            setting.preset,
            setting.device,
            setting.shuffle_labels,
            setting.overrides,
        )
        groups.setdefault(key, {}).setdefault(setting.dataset, []).append(setting)
    return [
        [members[min(i, len(members) - 1)] for members in by_dataset.values()]
        for by_dataset in groups.values()
        for i in range(max(len(members) for members in by_dataset.values()))
    ]


def ablation_label(drop: Sequence[str], method: str = models.PROPOSED) -> str:
    """As Table 4 prints it: `w/o intra-modal-ptrt`; the full model is the method's name."""
    return (
        "w/o " + " + ".join(PART_LABELS.get(part, part) for part in drop)
        if drop
        else models.get(method).title
    )


def variant_name(method: str, drop: Sequence[str]) -> str:
    return "-".join([method, *(f"no-{part}" for part in drop)])


def _reference_sentence(columns: Sequence[Column], cell: Callable[[Column], Cell]) -> list[str]:
    """Random order and ceiling of each group of columns, in words."""
    parts = []
    for column in columns:
        full = cell(column)
        if full.runs:
            random, best = (100 * value for value in (full.random_order(column.keys["metric"]), full.ceiling))
            parts.append(f"{column.group} {column.label} {random:.1f} and {best:.1f}")
    return [f"Expected value of a random order, and best attainable: {'; '.join(parts)}."] if parts else []


def significance(p: float | None) -> str:
    """`**` below 0.01, `*` below 0.05, else empty; None (no test) is empty."""
    return "" if p is None else "**" if p < 0.01 else "*" if p < 0.05 else ""


def _ablation_seeds(setting: Setting, categories: Sequence[str], method: str) -> tuple[int, ...]:
    """Seeds of the method's runs, full or reduced, in these categories: further seeds elsewhere do not count."""
    runs = [run for run in setting.runs if run.method == method and run.category in categories]
    return tuple(sorted({run.seed for run in runs}))


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


# Captions ---------------------------------------------------------------------------------------------------

_RANKING_SENTENCE = (
    "Best in bold, second best underlined, decided on unrounded values among the complete cells."
)


def setting_facts(setting: Setting) -> dict[str, Any]:
    """The setting as JSON values."""
    return {
        "dataset": setting.dataset,
        "corpus": setting.corpus,
        "synthetic": setting.synthetic,
        "fingerprints": dict(setting.fingerprints),
        "protocol": setting.protocol,
        "preset": setting.preset,
        "device": setting.device,
        "overrides": list(setting.overrides),
        "shuffle_labels": setting.shuffle_labels,
        "relevance_threshold": relevance_thresholds(setting.runs),
        "ties": " and ".join(sorted({run.ties for run in setting.runs})),
        "commits": commits_of(setting.runs),
    }


def comparison_facts(one: Comparison, **more: Any) -> dict[str, Any]:
    """A test as JSON values; differences and intervals in points."""
    result = one.result
    return {
        "dataset": one.a.runs[0].dataset,
        "category": one.category,
        "metric": one.metric,
        "a": variant_name(one.a.method, one.a.drop),
        "b": variant_name(one.b.method, one.b.drop),
        "difference": 100 * result.difference,
        "interval": None if result.interval is None else [100 * bound for bound in result.interval],
        "p": result.p_value,
        "p_holm": one.p_holm,
        "df": result.df,
        "n_seeds": list(result.n_seeds),
        "n_products": result.n_products,
        "reason": result.reason,
        **more,
    }


def relevance_thresholds(runs: Iterable[StoredRun]) -> list[int]:
    """Distinct thresholds t behind the values: a review is relevant if its label is above t."""
    return sorted({run.relevance_threshold for run in runs})


def _synthetic_title(setting: Setting) -> str:
    return " (synthetic corpus)" if setting.synthetic else ""


def _setting_sentences(setting: Setting, categories: Sequence[str] = CATEGORIES) -> list[str]:
    synthetic = (
        " (synthetic: generated data, which says nothing about real reviews)" if setting.synthetic else ""
    )
    prints = ", ".join(
        f"{CATEGORY_LABELS[category]} {fingerprint[:12]}"
        for category, fingerprint in setting.fingerprints
        if category in categories
    )
    seen = [run for run in setting.runs if run.category in categories]
    sentences = [
        f"Corpus: {setting.corpus}{synthetic}; {DATASET_LABELS[setting.dataset]} fingerprints: {prints}.",
        f"Protocol {setting.protocol}, preset {setting.preset}, device {setting.device}, "
        + (f"overrides {' '.join(setting.overrides)}." if setting.overrides else "no overrides."),
        *image_sentences(seen),
        *vector_sentences(seen),
    ]
    if setting.shuffle_labels:
        sentences.append("NEGATIVE CONTROL: labels of train and dev were shuffled within each product.")
    return sentences


_TIE_WORDS = {
    "expected": "expected value over their orders",
    "file-order": "in file order, as the released code resolves them (a constant score then gets the files' order)",
}


def metric_sentence(setting: Setting) -> str:
    """What counts as relevant, what becomes of ties and of products with nothing relevant; no full stop."""
    thresholds = " and ".join(f"label > {t}" for t in relevance_thresholds(setting.runs))
    own = sorted({run.own_threshold for run in setting.runs})
    selected = (
        ""
        if own == relevance_thresholds(setting.runs)
        else f" (recomputed from the scores; epochs were selected with label > {' and '.join(map(str, own))})"
    )
    ties = " and ".join(_TIE_WORDS[policy] for policy in sorted({run.ties for run in setting.runs}))
    return (
        f"Relevant: {thresholds}{selected}; tied scores: {ties}; a product with nothing relevant "
        "scores 0 and stays in the mean"
    )


def _test_sentences(
    families: Mapping[str, Sequence[Comparison]],
    proposed: str,
    seeds: Sequence[int],
    any_cell: Mapping[str, Cell | None],
) -> list[str]:
    title = models.get(proposed).title
    family = families[PAPER_METRICS[0]]
    if not family:
        return [f"No test: it needs complete cells of {title} and of a baseline."]
    if all(one.p_holm is None for one in family):
        return [f"No test: {family[0].result.reason}."]
    baselines = len({one.b.method for one in family})
    products = ", ".join(
        f"{len(cell.products):,} ({CATEGORY_LABELS[category]})" for category, cell in any_cell.items() if cell
    )
    sentence = (
        f"Marks: {title} better than the best baseline run in that cell, * p < 0.05, ** p < 0.01; crossed test over "
        f"seeds and products (two-way random effects), two-sided; unit: seeds x products, n = {len(seeds)} seeds per "
        f"method and {products} products; Holm over the family of {len(family)} comparisons ({baselines} baselines "
        "x categories) of each metric; MAP is primary, N@3 and N@5 are secondary."
    )
    worse = [
        f"{CATEGORY_LABELS[category]} {METRIC_LABELS[metric]}"
        for metric, members in families.items()
        for category in any_cell
        if (best := best_baseline(members, category)) is not None
        and best.result.difference < 0
        and significance(best.p_holm)
    ]
    return [
        sentence,
        *([f"{title} is below the best baseline with p < 0.05 in: {', '.join(worse)}."] if worse else []),
    ]


def _paper_sentence(with_paper: bool, number: int) -> list[str]:
    if not with_paper:
        return []
    return [
        f"In square brackets: what the MM-SS paper prints in its Table {number}; no published number enters a test "
        "or a ranking."
    ]


def _inconsistency_sentences(with_paper: bool, columns: Sequence[Column], method: str) -> list[str]:
    """The full model stands in two of the paper's tables; where they disagree, both values are shown."""
    if not with_paper:
        return []
    sentences = []
    for column in columns:
        keys = column.keys
        values = published_values(keys["dataset"], keys["category"], method, keys["metric"])
        if max((v.value - v.half_unit for v in values), default=0) > min(
            (v.value + v.half_unit for v in values), default=0
        ):
            printed = ", ".join(f"{value.printed} in {value.origin}" for value in values)
            sentences.append(f"The paper contradicts itself on {column.group} {column.label}: {printed}.")
    return sentences


def _provenance_sentence(runs: Iterable[StoredRun]) -> str:
    distinct = {run.id: run for run in runs}
    return f"Made from {len(distinct)} runs at commit {', '.join(commits_of(distinct.values()))}."


def _list(seeds: Sequence[int]) -> str:
    """`0-4` for a range, else `0, 2, 5`."""
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]}-{seeds[-1]}"
    return ", ".join(str(seed) for seed in seeds)


# The corpus's manifest --------------------------------------------------------------------------------------


def split_count(manifest: Mapping[str, Any], split: str, what: str) -> int:
    """Number of `products` or `reviews` of a split."""
    return int(manifest["splits"][split][what])


def image_sentences(runs: Sequence[StoredRun]) -> list[str]:
    """What a reader must know of one data set's images: that there were none, or how many items had some."""
    shares = []
    for manifest in manifests(runs):
        items = [split_count(manifest, "test", what) for what in ("products", "reviews")]
        images = manifest["splits"]["test"]["images"]
        seen = [images[side]["with_features"] for side in ("product", "review")]
        shares.append((_place(manifest), seen, items))
    without = [label for label, seen, _ in shares if not any(seen)]
    sentences = []
    if without:
        sentences.append(
            f'NO IMAGES in {", ".join(without)}: the multimodal methods ran with "no image" there.'
        )
    covered = ", ".join(
        f"{label} {_percent(seen[0], items[0])} of products and {_percent(seen[1], items[1])} of reviews"
        for label, seen, items in shares
        if any(seen)
    )
    if covered:
        sentences.append(f"{DATASET_LABELS[runs[0].dataset]} test items with image features: {covered}.")
    return sentences


def vector_sentences(runs: Sequence[StoredRun]) -> list[str]:
    """Whether word vectors were random or came from a file."""
    sources = {_place(manifest): vector_source(manifest) for manifest in manifests(runs)}
    if len(set(sources.values())) == 1:
        return [f"Word vectors: {next(iter(sources.values()))}."]
    return ["Word vectors: " + "; ".join(f"{label} {source}" for label, source in sources.items()) + "."]


def _place(manifest: Mapping[str, Any]) -> str:
    return CATEGORY_LABELS[manifest["category"]]


def vector_source(manifest: Mapping[str, Any]) -> str:
    """`random`, or the file's name with the start of its hash."""
    vectors = manifest.get("vectors")
    return f"{vectors['file']} ({vectors['sha256'][:12]})" if vectors else "random"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f}%" if whole else "0%"
