"""`bench compare`: every cell that the paper prints beside ours, with a verdict (torch-free).

The published numbers are means over five runs on the release's test products, so our side's uncertainty is
that of the seeds on the same products. They never enter a test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from tabulate import tabulate

from benchmark import models
from benchmark.core.metrics import PAPER_METRICS
from benchmark.core.words import count
from benchmark.data.datasets import DataSet
from benchmark.data.published import (
    METRIC_LABELS,
    PART_LABELS,
    PublishedValue,
    inconsistencies,
    published_value,
    published_values,
)
from benchmark.report.captions import made_line
from benchmark.report.facts import ablation_label, setting_facts, variant_name
from benchmark.report.grid import Cell, Setting
from benchmark.report.paper_data import other_data, other_data_sentences, paper_categories
from benchmark.report.table import ABLATION_TABLE_NUMBER
from benchmark.stats.crossed import seed_interval

OK_POINTS, OKISH_POINTS = 0.5, 1.5
"""A cell within these many points of the published value is `OK`, `OKish`."""
NARROW_POINTS = 1.5
"""Half-width of our interval up to which it can say `OK` or `OKish`; wider, or without one: `undecided`."""
ABLATION_CATEGORY = "clothing"

Reproduction = Literal["OK", "OKish", "undecided", "FAIL", "incomplete", "not run"]
_WORST_FIRST: tuple[Reproduction, ...] = ("FAIL", "undecided", "OKish", "OK", "incomplete", "not run")


@dataclass(frozen=True)
class CellVerdict:
    """One published number beside ours, in percent."""

    category: str
    method: str
    drop: tuple[str, ...]
    metric: str
    published: PublishedValue
    others: tuple[PublishedValue, ...]
    """Further values that the paper prints for the same cell and that contradict it."""
    ours: float | None
    sd: float | None
    interval: tuple[float, float] | None
    """95%, over seeds; None with fewer than three."""
    verdict: Reproduction
    why: str

    @property
    def difference(self) -> float | None:
        """Ours minus published, in points."""
        return None if self.ours is None else self.ours - self.published.value


@dataclass(frozen=True)
class ComparisonReport:
    setting: Setting
    verdicts: tuple[CellVerdict, ...]
    meaningless: str = ""
    """Why no comparison is made; empty if one is."""
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        return any(one.verdict == "FAIL" for one in self.verdicts)

    def counts(self) -> dict[str, int]:
        names: tuple[Reproduction, ...] = get_args(Reproduction)
        return {name: sum(one.verdict == name for one in self.verdicts) for name in names}

    def summary(self) -> str:
        """What became of the published numbers, worst first."""
        counts = self.counts()
        said = ", ".join(f"{counts[name]} {name}" for name in _WORST_FIRST)
        return f"Of {count(len(self.verdicts), 'published number')}: {said}."

    def worst_first(self) -> list[CellVerdict]:
        """By verdict; within one, the largest distance first."""
        return sorted(
            self.verdicts, key=lambda one: (_WORST_FIRST.index(one.verdict), -abs(one.difference or 0.0))
        )

    def render(self) -> str:
        """Markdown."""
        head = f"## {self.setting.data_set.title}: ours beside the published values"
        if self.meaningless:
            return f"{head}\n\n{self.meaningless}\n\nCorpus {self.setting.conditions}.\n"
        rows = [_row(self.setting.data_set, one) for one in self.worst_first() if one.verdict != "not run"]
        headers = ["", "method", "metric", "published", "ours", "95% interval", "difference", "verdict"]
        rule = (
            f"OK: the published value lies in our 95% interval (t over seeds, on these test products) or within "
            f"{OK_POINTS:g} points; OKish: within {OKISH_POINTS:g}; both need a half-width of at most "
            f"{NARROW_POINTS:g} points, else undecided; FAIL: outside the interval and further away. Cells without "
            "a run are counted, not listed."
        )
        notes = "".join(f"\n- {note}" for note in self.notes)
        grid = tabulate(rows, headers, "pipe", disable_numparse=True)
        return f"{head}\n\n**{self.summary()}**\n\n{grid}\n\n{rule}\n\n{made_line(self.setting)}\n{notes}\n"

    def to_json(self) -> dict[str, Any]:
        return {
            "setting": setting_facts(self.setting),
            "meaningless": self.meaningless,
            "counts": self.counts(),
            "notes": list(self.notes),
            "cells": [
                {
                    "category": one.category,
                    "method": variant_name(one.method, one.drop),
                    "metric": one.metric,
                    "published": one.published.value,
                    "table": one.published.table,
                    "also_published": [other.value for other in one.others],
                    "attributed_to": one.published.attributed_to,
                    "ours": one.ours,
                    "sd": one.sd,
                    "interval": None if one.interval is None else list(one.interval),
                    "difference": one.difference,
                    "verdict": one.verdict,
                    "why": one.why,
                }
                for one in self.verdicts
            ],
        }


def compare(setting: Setting, *, seeds: Sequence[int] | None = None) -> ComparisonReport:
    """Every cell of Table 1 or 2 and of the data set's columns of Table 4.

    Where the data are not the paper's (`paper_data`), nothing is compared: the report says why.
    """
    table = setting.data_set.paper_table
    if table is None:
        why = "This data set is not in the paper: there is nothing published to compare with."
        return ComparisonReport(setting, (), meaningless=why)
    others, beside = other_data_sentences(setting), paper_categories(setting)
    if not beside:
        return ComparisonReport(setting, (), meaningless=" ".join(others))
    places: list[tuple[str, str, tuple[str, ...], int]] = [
        (category, method, (), table)
        for category in setting.data_set.category_names
        for method in models.DEFAULT_METHODS
    ]
    places += [(ABLATION_CATEGORY, models.PROPOSED, (part,), ABLATION_TABLE_NUMBER) for part in PART_LABELS]
    places = [place for place in places if place[0] not in other_data(setting)]
    verdicts = []
    for category, method, drop, number in places:
        cell = setting.cell(category, method, drop, seeds)
        for metric in PAPER_METRICS:
            value = published_value(
                setting.conditions.dataset, category, method, metric, table=number, drop=drop
            )
            if value is not None:
                verdicts.append(judge(setting.conditions.dataset, cell, metric, value))
    return ComparisonReport(setting, tuple(verdicts), notes=tuple(_notes(setting, verdicts)))


def judge(dataset: str, cell: Cell, metric: str, value: PublishedValue) -> CellVerdict:
    """The verdict on one cell, and why."""
    printed = published_values(dataset, cell.category, cell.method, metric, cell.drop)
    others = tuple(other for other in printed if _contradicts(other, value))
    ours, sd, interval = None, None, None
    verdict: Reproduction = "incomplete" if cell.runs else "not run"
    why = cell.missing
    if cell.complete:
        means = 100 * cell.seed_means(metric)
        ours = float(means.mean())
        sd = float(means.std(ddof=1)) if len(means) > 1 else None
        interval = seed_interval(means)
        verdict, why = _verdict(ours, interval, value.value)
    return CellVerdict(
        category=cell.category,
        method=cell.method,
        drop=cell.drop,
        metric=metric,
        published=value,
        others=others,
        ours=ours,
        sd=sd,
        interval=interval,
        verdict=verdict,
        why=why,
    )


def _verdict(ours: float, interval: tuple[float, float] | None, published: float) -> tuple[Reproduction, str]:
    # Rounded far below any printed decimal, so that a difference of exactly 0.5 is one.
    distance = round(abs(ours - published), 9)
    inside = interval is not None and interval[0] <= published <= interval[1]
    if distance > OKISH_POINTS and not inside:
        return "FAIL", f"{distance:.1f} points away"
    if interval is None:
        return "undecided", "fewer than three seeds give no interval"
    half_width = round((interval[1] - interval[0]) / 2, 9)
    if half_width > NARROW_POINTS:
        return "undecided", f"our interval reaches {half_width:.1f} points to either side"
    if distance <= OK_POINTS:
        return "OK", f"within {OK_POINTS:g} points"
    return ("OK", "inside our 95% interval") if inside else ("OKish", f"within {OKISH_POINTS:g} points")


def _contradicts(one: PublishedValue, other: PublishedValue) -> bool:
    return abs(one.value - other.value) > one.half_unit + other.half_unit + 1e-9


def _notes(setting: Setting, verdicts: Sequence[CellVerdict]) -> list[str]:
    notes = [
        f"{one}; both are shown, the verdict is on the first."
        for one in inconsistencies()
        if one.dataset == setting.data_set.title
    ]
    copied = sorted(
        {
            models.METHODS[one.method].title
            for one in verdicts
            if one.published.attributed_to not in ("mmss-2024", "rerun-of-mcr-code")
        }
    )
    if copied:
        notes.append(f"Copied by the paper from earlier papers, under other conditions: {', '.join(copied)}.")
    return [*notes, *other_data_sentences(setting)]


def _row(data_set: DataSet, one: CellVerdict) -> list[str]:
    published = ", ".join(
        [one.published.printed, *(f"{other.printed} ({other.origin})" for other in one.others)]
    )
    label = ablation_label(one.drop) if one.drop else models.METHODS[one.method].title
    ours = "-" if one.ours is None else f"{one.ours:.1f}" + ("" if one.sd is None else f" ± {one.sd:.1f}")
    return [
        data_set.category_title(one.category),
        label,
        METRIC_LABELS[one.metric],
        published,
        ours,
        "-" if one.interval is None else f"[{one.interval[0]:.1f}, {one.interval[1]:.1f}]",
        "-" if one.difference is None else f"{one.difference:+.1f}",
        one.why if one.verdict == "incomplete" else one.verdict,
    ]
