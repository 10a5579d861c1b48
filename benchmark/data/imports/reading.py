"""The files of an import, or of a ranking, as two tables in DuckDB: `raw`, a row of texts per review, and `described`,
what is known of each product. Which column is what is told by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.core.errors import DataError, UsageError
from benchmark.data.imports.columns import RECIPES, Recipe, listed, need, of_reviews, parse_columns, recognise
from benchmark.data.imports.options import Report
from benchmark.data.imports.sources import BadRow, Loaded, format_of, load

if TYPE_CHECKING:
    import duckdb

ROLES = ("reviews", "products", "votes")


class Reading:
    """Reads files into a database; `report` says what was read, and what of it could not be."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        recipe: str,
        columns: Sequence[str] = (),
        progress: Callable[[str], None] = lambda what: None,
    ) -> None:
        self.con, self.progress = con, progress
        self.recipe: Recipe = RECIPES[recipe]
        self.given = parse_columns(columns)
        self.used: set[str] = set()
        self.report = Report()
        self.n_bad = 0
        self.files: list[Loaded] = []
        self.reviews: list[Loaded] = []
        """Those of `files` that hold reviews."""

    def read(self, sources: Sequence[str], labels: str = "votes") -> None:
        """Tables `raw` and `described` of files `FILE`, `reviews=FILE`, ...; with `labels="column"` each file of
        reviews must have one.

        Raises:
            UsageError: a file's name tells no format, or no file has a column that was named.
            DataError: a file cannot be read or lacks a column, or there are no reviews.
        """
        roles = self._load(sources)
        self._reviews(roles["reviews"], labels)
        self._votes(roles["votes"])
        self._products(roles["products"])
        if unused := sorted(self.given.keys() - self.used):
            raise UsageError(
                f"--column {unused[0]}={self.given[unused[0]]}: no file has a column of that name."
            )

    def be_strict(self, strict: bool) -> None:
        """DataError with the first bad rows if there are any and they are not to pass."""
        if strict and self.n_bad:
            raise DataError(f"--strict: {self.n_bad} bad rows", [str(one) for one in self.report.bad])

    def bad(self, what: str, count: int, shown: Sequence[BadRow]) -> None:
        """Count bad rows of a kind, the first of which are to be shown."""
        if count:
            self.report.add(what, count)
            self.report.bad += list(shown)
            self.n_bad += count

    def _load(self, sources: Sequence[str]) -> dict[str, list[tuple[Loaded, dict[str, str]]]]:
        roles: dict[str, list[tuple[Loaded, dict[str, str]]]] = {role: [] for role in ROLES}
        for number, source in enumerate(sources):
            said, equals, rest = source.partition("=")
            role, path = (said, Path(rest)) if equals and said in ROLES else ("", Path(source))
            format_of(path)
            self.progress(f"reading {path.name}")
            loaded = load(self.con, path, f"file_{number}")
            self.files.append(loaded)
            found = recognise(loaded.names, self.recipe, self.given)
            self.used |= {what for what in found if what in self.given}
            role = role or _role(found)
            roles[role].append((loaded, found))
            self.report.add(f"read: {path.name} ({role})", loaded.rows + loaded.bad)
            self.bad(f"bad: {path.name}: not a record", loaded.bad, loaded.shown)
        if not roles["reviews"]:
            read = "; ".join(f"{one.path.name}: {listed(one.names)}" for one in self.files)
            raise DataError(
                "no file with reviews: none has a column for the product and one for the text. Say which it is: "
                f"reviews=FILE, and name its columns: --column text=NAME. Columns found: {read}"
            )
        return roles

    def _select(self, loaded: Loaded, found: Mapping[str, str], whats: Sequence[str], extra: str) -> str:
        """SQL of a file's rows with a column for each of `whats`, NULL where the file has none."""
        names = list(dict.fromkeys(found[what] for what in whats if what in found))
        sql_of = loaded.columns(names)
        columns = [f"{sql_of[found[w]] if w in found else 'NULL'}::VARCHAR AS {w}" for w in whats]
        return f"SELECT {extra}, row_in_file, {', '.join(columns)} FROM {loaded.relation(names)}"

    def _reviews(self, files: Sequence[tuple[Loaded, dict[str, str]]], labels: str) -> None:
        whats = (
            "product",
            "review",
            "text",
            "votes",
            "label",
            "time",
            "category",
            "image",
            "name",
            "description",
        )
        selects = []
        for loaded, found in files:
            for what in ("product", "text"):
                need(found, what, str(loaded.path), loaded.names)
            found = of_reviews(found, self.given)
            if labels == "column":
                need(found, "label", str(loaded.path), loaded.names)
            self.report.columns[loaded.path.name] = found
            self.reviews.append(loaded)
            number = self.files.index(loaded)
            selects.append(self._select(loaded, found, whats, f"{number} AS file"))
        self.con.execute("CREATE TABLE raw AS " + " UNION ALL ".join(selects))

    def _votes(self, files: Sequence[tuple[Loaded, dict[str, str]]]) -> None:
        """Votes of a file of their own take the place of those in the reviews."""
        for loaded, found in files:
            for what in ("review", "votes"):
                need(found, what, str(loaded.path), loaded.names)
            self.report.columns[loaded.path.name] = {w: found[w] for w in ("review", "votes")}
            select = self._select(loaded, found, ("review", "votes"), "0 AS file")
            self.con.execute(
                f"UPDATE raw SET votes = v.votes FROM (SELECT review, first(votes ORDER BY row_in_file) AS votes "
                f"FROM ({select}) GROUP BY review) AS v WHERE raw.review = v.review"
            )

    def _products(self, files: Sequence[tuple[Loaded, dict[str, str]]]) -> None:
        whats = ("product", "name", "description", "category", "image")
        own = ", ".join(whats)
        selects = [
            f"SELECT 1000000 + file AS file, row_in_file, {own} FROM raw"
        ]  # a file of products comes first
        for loaded, found in files:
            need(found, "product", str(loaded.path), loaded.names)
            self.report.columns[loaded.path.name] = {w: found[w] for w in whats if w in found}
            selects.append(self._select(loaded, found, whats, f"{self.files.index(loaded)} AS file"))
        first = ", ".join(f"arg_min({w}, file * 1000000000000 + row_in_file) AS {w}" for w in whats[1:])
        self.con.execute(
            f"CREATE TABLE described AS SELECT product, {first} FROM ({' UNION ALL '.join(selects)}) GROUP BY product"
        )

    def add(self, query: str, what: str) -> None:
        self.report.add(what, self.one(query))

    def one(self, query: str) -> int:
        row = self.con.execute(query).fetchone()
        return int(row[0]) if row else 0


def _role(found: Mapping[str, str]) -> str:
    """What a file is for, by the columns that it has."""
    if "text" in found and "product" in found:
        return "reviews"
    return "votes" if "votes" in found and "review" in found and "name" not in found else "products"
