"""Run folders: written once by a run, read by everything else. Needs no torch.

<results>/runs/<dataset>/<category>/<method>[-no-<part>...]/seed-<n>-<identity>/
    config.json      the RunSpec: what was asked, fully resolved
    meta.json        provenance: versions, commit, device, durations
    log.jsonl        one object per epoch
    per_product.csv  one row per test product
    scores.csv       one row per test review
    *.safetensors    weights and training state, where kept
    done             written last: identity and SHA-256 of every other file
<results>/data/<dataset>/<category>/<fingerprint>/   test.csv and manifest.json of the data that runs saw
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.core.errors import DataError
from benchmark.core.metrics import (
    Ties,
    per_product_table,
)
from benchmark.runs.files import DONE, data_folder
from benchmark.runs.spec import Conditions, RunSpec, spec_from_json

TEXT_COLUMNS = frozenset({"product_id", "review_id"})
INTEGER_COLUMNS = frozenset({"label", "n_reviews", "n_relevant", "word_count", "has_image"})


@dataclass(frozen=True)
class StoredRun:
    """A finished run, read from its folder; the tables inside load when first used."""

    folder: Path
    spec: RunSpec
    provenance: Mapping[str, Any] = field(repr=False)
    threshold: int | None = None
    """In place of the run's own relevance threshold; see `rescored`."""
    ties: Ties = "expected"
    """How tied scores are resolved in `per_product`."""

    @property
    def id(self) -> str:
        return self.spec.identity

    @property
    def results(self) -> Path:
        return self.folder.parents[4]

    @property
    def relevance_threshold(self) -> int:
        """t of `per_product`: the run's own unless it was rescored."""
        return self.spec.relevance_threshold if self.threshold is None else self.threshold

    @property
    def conditions(self) -> Conditions:
        """The spec's, with the threshold that `per_product` is made with."""
        return replace(self.spec.conditions, relevance_threshold=self.relevance_threshold)

    @cached_property
    def per_product(self) -> pd.DataFrame:
        """One row per test product, in the data's order: product_id, n_reviews, n_relevant, map, ndcg@3,
        ndcg@5, mrr (0..1) and the random order's expectations random_map, random_ndcg@3, random_ndcg@5."""
        stored = _read_csv(self.folder / "per_product.csv")
        if self.threshold is None and self.ties == "expected":
            return stored
        number = {product: row for row, product in enumerate(stored["product_id"])}
        return per_product_table(
            list(number),
            self.scores["product_id"].map(number).to_numpy(dtype=np.int64),
            self.scores["label"],
            self.scores["score"],
            self.relevance_threshold,
            self.ties,
        )

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row per test review, in the data's order: review_id, product_id, label, score."""
        return _read_csv(self.folder / "scores.csv")

    @cached_property
    def log(self) -> list[dict[str, Any]]:
        """One entry per epoch."""
        return [json.loads(line) for line in (self.folder / "log.jsonl").read_text().splitlines()]

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest of the data that the run saw: counts per split, image coverage, word vectors."""
        manifest: dict[str, Any] = json.loads((self._data / "manifest.json").read_text())
        return manifest

    @cached_property
    def test_reviews(self) -> pd.DataFrame:
        """Of every test review: review_id, product_id, label, word_count, time, has_image."""
        return _read_csv(self._data / "test.csv")

    def load(self) -> None:
        """Read the tables now, for use when the folder may be gone."""
        _ = (self.per_product, self.scores, self.log, self.manifest, self.test_reviews)

    @property
    def _data(self) -> Path:
        return data_folder(self.results, self.spec.dataset, self.spec.category, self.spec.fingerprint)


def rescored(
    runs: Iterable[StoredRun], threshold: int | None = None, ties: Ties = "expected"
) -> list[StoredRun]:
    """The same runs, their values per product taken from the stored scores at another relevance threshold or
    by another tie policy. None and `expected` are the runs' own."""
    return [replace(run, threshold=threshold, ties=ties) for run in runs]


def _read_csv(file: Path) -> pd.DataFrame:
    """Ids and texts as they are (no id turns into a number), every other column as the exact numbers."""
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    for name in table.columns:
        if name not in TEXT_COLUMNS:
            # Python's own parser: a score comes back bit for bit, whatever pandas' fast parser rounds
            values = np.array([float(value) if value else np.nan for value in table[name]])
            whole = np.isfinite(values).all() and name in INTEGER_COLUMNS
            table[name] = values.astype(np.int64) if whole else values
    return table


def load_run(folder: Path) -> StoredRun:
    """One finished run; DataError if its files are missing or do not fit its identity."""
    try:
        record = json.loads((folder / "config.json").read_text())
        provenance = json.loads((folder / "meta.json").read_text())
        spec = spec_from_json(record)
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder}: not a run folder that can be read ({error}). Remove it and run again."
        ) from error
    return StoredRun(folder, spec, provenance)


def load_runs(results: Path, dataset: str | None = None) -> list[StoredRun]:
    """All finished runs below `results`, in a fixed order (by path)."""
    pattern = f"runs/{dataset or '*'}/*/*/seed-*/{DONE}"
    return [load_run(mark.parent) for mark in sorted(results.glob(pattern))]


def load_failures(results: Path, dataset: str | None = None) -> list[dict[str, Any]]:
    """All recorded failures below `results`, by path."""
    pattern = f"runs/{dataset or '*'}/*/*/seed-*.failed.json"
    return [json.loads(file.read_text()) for file in sorted(results.glob(pattern))]
