"""`bench data import`: reviews, products and votes in other people's files -> a data set in the release's layout.

Everything happens in DuckDB, on disk: the files become tables, the tables one of reviews with a verdict on each row,
the kept rows the release's JSON tables, one record per line. Rows are ordered by where they stood in the files and
products are split by a hash of seed and id, so the same command gives the same bytes on any machine.
"""

from __future__ import annotations

import html
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.core.errors import DataError, UsageError
from benchmark.data.catalog import SPLITS
from benchmark.data.croissant import write_croissant
from benchmark.data.datasets import Category
from benchmark.data.imports import sql
from benchmark.data.imports.database import connect
from benchmark.data.imports.describe import describe
from benchmark.data.imports.options import Options, Report
from benchmark.data.imports.reading import Reading
from benchmark.data.imports.sources import BadRow, line_of_row

if TYPE_CHECKING:
    import duckdb

FEWEST_PRODUCTS = len(SPLITS)
_SHOWN = 5


def import_files(
    sources: Sequence[str], out: Path, options: Options, progress: Callable[[str], None] = lambda what: None
) -> Report:
    """Make the data set in `out`, a new or an empty folder; it appears complete or not at all.

    Raises:
        UsageError: options or file names that cannot work, or an `out` with something in it.
        DataError: files that cannot be read or lack a column, no product left, or with `strict` a bad row.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"{out}: an import needs a new or an empty folder; give another --out.")
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}-import-", dir=out.parent))
    try:
        with connect(options.memory, work, options.threads) as con:
            con.create_function("unescaped", html.unescape, ["VARCHAR"], "VARCHAR")
            report = _Import(con, options, work / "root", progress).run(sources)
        if out.exists():
            out.rmdir()
        (work / "root").rename(out)
        return report
    finally:
        shutil.rmtree(work, ignore_errors=True)


class _Import(Reading):
    def __init__(
        self, con: duckdb.DuckDBPyConnection, options: Options, root: Path, progress: Callable[[str], None]
    ) -> None:
        super().__init__(con, options.recipe, options.columns, progress)
        self.options, self.root = options, root

    def run(self, sources: Sequence[str]) -> Report:
        self.read(sources, self.options.labels)
        self.progress("judging rows")
        self._judge()
        self._keep()
        self.be_strict(self.options.strict)
        categories = self._write()
        self._features()
        self.be_strict(self.options.strict)
        described = describe(self.root, self.options, self.recipe, self.files, self.report, categories)
        write_croissant(self.root, described)
        return self.report

    # Judging

    def _judge(self) -> None:
        """Table `judged`: every review with its label or the reason why it is none."""
        options, text = self.options, sql.text("r.text", self.recipe.unescape)
        label = sql.LABEL_OF_VOTES if options.labels == "votes" else sql.number("r.label")
        category = f"'{options.category}'" if options.category else "coalesce(r.category, d.category)"
        if self.recipe.unescape:
            category = sql.entities(category)
        self.con.execute(
            "CREATE TABLE parsed AS SELECT r.file, r.row_in_file, r.product, r.review, "
            f"{text} AS text, r.votes AS votes_text, {sql.votes('r.votes')} AS votes, r.label AS label_text, r.time, "
            f"r.image, {sql.number('r.label')} AS label_number, {category} AS category_title "
            "FROM raw AS r LEFT JOIN described AS d ON r.product = d.product"
        )
        unvoted = "votes = 0" if options.labels == "votes" and options.unvoted == "drop" else "false"
        wrong = (
            "votes IS NULL"
            if options.labels == "votes"
            else "label_number IS NULL OR label_number NOT BETWEEN 0 AND 4"
        )
        self.con.execute(
            f"CREATE TABLE judged AS SELECT *, CASE WHEN {sql.unfit('product')} THEN 'product' "
            f"WHEN review IS NOT NULL AND {sql.unfit('review')} THEN 'review' WHEN {wrong} THEN 'label' "
            f"WHEN {unvoted} THEN 'unvoted' WHEN length(text) < {max(1, options.min_characters)} "
            "THEN 'short' END AS why, "
            f"{'label_number' if options.labels == 'column' else label} AS label FROM parsed"
        )
        kinds = {
            "product": ("product", "bad: product id missing, or not fit to name a folder"),
            "review": ("review", "bad: review id not fit to name a folder"),
            "label": (
                ("votes_text", "bad: not a number of votes")
                if options.labels == "votes"
                else ("label_text", "bad: not a label 0..4")
            ),
        }
        for why, (column, what) in kinds.items():
            self._count_bad(why, column, what)
        least = options.min_characters
        for why, what in (
            ("unvoted", "dropped: no vote"),
            ("short", f"dropped: text shorter than {least} characters" if least > 1 else "dropped: no text"),
        ):
            self.add(f"SELECT count(*) FROM judged WHERE why = '{why}'", what)

    def _count_bad(self, why: str, column: str, what: str) -> None:
        count = self.one(f"SELECT count(*) FROM judged WHERE why = '{why}'")
        rows = self.con.execute(
            f"SELECT file, row_in_file, {column} FROM judged WHERE why = '{why}' ORDER BY 1, 2 LIMIT {_SHOWN}"
        ).fetchall()
        shown = []
        for file, row, value in rows:
            loaded = self.files[int(file)]
            name = self.report.columns[loaded.path.name].get(column.removesuffix("_text"), column)
            shown.append(
                BadRow(
                    loaded.path.name, line_of_row(loaded, int(row)), name, f"{str(value)[:60]!r}: {what[5:]}"
                )
            )
        self.bad(what, count, shown)

    def _keep(self) -> None:
        """Table `kept`: the reviews that stay, with ids, and their number within the whole."""
        options = self.options
        self.con.execute(
            "CREATE TABLE kept AS SELECT row_number() OVER (ORDER BY file, row_in_file) AS spot, * FROM judged "
            "WHERE why IS NULL"
        )
        if options.duplicates != "keep":
            self._drop_duplicates("review", "review IS NOT NULL", "dropped: the review id was there before")
        if options.duplicates == "text":
            self._drop_duplicates("product, text", "true", "dropped: a text that its product has already")
        if options.min_reviews > 1:
            few = f"product IN (SELECT product FROM kept GROUP BY product HAVING count(*) < {options.min_reviews})"
            self._drop(few, f"dropped: product with fewer than {options.min_reviews} such reviews")
        # A product is of one category, that of its first review; reviews without an id get one from their place.
        self.con.execute(
            "CREATE TABLE products AS SELECT product, min(spot) AS spot, first(category_title ORDER BY spot) AS title, "
            f"{sql.slug('first(category_title ORDER BY spot)')} AS category FROM kept GROUP BY product"
        )
        small = f"SELECT category FROM products GROUP BY category HAVING count(*) < {FEWEST_PRODUCTS}"
        self._drop(
            f"product IN (SELECT product FROM products WHERE category IN ({small}))",
            f"dropped: category with fewer than {FEWEST_PRODUCTS} products",
        )
        self.con.execute(f"DELETE FROM products WHERE category IN ({small})")
        self.add("SELECT count(*) FROM kept", "kept")
        if not self.one("SELECT count(*) FROM products"):
            raise DataError(
                f"no category with {FEWEST_PRODUCTS} products is left",
                [f"{n:,} {w}" for w, n in self.report.rows],
            )
        twice = self.one("SELECT count(*) - count(DISTINCT review) FROM kept WHERE review IS NOT NULL")
        if twice:
            raise DataError(
                f"{twice} review ids are there twice; --duplicates first keeps the first of each."
            )

    def _drop_duplicates(self, key: str, where: str, what: str) -> None:
        nth = f"row_number() OVER (PARTITION BY {key} ORDER BY spot)"
        again = f"SELECT spot FROM (SELECT spot, {nth} AS n FROM kept WHERE {where}) WHERE n > 1"
        self._drop(f"spot IN ({again})", what)

    def _drop(self, where: str, what: str) -> None:
        self.add(f"SELECT count(*) FROM kept WHERE {where}", what)
        self.con.execute(f"DELETE FROM kept WHERE {where}")

    # Writing

    def _write(self) -> list[Category]:
        """The release's tables; returns the categories, by name."""
        _, dev, test = self.options.split
        self.con.execute(
            "CREATE TABLE placed AS SELECT *, CASE WHEN n <= greatest(1, round(total * "
            f"{test})) THEN 'test' WHEN n <= greatest(1, round(total * {test})) + greatest(1, round(total * {dev})) "
            "THEN 'dev' ELSE 'train' END AS split FROM (SELECT *, count(*) OVER (PARTITION BY category) AS total, "
            f"row_number() OVER (PARTITION BY category ORDER BY md5('{self.options.seed} ' || product), product) AS n "
            "FROM products)"
        )
        self.con.execute(
            "CREATE TABLE placed_reviews AS SELECT k.*, p.category, p.split, coalesce(k.review, k.product || '-' || "
            "row_number() OVER (PARTITION BY k.product ORDER BY k.spot)) AS review_id "
            "FROM kept AS k JOIN placed AS p ON k.product = p.product"
        )
        self._check_made_ids()
        categories = []
        named = self.con.execute(
            "SELECT category, first(title ORDER BY spot) FROM placed GROUP BY 1 ORDER BY 1"
        ).fetchall()
        for category, title in named:
            expected = []
            for split in SPLITS:
                self.progress(f"writing {category} {split}")
                counts = self._write_split(str(category), split)
                self.report.splits.append((str(category), split, *counts))
                expected.append((split, *counts))
            shown = "".join(c for c in str(title or category) if c.isprintable()).strip()[:80] or str(
                category
            )
            categories.append(Category(str(category), shown, expected=tuple(expected)))
        return categories

    def _check_made_ids(self) -> None:
        twice = self.one("SELECT count(*) - count(DISTINCT review_id) FROM placed_reviews")
        if twice:
            raise DataError(f"{twice} reviews have no id, and the ones made for them are other reviews' ids.")

    def _write_split(self, category: str, split: str) -> tuple[int, int]:
        folder = self.root / self.options.name / category
        folder.mkdir(parents=True, exist_ok=True)
        where = f"category = '{category}' AND split = '{split}'"
        entities = self.recipe.unescape
        queries = {
            "prd": f"SELECT p.product AS product_id, {sql.text('d.name', entities)} AS name, "
            f"{sql.text(sql.joined('d.description'), entities)} AS description, {sql.images('d.image')} AS img_url "
            f"FROM (SELECT * FROM placed WHERE {where}) AS p "
            "LEFT JOIN described AS d ON d.product = p.product ORDER BY p.spot",
            "rvw": f"SELECT product AS product_id, review_id, text AS content, time, {sql.images('image')} AS img_url "
            f"FROM placed_reviews WHERE {where} ORDER BY spot",
            "rel": "SELECT product AS product_id, review_id, label::INTEGER AS upvotes, "
            f"coalesce(votes, 0)::BIGINT AS votes FROM placed_reviews WHERE {where} ORDER BY spot",
        }
        for kind, query in queries.items():
            file = str(folder / f"{category}.{kind}.{split}").replace("'", "''")
            self.con.execute(f"COPY ({query}) TO '{file}' (FORMAT json)")
        return (
            self.one(f"SELECT count(*) FROM placed WHERE {where}"),
            self.one(f"SELECT count(*) FROM placed_reviews WHERE {where}"),
        )

    def _features(self) -> None:
        from benchmark.data.imports.features import add_features

        for source in map(Path, self.options.features):
            self.progress(f"features of {source.name}")
            taken = add_features(source, self.root, self.options.name)
            self.report.add(f"features: {source.name}: items with images", taken.items)
            self.report.add(f"features: {source.name}: images of no item", taken.unknown)
            self.bad(f"bad: {source.name}: images that cannot be read", taken.bad, taken.shown)
