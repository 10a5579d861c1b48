"""Reads the published MRHP release as it is on disk, and finds what is wrong with it. Torch-free.

    <root>/<dataset>/<category>/<category>.{prd,rvw,rel}.{train,dev,test}     JSON tables
    <root>/<dataset>/<category>/features/<split>/<id>/<id>.pth                RoI features

Problems are collected, not raised: a reader of the release gets all of them at once. Notes are what
deserves a look but does not stop anyone, such as a product in two splits.

P products, R reviews of a split.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.core.errors import DataError
from benchmark.data.catalog import (
    CATEGORIES,
    DATASETS,
    SIDES,
    SPLITS,
    TABLE_COLUMNS,
    plain_text,
    product_text,
)

MAX_LABEL = 4
_SHOWN = 20
"""Records named per kind of problem and file; the rest are counted."""


# --- Problems ------------------------------------------------------------------------------------------


@dataclass
class Findings:
    """What is wrong (`problems`) or odd (`notes`) about a release; each line names file and record."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def problem(self, file: Path, record: str, message: str) -> None:
        self.problems.append(f"{file}: {record}: {message}" if record else f"{file}: {message}")

    def problem_records(self, file: Path, records: list[str], message: str) -> None:
        """The same problem for many records: the first ones by name, then their number."""
        for record in records[:_SHOWN]:
            self.problem(file, record, message)
        if len(records) > _SHOWN:
            self.problems.append(f"{file}: {len(records) - _SHOWN} more: {message}")

    def note(self, file: Path, message: str) -> None:
        self.notes.append(f"{file}: {message}")

    def raise_if_any(self, folder: Path) -> None:
        """DataError with every problem, if there is one."""
        if self.problems:
            count = f"{len(self.problems)} problem" + "s" * (len(self.problems) > 1)
            raise DataError(
                f"{folder}: {count}; `bench data check` lists those of a whole root", self.problems
            )


# --- Folders -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CategoryFolder:
    """One category of one data set on disk."""

    root: Path
    dataset: str
    category: str

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
    folder = CategoryFolder(root, dataset, category)
    if not folder.path.is_dir():
        present = ", ".join(f"{found.dataset}/{found.category}" for found in find_categories(root))
        raise DataError(f"no folder {folder.path}; {root} holds {present}")
    return folder


def find_categories(root: Path) -> list[CategoryFolder]:
    """The categories that are there, in the paper's order; DataError if there is none."""
    found = [CategoryFolder(root, dataset, category) for dataset in DATASETS for category in CATEGORIES]
    found = [folder for folder in found if folder.path.is_dir()]
    if not found:
        what = "is not a folder" if not root.is_dir() else "holds no data set"
        raise DataError(
            f"{root} {what}: looked for <dataset>/<category>/ in it, dataset one of {', '.join(DATASETS)} and "
            f"category one of {', '.join(CATEGORIES)}"
        )
    return found


# --- Tables --------------------------------------------------------------------------------------------

Table = Mapping[str, list[Any]]


def read_table(path: Path, kind: str, findings: Findings) -> Table | None:
    """The columns of a JSON table, rows aligned, cells as they are in the file (ids keep leading zeros).

    Any orientation of `pandas.read_json` is read: columns, index, records, split, table, and one record
    per line. None, and a problem, if the file cannot be used.
    """
    try:
        document = _parse(path.read_bytes())
    except FileNotFoundError:
        findings.problem(path, "", "missing file")
    except OSError as error:
        findings.problem(path, "", f"cannot be read ({error.strerror})")
    except UnicodeDecodeError as error:
        findings.problem(path, f"byte {error.start}", "not UTF-8 text")
    except json.JSONDecodeError as error:
        findings.problem(path, f"line {error.lineno} column {error.colno}", f"not JSON ({error.msg})")
    else:
        return _required_columns(_columns(document), kind, path, findings)
    return None


def _parse(content: bytes) -> Any:
    text = content.decode("utf-8-sig")
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2 or not lines[0].rstrip().endswith("}"):
            raise
        try:  # JSON lines; if that fails too, the first error is the one to show
            return [json.loads(line) for line in lines]
        except json.JSONDecodeError:
            pass
        raise


def _columns(document: Any) -> Table | None:
    """Columns of a parsed table, or None if it is no table."""
    if isinstance(document, list):
        return _columns_of_records(document)
    if not isinstance(document, dict):
        return None
    if isinstance(document.get("data"), list):
        if isinstance(document.get("columns"), list):  # split
            rows = document["data"]
            return {str(name): [row[i] for row in rows] for i, name in enumerate(document["columns"])}
        return _columns_of_records(document["data"])  # table
    if not all(isinstance(column, dict) for column in document.values()):
        return None
    names = {"product_id", "review_id"}
    if names & document.keys() or not any(names & row.keys() for row in document.values()):
        rows = list(dict.fromkeys(key for column in document.values() for key in column))
        return {name: [column.get(key) for key in rows] for name, column in document.items()}
    return _columns_of_records(list(document.values()))  # index


def _columns_of_records(records: list[Any]) -> Table | None:
    if not all(isinstance(record, dict) for record in records):
        return None
    names = dict.fromkeys(name for record in records for name in record)
    return {name: [record.get(name) for record in records] for name in names}


def _required_columns(table: Table | None, kind: str, path: Path, findings: Findings) -> Table | None:
    if table is None:
        findings.problem(path, "", "not a table: expected what pandas.read_json makes a data frame of")
        return None
    missing = [name for name in TABLE_COLUMNS[kind] if name not in table]
    for name in missing:
        findings.problem(path, f"column {name}", f"missing; the file has {', '.join(table) or 'no columns'}")
    return None if missing else table


# --- Splits --------------------------------------------------------------------------------------------


@dataclass
class RawItems:
    """The products, or the reviews, of a split, in the order in which they are packed."""

    ids: list[str]
    texts: list[str]
    wants_image: list[bool] | None
    """Whether `img_url` lists any; None without that column."""


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


def read_split(
    folder: CategoryFolder, split: str, findings: Findings, labels_from_votes: bool = False
) -> RawSplit | None:
    """One split, or None if its tables have problems (which go to `findings`)."""
    before = len(findings.problems)
    tables = {kind: read_table(folder.table(kind, split), kind, findings) for kind in TABLE_COLUMNS}
    prd, rvw, rel = tables["prd"], tables["rvw"], tables["rel"]
    if prd is None or rvw is None or rel is None:
        return None
    product_row = _unique_ids(prd["product_id"], folder.table("prd", split), "product_id", findings)
    review_row = _unique_ids(rvw["review_id"], folder.table("rvw", split), "review_id", findings)
    relation = _read_relation(rel, folder.table("rel", split), labels_from_votes, findings)
    _check_relation(relation, product_row, review_row, folder, split, findings)
    if not relation.labels and len(findings.problems) == before:
        findings.problem(folder.table("rel", split), "", "no labelled review in it")
    if len(findings.problems) > before:
        return None
    return _join(folder, split, prd, rvw, product_row, review_row, relation)


@dataclass
class _Relation:
    product_ids: list[str]
    review_ids: list[str]
    labels: list[int]
    dropped: int


def _read_id(value: Any) -> str | None:
    """An id as text: a string as it is, an integer in digits; None for anything else."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _safe_id(identifier: str) -> bool:
    """Whether an id can be a folder's name without leaving the features folder."""
    return bool(identifier) and identifier not in (".", "..") and not any(c in identifier for c in "/\\\0")


def _unique_ids(values: list[Any], path: Path, column: str, findings: Findings) -> dict[str, int]:
    """Id -> row; ids that are no text, twice, or unsafe are problems."""
    rows: dict[str, int] = {}
    not_text, twice, unsafe = [], [], []
    for row, value in enumerate(values):
        identifier = _read_id(value)
        if identifier is None:
            not_text.append(f"row {row}, {column} {value!r}")
        elif identifier in rows:
            twice.append(f"{column} {identifier!r}")
        else:
            if not _safe_id(identifier):
                unsafe.append(f"{column} {identifier!r}")
            rows[identifier] = row
    findings.problem_records(path, not_text, "an id must be a text or a whole number")
    findings.problem_records(path, twice, "the id is there twice")
    findings.problem_records(path, unsafe, "the id would leave the features folder; ids name folders")
    return rows


def _read_relation(table: Table, path: Path, labels_from_votes: bool, findings: Findings) -> _Relation:
    column = "votes" if labels_from_votes and "votes" in table else "upvotes"
    relation = _Relation([], [], [], 0)
    not_text: list[str] = []
    bad: list[str] = []
    votes: list[str] = []
    for row, (p, r, value) in enumerate(
        zip(table["product_id"], table["review_id"], table[column], strict=True)
    ):
        product_id, review_id, number = _read_id(p), _read_id(r), _whole_number(value)
        record = f"review {review_id!r} (row {row}), {column} {value!r}"
        if product_id is None or review_id is None:
            not_text.append(f"row {row}, product_id {p!r}, review_id {r!r}")
        elif number is None or number < 0:
            bad.append(record)
        elif labels_from_votes and number == 0:
            relation.dropped += 1
        elif not labels_from_votes and number > MAX_LABEL:
            votes.append(record)
        else:
            relation.product_ids.append(product_id)
            relation.review_ids.append(review_id)
            relation.labels.append(label_of_votes(number) if labels_from_votes else number)
    allowed = (
        "a vote count must be a whole number >= 0" if labels_from_votes else "a label must be 0, 1, 2, 3 or 4"
    )
    findings.problem_records(path, not_text, "an id must be a text or a whole number")
    findings.problem_records(path, bad, allowed)
    hint = "above 4: this looks like raw votes; --labels-from-votes turns votes into labels"
    findings.problem_records(path, votes, hint)
    return relation


def _whole_number(value: Any) -> int | None:
    """An integer, also when written as 2.0 (pandas does so when a column has gaps)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if math.isfinite(value) and value == int(value) else None


def label_of_votes(votes: int) -> int:
    """The released mapping min(4, floor(log2 v)), v >= 1: 1 -> 0, 2-3 -> 1, 4-7 -> 2, 8-15 -> 3, 16- -> 4."""
    return min(MAX_LABEL, votes.bit_length() - 1)


def _check_relation(
    relation: _Relation,
    product_row: Mapping[str, int],
    review_row: Mapping[str, int],
    folder: CategoryFolder,
    split: str,
    findings: Findings,
) -> None:
    path = folder.table("rel", split)
    pairs = list(zip(relation.product_ids, relation.review_ids, strict=True))
    no_product = [f"review {r!r}, product {p!r}" for p, r in pairs if p not in product_row]
    no_review = [f"review {r!r}, product {p!r}" for p, r in pairs if r not in review_row]
    findings.problem_records(path, no_product, f"unknown product: not in {folder.table('prd', split).name}")
    findings.problem_records(path, no_review, f"unknown review: not in {folder.table('rvw', split).name}")
    seen: set[str] = set()
    twice = [f"review {r!r}" for r in relation.review_ids if r in seen or seen.add(r)]  # type: ignore[func-returns-value]
    findings.problem_records(path, twice, "the review is there twice")
    unrated = len(review_row) - len(seen & review_row.keys()) - relation.dropped
    if unrated > 0:
        findings.note(folder.table("rvw", split), f"{unrated} reviews have no label and are not used")
    without = len(product_row.keys() - set(relation.product_ids))
    if without:
        findings.note(
            folder.table("prd", split), f"{without} products have no labelled review and are not used"
        )


def _join(
    folder: CategoryFolder,
    split: str,
    prd: Table,
    rvw: Table,
    product_row: Mapping[str, int],
    review_row: Mapping[str, int],
    relation: _Relation,
) -> RawSplit:
    used = set(relation.product_ids)
    product_ids = [identifier for identifier in product_row if identifier in used]
    index = {identifier: row for row, identifier in enumerate(product_ids)}
    rows_P = [product_row[identifier] for identifier in product_ids]
    rows_R = [review_row[identifier] for identifier in relation.review_ids]
    names, descriptions = prd["name"], prd["description"]
    return RawSplit(
        name=split,
        products=RawItems(
            product_ids,
            [product_text(folder.dataset, folder.category, names[i], descriptions[i]) for i in rows_P],
            _wants_image(prd, rows_P),
        ),
        reviews=RawItems(
            relation.review_ids, [plain_text(rvw["content"][i]) for i in rows_R], _wants_image(rvw, rows_R)
        ),
        product_of_review=np.array([index[p] for p in relation.product_ids], dtype=np.int64),
        labels=np.array(relation.labels, dtype=np.int64),
        times=_times(rvw, rows_R),
        dropped_without_votes=relation.dropped,
    )


def _wants_image(table: Table, rows: list[int]) -> list[bool] | None:
    urls = table.get("img_url")
    return None if urls is None else [bool(urls[row]) and urls[row] == urls[row] for row in rows]


def _times(rvw: Table, rows: list[int]) -> npt.NDArray[np.float64] | None:
    column = rvw.get("time")
    if column is None:
        return None
    seconds = np.array([parse_time(column[row]) for row in rows], dtype=np.float64)
    return None if np.isnan(seconds).all() else seconds


_TIME_FORMATS = (
    "%m %d, %Y",
    "%B %d, %Y",
    "%b %d, %Y",
    "%d %b %Y",
    "%d %B %Y",
    "%Y/%m/%d",
    "%Y/%m/%d %H:%M:%S",
)
_MILLISECONDS_FROM = 1e11
"""A number this large counts milliseconds: in seconds it would be the year 5138."""


def parse_time(value: Any) -> float:
    """Seconds since 1970 (UTC if no zone is given): of a number of seconds or milliseconds, an ISO date, or
    a date such as `09 4, 2013` or `4 Sep 2013`. NaN for anything else."""
    if (
        isinstance(value, str)
        and value.strip().isascii()
        and value.strip().isdigit()
        and len(value.strip()) >= 9
    ):
        value = int(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value / 1000 if abs(value) >= _MILLISECONDS_FROM else float(value)
    return _parse_date(value.strip()) if isinstance(value, str) else math.nan


@lru_cache(maxsize=100_000)
def _parse_date(text: str) -> float:
    try:
        return _seconds(datetime.fromisoformat(text))
    except ValueError:
        pass
    for pattern in _TIME_FORMATS:
        try:
            return _seconds(datetime.strptime(text, pattern))
        except ValueError:
            continue
    return math.nan


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def sides(split: RawSplit) -> list[tuple[str, RawItems]]:
    """("product", products), ("review", reviews)."""
    return list(zip(SIDES, (split.products, split.reviews), strict=True))


def note_overlap(ids: Mapping[str, set[str]], folder: CategoryFolder, findings: Findings) -> None:
    """The release splits by product; an overlap lets a model see test products in training."""
    for one, other in combinations(ids, 2):
        if common := ids[one] & ids[other]:
            findings.note(folder.path, f"{len(common)} products are in both {one} and {other}")
