"""Tables in LaTeX: pandas' Styler writes the tabular, a template what is around it.

A table stands in a column or across the page, its title as a short caption, all else as table notes; where it would
be wider than its place it is made smaller (`adjustbox`), so no box is overfull.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import pandas as pd

from benchmark.core.words import check_choice
from benchmark.report.entries import Style, entry_text
from benchmark.report.table import Column, Row, Table

if TYPE_CHECKING:
    from jinja2 import Environment

WIDTHS = ("page", "column")
DEVIATIONS = {
    "small": r"{\scriptsize$\pm${}}",
    "plain": r" $\pm$ {}",
    "none": "",
}
"""How the standard deviation stands behind its mean."""
COLUMN_CHARACTERS = 58
"""Of a line in a column of a two-column page, at this size: what has more is stacked, one group below the other."""


@dataclass(frozen=True)
class Layout:
    """How a table is set."""

    width: str = "page"
    deviations: str = "small"

    def __post_init__(self) -> None:
        check_choice("width", self.width, WIDTHS)
        check_choice("form of deviations", self.deviations, tuple(DEVIATIONS))


FRAME = r"""% Needs \usepackage{booktabs}, \usepackage{threeparttable}, \usepackage{adjustbox}
\begin{<<environment>>}[t]
\centering
\footnotesize
\setlength{\tabcolsep}{3pt}
\caption{<<caption>>}
\label{<<label>>}
\begin{adjustbox}{max width=\linewidth, max totalheight=0.88\textheight}
\begin{threeparttable}
<<tabular>>
<% if notes %>
\begin{tablenotes}[flushleft]
\scriptsize\sloppy
<% for note in notes %>
\item <<note>>
<% endfor %>
\end{tablenotes}
<% endif %>
\end{threeparttable}
\end{adjustbox}
\end{<<environment>>}
"""


def to_latex(table: Table, layout: Layout | None = None) -> str:
    """A `table*` across the page, or a `table` in a column: there the groups of columns are stacked where they do
    not fit side by side."""
    layout = layout or Layout()
    style = Style(escape, r"\textbf{{{}}}", r"\underline{{{}}}", "{}", DEVIATIONS[layout.deviations], r"$-$")
    groups = [(name, list(members)) for name, members in groupby(table.columns, key=lambda c: c.group)]
    stacked = layout.width == "column" and len(groups) > 1 and _characters(table, style) > COLUMN_CHARACTERS
    frame = _stacked(table, groups, style) if stacked else _side_by_side(table, style)
    settings = table.facts.get("settings", ())
    about = "-".join(dict.fromkeys(setting["dataset"] for setting in settings))
    return framed(
        frame,
        caption=f"{table.title}.",
        notes=[" ".join(table.caption)],
        label=f"{table.kind}-{about}" if about else table.kind,
        layout=layout,
    )


def framed(
    frame: pd.DataFrame, *, caption: str, notes: Sequence[str], label: str, layout: Layout | None = None
) -> str:
    """A frame of LaTeX cells as a float; caption and notes are text. Its index and heads are LaTeX too."""
    layout = layout or Layout()
    styler = frame.style.hide(names=True, axis="index")
    tabular = styler.to_latex(
        column_format="l" + "r" * frame.shape[1], hrules=True, multicol_align="c", sparse_columns=True
    )
    return (
        _environment()
        .from_string(FRAME)
        .render(
            environment="table*" if layout.width == "page" else "table",
            caption=escape(caption),
            label="tab:" + re.sub(r"[^A-Za-z0-9-]+", "-", label),
            tabular=tabular.rstrip("\n"),
            notes=[escape(note) for note in notes],
        )
    )


def _side_by_side(table: Table, style: Style) -> pd.DataFrame:
    """Groups of columns beside each other, each under its own head."""
    columns = [(escape(column.group), escape(column.label)) for column in table.columns]
    rules, at = [], 2
    for _, members in groupby(table.columns, key=lambda column: column.group):
        end = at + len(list(members)) - 1
        rules.append(rf"\cmidrule(lr){{{at}-{end}}}")
        at = end + 1
    labels, cells = _rows(table, range(len(columns)), style)
    heads = pd.MultiIndex.from_tuples(columns, names=["", f"{''.join(rules)} {escape(table.headers[1])}"])
    return pd.DataFrame(cells, index=labels, columns=heads, dtype=object)


def _stacked(table: Table, groups: Sequence[tuple[str, Sequence[Column]]], style: Style) -> pd.DataFrame:
    """Groups of columns below each other, under the heads that they share."""
    labels, cells, at = [], [], 0
    for number, (name, members) in enumerate(groups):
        own, block = _rows(table, range(at, at + len(members)), style, ruled=False)
        labels += [f"{_RULE if number else ''}{_heading(name)}", *own]
        cells += [[""] * len(members), *block]
        at += len(members)
    heads = pd.Index([escape(column.label) for column in groups[0][1]], name=escape(table.headers[1]))
    return pd.DataFrame(cells, index=labels, columns=heads, dtype=object)


_RULE = r"\midrule "
"""Stands before the first cell of a row: the rule is drawn above it."""


def _heading(text: str) -> str:
    return rf"\textit{{{escape(text)}}}"


def _rows(
    table: Table, columns: Sequence[int], style: Style, *, ruled: bool = True
) -> tuple[list[str], list[list[str]]]:
    """Labels and cells of every row, each section (there may be one without a name) under its heading."""
    labels: list[str] = []
    cells: list[list[str]] = []
    for section, rows in groupby(table.rows, key=lambda row: row.section):
        if section and ruled:
            labels.append(f"{_RULE if labels else ''}{_heading(section)}")
            cells.append([""] * len(columns))
        for row in rows:
            labels.append(escape(row.label))
            cells.append(_cells(row, columns, style))
    return labels, cells


def _cells(row: Row, columns: Sequence[int], style: Style) -> list[str]:
    return [entry_text(row.entries[column], style) for column in columns]


def _characters(table: Table, style: Style) -> int:
    """Of the widest line, about."""
    label = max(len(row.label) for row in table.rows)
    return label + sum(
        max(len(_seen(entry_text(row.entries[number], style))) + 2 for row in table.rows)
        for number in range(len(table.columns))
    )


def _seen(text: str) -> str:
    return re.sub(r"\\[a-z]+|[${}^\\]", "", text)


def escape(text: str) -> str:
    """Text as LaTeX."""
    special = {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": "$<$",
        ">": "$>$",
        "±": r"$\pm$",
        "×": r"$\times$",
        "−": "$-$",
        "≥": r"$\geq$",
        "≤": r"$\leq$",
        "*": r"$^{*}$",
        **{character: "\\" + character for character in "&%$#_{}"},
    }
    return "".join(special.get(character, character) for character in text).replace("$^{*}$$^{*}$", "$^{**}$")


def _environment() -> Environment:
    from jinja2 import Environment, StrictUndefined  # every table comes by here, few are set in LaTeX

    return Environment(
        variable_start_string="<<",
        variable_end_string=">>",
        block_start_string="<%",
        block_end_string="%>",
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
