"""The numbers that the papers print: package data `published.csv`, one row per value (torch-free).

Columns: source (paper), dataset, category, method, metric (as printed), value (as printed, so its number of
decimals is the precision), significant (the paper's mark), attributed_to (who produced the value: several
rows of Tables 1 and 2 are copies from earlier papers, defect P14), note (table and provenance).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from benchmark.data.datasets import BUILT_IN, DataSet

METRIC_LABELS = {"map": "MAP", "ndcg@3": "N@3", "ndcg@5": "N@5"}
"""Our name of a metric -> the paper's."""
METHOD_LABELS = {
    "bimpm": "BiMPM",
    "egcnn": "EG-CNN",
    "convknrm": "Conv-KNRM",
    "prhnet": "PRH-Net",
    "ssecross": "SSE-Cross",
    "drnet": "DR-Net",
    "mcr": "MCR",
    "mcl": "MCL",
    "mmss": "MM-SS",
}
"""Our name of a method -> the file's."""
PART_LABELS = {
    "ptrt": "intra-modal-ptrt",
    "pvrv": "intra-modal-pvrv",
    "ptrv": "inter-modal-ptrv",
    "pvrt": "inter-modal-pvrt",
    "rtrv": "intra-review-rtrv",
    "b": "module(b)",
    "d": "module(d)",
}
"""Ablated part -> as Table 4 prints it, in its row order."""


@dataclass(frozen=True)
class PublishedValue:
    """One printed number."""

    source: str
    dataset: str
    category: str
    method: str
    metric: str
    printed: str
    significant: bool
    attributed_to: str
    note: str

    @property
    def value(self) -> float:
        """In percent (counts as they are)."""
        return float(self.printed)

    @property
    def half_unit(self) -> float:
        """Half a unit of the last printed decimal: the rounding of the value."""
        decimals = len(self.printed.partition(".")[2])
        return float(0.5 * 10.0**-decimals)

    @property
    def table(self) -> int | None:
        """Number of the paper's table; None for a value from running text."""
        match = re.search(r"Table (\d+)", self.note)
        return int(match[1]) if match else None

    @property
    def origin(self) -> str:
        """Where it stands, for people: `Table 2`, `Table 4`."""
        return f"Table {self.table}" if self.table else self.source


@dataclass(frozen=True)
class Inconsistency:
    """Two printed values for one cell that no rounding reconciles."""

    dataset: str
    category: str
    method: str
    metric: str
    values: tuple[PublishedValue, ...]

    def __str__(self) -> str:
        printed = ", ".join(f"{value.printed} in {value.origin}" for value in self.values)
        return f"{self.dataset} {self.category} {self.method} {self.metric}: the paper prints {printed}"


@cache
def load_published() -> tuple[PublishedValue, ...]:
    """All values, in the file's order."""
    text = (files("benchmark") / "data" / "published.csv").read_text(encoding="utf-8")
    return tuple(
        PublishedValue(
            source=row["source"],
            dataset=row["dataset"],
            category=row["category"],
            method=row["method"],
            metric=row["metric"],
            printed=row["value"],
            significant=bool(row["significant"]),
            attributed_to=row["attributed_to"],
            note=row["note"],
        )
        for row in csv.DictReader(text.splitlines())
    )


def published_values(
    dataset: str, category: str, method: str, metric: str, drop: Sequence[str] = ()
) -> list[PublishedValue]:
    """All values that the MM-SS paper prints for one cell, by our names; empty if it prints none.

    The full MM-SS on CS&J stands in two tables, so it has two.
    """
    label = published_label(method, drop)
    where = (*_titles(dataset, category), label, METRIC_LABELS[metric])
    return [
        value
        for value in load_published()
        if (value.dataset, value.category, value.method, value.metric) == where
    ]


def published_value(
    dataset: str, category: str, method: str, metric: str, *, table: int, drop: Sequence[str] = ()
) -> PublishedValue | None:
    """The value that one table prints for a cell, or None."""
    for value in published_values(dataset, category, method, metric, drop):
        if value.table == table:
            return value
    return None


def published_label(method: str, drop: Sequence[str] = ()) -> str:
    """The file's name of a method with dropped parts. Several parts at once are in no table: the name then
    matches nothing."""
    label = METHOD_LABELS.get(method, method)
    return f"{label} w/o {'+'.join(PART_LABELS[part] for part in drop)}" if drop else label


def _titles(dataset: str, category: str) -> tuple[str, str]:
    """How the paper calls a data set and a category; what matches nothing for one that is not in it."""
    data_set = BUILT_IN.get(dataset)
    return (data_set.title, data_set.category_title(category)) if data_set else ("", "")


def expected_count(data_set: DataSet, category: str, split: str, what: str) -> int | None:
    """How many `products` or `reviews` a complete copy of a split has: as the descriptor says, else Table 3."""
    for name, products, reviews in data_set.category(category).expected:
        if name == split:
            return {"products": products, "reviews": reviews}[what]
    return published_count(data_set.name, category, split, what)


def published_count(dataset: str, category: str, split: str, what: str) -> int | None:
    """Table 3's number of `products` or `reviews` of a split; None for a data set that is not in the paper."""
    where = (*_titles(dataset, category), "dataset", f"{what}_{split}")
    for value in load_published():
        if (value.dataset, value.category, value.method, value.metric) == where:
            return int(value.printed)
    return None


@cache
def inconsistencies() -> tuple[Inconsistency, ...]:
    """Cells for which the paper prints values that differ by more than their rounding."""
    cells: dict[tuple[str, str, str, str], list[PublishedValue]] = {}
    for value in load_published():
        cells.setdefault((value.dataset, value.category, value.method, value.metric), []).append(value)
    return tuple(Inconsistency(*cell, tuple(values)) for cell, values in cells.items() if not _agree(values))


def _agree(values: Sequence[PublishedValue]) -> bool:
    """True if one number could have been rounded to all of them."""
    low = max(value.value - value.half_unit for value in values)
    high = min(value.value + value.half_unit for value in values)
    return low <= high + 1e-9
