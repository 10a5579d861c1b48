"""Files of any format as tables in DuckDB: one row per record, every value as text, bad records set apart.

CSV and TSV become their columns; JSON lines, JSON and Parquet become one column `line` of JSON text, for which a
record may have any fields. DuckDB reads and keeps them out of core: its memory limit holds.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from benchmark.core.errors import DataError, UsageError
from benchmark.data.imports.database import first_line, refusal_of

if TYPE_CHECKING:
    import duckdb

FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "lines",
    ".ndjson": "lines",
    ".json": "json",
    ".parquet": "parquet",
}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
LONGEST_LINE = 16 << 20
"""Bytes of a record, at most."""
_SAMPLE = 200
"""Records looked at for the names of JSON's fields."""


@dataclass(frozen=True)
class BadRow:
    """One record that cannot be used."""

    file: str
    line: int
    """In the file, counted from 1; 0 where not known."""
    column: str
    what: str

    def __str__(self) -> str:
        line = f", line {self.line}" if self.line else ""
        return f"{self.file}{line}{f', column {self.column}' if self.column else ''}: {self.what}"


@dataclass
class Loaded:
    """A file in the database."""

    path: Path
    table: str
    names: list[str]
    is_json: bool
    rows: int
    bad: int
    """Records that could not be read; the first of them are in `shown`."""
    shown: list[BadRow]

    def columns(self, wanted: Sequence[str]) -> dict[str, str]:
        """Name -> SQL expression for its text."""
        if self.is_json:  # one pass over a record's text for all of its fields
            return {name: f"fields[{i}]" for i, name in enumerate(wanted, start=1)}
        return {name: quoted(name) for name in wanted}

    def relation(self, wanted: Sequence[str]) -> str:
        """SQL of a table with `row_in_file` and what `columns` names."""
        if not self.is_json:
            return f"(SELECT rowid AS row_in_file, * FROM {self.table})"
        paths = ", ".join(literal(f'$."{name}"') for name in wanted)
        fields = f"json_extract_string(line, [{paths}]) AS fields"
        return f"(SELECT rowid AS row_in_file, {fields} FROM {self.table} WHERE ok)"


def literal(text: str) -> str:
    """SQL of a text."""
    return "'" + text.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """SQL of a column's name."""
    return '"' + name.replace('"', '""') + '"'


def format_of(path: Path) -> tuple[str, str]:
    """(format, compression) by the file's name; UsageError for one that tells neither."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = COMPRESSIONS.get(suffixes[-1], "none") if suffixes else "none"
    if compression != "none":
        suffixes.pop()
    format_ = FORMATS.get(suffixes[-1] if suffixes else "", "")
    if not format_ or (format_ == "parquet" and compression != "none"):
        raise UsageError(
            f"{path}: what is in it? The name ends in one of {' '.join(FORMATS)}, then perhaps .gz or .zst."
        )
    return format_, compression


def load(con: duckdb.DuckDBPyConnection, path: Path, table: str) -> Loaded:
    """The file as a table. DataError if it cannot be read at all."""
    import duckdb

    format_, compression = format_of(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    if format_ == "json" and _first_byte(path, compression) != b"[":
        format_ = "lines"
    try:
        if format_ in ("csv", "tsv"):
            return _load_csv(con, path, table, "\t" if format_ == "tsv" else ",", compression)
        return _load_json(con, path, table, format_, compression)
    except (duckdb.Error, OSError, EOFError, ValueError, RecursionError) as error:
        refused = refusal_of(error) if isinstance(error, duckdb.Error) else None
        raise refused or DataError(f"{path}: cannot be read: {first_line(error)}") from error


def _load_csv(
    con: duckdb.DuckDBPyConnection, path: Path, table: str, delimiter: str, compression: str
) -> Loaded:
    import duckdb

    how = (
        f"CREATE TABLE {table} AS SELECT * FROM read_csv({literal(str(path))}, header=true, all_varchar=true, "
        f"delim={literal(delimiter)}, quote='\"', escape='\"', compression='{compression}', store_rejects=true, "
        f"max_line_size={LONGEST_LINE}, rejects_table='rejects_{table}', rejects_scan='scans_{table}', "
        "rejects_limit=0, strict_mode="
    )
    try:
        con.execute(f"{how}true)")
    except (
        duckdb.InvalidInputException
    ):  # records that end in different ways, as after an editor, are no dialect
        con.execute(f"{how}false)")
    names = [str(row[0]) for row in con.execute(f"DESCRIBE {table}").fetchall()]
    bad = _one(con, f"SELECT count(DISTINCT line_byte_position) FROM rejects_{table}")
    found = con.execute(
        f"SELECT line_byte_position, any_value(column_name), any_value(error_message) FROM rejects_{table} "
        "GROUP BY 1 ORDER BY 1 LIMIT 5"
    ).fetchall()
    line_of = _lines_at(path, compression, [int(position or 0) for position, _, _ in found])
    shown = [
        BadRow(path.name, line_of[int(position or 0)], str(column or ""), str(message).splitlines()[0])
        for position, column, message in found
    ]
    return Loaded(path, table, names, False, _one(con, f"SELECT count(*) FROM {table}"), bad, shown)


def _load_json(
    con: duckdb.DuckDBPyConnection, path: Path, table: str, format_: str, compression: str
) -> Loaded:
    file = literal(str(path))
    if format_ == "lines":
        lines = (
            f"SELECT line FROM read_csv({file}, header=false, auto_detect=false, delim='\x01', quote='', escape='', "
            f"columns={{'line': 'VARCHAR'}}, compression='{compression}', max_line_size={LONGEST_LINE}, "
            "store_rejects=true, rejects_limit=0, "
            f"rejects_table='rejects_{table}', rejects_scan='scans_{table}')"
        )
    elif format_ == "json":
        lines = (
            f"SELECT json::VARCHAR AS line FROM read_json_objects({file}, format='array', "
            f"compression='{compression}', maximum_object_size={LONGEST_LINE})"
        )
    else:
        lines = f"SELECT to_json(one)::VARCHAR AS line FROM read_parquet({file}) AS one"
    con.execute(
        f"CREATE TABLE {table} AS SELECT text AS line, coalesce(json_valid(text), false) AS ok FROM "
        "(SELECT CASE WHEN line LIKE '{''%' OR line LIKE '{\"%: ''%' THEN as_json(line) ELSE line END AS text "
        f"FROM ({lines}))"
    )
    sample = con.execute(f"SELECT line FROM {table} WHERE ok LIMIT {_SAMPLE}").fetchall()
    # digits stay text: only the names are wanted, and a number of thousands of digits is an error to Python
    records = [json.loads(line, parse_int=str) for (line,) in sample]
    names = list(dict.fromkeys(name for one in records if isinstance(one, dict) for name in one))
    wrong = f"SELECT rowid + 1, line FROM {table} WHERE NOT ok AND trim(coalesce(line, '')) <> ''"
    shown = [
        BadRow(path.name, int(row) if format_ == "lines" else 0, "", f"not JSON: {str(line)[:60]!r}")
        for row, line in con.execute(f"{wrong} ORDER BY rowid LIMIT 5").fetchall()
    ]
    bad = _one(con, f"SELECT count(*) FROM ({wrong})")
    if format_ == "lines":
        bad += _one(con, f"SELECT count(DISTINCT line_byte_position) FROM rejects_{table}")
    return Loaded(path, table, names, True, _one(con, f"SELECT count(*) FROM {table} WHERE ok"), bad, shown)


def _one(con: duckdb.DuckDBPyConnection, query: str) -> int:
    row = con.execute(query).fetchone()
    return int(row[0]) if row else 0


# --- Lines ---------------------------------------------------------------------------------------------------


def opened(path: Path, compression: str) -> IO[bytes] | None:
    """The file's content, or None where Python cannot decompress it."""
    if compression == "none":
        return path.open("rb")
    return gzip.open(path) if compression == "gzip" else None  # type: ignore[return-value]


def _first_byte(path: Path, compression: str) -> bytes:
    file = opened(path, compression)
    if file is None:
        return b"{"
    with file:
        return file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]


def _lines_at(path: Path, compression: str, positions: Sequence[int]) -> dict[int, int]:
    """Byte position (from 1) of a record -> the line that it begins on; 0 where that cannot be told."""
    lines, missing = dict.fromkeys(positions, 0), sorted(set(positions))
    file = opened(path, compression) if missing else None
    if file is None:
        return lines
    at, line = 0, 1
    with file:
        while missing and (block := file.read(1 << 20)):
            while missing and missing[0] - 1 <= at + len(block):
                position = missing.pop(0)
                # where endings are mixed, a record may be said to begin at the end of the one before
                start = position - 1 - at
                lines[position] = line + block[: start + (block[start : start + 1] == b"\n")].count(b"\n")
            at, line = at + len(block), line + block.count(b"\n")
    return lines


def line_of_row(loaded: Loaded, row: int) -> int:
    """Where a record of the table stands in its file; 0 where that cannot be told."""
    format_, compression = format_of(loaded.path)
    if loaded.is_json:
        return (
            row + 1 if format_ in ("lines", "json") and _first_byte(loaded.path, compression) != b"[" else 0
        )
    file = opened(loaded.path, compression)
    if file is None:
        return 0
    with file:
        reader = csv.reader(_text(file), delimiter="\t" if format_ == "tsv" else ",", strict=False)
        kept, before = -1, 0
        try:
            for fields in reader:
                line, before = before + 1, reader.line_num
                kept += len(fields) == len(loaded.names)  # the header is -1 -> 0, so records begin at 1
                if kept == row + 1:
                    return line
        except csv.Error:  # a field longer than Python's reader takes
            return 0
    return 0


def _text(file: IO[bytes]) -> Iterator[str]:
    for line in file:
        yield line.decode("utf-8", "replace")
