"""What a table is: sections, rows, columns and entries, without any format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

STATISTICS_TABLE_NUMBER = 3
ABLATION_TABLE_NUMBER = 4
"""Numbers of the paper's tables."""


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
    seed_values: tuple[float, ...] = ()
    """One per seed; also of a cell that is not complete."""
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
    number: int | None
    """Of the paper's table that it remakes; None if the paper has none about these data."""
    title: str
    headers: tuple[str, str]
    """Of the section and the label column; an empty first one drops the section column."""
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    caption: tuple[str, ...]
    """Sentences."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Further content of the JSON form: the setting, the tests."""
