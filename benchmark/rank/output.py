"""What `bench rank` writes: every column of the input, then rank and score, in the format of the file's name.

Torch-free. Tables in the database: `file_<n>` as they were read, `ranked` with place and score of each row.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from benchmark.core.errors import UsageError
from benchmark.core.files import written_beside
from benchmark.data.imports.database import first_line
from benchmark.data.imports.reading import Reading
from benchmark.data.imports.sources import COMPRESSIONS, Loaded, format_of, literal, quoted

if TYPE_CHECKING:
    import duckdb

MOST_SHOWN = 200
_EXTENSIONS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")


def format_to_write(out: Path) -> tuple[str, str]:
    """(format, compression) by the file's name. UsageError for one that tells neither, or is a folder."""
    if out.is_dir():
        raise UsageError(f"--out {out}: a folder; name a file in it.")
    try:
        return format_of(out)
    except UsageError:
        raise UsageError(
            f"--out {out}: in what format? The name ends in one of {' '.join(_EXTENSIONS)}, then perhaps "
            f"{' or '.join(COMPRESSIONS)}."
        ) from None


def _inputs(reading: Reading) -> list[tuple[int, Loaded]]:
    """The files of reviews, by their number."""
    return [(reading.files.index(loaded), loaded) for loaded in reading.reviews]


def _names(con: duckdb.DuckDBPyConnection, number: int, loaded: Loaded) -> list[str]:
    """All columns of a file; of JSON, every field that any record has."""
    if format_of(loaded.path)[0] == "parquet":
        described = con.execute(
            f"DESCRIBE SELECT * FROM read_parquet({literal(str(loaded.path))})"
        ).fetchall()
        return [str(row[0]) for row in described]
    if not loaded.is_json:
        return list(loaded.names)
    rows = con.execute(
        f"SELECT key FROM (SELECT unnest(json_keys(line)) AS key, rowid AS row FROM file_{number} WHERE ok) "
        "GROUP BY key ORDER BY min(row)"
    ).fetchall()
    found = [str(row[0]) for row in rows]
    return [*loaded.names, *(name for name in found if name not in loaded.names)]


def check_names(con: duckdb.DuckDBPyConnection, reading: Reading, prefix: str) -> None:
    """UsageError if a column that will be added is there already."""
    for number, loaded in _inputs(reading):
        there = {name.lower() for name in _names(con, number, loaded)}
        for name in ("rank", "score"):
            if f"{prefix}{name}".lower() in there:
                raise UsageError(
                    f"{loaded.path}: it has a column {prefix}{name} already. Give the new ones other names: "
                    "--prefix model_"
                )


def _added(prefix: str, parts: Sequence[str], alias: str = "r") -> list[tuple[str, str]]:
    """(name, SQL expression) of the columns that are added."""
    return [
        (f"{prefix}rank", f"{alias}.place"),
        (f"{prefix}score", f"{alias}.score"),
        *((f"{prefix}score_{name}", f"{alias}.part_{n}") for n, name in enumerate(parts)),
    ]


def _rows(con: duckdb.DuckDBPyConnection, number: int, loaded: Loaded) -> str:
    """SQL of a file's records: `row_in_file`, then its columns in their own types."""
    if format_of(loaded.path)[0] == "parquet":
        return (
            f"SELECT file_row_number AS row_in_file, * EXCLUDE (file_row_number) "
            f"FROM read_parquet({literal(str(loaded.path))}, file_row_number=true)"
        )
    if not loaded.is_json:
        return f"SELECT rowid AS row_in_file, * FROM file_{number}"
    names = _names(con, number, loaded)
    # json_extract_string takes a path; a name with a quote in it has its quote escaped there
    paths = ", ".join(literal('$."' + name.replace('"', '\\"') + '"') for name in names)
    columns = ", ".join(f"fields[{n}] AS {quoted(name)}" for n, name in enumerate(names, start=1))
    fields = f"SELECT rowid AS row_in_file, json_extract_string(line, [{paths}]) AS fields FROM file_{number} WHERE ok"
    return f"SELECT row_in_file, {columns} FROM ({fields})"


def _table(con: duckdb.DuckDBPyConnection, reading: Reading, prefix: str, parts: Sequence[str]) -> str:
    """SQL of all rows of the input with the columns that are added, and what to sort them by."""
    added = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in _added(prefix, parts))
    selects = [
        f"SELECT s.* EXCLUDE (row_in_file), {added}, {_PLACE.format(number)} "
        f"FROM ({_rows(con, number, loaded)}) AS s {_JOINS.format(number)}"
        for number, loaded in _inputs(reading)
    ]
    return " UNION ALL BY NAME ".join(selects)


_PLACE = "{} AS _file, s.row_in_file AS _row, r.place AS _place, r.number AS _product"
_JOINS = "LEFT JOIN ranked AS r ON r.file = {} AND r.row_in_file = s.row_in_file"


def _sorted(table: str, sort: str) -> str:
    keys = "_product NULLS LAST, _place, _file, _row" if sort == "rank" else "_file, _row"
    return f"SELECT * EXCLUDE (_file, _row, _place, _product) FROM ({table}) ORDER BY {keys}"


def write(
    con: duckdb.DuckDBPyConnection,
    reading: Reading,
    out: Path,
    prefix: str,
    parts: Sequence[str],
    sort: str,
) -> None:
    """The whole file, or nothing of it."""
    import duckdb

    format_, compression = format_to_write(out)
    if format_ in ("lines", "json"):
        query, how = _documents(con, reading, prefix, parts, sort, format_ == "json")
    else:
        query = _sorted(_table(con, reading, prefix, parts), sort)
        how = {"csv": "FORMAT csv, HEADER", "tsv": "FORMAT csv, HEADER, DELIMITER '\t'"}.get(
            format_, "FORMAT parquet"
        )
    if format_ != "parquet":
        how += f", COMPRESSION {compression}"
    try:
        with written_beside(out) as unfinished:
            con.execute(f"COPY ({query}) TO {literal(str(unfinished))} ({how})")
    except duckdb.Error as error:
        raise OSError(errno.EIO, f"cannot be written: {first_line(error)}", str(out)) from error


def _documents(
    con: duckdb.DuckDBPyConnection,
    reading: Reading,
    prefix: str,
    parts: Sequence[str],
    sort: str,
    array: bool,
) -> tuple[str, str]:
    """JSON of each row, records of JSON as they were, with the new fields at their end; none for a row without rank."""
    added = ", ".join(f"{literal(name)}, {sql}" for name, sql in _added(prefix, parts))
    selects = [
        f"SELECT json_merge_patch(s.line, json_object({added})) AS line, {_PLACE.format(number)} "
        f"FROM ({_lines(con, number, loaded)}) AS s {_JOINS.format(number)}"
        for number, loaded in _inputs(reading)
    ]
    query = _sorted(" UNION ALL ".join(selects), sort)
    if array:
        # "[", the records with commas between them, "]": as lines of text, since a list of all would be held
        query = (
            "SELECT CASE WHEN n = 1 THEN '[' ELSE '' END || line || CASE WHEN n = total THEN ']' ELSE ',' END AS line "
            f"FROM (SELECT line, row_number() OVER () AS n, count(*) OVER () AS total FROM ({query}))"
        )
    # text as it is: a delimiter that JSON cannot hold unescaped, and no quotes
    return query, "FORMAT csv, HEADER false, DELIMITER '\x01', QUOTE '', ESCAPE ''"


def _lines(con: duckdb.DuckDBPyConnection, number: int, loaded: Loaded) -> str:
    """SQL of a file's records as JSON."""
    if loaded.is_json and format_of(loaded.path)[0] != "parquet":
        return f"SELECT rowid AS row_in_file, line FROM file_{number} WHERE ok"
    bare = "json_merge_patch(to_json(t), '{\"row_in_file\": null}')"
    return f"SELECT t.row_in_file, {bare}::VARCHAR AS line FROM ({_rows(con, number, loaded)}) AS t"


def shown(
    con: duckdb.DuckDBPyConnection, reading: Reading, prefix: str, parts: Sequence[str]
) -> pd.DataFrame:
    """The first rows for a person to look at: product by product, the best review first, texts cut."""
    added = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in _added(prefix, parts))
    text = "left(regexp_replace(coalesce(q.text, ''), '\\s+', ' ', 'g'), 60) AS text"
    return con.execute(
        f"SELECT c.product, {added}, q.review, {text} FROM queue AS q JOIN catalog AS c ON c.number = q.number "
        "JOIN ranked AS r ON r.file = q.file AND r.row_in_file = q.row_in_file "
        f"ORDER BY q.number, r.place LIMIT {MOST_SHOWN}"
    ).fetchdf()
