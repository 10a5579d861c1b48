"""Reads the published MRHP release as it is on disk, and finds what is wrong with it. Torch-free.

    <root>/<dataset>/<category>/<category>.{prd,rvw,rel}.{train,dev,test}     JSON tables
    <root>/<dataset>/<category>/features/<split>/<id>/<id>.pth                RoI features

Problems are collected, not raised: a reader of the release gets all of them at once. Notes are what
deserves a look but does not stop anyone, such as a product in two splits.

P products, R reviews of a split.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.core.errors import DataError
from benchmark.data.catalog import SIDES, SPLITS, TABLE_COLUMNS, joined_text, plain_text
from benchmark.data.datasets import DataSet, find, in_order, known
from benchmark.data.fields import Relation, Votes, read_id, read_relation, unique_ids
from benchmark.data.findings import Findings, shown
from benchmark.data.tables import Table, read_table
from benchmark.data.times import parse_times

# --- Folders -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CategoryFolder:
    """One category of one data set on disk."""

    root: Path
    data_set: DataSet
    category: str

    @property
    def dataset(self) -> str:
        return self.data_set.name

    @property
    def path(self) -> Path:
        return self.root / self.dataset / self.category

    def table(self, kind: str, split: str) -> Path:
        """Path of the `prd`, `rvw` or `rel` table of a split."""
        return self.path / f"{self.category}.{kind}.{split}"

    def features(self, split: str) -> Path:
        return self.path / "features" / split

    def tables(self) -> list[Path]:
        return [self.table(kind, split) for split in SPLITS for kind in TABLE_COLUMNS]


def find_category(root: Path, dataset: str, category: str) -> CategoryFolder:
    """The folder of a category; DataError if it is not there, with what is."""
    folder = CategoryFolder(root, find(root, dataset), category)
    if not folder.path.is_dir():
        present = ", ".join(f"{found.dataset}/{found.category}" for found in find_categories(root))
        raise DataError(f"no folder {folder.path}; {root} holds {present}")
    return folder


def find_categories(root: Path) -> list[CategoryFolder]:
    """The categories that are there, in the order of the descriptors; DataError if there is none."""
    data_sets = in_order(known(root).values())
    found = [CategoryFolder(root, one, category) for one in data_sets for category in one.category_names]
    found = [folder for folder in found if folder.path.is_dir()]
    if not found:
        what = "is not a folder" if not root.is_dir() else "holds no data set"
        raise DataError(
            f"{root} {what}: looked for <dataset>/<category>/ in it, "
            + "; ".join(f"{one.name} with {', '.join(one.category_names)}" for one in data_sets)
            + ". For data of your own: `bench data import`."
        )
    return found


# --- Splits --------------------------------------------------------------------------------------------


@dataclass
class RawItems:
    """The products, or the reviews, of a split, in the order in which they are packed."""

    ids: list[str]
    texts: list[str]
    images: list[Any] | None
    """Cells of `img_url`, as read; None without that column."""

    @property
    def wants_image(self) -> list[bool] | None:
        """Whether `img_url` lists any; None without that column."""
        return None if self.images is None else [_lists_any(cell) for cell in self.images]


@dataclass
class RawSplit:
    name: str
    products: RawItems
    """Those with reviews, in the product table's order."""
    reviews: RawItems
    """In the relation table's order."""
    product_of_review: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    times: npt.NDArray[np.float64] | None
    """Seconds since 1970, NaN where not known; None if no review has a time that can be read."""
    dropped_without_votes: int
    """Relations left out because no one voted; only with labels from votes."""
    label_column: str = "upvotes"
    """Where the labels, or the votes that they are made of, were read."""


def read_split(
    folder: CategoryFolder, split: str, findings: Findings, labels_from_votes: Votes = False
) -> RawSplit | None:
    """One split, or None if its tables have problems (which go to `findings`)."""
    before = len(findings.problems)
    tables = {kind: read_table(folder.table(kind, split), kind, findings) for kind in TABLE_COLUMNS}
    prd, rvw, rel = tables["prd"], tables["rvw"], tables["rel"]
    if prd is None or rvw is None or rel is None:
        return None
    product_row = unique_ids(prd["product_id"], folder.table("prd", split), "product_id", findings)
    review_row = unique_ids(rvw["review_id"], folder.table("rvw", split), "review_id", findings)
    relation = read_relation(rel, folder.table("rel", split), labels_from_votes, findings)
    if relation is None:
        return None
    _check_relation(relation, product_row, review_row, folder, split, findings)
    _check_own_product(relation, rvw, review_row, folder.table("rel", split), findings)
    _check_labels(relation, folder.table("rel", split), findings, len(findings.problems) > before)
    _note_odd_cells(folder, split, prd, rvw, findings)
    if len(findings.problems) > before:
        return None
    return _join(folder, split, prd, rvw, product_row, review_row, relation)


def _check_relation(
    relation: Relation,
    product_row: Mapping[str, int],
    review_row: Mapping[str, int],
    folder: CategoryFolder,
    split: str,
    findings: Findings,
) -> None:
    path = folder.table("rel", split)
    pairs = list(zip(relation.product_ids, relation.review_ids, strict=True))
    no_product = [f"review {shown(r)}, product {shown(p)}" for p, r in pairs if p not in product_row]
    no_review = [f"review {shown(r)}, product {shown(p)}" for p, r in pairs if r not in review_row]
    findings.problem_records(path, no_product, f"unknown product: not in {folder.table('prd', split).name}")
    findings.problem_records(path, no_review, f"unknown review: not in {folder.table('rvw', split).name}")
    seen: set[str] = set()
    twice = [f"review {shown(r)}" for r in relation.review_ids if r in seen or seen.add(r)]  # type: ignore[func-returns-value]
    findings.problem_records(path, twice, "the review is there twice")
    unrated = len(review_row) - len(seen & review_row.keys()) - relation.dropped
    if unrated > 0:
        findings.note(folder.table("rvw", split), f"{unrated} reviews have no label and are not used")
    without = len(product_row.keys() - set(relation.product_ids))
    if without:
        findings.note(
            folder.table("prd", split), f"{without} products have no labelled review and are not used"
        )


def _check_own_product(
    relation: Relation, rvw: Table, review_row: Mapping[str, int], path: Path, findings: Findings
) -> None:
    """A review table may name each review's product too; where it does, the relation must agree."""
    own = rvw.get("product_id")
    if own is None:
        return
    contradicted = [
        f"review {shown(r)}: product {shown(p)} here, {shown(own[review_row[r]])} in the review table"
        for p, r in zip(relation.product_ids, relation.review_ids, strict=True)
        if r in review_row and own[review_row[r]] is not None and read_id(own[review_row[r]]) != p
    ]
    findings.problem_records(path, contradicted, "the review would be ranked under a product not its own")


def _check_labels(relation: Relation, path: Path, findings: Findings, others: bool) -> None:
    """Without a label, or with one label only, there is nothing to rank."""
    if others:
        return
    if not relation.labels:
        findings.problem(path, "", "no labelled review in it")
    elif len(relation.labels) > 1 and len(set(relation.labels)) == 1:
        label = f"all {len(relation.labels)} labels are {relation.labels[0]}"
        findings.problem(path, f"column {relation.column}", f"{label}: there is nothing to rank")


def _note_odd_cells(folder: CategoryFolder, split: str, prd: Table, rvw: Table, findings: Findings) -> None:
    """Cells that are read, but hardly as they were meant."""
    for kind, table in (("prd", prd), ("rvw", rvw)):
        path = folder.table(kind, split)
        for name in ("name", "description", "content"):
            # a description that is a list is usual: Amazon's raw data has them
            odd = (dict,) if name == "description" else (dict, list)
            rows = [f"row {row}" for row, cell in enumerate(table.get(name, ())) if isinstance(cell, odd)]
            message = (
                f"a list or an object where the text of `{name}` should be; it is read as Python prints it"
            )
            findings.note_records(path, rows, message)
        printed = [
            f"row {row}, {shown(cell)}"
            for row, cell in enumerate(table.get("img_url", ()))
            if isinstance(cell, str) and cell.lstrip().startswith("[")
        ]
        findings.note_records(path, printed, "`img_url` is a list printed as text")


def _join(
    folder: CategoryFolder,
    split: str,
    prd: Table,
    rvw: Table,
    product_row: Mapping[str, int],
    review_row: Mapping[str, int],
    relation: Relation,
) -> RawSplit:
    used = set(relation.product_ids)
    product_ids = [identifier for identifier in product_row if identifier in used]
    index = {identifier: row for row, identifier in enumerate(product_ids)}
    rows_P = [product_row[identifier] for identifier in product_ids]
    rows_R = [review_row[identifier] for identifier in relation.review_ids]
    fields = [prd[field] for field in folder.data_set.category(folder.category).product_text]
    times = rvw.get("time")
    return RawSplit(
        name=split,
        products=RawItems(
            product_ids,
            [joined_text([column[i] for column in fields]) for i in rows_P],
            _cells(prd, "img_url", rows_P),
        ),
        reviews=RawItems(
            relation.review_ids,
            [plain_text(rvw["content"][i]) for i in rows_R],
            _cells(rvw, "img_url", rows_R),
        ),
        product_of_review=np.array([index[p] for p in relation.product_ids], dtype=np.int64),
        labels=np.array(relation.labels, dtype=np.int64),
        times=None if times is None else parse_times([times[row] for row in rows_R]),
        dropped_without_votes=relation.dropped,
        label_column=relation.column,
    )


def _cells(table: Table, column: str, rows: list[int]) -> list[Any] | None:
    cells = table.get(column)
    return None if cells is None else [cells[row] for row in rows]


def _lists_any(urls: Any) -> bool:
    """Whether a cell of `img_url` lists an image; an empty list printed as text lists none."""
    return bool(urls) and urls == urls and not (isinstance(urls, str) and urls.strip() in ("", "[]"))


def sides(split: RawSplit) -> list[tuple[str, RawItems]]:
    """("product", products), ("review", reviews)."""
    return list(zip(SIDES, (split.products, split.reviews), strict=True))
