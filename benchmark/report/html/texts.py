"""Texts and images of test items, from where the data set lies locally; a report without them has ids only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.core.errors import DataError
from benchmark.data.mini.corpus import spec_hash
from benchmark.data.mini.latent import MiniSpec
from benchmark.data.source import Source
from benchmark.data.store import cache_root
from benchmark.runs.store import StoredRun

if TYPE_CHECKING:
    from benchmark.data.corpus import Split


@dataclass(frozen=True)
class Texts:
    """Of one category's test split, by id; an unknown id has an empty text."""

    split: Split

    @cached_property
    def _product_rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.split.product_ids)}

    @cached_property
    def _review_rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.split.review_ids)}

    def product(self, product_id: str) -> str:
        row = self._product_rows.get(product_id)
        return "" if row is None else self.split.product_text(row)

    def review(self, review_id: str) -> str:
        row = self._review_rows.get(review_id)
        return "" if row is None else self.split.review_text(row)


TextSource = Callable[[StoredRun], Texts | None]
"""A run -> texts of the data it was tested on, or None where they are not here."""


def embedded_corpus(cache: Path | None = None) -> Path | None:
    """Root of the embedded corpus if this machine has it; nothing is written."""
    folder = cache_root(cache) / f"mini-{spec_hash(MiniSpec())}"
    return folder if folder.is_dir() else None


def local_texts(root: Path | None, cache: Path | None = None) -> TextSource:
    """From the release at `root`, else from the embedded corpus if this machine has it; only where the data
    are those of the run. A data set that `root` should hold and cannot be read raises DataError."""
    folder = root if root is not None else embedded_corpus(cache)

    def texts_of(run: StoredRun) -> Texts | None:
        if folder is None or not (folder / run.spec.dataset / run.spec.category).is_dir():
            return None
        try:
            corpus = Source(folder, cache).open(run.spec.dataset, run.spec.category)
        except (DataError, OSError):
            if root is not None:
                raise
            return None
        # with a vector file, the run's fingerprint is of the data and of the vectors
        seen = run.manifest.get("data_fingerprint", run.spec.fingerprint)
        return Texts(corpus.test) if corpus.fingerprint == seen else None

    return texts_of
