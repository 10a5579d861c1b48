"""Reads a release's JSON tables in any orientation that pandas writes, or one record per line. Torch-free."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from benchmark.core.files import read_regular
from benchmark.data.catalog import TABLE_COLUMNS
from benchmark.data.findings import Findings, shown

Table = Mapping[str, list[Any]]

OPTIONAL_COLUMNS = ("time", "img_url", "votes")
"""Read where they exist."""
_IDS = frozenset({"product_id", "review_id"})
_COLUMNS_SHOWN = 20
"""Of a file that lacks one, in a message."""
_MOST_DIGITS = 4300
"""Of a whole number, as Python has it; one with more is read as infinite, which nothing here takes."""


class _Doubled(dict[Any, Any]):
    """An object that had a key twice; of it the last value is kept, as everywhere."""

    twice: dict[str, bool]
    """The key -> whether its values differ."""


def read_table(path: Path, kind: str, findings: Findings) -> Table | None:
    """The columns of a JSON table, rows aligned, cells as they are in the file (ids keep leading zeros).

    Any orientation of `pandas.read_json` is read: columns, index, records, split, table, and one record
    per line. None, and a problem, if the file cannot be used.
    """
    try:
        text = read_regular(path).decode("utf-8-sig")
    except FileNotFoundError:
        findings.problem(path, "", "missing file")
        return None
    except OSError as error:
        findings.problem(path, "", f"cannot be read ({error.strerror})")
        return None
    except UnicodeDecodeError as error:
        findings.problem(path, f"byte {error.start}", "not UTF-8 text")
        return None
    try:
        document = parse(text)
    except json.JSONDecodeError as error:
        findings.problem(path, f"line {error.lineno} column {error.colno}", f"not JSON ({error.msg})")
        return None
    except RecursionError:
        findings.problem(path, "", "not a table: nested too deeply")
        return None
    table = _required_columns(columns_of(document), kind, path, findings)
    if table is not None:
        lost, same = _keys_twice(document, kind)
        findings.problem_records(path, lost, "the key is there twice, and only its last value would be read")
        findings.note_records(path, same, "a key is there twice")
    return table


# --- JSON ------------------------------------------------------------------------------------------------


def parse(text: str) -> Any:
    """The document, or the list of the documents on each line if there are several (JSON lines).

    Raises:
        json.JSONDecodeError: with the line and column in the whole text.
        RecursionError: nested beyond what Python reads.
    """
    try:
        return _loads(text)
    except json.JSONDecodeError as error:
        if not _is_lines(text, error):
            raise
    documents = []
    for number, line in enumerate(text.split("\n"), start=1):  # splitlines() would split at U+2028 too
        if not line.strip(" \t\r"):
            continue
        try:
            documents.append(_loads(line))
        except json.JSONDecodeError as error:
            error.lineno = number
            raise
    return documents


def _is_lines(text: str, error: json.JSONDecodeError) -> bool:
    """Whether a text that is not one document is JSON lines: its first line is an object, and more follows."""
    first = text.lstrip("\n\r\t ").partition("\n")[0]
    return error.msg == "Extra data" and first.rstrip().endswith("}")


def _loads(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError:
        raise
    except ValueError:  # a whole number of too many digits
        return json.loads(text, object_pairs_hook=_object, parse_int=_whole)


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MOST_DIGITS else math.copysign(math.inf, -(digits[0] == "-"))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    doubled = _Doubled(made)
    doubled.twice = {}
    seen: set[str] = set()
    for key, value in pairs:
        if key in seen:
            doubled.twice.setdefault(key, False)
        if value != made[key]:
            doubled.twice[key] = True
        seen.add(key)
    return doubled


# --- Orientations ----------------------------------------------------------------------------------------


def columns_of(document: Any) -> dict[str, list[Any]] | None:
    """Columns of a parsed table, or None if it is no table."""
    if isinstance(document, list):
        return _columns_of_records(document)
    if not isinstance(document, dict):
        return None
    if isinstance(document.get("data"), list):
        if isinstance(document.get("columns"), list):
            return _columns_of_split(document["columns"], document["data"])
        return _columns_of_records(document["data"])  # orientation `table`
    if not all(isinstance(column, dict) for column in document.values()):
        # a single record, the only one of its JSON lines
        return _columns_of_records([document]) if _IDS & document.keys() else None
    if _IDS & document.keys() or not any(_IDS & row.keys() for row in document.values()):
        rows = list(dict.fromkeys(key for column in document.values() for key in column))
        return {name: [column.get(key) for key in rows] for name, column in document.items()}
    return _columns_of_records(list(document.values()))  # orientation `index`


def _columns_of_split(names: list[Any], rows: list[Any]) -> dict[str, list[Any]] | None:
    if not all(isinstance(row, list) and len(row) == len(names) for row in rows):
        return None
    return {str(name): [row[i] for row in rows] for i, name in enumerate(names)}


def _columns_of_records(records: list[Any]) -> dict[str, list[Any]] | None:
    if not all(isinstance(record, dict) for record in records):
        return None
    names = dict.fromkeys(name for record in records for name in record)
    return {name: [record.get(name) for record in records] for name in names}


def names_of(table: Table) -> str:
    """The columns that a file has, for a message: the first ones, however many there are."""
    names = [shown(column).strip("'") for column in islice(table, _COLUMNS_SHOWN)]
    more = len(table) - len(names)
    return ", ".join([*names, *([f"{more:,} more"] if more else [])]) or "no columns"


def _required_columns(table: Table | None, kind: str, path: Path, findings: Findings) -> Table | None:
    if table is None:
        findings.problem(path, "", "not a table: expected what pandas.read_json makes a data frame of")
        return None
    missing = [name for name in TABLE_COLUMNS[kind] if name not in table]
    for name in missing:
        findings.problem(path, f"column {name}", f"missing; the file has {names_of(table)}")
    return None if missing else table


# --- Keys that are there twice ---------------------------------------------------------------------------


def _keys_twice(document: Any, kind: str) -> tuple[list[str], list[str]]:
    """Keys that an object had twice: (those of which a value that is used got lost, all others)."""
    used = {*TABLE_COLUMNS[kind], *OPTIONAL_COLUMNS}
    lost: list[str] = []
    same: list[str] = []
    for name, part in _objects(document):
        for key, differs in part.twice.items() if isinstance(part, _Doubled) else ():
            is_row = isinstance(part[key], dict) and bool(_IDS & part[key].keys())
            matters = differs and (is_row or bool({name, key} & used))
            (lost if matters else same).append(f"key {shown(key)}" + f" in {shown(name)}" * bool(name))
    return lost, same


def _objects(document: Any) -> Iterator[tuple[str, Any]]:
    """The document and what is directly in it, each with its key (empty without one)."""
    if isinstance(document, dict):
        yield "", document
    rows = document if isinstance(document, list) else document.get("data")
    if isinstance(rows, list):
        yield from (("", row) for row in rows)
    else:
        yield from document.items()
