"""The database that files are read into: on disk, within a limit of memory, and its errors as ours. Torch-free."""

from __future__ import annotations

import ast
import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.core.errors import DataError, UsageError

if TYPE_CHECKING:
    import duckdb


@contextmanager
def connect(memory: str, folder: Path, threads: int | None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database on disk in `folder` that stays within `memory` and installs nothing from anywhere.

    What the machine refuses meanwhile (a full disk, too little memory) is an OSError; what DuckDB makes of the data
    and nobody foresaw, a DataError.
    """
    import duckdb

    config: dict[str, Any] = {
        "memory_limit": memory,
        "temp_directory": str(folder / "spill"),
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "preserve_insertion_order": True,
    }
    if threads is not None:
        config["threads"] = threads
    try:
        con = duckdb.connect(str(folder / "import.duckdb"), config=config)
    except duckdb.Error as error:
        raise refusal_of(error) or UsageError(f"--memory {memory}: {first_line(error)}") from error
    with con:
        try:
            con.execute("SET enable_progress_bar = false")  # it would print where the results go
            con.create_function("as_json", as_json, ["VARCHAR"], "VARCHAR")
            yield con
        except duckdb.Error as error:
            raise refusal_of(error) or DataError(f"the files cannot be read: {first_line(error)}") from error


def as_json(line: str) -> str:
    """A Python literal, as the older dumps have for records, in JSON; anything else as it is. Nothing runs."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        try:
            return json.dumps(ast.literal_eval(line))
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return line
    return line


def refusal_of(error: duckdb.Error) -> OSError | None:
    """The error of the machine that DuckDB tells in words of its own; None for any other."""
    import duckdb

    line = first_line(error)
    if isinstance(error, duckdb.OutOfMemoryException):
        return OSError(errno.EIO, f"{line}: give more with --memory, or make room where it spills to")
    # of files that it writes; what is read is judged by who reads
    lost = isinstance(error, duckdb.TransactionException | duckdb.FatalException)
    if lost or "ould not write" in line or "No space left" in line:
        return OSError(errno.EIO, line)
    return None


def first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
