"""The cells that decide numbers: ids, labels and vote counts, each judged with its row. Torch-free."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.data.findings import Findings, shown
from benchmark.data.tables import Table, names_of

MAX_LABEL = 4
Votes = bool | str
"""Labels from votes: False, no; True, from column `votes`, else `upvotes`; or the column's name."""

_NOT_AN_ID = "an id must be a text or a whole number"
_BAD_IDS = {
    "blank": "the id is blank",
    "unsafe": "the id would leave the features folder; ids name folders",
    "control": "the id has a control character in it, which would break the lines of every table",
    "surrogate": "the id holds half of a character (a lone surrogate), which no file name or table can hold",
}


def read_id(value: Any) -> str | None:
    """An id as text: a string as it is, an integer in digits; None for anything else."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def fault_of(identifier: str) -> str | None:
    """What keeps a text from being an id (a key of `_BAD_IDS`), or None: ids name folders and are written
    to tables with one row a line."""
    if not identifier.strip():
        return "blank"
    if identifier in (".", "..") or any(c in identifier for c in "/\\\0"):
        return "unsafe"
    if identifier.isascii() and identifier.isprintable():
        return None
    kinds = {unicodedata.category(c) for c in identifier}
    return "surrogate" if "Cs" in kinds else "control" if "Cc" in kinds else None


def unique_ids(values: list[Any], path: Path, column: str, findings: Findings) -> dict[str, int]:
    """Id -> row; ids that are no text, twice, or not fit to be one are problems."""
    rows: dict[str, int] = {}
    not_text, twice = [], []
    bad: dict[str, list[str]] = {kind: [] for kind in _BAD_IDS}
    for row, value in enumerate(values):
        identifier = read_id(value)
        if identifier is None:
            not_text.append(f"row {row}, {column} {shown(value)}")
        elif identifier in rows:
            twice.append(f"{column} {shown(identifier)}")
        else:
            if fault := fault_of(identifier):
                bad[fault].append(f"{column} {shown(identifier)}")
            rows[identifier] = row
    findings.problem_records(path, not_text, _NOT_AN_ID)
    findings.problem_records(path, twice, "the id is there twice")
    for kind, records in bad.items():
        findings.problem_records(path, records, _BAD_IDS[kind])
    return rows


@dataclass
class Relation:
    """The rows of a relation table that are used."""

    column: str
    """Where the labels, or the votes that they are made of, stand."""
    product_ids: list[str] = field(default_factory=list)
    review_ids: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    dropped: int = 0
    """Rows left out because no one voted; only with labels from votes."""


def votes_column(table: Mapping[str, Any], votes: Votes) -> str:
    """The column that labels come from."""
    if isinstance(votes, str):
        return votes
    return "votes" if votes and "votes" in table else "upvotes"


def read_relation(table: Table, path: Path, votes: Votes, findings: Findings) -> Relation | None:
    """Ids and labels, row by row; None, and a problem, if the column that was asked for is not there."""
    relation = Relation(votes_column(table, votes))
    if relation.column not in table:
        message = f"missing, but --votes-column names it; the file has {names_of(table)}"
        findings.problem(path, f"column {relation.column}", message)
        return None
    not_text: list[str] = []
    bad: list[str] = []
    large: list[str] = []
    columns = (table["product_id"], table["review_id"], table[relation.column])
    for row, (p, r, value) in enumerate(zip(*columns, strict=True)):
        product_id, review_id, number = read_id(p), read_id(r), whole_number(value)
        record = f"review {shown(review_id)} (row {row}), {relation.column} {shown(value)}"
        if product_id is None or review_id is None:
            not_text.append(f"row {row}, product_id {shown(p)}, review_id {shown(r)}")
        elif number is None or number < 0:
            bad.append(record)
        elif votes and number == 0:
            relation.dropped += 1
        elif not votes and number > MAX_LABEL:
            large.append(record)
        else:
            relation.product_ids.append(product_id)
            relation.review_ids.append(review_id)
            relation.labels.append(label_of_votes(number) if votes else number)
    allowed = "a vote count must be a whole number >= 0" if votes else "a label must be 0, 1, 2, 3 or 4"
    findings.problem_records(path, not_text, _NOT_AN_ID)
    findings.problem_records(path, bad, allowed)
    hint = "above 4: this looks like raw votes; --labels-from-votes turns votes into labels"
    findings.problem_records(path, large, hint)
    return relation


def whole_number(value: Any) -> int | None:
    """An integer, also when written as 2.0 (pandas does so when a column has gaps)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int):
        return value
    return int(value) if math.isfinite(value) and value == int(value) else None


def label_of_votes(votes: int) -> int:
    """The released mapping min(4, floor(log2 v)), v >= 1: 1 -> 0, 2-3 -> 1, 4-7 -> 2, 8-15 -> 3, 16- -> 4."""
    return min(MAX_LABEL, votes.bit_length() - 1)
