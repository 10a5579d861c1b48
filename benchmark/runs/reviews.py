"""The test reviews that runs are judged on: read once per data set and content, shared by all its runs."""

from __future__ import annotations

import hashlib
import io
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmark.core.errors import DataError
from benchmark.core.judge import Judge
from benchmark.core.metrics import METRICS, PAPER_METRICS, Floats, Ints

if TYPE_CHECKING:
    import pandas as pd

TEXT_COLUMNS = frozenset({"product_id", "review_id"})
INTEGER_COLUMNS = frozenset({"label", "n_reviews", "n_relevant", "word_count", "has_image"})


Key = TypeVar("Key")
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """What was read last, up to a number of bytes; what has not been asked for the longest goes first."""

    def __init__(self, most_bytes: int, size: Callable[[Value], int]) -> None:
        self.most_bytes = most_bytes
        self._size = size
        self._held: OrderedDict[Key, Value] = OrderedDict()
        self._bytes = 0

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        value = self._held[key] = make()
        self._bytes += self._size(value)
        while self._bytes > self.most_bytes and len(self._held) > 1:
            self._bytes -= self._size(self._held.popitem(last=False)[1])
        return value

    def clear(self) -> None:
        self._held.clear()
        self._bytes = 0


class TestData:
    """The test reviews of one data folder, in the data's order, and the products that they are of."""

    __test__ = False  # no test class of pytest's

    def __init__(self, reviews: pd.DataFrame, products: tuple[str, ...]) -> None:
        self.reviews = reviews
        """review_id, product_id, label, word_count, time, has_image; shared: not to be changed."""
        self.products = products
        """Ids in the order of values per product; empty in a folder of before they were kept."""
        self._judges: dict[int, Judge] = {}

    @cached_property
    def label_R(self) -> Ints:
        return self.reviews["label"].to_numpy(dtype=np.int64)

    @cached_property
    def product_R(self) -> Ints:
        """Each review's row in `products`."""
        row_of = {product: row for row, product in enumerate(self.products)}
        ids, appearing_R = appearing(self.reviews["product_id"])
        if not set(ids) <= set(row_of):
            raise ValueError("a review is of a product that is not listed")
        row_of_appearing: Ints = np.array([row_of[one] for one in ids], dtype=np.int64)
        return row_of_appearing[appearing_R]

    @cached_property
    def appearance(self) -> Ints:
        """Rows of `products` in the order in which the reviews name them."""
        first_rows = np.unique(self.product_R, return_index=True)[1]
        order: Ints = self.product_R[np.sort(first_rows)]
        return order

    @cached_property
    def digest(self) -> str:
        table = self.reviews
        return reviews_digest(
            table["review_id"].tolist(), table["product_id"].tolist(), self.label_R, self.products
        )

    def judge(self, threshold: int) -> Judge:
        if threshold not in self._judges:
            self._judges[threshold] = Judge(self.label_R, self.product_R, len(self.products), threshold)
        return self._judges[threshold]

    def table(self, values: Mapping[str, Floats], threshold: int) -> pd.DataFrame:
        """One row per product, as `metrics.per_product_table`, with these values of the METRICS."""
        import pandas as pd

        judge = self.judge(threshold)
        return pd.DataFrame(
            {
                "product_id": list(self.products),
                "n_reviews": judge.n_reviews_P,
                "n_relevant": judge.n_relevant_P,
                **{name: values[name] for name in METRICS},
                **{f"random_{name}": judge.random[name] for name in PAPER_METRICS},
            }
        )


_KNOWN: Recent[tuple[str, str], TestData] = Recent(16, lambda value: 1)
"""By the hashes of both files: sixteen data sets at a time."""


def read_test_data(reviews: tuple[Path, bytes], products: tuple[Path, bytes] | None) -> TestData:
    """From the paths and contents of `test.csv` and, if there is one, `products.csv`; parsed once per content."""

    def parse() -> TestData:
        table = read_csv(*reviews)
        ids = () if products is None else tuple(read_csv(*products)["product_id"].tolist())
        found = TestData(table, ids)
        if ids:
            try:
                _ = found.product_R
            except ValueError as error:
                raise DataError(
                    f"{reviews[0]}: {error} in {products[0].name if products else ''}."
                ) from error
        return found

    key = tuple(hashlib.sha256(one[1]).hexdigest() if one else "" for one in (reviews, products))
    return _KNOWN.get((key[0], key[1]), parse)


def reviews_digest(
    review_ids: Iterable[str], product_ids: Iterable[str], label_R: ArrayLike, products: Iterable[str]
) -> str:
    """SHA-256 of what a list of scores is about: the reviews in their order, whose they are, their labels, and
    the order of the products."""
    digest = hashlib.sha256()
    for ids in (review_ids, product_ids, products):
        digest.update("\n".join(ids).encode("utf-8", "surrogatepass") + b"\0")
    digest.update(np.asarray(label_R, dtype="<i8").tobytes())
    return digest.hexdigest()


def read_csv(path: Path, content: bytes) -> pd.DataFrame:
    """Ids and texts as they are (no id turns into a number), every other column as the exact numbers."""
    try:
        return _parsed(content, INTEGER_COLUMNS)
    except (ValueError, TypeError, OverflowError):  # a count that is no whole number, or is missing
        try:
            return _parsed(content, frozenset())
        except (ValueError, TypeError) as error:
            raise DataError(f"{path}: not a table that can be read ({error}).") from error


def appearing(ids: pd.Series[Any]) -> tuple[list[str], Ints]:
    """(the distinct ids in order of appearance, each row's place among them)."""
    import pandas as pd

    number_R, distinct = pd.factorize(ids)
    return [str(one) for one in distinct], number_R.astype(np.int64)


def _parsed(content: bytes, whole: frozenset[str]) -> pd.DataFrame:
    import pandas as pd

    names = pd.read_csv(io.BytesIO(content), dtype=str, nrows=0).columns
    types: dict[str, Any] = {name: "int64" if name in whole else str for name in names}
    table = pd.read_csv(io.BytesIO(content), dtype=types, keep_default_na=False)
    for name in table.columns:
        if name not in TEXT_COLUMNS and types[name] is str:
            values = _floats(table[name].tolist())
            integer = np.isfinite(values).all() and name in INTEGER_COLUMNS
            table[name] = values.astype(np.int64) if integer else values
    return table


def _floats(texts: list[str]) -> NDArray[np.float64]:
    # Python's own parser: a score comes back bit for bit, whatever pandas' fast parser rounds
    return np.array([float(text) if text else np.nan for text in texts], dtype=np.float64)
