"""Every method against the trivial scorers: what none beats, a reader must know (torch-free).

A trivial scorer has no seeds: its side of the test shows no variance over them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from benchmark.core.metrics import PAPER_METRICS
from benchmark.data.published import METRIC_LABELS
from benchmark.report.facts import method_title
from benchmark.report.grid import Cell, Setting, corrected
from benchmark.report.sentinels import OPPONENTS, Floats, Sentinel, judge_of, sentinels, telling_products
from benchmark.runs.reviews import TestData
from benchmark.runs.store import StoredRun
from benchmark.stats.crossed import CrossedResult, fixed_test
from benchmark.stats.sides import Side, fixed_side

ALPHA = 0.05


@dataclass(frozen=True)
class AgainstTrivial:
    """One method against the best trivial scorer of one cell."""

    category: str
    metric: str
    method: str
    scorer: Sentinel
    result: CrossedResult
    p_holm: float | None
    """Over methods, trivial scorers and categories of one metric; None where no verdict is possible."""

    @property
    def above(self) -> bool:
        """The mean is higher."""
        return self.result.difference > 0

    @property
    def shown(self) -> bool:
        """The mean is higher, significantly."""
        return self.above and self.p_holm is not None and self.p_holm < ALPHA

    def to_json(self) -> dict[str, Any]:
        """Differences and intervals in points."""
        interval = self.result.interval
        return {
            "category": self.category,
            "metric": self.metric,
            "method": self.method,
            "scorer": self.scorer.name,
            "difference": 100 * self.result.difference,
            "interval": None if interval is None else [100 * bound for bound in interval],
            "p_holm": self.p_holm,
            "reason": self.result.reason,
        }


@dataclass(frozen=True)
class TrivialScorers:
    """The sentinels of each category of a setting, and which metrics can tell two orders apart there."""

    by_category: Mapping[str, Sequence[Sentinel]]
    mute: frozenset[tuple[str, str]]
    """(category, metric) with the same value for every order of the reviews."""

    def opponents(self, category: str) -> list[Sentinel]:
        return [
            one for one in self.by_category[category] if one.name in OPPONENTS and one.per_product is not None
        ]

    def best(self, category: str, metric: str) -> Sentinel:
        """The trivial scorer with the highest mean; a random order always is one."""
        return max(self.opponents(category), key=lambda one: (one.values or {})[metric])


def trivial_scorers(setting: Setting, categories: Sequence[str]) -> TrivialScorers:
    """Of those categories that the setting has runs of."""
    found, mute = {}, set()
    for category in categories:
        run = next((run for run in setting.runs if run.spec.category == category), None)
        if run is None:
            continue
        found[category], telling = _of_reviews(run)
        mute |= {(category, metric) for metric in PAPER_METRICS if not telling[metric]}
    return TrivialScorers(found, frozenset(mute))


_KNOWN: WeakKeyDictionary[TestData, dict[Any, tuple[list[Sentinel], dict[str, int]]]] = WeakKeyDictionary()
"""By the test reviews and how they are judged: one command asks for them many times."""


def _of_reviews(run: StoredRun) -> tuple[list[Sentinel], dict[str, int]]:
    """The trivial scorers of a run's test reviews, and see `telling_products`."""
    known, threshold = _KNOWN.setdefault(run.test_data, {}), run.relevance_threshold
    if (threshold, run.ties) not in known:
        reviews = run.test_data.reviews
        judge = judge_of(reviews, threshold)
        found = sentinels(reviews, threshold, run.ties, judge)
        known[threshold, run.ties] = found, telling_products(judge)
    return known[threshold, run.ties]


def against_trivial(cells: Sequence[Cell], scorers: TrivialScorers, metric: str) -> list[AgainstTrivial]:
    """Every complete cell against every trivial scorer of its category, Holm over all of them; of each cell
    the comparison with the best scorer is returned. Choosing it after looking costs nothing, since the
    correction is over all."""
    known: dict[tuple[object, ...], Side] = {}

    def fixed(scorer: Sentinel, cell: Cell) -> Side:
        key = (cell.category, scorer.name, len(cell.runs), cell.products)
        if key not in known:
            known[key] = fixed_side(_values(scorer, metric, cell), len(cell.runs))
        return known[key]

    places = [
        (cell, scorer, fixed_test(cell.side(metric), fixed(scorer, cell)))
        for cell in cells
        if cell.complete and (cell.category, metric) not in scorers.mute
        for scorer in scorers.opponents(cell.category)
    ]
    adjusted = corrected([result for _, _, result in places])
    return [
        AgainstTrivial(cell.category, metric, cell.method, scorer, result, p)
        for (cell, scorer, result), p in zip(places, adjusted, strict=True)
        if scorer.name == scorers.best(cell.category, metric).name
    ]


def _values(scorer: Sentinel, metric: str, cell: Cell) -> Floats:
    """The scorer's value of each of the cell's products, in their order."""
    assert scorer.per_product is not None
    data = cell.runs[0].test_data
    if cell.products is data.products:
        of_appearing: Floats = np.empty(len(data.products))
        of_appearing[data.appearance] = scorer.per_product[metric]
        return of_appearing
    ids = _products(cell.runs[0])
    row = {product: number for number, product in enumerate(ids)}
    values: Floats = scorer.per_product[metric][[row[product] for product in cell.products]]
    return values


def _products(run: StoredRun) -> tuple[str, ...]:
    """Ids of the test products in the order of the reviews, as the sentinels have them."""
    return tuple(run.test_reviews["product_id"].unique())


def place(setting: Setting, category: str, metric: str) -> str:
    return f"{setting.data_set.category_title(category)} {METRIC_LABELS[metric]}"


def trivial_sentences(setting: Setting, found: Sequence[AgainstTrivial]) -> list[str]:
    """What the methods are worth beside scorers that learn nothing, in words."""
    if not found:
        return []
    cells: dict[tuple[str, str], list[AgainstTrivial]] = {}
    for one in found:
        cells.setdefault((one.category, one.metric), []).append(one)
    unbeaten = [members for members in cells.values() if not any(one.above for one in members)]
    sentences = []
    by_scorer: dict[str, list[str]] = {}
    for members in unbeaten:
        scorer, best = members[0].scorer, max(members, key=lambda one: one.result.difference)
        value = 100 * (scorer.values or {})[best.metric]
        words = f"{place(setting, best.category, best.metric)} ({value:.1f} against at best "
        words += f"{value + 100 * best.result.difference:.1f}, {method_title(best.method)})"
        by_scorer.setdefault(scorer.label, []).append(words)
    for label, places in by_scorer.items():
        sentences.append(
            f"NOTHING BEATS A TRIVIAL SCORER: no method is above '{label}' in {'; '.join(places)}."
        )
    primary = [members for (_, metric), members in cells.items() if metric == PAPER_METRICS[0]]
    parts = [
        _shown_words(setting, members)
        for members in primary
        if any(one.p_holm is not None for one in members)
    ]
    if parts:
        sentences.append(
            "Significantly above the best trivial scorer in MAP (p < 0.05, crossed test with a side that has no "
            f"seeds, Holm over methods x scorers x categories): {'; '.join(parts)}."
        )
    return sentences


def _shown_words(setting: Setting, members: Sequence[AgainstTrivial]) -> str:
    short = [method_title(one.method) for one in members if not one.shown]
    rest = f" (not {', '.join(short)})" if short and len(short) < len(members) else ""
    category = setting.data_set.category_title(members[0].category)
    return (
        f"{category} {len(members) - len(short)} of {len(members)} methods against "
        f"'{members[0].scorer.label}'{rest}"
    )


def mute_sentences(setting: Setting, scorers: TrivialScorers) -> list[str]:
    """Where a metric has one value whatever a method does."""
    places = [
        place(setting, category, metric)
        for category in scorers.by_category
        for metric in PAPER_METRICS
        if (category, metric) in scorers.mute
    ]
    if not places:
        return []
    return [
        f"CANNOT TELL METHODS APART: {', '.join(places)} is the same for every order of the reviews (all are "
        "relevant, or none is), so nothing is best there and nothing is marked or tested."
    ]
