"""Ranking of tables in memory: data frames, or lists of records. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from benchmark.core.errors import UsageError
from benchmark.data.imports.columns import RECIPES, Recipe, of_reviews, parse_columns, recognise
from benchmark.data.roi_worker import RoiWorker
from benchmark.rank.unseen import Block

if TYPE_CHECKING:
    from benchmark.rank.ranker import Ranker

Table = pd.DataFrame | Sequence[Mapping[str, Any]]
BLOCK = 4096
"""Reviews that are held as ids and scored together, unless one product has more."""
ADDED = ("rank", "score")


def rank_frames(
    ranker: Ranker,
    products: Table | None,
    reviews: Table,
    *,
    images: str | Path | None,
    explain: bool,
    columns: Mapping[str, str],
) -> pd.DataFrame:
    """`Ranker.rank`."""
    table, recipe = as_frame(reviews), RECIPES.get(ranker.wording.recipe, RECIPES["table"])
    given = parse_columns([f"{what}={name}" for what, name in columns.items()])
    found = of_reviews(recognise([str(name) for name in table.columns], recipe, given), given)
    for what in ("product", "text"):
        if what not in found:
            raise UsageError(
                f"reviews: no column for {what}: there are {', '.join(map(str, table.columns)) or 'none'}. Name it: "
                f'columns={{"{what}": ...}}.'
            )
    if clash := [name for name in ADDED if name in table.columns]:
        raise UsageError(
            f"reviews: a column is called {clash[0]!r} already, as one of the new ones; rename it."
        )
    known = _known(None if products is None else as_frame(products), table, found, recipe, given)
    rows_of: dict[str, list[int]] = {}
    for row, value in enumerate(table[found["product"]]):
        if (product := identifier(value)) is not None:
            rows_of.setdefault(product, []).append(row)
    ranked = table.copy()
    place, score = pd.array([pd.NA] * len(table), dtype="Int64"), np.full(len(table), np.nan)
    parts: dict[str, np.ndarray[Any, np.dtype[np.float64]]] = {}
    with RoiWorker() as reader:
        from_folder = None if images is None else ranker.images(Path(images), reader)
        for group in _groups(rows_of):
            rows = np.array([row for product in group for row in rows_of[product]], dtype=np.int64)
            block = _block(table, found, group, rows_of, known)
            result = ranker.ranked(block, from_folder, explain)
            place[rows], score[rows] = result.place_R, result.score_R
            for name, part_R in result.parts.items():
                parts.setdefault(name, np.full(len(table), np.nan))[rows] = part_R
    ranked["rank"], ranked["score"] = place, score
    return ranked.assign(**{f"score_{name}": part for name, part in parts.items()})


def as_frame(table: Table) -> pd.DataFrame:
    return table if isinstance(table, pd.DataFrame) else pd.DataFrame(list(table))


def identifier(value: Any) -> str | None:
    """An id as text; None where there is none."""
    if value is None or value != value or (isinstance(value, float) and not np.isfinite(value)):
        return None
    if isinstance(value, float | np.floating) and value == int(value):
        value = int(value)  # a column of whole numbers with gaps
    return str(value) if str(value).strip() else None


def _known(
    products: pd.DataFrame | None,
    reviews: pd.DataFrame,
    of_review: Mapping[str, str],
    recipe: Recipe,
    given: Mapping[str, str],
) -> dict[str, dict[str, Any]]:
    """Product -> its first name and description that are there, those of `products` before those beside a review."""
    known: dict[str, dict[str, Any]] = {}
    tables: list[tuple[pd.DataFrame, Mapping[str, str]]] = [(reviews, of_review)]
    if products is not None:
        found = recognise([str(name) for name in products.columns], recipe, given)
        if "product" not in found:
            raise UsageError(f"products: no column for product: there are {', '.join(products.columns)}.")
        tables.insert(0, (products, found))
    for table, columns in tables:
        for what in ("name", "description"):
            if what in columns:
                for key, value in zip(table[columns["product"]], table[columns[what]], strict=True):
                    product = identifier(key)
                    if product is not None and not _missing(value):
                        known.setdefault(product, {}).setdefault(what, value)
    return known


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _groups(rows_of: Mapping[str, Sequence[int]]) -> Iterator[list[str]]:
    """Whole products, about `BLOCK` reviews of them at a time."""
    group: list[str] = []
    size = 0
    for product, rows in rows_of.items():
        if group and size + len(rows) > BLOCK:
            yield group
            group, size = [], 0
        group.append(product)
        size += len(rows)
    if group:
        yield group


def _block(
    table: pd.DataFrame,
    found: Mapping[str, str],
    group: Sequence[str],
    rows_of: Mapping[str, Sequence[int]],
    known: Mapping[str, Mapping[str, Any]],
) -> Block:
    rows = [row for product in group for row in rows_of[product]]
    own = table.iloc[rows]

    def cells(what: str) -> list[Any]:
        return list(own[found[what]]) if what in found else [None] * len(rows)

    return Block(
        product_ids=group,
        product_fields=[known.get(product, {}) for product in group],
        review_ids=[identifier(value) or "" for value in cells("review")],
        texts=cells("text"),
        product_R=np.repeat(np.arange(len(group)), [len(rows_of[product]) for product in group]),
        times=[_moment(value) for value in cells("time")],
    )


def _moment(value: Any) -> Any:
    """A cell of a time column as the release's tables would have it."""
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    return value.item() if isinstance(value, np.generic) else value
