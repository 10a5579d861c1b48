"""Tables as the page shows them: each number a link to the runs behind it, and those runs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from benchmark import models
from benchmark.core.metrics import PAPER_METRICS
from benchmark.report.captions import listed
from benchmark.report.facts import ablation_label
from benchmark.report.grid import Setting
from benchmark.report.show import flatten
from benchmark.report.table import Column, Entry, Table
from benchmark.runs.spec import RunSpec
from benchmark.runs.store import StoredRun

EMBEDDED = "mini"
"""Label of the corpus that needs no `--data`."""


@dataclass(frozen=True)
class CellView:
    """One entry as text; `anchor` is where its runs are listed, empty if it has none."""

    text: str
    rank: int
    mark: str
    spread: str
    delta: str
    published: str
    anchor: str
    missing: bool
    sort: float | None


def head(columns: Sequence[Column]) -> list[tuple[str, int]]:
    """The upper header line: (group, how many columns)."""
    return [(group, len(list(members))) for group, members in groupby(column.group for column in columns)]


def cell_view(entry: Entry, column: Column, dataset: str, variant: str, listed_here: set[str]) -> CellView:
    anchor = runs_anchor(column.keys.get("dataset", dataset), column.keys.get("category", ""), variant)
    delta = ""
    if entry.delta is not None:
        delta = f"{entry.delta:+.{entry.decimals}f}".replace("-", "\N{MINUS SIGN}")
    number = "" if entry.value is None else f"{entry.value:,.{entry.decimals}f}"
    return CellView(
        text=entry.missing if entry.value is None else number,
        rank=entry.rank,
        mark=entry.mark,
        spread="" if entry.sd is None else f"± {entry.sd:.{entry.decimals}f}",
        delta=delta,
        published=entry.published,
        anchor=anchor if entry.runs and anchor in listed_here else "",
        missing=entry.value is None,
        sort=entry.value,
    )


def table_view(table: Table, listed_here: set[str], dataset: str = "") -> dict[str, Any]:
    """A table for the template; `listed_here`: anchors of the runs that the page lists."""
    sections = []
    for section, rows in groupby(table.rows, key=lambda row: row.section):
        sections.append(
            {
                "name": section,
                "rows": [
                    {
                        "label": row.label,
                        "name": row.name,
                        "cells": [
                            cell_view(entry, column, dataset, row.name, listed_here)
                            for entry, column in zip(row.entries, table.columns, strict=True)
                        ],
                    }
                    for row in rows
                ],
            }
        )
    return {
        "title": f"Table {table.number}. {table.title}",
        "kind": table.kind,
        "first": table.headers[1],
        "head": head(table.columns),
        "columns": [column.label for column in table.columns],
        "sections": sections,
        "caption": table.caption,
        "published": any(entry.published for row in table.rows for entry in row.entries),
    }


def runs_anchor(dataset: str, category: str, variant: str) -> str:
    return f"runs-{dataset}-{category}-{variant}"


def cell_runs(settings: Sequence[Setting]) -> list[dict[str, Any]]:
    """What a cell opens to, one entry per data set, category and variant: runs, configuration, command."""
    configurations: dict[str, int] = {}
    found: list[dict[str, Any]] = []
    for setting in settings:
        order = setting.data_set.category_names
        runs = sorted(setting.runs, key=lambda run: _place(run, order))
        for (category, variant), members in groupby(
            runs, key=lambda run: (run.spec.category, run.spec.model)
        ):
            cell = list(members)
            spec = cell[0].spec
            text = configuration_text(spec)
            found.append(
                {
                    "anchor": runs_anchor(spec.dataset, category, variant),
                    "title": f"{setting.data_set.title}, {setting.data_set.category_title(category)}: "
                    + models.METHODS[spec.method].title
                    + (f" {ablation_label(spec.drop, spec.method)}" if spec.drop else ""),
                    "runs": [run_row(run) for run in cell],
                    "configuration": configurations.setdefault(text, len(configurations) + 1),
                    "command": command([run.spec for run in cell]),
                }
            )
    texts = {number: text for text, number in configurations.items()}
    for one in found:
        one["configuration_text"] = texts[one["configuration"]]
    return found


def _place(run: StoredRun, categories: Sequence[str]) -> tuple[object, ...]:
    """Where a run stands in a list: as in the tables."""
    spec = run.spec
    return (
        categories.index(spec.category),
        len(spec.drop),
        list(models.METHODS).index(spec.method),
        spec.drop,
        spec.seed,
    )


def run_row(run: StoredRun) -> dict[str, Any]:
    seconds = run.provenance.get("seconds", {}).get("total")
    return {
        "id": run.id,
        "seed": run.spec.seed,
        "values": [f"{100 * float(run.values(metric).mean()):.2f}" for metric in PAPER_METRICS],
        "best_epoch": run.provenance.get("best_epoch", ""),
        "seconds": "" if seconds is None else f"{seconds:.1f}",
        "commit": run.provenance.get("commit") or "unknown",
    }


def configuration_text(spec: RunSpec) -> str:
    """`training.epochs = 12`, one field a line."""
    return "\n".join(f"{name} = {value}" for name, value in flatten(spec.config).items())


def command(specs: Sequence[RunSpec]) -> str:
    """The command that makes these runs: alike in everything but the seed."""
    spec = specs[0]
    words = ["bench", "ablate" if spec.drop else "run"]
    words += ["--dataset", spec.dataset, "--category", spec.category]
    if spec.drop:
        words += ["--drop", "+".join(spec.drop)]
    words += ["--method", spec.method] if not spec.drop else []
    words += ["--seeds", listed(sorted({one.seed for one in specs})).replace(" ", "")]
    words += ["--preset", spec.preset, "--protocol", spec.protocol, "--device", spec.device]
    for override in spec.overrides:
        words += ["--set", override]
    if spec.corpus != EMBEDDED:
        words += ["--data", "ROOT"]
    return shlex.join(words)
