"""A finished run as its folder has it: what it scored, and the values that the scores give (torch-free)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmark.core.errors import DataError
from benchmark.core.files import read_regular
from benchmark.core.judge import Judge
from benchmark.core.metrics import METRICS, Floats, Ints, Ties, per_product_table
from benchmark.runs.arrays import from_npy
from benchmark.runs.files import DATA_FILES, DONE, PARTS, checked, data_folder, read_mark, table_files
from benchmark.runs.reviews import Recent, TestData, appearing, read_csv, read_test_data
from benchmark.runs.spec import NUMERICS_VERSION, Conditions, RunSpec

if TYPE_CHECKING:
    import pandas as pd

# What was read last, for the next question about it. A grid of any size is read in bounded memory.
_VALUES: Recent[tuple[Any, ...], Mapping[str, Floats]] = Recent(
    32 << 20, lambda values: sum(one.nbytes for one in values.values())
)
_TABLES: Recent[tuple[Any, ...], pd.DataFrame] = Recent(
    64 << 20, lambda table: 100 * table.size
)  # an entry is a number, or a text of 100 bytes
_DATA: Recent[tuple[Any, ...], TestData] = Recent(16, lambda data: 1)


@dataclass(frozen=True)
class StoredRun:
    """A finished run, read from its folder; the tables inside load when first used."""

    folder: Path
    spec: RunSpec
    provenance: Mapping[str, Any] = field(repr=False)
    sums: Mapping[str, str] = field(repr=False, default_factory=dict)
    """SHA-256 of each of its files, from its `done` mark: what is read is checked against it."""
    threshold: int | None = None
    """In place of the run's own relevance threshold; see `rescored`."""
    ties: Ties = "expected"
    """How tied scores are resolved in `per_product`."""
    numerics: int = NUMERICS_VERSION
    """The numerics version that it was made under."""

    @cached_property
    def id(self) -> str:
        """Its identity, as its folder has it: under the numerics version that it was made under."""
        return self.spec.identity_under(self.numerics)

    @property
    def results(self) -> Path:
        # results/runs/data set/category/method/run
        return self.folder.parents[4]

    @property
    def relevance_threshold(self) -> int:
        """t of `per_product`: the run's own unless it was rescored."""
        return self.spec.relevance_threshold if self.threshold is None else self.threshold

    @property
    def conditions(self) -> Conditions:
        """The spec's, with the threshold that `per_product` is made with."""
        return replace(self.spec.conditions, relevance_threshold=self.relevance_threshold)

    @property
    def version(self) -> tuple[object, ...]:
        """What the runs of a cell must share beside what was asked for: configuration, code, numerics."""
        return (json.dumps(self.spec.config, sort_keys=True), self.spec.code, self.numerics)

    @cached_property
    def age_rank(self) -> tuple[int, float]:
        """Later runs rank higher: by numerics version, then by when they ended."""
        finished = self.provenance.get("finished")
        if isinstance(finished, int | float):
            return self.numerics, float(finished)
        return self.numerics, (self.folder / DONE).stat().st_mtime

    @property
    def products(self) -> tuple[str, ...]:
        """Ids of the test products, in the order of values per product."""
        return self._data.products if self.in_arrays else tuple(self._stored_table["product_id"].tolist())

    def values(self, metric: str) -> Floats:
        """Of every test product, float64 `[P]` in 0..1; not to be changed."""
        found = self._values
        return found[metric] if metric in METRICS else self.per_product[metric].to_numpy(dtype=np.float64)

    def random_values(self, metric: str) -> Floats:
        """The expected value of a random order of the same reviews, float64 `[P]`."""
        if self.in_arrays:
            return self._judge.random[metric]
        return self.per_product[f"random_{metric}"].to_numpy(dtype=np.float64)

    @property
    def n_relevant(self) -> Ints:
        """Relevant reviews of every test product, `[P]`."""
        return self._judge.n_relevant_P if self.in_arrays else self.per_product["n_relevant"].to_numpy()

    @property
    def per_product(self) -> pd.DataFrame:
        """One row per test product, in the data's order: product_id, n_reviews, n_relevant, map, ndcg@3,
        ndcg@5, mrr (0..1) and the random order's expectations random_map, random_ndcg@3, random_ndcg@5."""
        if self.in_arrays:
            return self._data.table(self._values, self.relevance_threshold)
        return self._stored_table if self._as_stored else self._from_stored_scores()

    @property
    def score_R(self) -> NDArray[np.floating[Any]]:
        """Of every test review, in the data's order: float32, or float64 in a run of before."""
        if not self.in_arrays:
            return self.scores["score"].to_numpy(dtype=np.float64)
        found = self._array("scores.npy")
        if len(found) != len(self._data.reviews):
            raise DataError(
                f"{self.folder / 'scores.npy'}: {len(found):,} scores for {len(self._data.reviews):,} test reviews. "
                "Remove the folder and run again."
            )
        return found

    @property
    def scores(self) -> pd.DataFrame:
        """One row per test review, in the data's order: review_id, product_id, label, score, and score_<name>
        of what the method says beside it."""
        return _TABLES.get((*self._written, "scores"), self._scores).copy(deep=False)

    def tie_gain(self) -> tuple[float, dict[str, Floats]]:
        """See `Judge.tie_gain`; products in the order of the reviews."""
        if self.in_arrays:
            share, gain = self._judge.tie_gain(self.score_R)
            order = self._data.appearance
            return share, {name: values[order] for name, values in gain.items()}
        scores = self.scores
        ids, product_R = appearing(scores["product_id"])
        judge = Judge(scores["label"], product_R, len(ids), self.relevance_threshold)
        return judge.tie_gain(scores["score"].to_numpy(dtype=np.float64))

    @property
    def log(self) -> list[dict[str, Any]]:
        """One entry per epoch."""
        return [json.loads(line) for line in self.content("log.jsonl").decode().splitlines()]

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest of the data that the run saw: counts per split, image coverage, word vectors."""
        manifest: dict[str, Any] = json.loads(self._data_content("manifest.json"))
        return manifest

    @property
    def test_reviews(self) -> pd.DataFrame:
        """Of every test review: review_id, product_id, label, word_count, time, has_image."""
        return self._data.reviews.copy(deep=False)

    @property
    def test_data(self) -> TestData:
        """The same, shared by all runs of the data, with what can be computed from it once."""
        return self._data

    def recomputed(self) -> pd.DataFrame:
        """`per_product` as the stored scores give it, with the run's own threshold."""
        if not self.in_arrays:
            return self._from_stored_scores()
        return self._data.table(self._judge.metrics(self.score_R, self.ties), self.relevance_threshold)

    def contradiction(self) -> str:
        """What hashes cannot tell: whether the scores are of the data's test reviews, and the stored values per
        product what the scores give. Empty if they are, else the sentence that says what is not; DataError for
        a file that cannot be read."""
        if self.in_arrays:
            score_R = self.score_R
            if not np.isfinite(score_R).all():
                return f"{self.folder / 'scores.npy'}: not all scores are finite"
            kept = (self.folder / "per_product.npy").exists()
            stored: Mapping[str, Floats] = self._values if kept else {}
            again: Mapping[str, Floats] = self._judge.metrics(score_R) if kept else {}
            file = "per_product.npy"
            if PARTS in self.sums and len(self._array(PARTS)) != len(score_R):
                return f"{self.folder / 'parts.npy'}: not of the test reviews of its data"
        else:
            reviews = ["review_id", "product_id", "label"]
            if not self.scores[reviews].equals(self.test_reviews[reviews]):
                return f"{self.folder / 'scores.csv'}: not of the test reviews of its data"
            again, stored = (
                {name: table[name].to_numpy(dtype=np.float64) for name in table.columns.drop("product_id")}
                for table in (self._from_stored_scores(), self.per_product)
            )
            file = "per_product.csv"
        for name, values in again.items():
            # libraries sum in different orders; what another rank does to a value is far larger than 1e-9
            if name in stored and not np.allclose(stored[name], values, rtol=0, atol=1e-9, equal_nan=True):
                return f"{self.folder / file}: {name} is not what the scores give"
        return ""

    def contents(self) -> dict[str, bytes]:
        """What a run must hold and what its method said, each as it was written, and the `done` mark; neither
        weights nor what the scores give."""
        names = [*table_files(self.sums), *(name for name in (PARTS,) if name in self.sums)]
        found = {name: self.content(name) for name in names}
        return found | {DONE: (self.folder / DONE).read_bytes()}

    def data_contents(self) -> dict[str, bytes]:
        """The files of the data that the run saw, each as it was written, and their mark if they have one."""
        folder, sums = self.data_folder, self._data_sums()
        # a folder of before the order of the products was kept has none
        named = (folder / "products.csv").exists() if sums is None else "products.csv" in sums
        names = [name for name in DATA_FILES if name != "products.csv" or named]
        found = {name: self._data_content(name) for name in names}
        mark = folder / DONE
        return found | ({DONE: mark.read_bytes()} if mark.exists() else {})

    @property
    def in_arrays(self) -> bool:
        """Scores lie in arrays, ids and labels with the data; a run of before has tables of its own."""
        return "scores.csv" not in self.sums

    @property
    def data_folder(self) -> Path:
        return data_folder(self.results, self.spec.dataset, self.spec.category, self.spec.fingerprint)

    @cached_property
    def _written(self) -> tuple[Any, ...]:
        """What its files are, for what is kept of them."""
        return (self.folder, *self.sums.values())

    @cached_property
    def key(self) -> tuple[Any, ...]:
        """What its `values` follow from: equal for the same files, judged alike."""
        return (*self._written, self.threshold, self.ties)

    @property
    def _as_stored(self) -> bool:
        return self.threshold is None and self.ties == "expected"

    @property
    def _values(self) -> Mapping[str, Floats]:
        """The METRICS of every test product."""
        return _VALUES.get(self.key, self._read_values)

    def _read_values(self) -> Mapping[str, Floats]:
        if not self.in_arrays:
            table = self.per_product
            return {name: table[name].to_numpy(dtype=np.float64) for name in METRICS if name in table.columns}
        if not (self._as_stored and (self.folder / "per_product.npy").exists()):
            return self._judge.metrics(self.score_R, self.ties)
        stored = self._array("per_product.npy")
        if len(stored) != len(self.products) or not set(METRICS) <= set(stored.dtype.names or ()):
            raise DataError(
                f"{self.folder / 'per_product.npy'}: not the values of {len(self.products):,} test products. "
                "Remove the folder and run again."
            )
        return {name: np.ascontiguousarray(stored[name]) for name in METRICS}

    @property
    def _judge(self) -> Judge:
        return self._data.judge(self.relevance_threshold)

    def _scores(self) -> pd.DataFrame:
        if not self.in_arrays:
            return self._table("scores.csv")
        reviews = self._data.reviews
        table = reviews[["review_id", "product_id", "label"]].copy()
        table["score"] = self.score_R.astype(np.float64)
        if PARTS in self.sums:
            parts = self._array(PARTS)
            for name in parts.dtype.names or ():
                table[name] = parts[name].astype(np.float64)
        return table

    @property
    def _stored_table(self) -> pd.DataFrame:
        """per_product.csv of a run of before."""
        made = _TABLES.get((*self._written, "per_product"), lambda: self._table("per_product.csv"))
        return made.copy(deep=False)

    def _from_stored_scores(self) -> pd.DataFrame:
        number = {product: row for row, product in enumerate(self.products)}
        scores = self.scores
        return per_product_table(
            list(number),
            scores["product_id"].map(number).to_numpy().astype(np.int64),
            scores["label"],
            scores["score"],
            self.relevance_threshold,
            self.ties,
        )

    @property
    def _data(self) -> TestData:
        folder = self.data_folder
        sums = self._data_sums() or {}
        hashes = (sums.get("test.csv", ""), sums.get("products.csv", ""))

        def read() -> TestData:
            products = folder / "products.csv"
            return read_test_data(
                (folder / "test.csv", self._data_content("test.csv")),
                (products, self._data_content("products.csv")) if hashes[1] else None,
            )

        found = _DATA.get((folder, *hashes), read) if all(hashes) else read()
        if self.in_arrays:
            self._check_reviews(found)
        return found

    def _check_reviews(self, data: TestData) -> None:
        """The scores are an array in the order of these reviews, of these labels, or they are of others."""
        if not data.products:
            raise DataError(
                f"{self.data_folder}: has no products.csv, which the scores of {self.folder} need. `bench run` with "
                "the same data writes it."
            )
        of = self.provenance.get("data")
        if not isinstance(of, Mapping) or of.get("reviews") != data.digest:
            raise DataError(
                f"{self.data_folder / 'test.csv'}: not the test reviews that {self.folder} has scores of. Remove both "
                "folders and run again."
            )

    def content(self, name: str) -> bytes:
        """A file of the run; DataError if it is not what was written."""
        return checked(self.folder / name, self.sums)

    def _table(self, name: str) -> pd.DataFrame:
        return read_csv(self.folder / name, self.content(name))

    def _array(self, name: str) -> NDArray[Any]:
        return from_npy(self.content(name), self.folder / name)

    def _data_content(self, name: str) -> bytes:
        folder = self.data_folder
        sums = self._data_sums()
        if sums is not None:
            return checked(folder / name, sums)
        try:
            return read_regular(folder / name)
        except OSError as error:
            raise DataError(f"{folder / name}: {error.strerror}. Remove the folder and run again.") from error

    def _data_sums(self) -> dict[str, str] | None:
        """What the mark of its data says; None for a folder of before there were marks, read without comparing."""
        folder = self.data_folder
        try:
            return read_mark(folder, self.spec.fingerprint)
        except FileNotFoundError:
            if not self.in_arrays:
                return None
            why = f"it has no `{DONE}`"  # arrays came after marks: this one was taken away, or its writer killed
        except OSError as error:
            why = f"{DONE}: {error.strerror}"
        raise DataError(
            f"{folder}: what its files must be is not known ({why}). `bench run` with the same data writes them anew."
        )


def rescored(
    runs: Iterable[StoredRun], threshold: int | None = None, ties: Ties = "expected"
) -> list[StoredRun]:
    """The same runs, their values per product taken from the stored scores at another relevance threshold or
    by another tie policy. None and `expected` are the runs' own."""
    # replace makes new objects, without the tables that the old ones have cached
    return [replace(run, threshold=threshold, ties=ties) for run in runs]
