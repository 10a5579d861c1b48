"""`bench rank`: files of reviews -> the same files with rank and score, however many reviews there are. Torch-free.

DuckDB keeps on disk what was read and sorts it by product; whole products are scored a block at a time, and what
comes out joins the input again, so that memory is that of a block and of what DuckDB may take.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from benchmark.core.errors import UsageError
from benchmark.data.imports.columns import RECIPES
from benchmark.data.imports.database import connect
from benchmark.data.imports.options import Report
from benchmark.data.imports.reading import Reading
from benchmark.data.imports.sources import BadRow, line_of_row
from benchmark.data.roi_worker import RoiWorker
from benchmark.rank import output
from benchmark.rank.frames import BLOCK
from benchmark.rank.unseen import Block, Images

if TYPE_CHECKING:
    import duckdb

    from benchmark.rank.ranker import Ranked, Ranker

Progress = Callable[[int, int, str], None]
_SHOWN = 5
_KEY = "r.file * 1000000000000 + r.row_in_file"
"""Where a review stands in all of the input."""


@dataclass(frozen=True)
class RankOptions:
    """How files are ranked."""

    recipe: str = ""
    """Empty: the one by which the model's data were imported, else plain tables."""
    columns: tuple[str, ...] = ()
    images: Path | None = None
    explain: bool = False
    strict: bool = False
    prefix: str = ""
    """Of the names of the columns that are added."""
    sort: str = "input"
    """Order of the rows: `input`, or `rank`: product by product, the best review first."""
    memory: str = "1GB"
    threads: int | None = None


@dataclass
class RankReport:
    """What was read, what could not be ranked and why."""

    reviews: int = 0
    products: int = 0
    read: Report = field(default_factory=Report)
    images: dict[str, int] = field(default_factory=dict)
    shown: pd.DataFrame | None = None
    """Without a file to write to: the first rows, the best reviews of each product first."""


def rank_files(
    ranker: Ranker,
    reviews: Sequence[Path],
    products: Sequence[Path],
    out: Path | None,
    options: RankOptions = RankOptions(),
    progress: Progress = lambda done, total, what: None,
) -> RankReport:
    """Rank the reviews in files and write them to `out`, by whose name the format goes; without `out` the first of
    them are in the report.

    Raises:
        UsageError: a name tells no format, a column that is added is there already, nothing is to be explained.
        DataError: a file cannot be read or lacks a column, image features do not fit, or with `strict` a bad row.
    """
    if out is not None:
        output.format_to_write(out)
        out.parent.mkdir(parents=True, exist_ok=True)
    if options.explain and not ranker.explains:
        raise UsageError(
            "--explain: the model's method says nothing of a review beside its score; MM-SS does."
        )
    beside = None if out is None else out.parent
    with tempfile.TemporaryDirectory(prefix=".ranking-", dir=beside) as work, ExitStack() as stack:
        con = stack.enter_context(connect(options.memory, Path(work), options.threads))
        recipe = options.recipe or (ranker.wording.recipe if ranker.wording.recipe in RECIPES else "table")
        reading = Reading(con, recipe, options.columns, lambda what: progress(0, 1, what))
        sources = [f"reviews={path}" for path in reviews] + [f"products={path}" for path in products]
        reading.read(sources, labels="none")
        output.check_names(con, reading, options.prefix)
        run = _Ranking(con, reading, ranker, options, progress)
        run.queue()
        reading.be_strict(options.strict)
        if options.images is not None:
            reader = stack.enter_context(RoiWorker())
            run.images = ranker.images(options.images, reader)
        run.score()
        progress(0, 1, "writing")
        report = RankReport(run.n_reviews, run.n_products, reading.report)
        if run.images is not None:
            report.images = dict(run.images.counts)
            reading.report.bad += [BadRow(one, 0, "", "no image") for one in run.images.unreadable]
        parts = run.parts
        if out is None:
            report.shown = output.shown(con, reading, options.prefix, parts)
        else:
            output.write(con, reading, out, options.prefix, parts, options.sort)
        return report


class _Ranking:
    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        reading: Reading,
        ranker: Ranker,
        options: RankOptions,
        progress: Progress,
    ) -> None:
        self.con, self.reading, self.ranker, self.options, self.progress = (
            con,
            reading,
            ranker,
            options,
            progress,
        )
        # how the texts of these files are written
        self.wording = replace(ranker.wording, recipe=options.recipe or ranker.wording.recipe)
        self.images: Images | None = None
        self.parts: tuple[str, ...] = ()
        self.n_reviews = self.n_products = 0

    def queue(self) -> None:
        """Tables `queue` (reviews) and `catalog` (products), both by the product's number: products are numbered as
        they first appear, and rows that name none are bad."""
        self.progress(0, 1, "sorting by product")
        bad = "r.product IS NULL OR trim(r.product) = ''"
        self._count_bad(bad)
        self.con.execute(
            f"CREATE TABLE numbered AS SELECT product, row_number() OVER (ORDER BY min({_KEY})) - 1 AS number, "
            f"count(*) AS reviews FROM raw AS r WHERE NOT ({bad}) GROUP BY product"
        )
        self.con.execute(
            "CREATE TABLE catalog AS SELECT n.number, n.product, n.reviews, d.name, d.description FROM numbered AS n "
            "LEFT JOIN described AS d ON d.product = n.product ORDER BY n.number"
        )
        self.con.execute(
            "CREATE TABLE queue AS SELECT n.number, r.file, r.row_in_file, r.review, r.text, r.time FROM raw AS r "
            "JOIN numbered AS n ON r.product = n.product ORDER BY n.number, r.file, r.row_in_file"
        )
        for table in ("raw", "described", "numbered"):
            self.con.execute(f"DROP TABLE {table}")
        self.n_products = self.reading.one("SELECT count(*) FROM catalog")
        self.n_reviews = self.reading.one("SELECT count(*) FROM queue")
        self.reading.add("SELECT count(*) FROM queue", "ranked")
        self.reading.add("SELECT count(*) FROM queue WHERE trim(coalesce(text, '')) = ''", "ranked: no text")

    def _count_bad(self, bad: str) -> None:
        count = self.reading.one(f"SELECT count(*) FROM raw AS r WHERE {bad}")
        rows = self.con.execute(
            f"SELECT file, row_in_file FROM raw AS r WHERE {bad} ORDER BY 1, 2 LIMIT {_SHOWN}"
        ).fetchall()
        shown = []
        for file, row in rows:
            loaded = self.reading.files[int(file)]
            column = self.reading.report.columns[loaded.path.name]["product"]
            shown.append(BadRow(loaded.path.name, line_of_row(loaded, int(row)), column, "names no product"))
        self.reading.bad("bad: names no product, so it has no rank", count, shown)

    def score(self) -> None:
        """Table `ranked`: place and score of each review of the queue."""
        self.con.execute(
            "CREATE TABLE ranked (number BIGINT, file INTEGER, row_in_file BIGINT, place BIGINT, score DOUBLE)"
        )
        done = 0
        for first, last in self._blocks():
            block, key = self._block(first, last)
            found = self.ranker.ranked(block, self.images, self.options.explain, self.wording)
            self._keep(found, key)
            done += len(block)
            self.progress(done, self.n_reviews, "ranking")

    def _keep(self, ranked: Ranked, key: pd.DataFrame) -> None:
        if not self.parts and ranked.parts:
            self.parts = tuple(ranked.parts)
            for number in range(len(self.parts)):
                self.con.execute(f"ALTER TABLE ranked ADD COLUMN part_{number} DOUBLE")
        columns = {f"part_{n}": ranked.parts[name] for n, name in enumerate(self.parts)}
        batch = key.assign(place=ranked.place_R, score=ranked.score_R, **columns)
        self.con.register("batch", batch)
        self.con.execute("INSERT INTO ranked SELECT * FROM batch")
        self.con.unregister("batch")

    def _blocks(self) -> Iterator[tuple[int, int]]:
        """Numbers of the first and last product of each block: whole products, about `BLOCK` reviews."""
        count_P = self.con.execute("SELECT reviews FROM catalog ORDER BY number").fetchnumpy()["reviews"]
        first = size = 0
        for number, count in enumerate(count_P.tolist()):
            if size and size + count > BLOCK:
                yield first, number - 1
                first, size = number, 0
            size += count
        if len(count_P):
            yield first, len(count_P) - 1

    def _block(self, first: int, last: int) -> tuple[Block, pd.DataFrame]:
        where = f"WHERE number BETWEEN {first} AND {last}"
        products = self.con.execute(
            f"SELECT product, name, description FROM catalog {where} ORDER BY number"
        ).fetchall()
        rows: dict[str, Any] = self.con.execute(
            "SELECT number, file, row_in_file, coalesce(review, '') AS review, coalesce(text, '') AS text, time "
            f"FROM queue {where} ORDER BY number, file, row_in_file"
        ).fetchnumpy()
        time = rows["time"]
        block = Block(
            product_ids=[str(product) for product, _, _ in products],
            product_fields=[{"name": name, "description": text} for _, name, text in products],
            review_ids=rows["review"].tolist(),
            texts=rows["text"].tolist(),
            product_R=rows["number"].astype(np.int64) - first,
            # a masked value is NULL
            times=time.tolist(),
        )
        return block, pd.DataFrame({name: rows[name] for name in ("number", "file", "row_in_file")})
