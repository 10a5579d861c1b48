"""Writing a run: files collected in a hidden folder that is moved into place when it is complete."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.core.errors import DataError
from benchmark.core.judge import Judge
from benchmark.core.metrics import METRICS
from benchmark.runs.arrays import to_npy
from benchmark.runs.claims import read_owner, server_time, silent, write_owner
from benchmark.runs.files import (
    DATA_FILES,
    checked,
    damage_of,
    data_folder,
    failure_file,
    read_mark,
    write_atomically,
    write_mark,
)
from benchmark.runs.reviews import reviews_digest
from benchmark.runs.spec import NUMERICS_VERSION, RunSpec

if TYPE_CHECKING:
    import pandas as pd


class Written(NamedTuple):
    """What came of a run's scores."""

    reviews: str
    """Digest of the reviews that they are scores of, for `data.reviews` of meta.json: in any other order they would
    be other reviews' scores."""
    values: Mapping[str, NDArray[np.float64]]
    """The METRICS of every test product."""


class RunWriter:
    """Collects one run's files in a hidden folder; `finish` moves it into place, its `done` mark last.

    A killed run leaves only the hidden folder, which nothing takes for a result and `sweep_partial`
    removes.
    """

    def __init__(self, spec: RunSpec, results: Path) -> None:
        self.spec = spec
        self.results = results
        self.folder = results / ".partial" / f"{spec.identity}-{uuid.uuid4().hex[:12]}"
        self.folder.mkdir(parents=True)
        # Whose it is: several hosts and containers may share <results>, each sweeping what the dead left.
        self.owner = self.folder / "owner.json"
        write_owner(self.owner, self.folder.name)
        self.write_json(
            "config.json", asdict(spec) | {"identity": spec.identity, "numerics": NUMERICS_VERSION}
        )

    def write_json(self, name: str, value: object) -> None:
        (self.folder / name).write_text(json.dumps(value, indent=1) + "\n")

    def log(self, entry: Mapping[str, Any]) -> None:
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        table.to_csv(self.folder / name, index=False, lineterminator="\n")

    def write_scores(
        self,
        split: Any,
        score_R: NDArray[np.float32],
        parts: Mapping[str, NDArray[np.float32]],
        threshold: int,
    ) -> Written:
        """The scores of a split (benchmark.data.corpus.Split) and what the method says beside them, in the
        split's order, and the values per product that they give."""
        judge = Judge(split.label_R, split.product_R, split.n_products, threshold)
        values = judge.metrics(score_R)
        per_product = np.empty(split.n_products, dtype=[(name, "<f8") for name in METRICS])
        for name in METRICS:
            per_product[name] = values[name]
        self._write_array("per_product.npy", per_product)
        self._write_array("scores.npy", np.asarray(score_R, dtype="<f4"))
        if parts:
            said = np.empty(len(score_R), dtype=[(f"score_{name}", "<f4") for name in parts])
            for name, part_R in parts.items():
                said[f"score_{name}"] = part_R
            self._write_array("parts.npy", said)
        ids = np.asarray(split.product_ids, dtype=object)
        of = reviews_digest(split.review_ids, ids[split.product_R], split.label_R, split.product_ids)
        return Written(of, values)

    def _write_array(self, name: str, array: NDArray[Any]) -> None:
        (self.folder / name).write_bytes(to_npy(array))

    def finish(self) -> Path:
        """Publish the folder and return its final path. An earlier folder of the same run is replaced."""
        files = {path.name: sha256_of(path) for path in sorted(self.folder.iterdir()) if path != self.owner}
        final = self.spec.folder(self.results)
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.exists():
            shutil.rmtree(final)
        os.replace(self.folder, final)
        # not before: as long as the folder is a hidden one, this file tells whose
        (final / self.owner.name).unlink(missing_ok=True)
        write_mark(final, self.spec.identity, files)
        failure_file(self.spec, self.results).unlink(missing_ok=True)
        return final

    def discard(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sweep_partial(results: Path) -> int:
    """Remove the folders of runs whose process is dead, or gave no sign of life for long; returns how many."""
    removed = 0
    for folder in (results / ".partial").glob("*"):
        file = folder / "owner.json"
        owner = read_owner(file)
        fate = "unknown" if owner is None else owner.fate()
        # Its beat is that of the run's claim, so that whoever may take the run over may sweep this. The folder's own
        # time is not: every file written in it moves that, the last one after the last beat.
        sign = file if file.exists() else folder
        if fate == "dead" or (fate == "unknown" and silent(sign, server_time(folder.parent))):
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed


def write_data(results: Path, corpus: Any) -> None:
    """Keep what tables need of the data (its descriptor, counts, test reviews), once per fingerprint; again
    where the descriptor has changed since, by a title say.

    `corpus`: a benchmark.data.corpus.Corpus.
    """
    folder = data_folder(results, corpus.dataset, corpus.category, corpus.fingerprint)
    manifest = json.dumps(corpus.manifest, indent=1, sort_keys=True) + "\n"
    file = folder / "manifest.json"
    try:
        sums = read_mark(folder)
        whole = all(name in sums and not damage_of(folder / name, sums) for name in DATA_FILES)
        if whole and checked(file, sums).decode() == manifest:
            return
    except (OSError, DataError):  # not there, or damaged: written anew
        pass
    import pandas as pd

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
    products = pd.DataFrame({"product_id": product_ids})
    write_data_files(
        folder,
        corpus.fingerprint,
        manifest,
        *(one.to_csv(index=False, lineterminator="\n") for one in (table, products)),
    )


def write_data_files(
    folder: Path, fingerprint: str, manifest: str, test: str, products: str | None = None
) -> None:
    """The files of a data folder, then the mark with their hashes. `products`: ids in the order of values per
    product; runs of before scores were kept as arrays do without."""
    contents = {
        name: text
        for name, text in zip(DATA_FILES, (manifest, test, products), strict=True)
        if text is not None
    }
    for name, text in contents.items():
        write_atomically(folder / name, text)
    sums = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in contents.items()}
    write_mark(folder, fingerprint, sums)
