"""How an output language writes one cell of a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmark.report.table import Entry


@dataclass(frozen=True)
class Style:
    """How one output language writes the parts of a cell."""

    escape: Callable[[str], str]
    best: str
    second: str
    mark: str
    spread: str
    """Of the standard deviation, in the place of `{}`; empty: it is not written."""
    minus: str


def entry_text(entry: Entry, style: Style) -> str:
    """`**71.7**** ± 0.4 (-0.3) [71.7]`: value, mark, spread, difference, published."""
    published = f" [{entry.published}]" if entry.published else ""
    if entry.value is None:
        return style.escape(entry.missing) + published
    number = (
        f"{entry.value:,.{entry.decimals}f}" if entry.decimals == 0 else f"{entry.value:.{entry.decimals}f}"
    )
    wrapped = {1: style.best, 2: style.second}.get(entry.rank, "{}").format(number)
    mark = style.mark.format(style.escape(entry.mark)) if entry.mark else ""
    spread = "" if entry.sd is None else style.spread.replace("{}", f"{entry.sd:.{entry.decimals}f}")
    if entry.delta is None:
        return f"{wrapped}{mark}{spread}{published}"
    sign = style.minus if round(entry.delta, entry.decimals) < 0 else "+"
    return f"{wrapped}{spread} ({sign}{abs(entry.delta):.{entry.decimals}f}{mark}){published}"
