"""Run folders: written once by a run, read by everything else. Needs no torch.

<results>/runs/<dataset>/<category>/<method>[-no-<part>...]/seed-<n>-<identity>/
    config.json      the RunSpec: what was asked, fully resolved
    meta.json        provenance: versions, commit, device, durations
    log.jsonl        one object per epoch
    per_product.csv  one row per test product
    scores.csv       one row per test review
    *.safetensors    weights and training state, where kept
    vocabulary.json  with weights: the words that their ids stand for
    done             written last: identity and SHA-256 of every other file
<results>/data/<dataset>/<category>/<fingerprint>/   test.csv and manifest.json of the data that runs saw
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.core.errors import DataError
from benchmark.core.files import read_regular
from benchmark.core.metrics import (
    Ties,
    per_product_table,
)
from benchmark.runs.files import (
    DATA_FILES,
    DONE,
    TABLE_FILES,
    checked,
    data_folder,
    failure_record,
    read_mark,
)
from benchmark.runs.spec import NUMERICS_VERSION, Conditions, RunSpec, spec_from_json

TEXT_COLUMNS = frozenset({"product_id", "review_id"})
INTEGER_COLUMNS = frozenset({"label", "n_reviews", "n_relevant", "word_count", "has_image"})

_log = logging.getLogger(__name__)


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

    @property
    def id(self) -> str:
        return self.spec.identity

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

    @cached_property
    def per_product(self) -> pd.DataFrame:
        """One row per test product, in the data's order: product_id, n_reviews, n_relevant, map, ndcg@3,
        ndcg@5, mrr (0..1) and the random order's expectations random_map, random_ndcg@3, random_ndcg@5."""
        stored = self._table("per_product.csv")
        if self.threshold is None and self.ties == "expected":
            return stored
        return self._from_scores(stored)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row per test review, in the data's order: review_id, product_id, label, score."""
        return self._table("scores.csv")

    @cached_property
    def log(self) -> list[dict[str, Any]]:
        """One entry per epoch."""
        return [json.loads(line) for line in self.content("log.jsonl").decode().splitlines()]

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest of the data that the run saw: counts per split, image coverage, word vectors."""
        manifest: dict[str, Any] = json.loads(self._data_content("manifest.json"))
        return manifest

    @cached_property
    def test_reviews(self) -> pd.DataFrame:
        """Of every test review: review_id, product_id, label, word_count, time, has_image."""
        return _read_csv(self._data_content("test.csv"))

    def load(self) -> None:
        """Read the tables now, for use when the folder may be gone."""
        _ = (self.per_product, self.scores, self.log, self.manifest, self.test_reviews)

    def recomputed(self) -> pd.DataFrame:
        """`per_product` as the stored scores give it, with the run's own threshold."""
        return self._from_scores(self._table("per_product.csv"))

    def _from_scores(self, stored: pd.DataFrame) -> pd.DataFrame:
        number = {product: row for row, product in enumerate(stored["product_id"])}
        return per_product_table(
            list(number),
            self.scores["product_id"].map(number).to_numpy(dtype=np.int64),
            self.scores["label"],
            self.scores["score"],
            self.relevance_threshold,
            self.ties,
        )

    def contents(self) -> dict[str, bytes]:
        """The files that tables are made of, each as it was written, and the `done` mark."""
        found = {name: self.content(name) for name in TABLE_FILES}
        return found | {DONE: (self.folder / DONE).read_bytes()}

    def data_contents(self) -> dict[str, bytes]:
        """The files of the data that the run saw, each as it was written, and their mark if they have one."""
        found = {name: self._data_content(name) for name in DATA_FILES}
        mark = self._data / DONE
        return found | ({DONE: mark.read_bytes()} if mark.exists() else {})

    def content(self, name: str) -> bytes:
        """A file of the run; DataError if it is not what was written."""
        return checked(self.folder / name, self.sums)

    def _table(self, name: str) -> pd.DataFrame:
        return _read_csv(self.content(name))

    def _data_content(self, name: str) -> bytes:
        sums = _data_sums(self._data, self.spec.fingerprint)
        if sums is not None:
            return checked(self._data / name, sums)
        try:
            return read_regular(self._data / name)
        except OSError as error:
            raise DataError(
                f"{self._data / name}: {error.strerror}. Remove the folder and run again."
            ) from error

    @property
    def _data(self) -> Path:
        return data_folder(self.results, self.spec.dataset, self.spec.category, self.spec.fingerprint)


def rescored(
    runs: Iterable[StoredRun], threshold: int | None = None, ties: Ties = "expected"
) -> list[StoredRun]:
    """The same runs, their values per product taken from the stored scores at another relevance threshold or
    by another tie policy. None and `expected` are the runs' own."""
    # replace makes new objects, without the tables that the old ones have cached
    return [replace(run, threshold=threshold, ties=ties) for run in runs]


def _data_sums(folder: Path, fingerprint: str) -> dict[str, str] | None:
    """What a data folder's mark says; None for a folder of before there were marks, read without comparing."""
    try:
        return read_mark(folder, fingerprint)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(
            f"{folder}: what its files must be is not known ({DONE}: {error.strerror}). `bench run` with the same "
            "data writes them anew."
        ) from error


def _read_csv(content: bytes) -> pd.DataFrame:
    """Ids and texts as they are (no id turns into a number), every other column as the exact numbers."""
    table = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)
    for name in table.columns:
        if name not in TEXT_COLUMNS:
            # Python's own parser: a score comes back bit for bit, whatever pandas' fast parser rounds
            values = np.array([float(value) if value else np.nan for value in table[name]])
            whole = np.isfinite(values).all() and name in INTEGER_COLUMNS
            table[name] = values.astype(np.int64) if whole else values
    return table


def load_run(folder: Path) -> StoredRun:
    """One finished run. DataError, naming the file, if its mark, configuration or provenance is not what was
    written; its tables are checked when they are read."""
    try:
        sums = read_mark(folder)
        record = json.loads(checked(folder / "config.json", sums))
        provenance = json.loads(checked(folder / "meta.json", sums))
        spec = spec_from_json(record)
        numerics, known = _made_under(spec, record)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{folder}: not a run folder that can be read ({error}). Remove it and run again."
        ) from error
    if known != record.get("identity") or not folder.name.endswith(known):
        raise DataError(
            f"{folder}: its config.json is not that of run {folder.name.rpartition('-')[2]}. "
            "Remove it and run again."
        )
    read_mark(folder, known)
    if missing := [name for name in TABLE_FILES if name not in sums]:
        raise DataError(f"{folder / DONE}: names no {missing[0]}. Remove the folder and run again.")
    return StoredRun(folder, spec, provenance, sums, numerics=numerics)


def _made_under(spec: RunSpec, record: Mapping[str, Any]) -> tuple[int, str]:
    """The numerics version that a stored run was made under, and its identity under it. A record of before the
    version was kept says it by its identity."""
    if "numerics" in record:
        numerics = int(record["numerics"])
        return numerics, spec.identity_under(numerics)
    for numerics in range(NUMERICS_VERSION, 0, -1):
        if (known := spec.identity_under(numerics)) == record.get("identity"):
            return numerics, known
    return NUMERICS_VERSION, spec.identity


def load_runs(results: str | Path, dataset: str | None = None) -> list[StoredRun]:
    """All finished runs below `results`, in a fixed order (by path)."""
    results = Path(results)
    pattern = f"runs/{dataset or '*'}/*/*/seed-*/{DONE}"
    marks = sorted(results.glob(pattern))
    unmarked = {path for path in results.glob(pattern.removesuffix(f"/{DONE}")) if path.is_dir()}
    for folder in sorted(unmarked - {mark.parent for mark in marks}):
        # a run under way lies elsewhere: here it was killed in its last moment, or the mark was taken away
        _log.warning("%s: no `%s` in it, so it does not count; `bench run` does it again", folder, DONE)
    return [load_run(mark.parent) for mark in marks]


def load_failures(results: Path, dataset: str | None = None) -> list[dict[str, Any]]:
    """All recorded failures below `results`, by path; a record that is damaged says so as its reason."""
    pattern = f"runs/{dataset or '*'}/*/*/seed-*.failed.json"
    return [_failure(file) for file in sorted(results.glob(pattern))]


def _failure(file: Path) -> dict[str, Any]:
    try:
        return failure_record(file)
    except (OSError, DataError) as error:
        place, category, model = file.parts[-4:-1]
        seed, _, identity = file.name.removesuffix(".failed.json").removeprefix("seed-").partition("-")
        spec = {"dataset": place, "category": category, "method": model, "seed": seed}
        return {"identity": identity, "spec": spec, "reason": str(error), "details": ""}
