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

import hashlib
import json
import os
import shutil
import socket
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from benchmark.core.errors import DataError
from benchmark.core.metrics import METRICS, PAPER_METRICS, Ties, per_product_metrics, random_order_expectation

NUMERICS_VERSION = 2
"""Part of every run's identity: raised when a change of ours changes the numbers that a run gives."""

DONE = "done"

TEXT_COLUMNS = frozenset({"product_id", "review_id"})
INTEGER_COLUMNS = frozenset({"label", "n_reviews", "n_relevant", "word_count", "has_image"})


@dataclass(frozen=True)
class RunSpec:
    """One run. Everything that changes its numbers is here and enters its identity; nothing else is."""

    dataset: str
    category: str
    method: str
    seed: int
    config: Mapping[str, Any]
    """The resolved configuration, `{"training": {...}, "model": {...}}`."""
    fingerprint: str
    """SHA-256 over the content of the data."""
    protocol: str
    preset: str
    drop: tuple[str, ...] = ()
    """Parts removed in an ablation, in the paper's order."""
    device: str = "cpu"
    """`cpu` or `cuda`: the order of a sum differs between them."""
    shuffle_labels: bool = False
    """Negative control: labels permuted within each product, in all that training sees (train and dev)."""
    overrides: tuple[str, ...] = ()
    """The `--set` values behind `config`, for naming; not part of the identity."""
    corpus: str = ""
    """Name of the corpus, for captions; not part of the identity (the fingerprint is)."""
    synthetic: bool = False

    @cached_property
    def identity(self) -> str:
        """16 hexadecimal digits: a hash of everything that changes the run's numbers."""
        content = {
            "numerics": NUMERICS_VERSION,
            "dataset": self.dataset,
            "category": self.category,
            "method": self.method,
            "seed": self.seed,
            "config": self.config,
            "fingerprint": self.fingerprint,
            "protocol": self.protocol,
            "preset": self.preset,
            "drop": self.drop,
            "device": self.device,
            "shuffle_labels": self.shuffle_labels,
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def model(self) -> str:
        """The method with its dropped parts: `mmss-no-ptrt`."""
        return "-".join([self.method, *(f"no-{part}" for part in self.drop)])

    def folder(self, results: Path) -> Path:
        name = f"seed-{self.seed}-{self.identity}"
        return results / "runs" / self.dataset / self.category / self.model / name

    def __str__(self) -> str:
        return f"{self.dataset}/{self.category} {self.model} seed {self.seed}"


def is_done(spec: RunSpec, results: Path) -> bool:
    """True if the run's folder is complete: its `done` mark is there and names this identity."""
    try:
        mark = json.loads((spec.folder(results) / DONE).read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return False
    return bool(mark.get("identity") == spec.identity)


def failure_file(spec: RunSpec, results: Path) -> Path:
    folder = spec.folder(results)
    return folder.with_name(folder.name + ".failed.json")


def read_failure(spec: RunSpec, results: Path) -> dict[str, Any] | None:
    """The recorded reason of a failed run, or None."""
    try:
        record: dict[str, Any] = json.loads(failure_file(spec, results).read_text())
        return record
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None


def write_failure(spec: RunSpec, results: Path, reason: str, details: str) -> None:
    file = failure_file(spec, results)
    file.parent.mkdir(parents=True, exist_ok=True)
    record = {"identity": spec.identity, "spec": asdict(spec), "reason": reason, "details": details}
    write_atomically(file, json.dumps(record, indent=1) + "\n")


def write_atomically(file: Path, text: str) -> None:
    """All of `text` or nothing, also if the process dies in between."""
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}")
    temporary.write_text(text)
    os.replace(temporary, file)


class RunWriter:
    """Collects one run's files in a hidden folder; `finish` moves it into place, its `done` mark last.

    A killed run leaves only the hidden folder, which nothing takes for a result and `sweep_partial`
    removes.
    """

    def __init__(self, spec: RunSpec, results: Path) -> None:
        self.spec = spec
        self.results = results
        # Two hosts of a cluster may share <results>: the owner's host and process are in the name.
        owner = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self.folder = results / ".partial" / f"{spec.identity}-{owner}"
        self.folder.mkdir(parents=True)
        self.write_json("config.json", asdict(spec) | {"identity": spec.identity})

    def write_json(self, name: str, value: object) -> None:
        (self.folder / name).write_text(json.dumps(value, indent=1) + "\n")

    def log(self, entry: Mapping[str, Any]) -> None:
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        table.to_csv(self.folder / name, index=False, lineterminator="\n")

    def finish(self) -> Path:
        """Publish the folder and return its final path. An earlier folder of the same run is replaced."""
        files = {path.name: _sha256(path) for path in sorted(self.folder.iterdir())}
        final = self.spec.folder(self.results)
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.exists():
            shutil.rmtree(final)
        os.replace(self.folder, final)
        mark = {"identity": self.spec.identity, "files": files}
        write_atomically(final / DONE, json.dumps(mark, indent=1) + "\n")
        failure_file(self.spec, self.results).unlink(missing_ok=True)
        return final

    def discard(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sweep_partial(results: Path) -> int:
    """Remove what killed runs of this host left behind; returns how many."""
    removed = 0
    for folder in (results / ".partial").glob("*"):
        _, _, owner = folder.name.partition("-")
        host, _, rest = owner.rpartition("-")[0].rpartition("-")
        if host == socket.gethostname() and rest.isdigit() and not _alive(int(rest)):
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


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
    def dataset(self) -> str:
        return self.spec.dataset

    @property
    def category(self) -> str:
        return self.spec.category

    @property
    def method(self) -> str:
        return self.spec.method

    @property
    def seed(self) -> int:
        return self.spec.seed

    @property
    def drop(self) -> tuple[str, ...]:
        return self.spec.drop

    @property
    def protocol(self) -> str:
        return self.spec.protocol

    @property
    def preset(self) -> str:
        return self.spec.preset

    @property
    def overrides(self) -> tuple[str, ...]:
        return self.spec.overrides

    @property
    def fingerprint(self) -> str:
        return self.spec.fingerprint

    @property
    def corpus(self) -> str:
        return self.spec.corpus

    @property
    def synthetic(self) -> bool:
        return self.spec.synthetic

    @property
    def device(self) -> str:
        return self.spec.device

    @property
    def config(self) -> Mapping[str, Any]:
        return self.spec.config

    @property
    def results(self) -> Path:
        return self.folder.parents[4]

    @property
    def own_threshold(self) -> int:
        """t of the run itself: what selected its epoch on dev, and what `per_product.csv` was made with."""
        return int(self.config["training"]["relevance_threshold"])

    @property
    def relevance_threshold(self) -> int:
        """t of `per_product`: a review is relevant if its label is above it."""
        return self.own_threshold if self.threshold is None else self.threshold

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
        return data_folder(self.results, self.dataset, self.category, self.fingerprint)


def rescored(
    runs: Iterable[StoredRun], threshold: int | None = None, ties: Ties = "expected"
) -> list[StoredRun]:
    """The same runs, their values per product taken from the stored scores at another relevance threshold or
    by another tie policy. None and `expected` are the runs' own."""
    return [replace(run, threshold=threshold, ties=ties) for run in runs]


def per_product_table(
    product_ids: Sequence[str],
    product_R: NDArray[np.int64],
    label_R: ArrayLike,
    score_R: ArrayLike,
    threshold: int,
    ties: Ties = "expected",
) -> pd.DataFrame:
    """One row per product: counts, the metrics (0..1) and the expected value of a random order.

    `product_R` is each review's row in `product_ids`.
    """
    n = len(product_ids)
    relevant_R = np.asarray(label_R) > threshold
    values = per_product_metrics(label_R, score_R, product_R, n, threshold=threshold, ties=ties)
    chance = random_order_expectation(label_R, product_R, n, threshold=threshold)
    return pd.DataFrame(
        {
            "product_id": product_ids,
            "n_reviews": np.bincount(product_R, minlength=n),
            "n_relevant": np.bincount(product_R[relevant_R], minlength=n),
            **{name: values[name] for name in METRICS},
            **{f"random_{name}": chance[name] for name in PAPER_METRICS},
        }
    )


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


def data_folder(results: Path, dataset: str, category: str, fingerprint: str) -> Path:
    return results / "data" / dataset / category / fingerprint[:16]


def spec_from_json(record: Mapping[str, Any]) -> RunSpec:
    known = {name: record[name] for name in RunSpec.__dataclass_fields__ if name in record}
    known["drop"] = tuple(known.get("drop", ()))
    known["overrides"] = tuple(known.get("overrides", ()))
    return RunSpec(**known)


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


def write_data(results: Path, corpus: Any) -> None:
    """Keep what tables need of the data (counts, test reviews), once per fingerprint.

    `corpus`: a benchmark.data.corpus.Corpus.
    """
    folder = data_folder(results, corpus.dataset, corpus.category, corpus.fingerprint)
    if (folder / "manifest.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    test = corpus.test
    product_ids = np.asarray(test.product_ids, dtype=object)
    table = pd.DataFrame(
        {
            "review_id": test.review_ids,
            "product_id": product_ids[test.product_R],
            "label": test.label_R,
            "word_count": test.word_count_R,
            "time": test.time_R if test.time_R is not None else "",
            "has_image": test.has_image_R.astype(int),
        }
    )
    write_atomically(folder / "test.csv", table.to_csv(index=False, lineterminator="\n"))
    write_atomically(folder / "manifest.json", json.dumps(corpus.manifest, indent=1, sort_keys=True) + "\n")
