"""A table's content in Markdown, LaTeX, CSV or JSON (torch-free)."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from tabulate import tabulate

from benchmark.core.errors import UsageError
from benchmark.core.schema import SCHEMA_VERSION
from benchmark.core.words import near_miss
from benchmark.report.table import Column, Entry, Row, Table


@dataclass(frozen=True)
class _Style:
    """How one output language writes the parts of a cell."""

    escape: Callable[[str], str]
    best: str
    second: str
    mark: str
    plus_minus: str
    minus: str


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


def to_latex(table: Table) -> str:
    """A `table*` for booktabs (`\\\\usepackage{booktabs}`), groups of columns under their own heads."""
    with_section = bool(table.headers[0])
    n_lead = 2 if with_section else 1
    groups = [(label, len(list(members))) for label, members in groupby(c.group for c in table.columns)]
    heads, rules, at = [""] * n_lead, [], n_lead + 1
    for label, width in groups:
        heads.append(rf"\multicolumn{{{width}}}{{c}}{{{_LATEX.escape(label)}}}")
        rules.append(rf"\cmidrule(lr){{{at}-{at + width - 1}}}")
        at += width
    names = [
        *(table.headers if with_section else table.headers[1:]),
        *(column.label for column in table.columns),
    ]
    lines = [
        r"\begin{table*}[t]",
        r"\centering",
        r"\small",
        rf"\caption{{{' '.join(_LATEX.escape(text) for text in (table.title + '.', *table.caption))}}}",
        rf"\begin{{tabular}}{{{'l' * n_lead}{'r' * len(table.columns)}}}",
        r"\toprule",
        " & ".join(heads) + r" \\",
        "".join(rules),
        " & ".join(map(_LATEX.escape, names)) + r" \\",
    ]
    for section, rows in groupby(table.rows, key=lambda row: row.section):
        lines.append(r"\midrule")
        for number, row in enumerate(rows):
            lead = [section if number == 0 else "", row.label] if with_section else [row.label]
            cells = [*map(_LATEX.escape, lead), *(entry_text(entry, _LATEX) for entry in row.entries)]
            lines.append(" & ".join(cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table*}"]
    return "\n".join(lines) + "\n"


def to_csv(table: Table) -> str:
    """One line per cell (tidy), numbers unrounded; `synthetic` on every line, since a CSV has no caption."""
    keys = list(dict.fromkeys(key for column in table.columns for key in column.keys))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["table", "section", "name", "label", *keys, *_CSV_FIELDS, "corpus", "synthetic"])
    for number, row in enumerate(table.rows):
        for column, entry in zip(table.columns, row.entries, strict=True):
            record = _entry_record(entry)
            values = [_csv_value(record[name]) for name in _CSV_FIELDS]
            place = [column.keys.get(key, "") for key in keys]
            writer.writerow(
                [
                    table.kind,
                    row.section,
                    row.name,
                    row.label,
                    *place,
                    *values,
                    *_origin(table, number, column),
                ]
            )
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


def render(table: Table, format_: str = "md") -> str:
    """The table as text that ends with a newline; UsageError for a format that is not in FORMATS."""
    if format_ not in FORMATS:
        raise UsageError(
            f"unknown format {format_!r}.{near_miss(format_, FORMATS)} Known: {' '.join(FORMATS)}."
        )
    return FORMATS[format_](table)


def render_all(tables: Sequence[Table], format_: str = "md") -> str:
    """Several tables as one document: one JSON object, one CSV head, else one after the other."""
    if format_ == "json":
        document = {"schema_version": SCHEMA_VERSION, "tables": [to_json_value(table) for table in tables]}
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    texts = [render(table, format_) for table in tables]
    if format_ == "csv":
        heads = {text.partition("\n")[0] for text in texts}
        if len(heads) == 1:
            return texts[0] + "".join(text.partition("\n")[2] for text in texts[1:])
    return "\n".join(texts)


def entry_text(entry: Entry, style: _Style) -> str:
    """`**71.7**** ± 0.4 (-0.3) [71.7]`: value, mark, spread, difference, published."""
    published = f" [{entry.published}]" if entry.published else ""
    if entry.value is None:
        return style.escape(entry.missing) + published
    number = (
        f"{entry.value:,.{entry.decimals}f}" if entry.decimals == 0 else f"{entry.value:.{entry.decimals}f}"
    )
    wrapped = {1: style.best, 2: style.second}.get(entry.rank, "{}").format(number)
    mark = style.mark.format(style.escape(entry.mark)) if entry.mark else ""
    spread = "" if entry.sd is None else f" {style.plus_minus} {entry.sd:.{entry.decimals}f}"
    if entry.delta is None:
        return f"{wrapped}{mark}{spread}{published}"
    sign = style.minus if round(entry.delta, entry.decimals) < 0 else "+"
    return f"{wrapped}{spread} ({sign}{abs(entry.delta):.{entry.decimals}f}{mark}){published}"


def _escape_markdown(text: str) -> str:
    """Only what would be markup: a star or `<` before a space is none."""
    return re.sub(r"[\\|]|\*(?!\**\s)|<(?=[A-Za-z/!])", r"\\\g<0>", text)


def _escape_latex(text: str) -> str:
    special = {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": "$<$",
        ">": "$>$",
        "±": r"$\pm$",
        "×": r"$\times$",
        "*": r"$^{*}$",
        **{character: "\\" + character for character in "&%$#_{}"},
    }
    return "".join(special.get(character, character) for character in text).replace("$^{*}$$^{*}$", "$^{**}$")


_MARKDOWN = _Style(_escape_markdown, "**{}**", "<ins>{}</ins>", "{}", "±", "-")
_LATEX = _Style(_escape_latex, r"\textbf{{{}}}", r"\underline{{{}}}", "{}", r"$\pm$", "$-$")

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
