"""A table's content in Markdown, LaTeX, CSV or JSON (torch-free)."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from tabulate import tabulate

from benchmark.core.errors import UsageError
from benchmark.core.schema import SCHEMA_VERSION
from benchmark.core.words import near_miss
from benchmark.report.entries import Style, entry_text
from benchmark.report.latex import Layout, to_latex
from benchmark.report.table import Column, Entry, Row, Table


def to_markdown(table: Table) -> str:
    """A pipe table under its title, the caption below, one sentence per line of a list."""
    with_section = bool(table.headers[0])
    headers = [*(table.headers if with_section else table.headers[1:]), *_flat_headers(table.columns)]
    body, section = [], None
    for row in table.rows:
        # The section is named once, as in the papers.
        lead = [row.section if row.section != section else "", row.label] if with_section else [row.label]
        section = row.section
        body.append([*map(_MARKDOWN.escape, lead), *(entry_text(entry, _MARKDOWN) for entry in row.entries)])
    numbers = ["left"] * (len(headers) - len(table.columns)) + ["right"] * len(table.columns)
    grid = tabulate(
        body, [_MARKDOWN.escape(text) for text in headers], "pipe", disable_numparse=True, colalign=numbers
    )
    caption = "\n".join(f"- {_MARKDOWN.escape(sentence)}" for sentence in table.caption)
    number = "" if table.number is None else f"Table {table.number}. "
    return f"### {number}{_MARKDOWN.escape(table.title)}\n\n{grid}\n\n{caption}\n"


def to_csv(table: Table) -> str:
    """One line per cell (tidy), numbers unrounded; `synthetic` on every line, since a CSV has no caption."""

    def lines(entry: Entry) -> list[list[Any]]:
        record = _entry_record(entry)
        return [[_csv_value(record[name]) for name in _CSV_FIELDS]]

    return _tidy(table, _CSV_FIELDS, lines)


def to_csv_per_seed(table: Table) -> str:
    """One line per cell and seed, also of cells that lack some: its value, in percent, and the run behind it."""

    def lines(entry: Entry) -> list[list[Any]]:
        return [list(one) for one in zip(entry.seeds, entry.seed_values, entry.runs, strict=True)]

    return _tidy(table, ("seed", "value", "run"), lines)


def _tidy(table: Table, fields: Sequence[str], lines: Callable[[Entry], list[list[Any]]]) -> str:
    """`lines` of every cell, each with the cell's place before it and the corpus behind it."""
    keys = list(dict.fromkeys(key for column in table.columns for key in column.keys))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["table", "section", "name", "label", *keys, *fields, "corpus", "synthetic"])
    for number, row in enumerate(table.rows):
        for column, entry in zip(table.columns, row.entries, strict=True):
            place = [table.kind, row.section, row.name, row.label]
            place += [column.keys.get(key, "") for key in keys]
            writer.writerows([*place, *line, *_origin(table, number, column)] for line in lines(entry))
    return out.getvalue()


def to_json_value(table: Table) -> dict[str, Any]:
    """Everything, unrounded, with the identities of the runs behind every cell."""
    return {
        "kind": table.kind,
        "table": table.number,
        "title": table.title,
        **table.facts,
        "rows": [_row_record(row, table.columns) for row in table.rows],
        "caption": list(table.caption),
    }


def to_json(table: Table) -> str:
    return json.dumps(to_json_value(table), indent=1, ensure_ascii=False) + "\n"


FORMATS: dict[str, Callable[[Table], str]] = {
    "md": to_markdown,
    "latex": to_latex,
    "csv": to_csv,
    "json": to_json,
}


def render(table: Table, format_: str = "md", *, layout: Layout | None = None, per_seed: bool = False) -> str:
    """The table as text that ends with a newline; UsageError for a format that is not in FORMATS. `layout` is for
    LaTeX, `per_seed` for CSV."""
    if format_ == "latex":
        return to_latex(table, layout)
    if format_ == "csv" and per_seed:
        return to_csv_per_seed(table)
    if format_ not in FORMATS:
        raise UsageError(
            f"unknown format {format_!r}.{near_miss(format_, FORMATS)} Known: {' '.join(FORMATS)}."
        )
    return FORMATS[format_](table)


def render_all(
    tables: Sequence[Table], format_: str = "md", *, layout: Layout | None = None, per_seed: bool = False
) -> str:
    """Several tables as one document: one JSON object, one CSV head, else one after the other."""
    if format_ == "json":
        document = {"schema_version": SCHEMA_VERSION, "tables": [to_json_value(table) for table in tables]}
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    texts = [render(table, format_, layout=layout, per_seed=per_seed) for table in tables]
    if format_ == "csv":
        heads = {text.partition("\n")[0] for text in texts}
        if len(heads) == 1:
            return texts[0] + "".join(text.partition("\n")[2] for text in texts[1:])
    return "\n".join(texts)


def _escape_markdown(text: str) -> str:
    """Only what would be markup: a star or `<` before a space is none."""
    return re.sub(r"[\\|]|\*(?!\**\s)|<(?=[A-Za-z/!])", r"\\\g<0>", text)


_MARKDOWN = Style(_escape_markdown, "**{}**", "<ins>{}</ins>", "{}", " ± {}", "-")

_CSV_FIELDS = ("value", "sd", "status", "rank", "mark", "difference", "published", "seeds", "runs")


def _flat_headers(columns: Sequence[Column]) -> list[str]:
    return [f"{column.group} {column.label}".strip() for column in columns]


def _entry_record(entry: Entry) -> dict[str, Any]:
    return {
        "value": entry.value if entry.decimals or entry.value is None else int(entry.value),
        "sd": entry.sd,
        "status": entry.missing or "complete",
        "rank": entry.rank or None,
        "mark": entry.mark,
        "difference": entry.delta,
        "published": float(entry.published.replace(",", "")) if entry.published else None,
        "seeds": list(entry.seeds),
        "seed_values": list(entry.seed_values),
        "runs": list(entry.runs),
    }


def _row_record(row: Row, columns: Sequence[Column]) -> dict[str, Any]:
    cells = [
        {**column.keys, **_entry_record(entry)} for column, entry in zip(columns, row.entries, strict=True)
    ]
    return {"section": row.section, "label": row.label, "name": row.name, "cells": cells}


def _csv_value(value: Any) -> Any:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None else value


def _origin(table: Table, row: int, column: Column) -> tuple[str, bool]:
    """(corpus, synthetic) of one cell."""
    if table.kind == "statistics":
        manifest = table.facts["corpora"][row]
        return manifest["label"], manifest["synthetic"]
    dataset = column.keys.get("dataset")
    for setting in table.facts["settings"]:
        if dataset in (None, setting["dataset"]):
            return setting["corpus"], setting["synthetic"]
    raise AssertionError("a column of a data set without a setting")
