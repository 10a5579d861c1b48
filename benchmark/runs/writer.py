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
from typing import Any

import numpy as np
import pandas as pd

from benchmark.core.errors import DataError
from benchmark.runs.claims import abandoned, read_owner, write_owner
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
from benchmark.runs.spec import NUMERICS_VERSION, RunSpec


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

    def finish(self) -> Path:
        """Publish the folder and return its final path. An earlier folder of the same run is replaced."""
        self.owner.unlink(missing_ok=True)
        files = {path.name: _sha256(path) for path in sorted(self.folder.iterdir())}
        final = self.spec.folder(self.results)
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.exists():
            shutil.rmtree(final)
        os.replace(self.folder, final)
        write_mark(final, self.spec.identity, files)
        failure_file(self.spec, self.results).unlink(missing_ok=True)
        return final

    def discard(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sweep_partial(results: Path) -> int:
    """Remove the folders of runs whose process is dead, or gave no sign of life for long; returns how many."""
    removed = 0
    for folder in (results / ".partial").glob("*"):
        owner = read_owner(folder / "owner.json")
        fate = "unknown" if owner is None else owner.fate()
        if fate == "dead" or (fate == "unknown" and abandoned(folder) and abandoned(folder / "owner.json")):
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
        if checked(file, sums).decode() == manifest and not damage_of(folder / "test.csv", sums):
            return
    except (OSError, DataError):  # not there, or damaged: written anew
        pass
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
    write_data_files(folder, corpus.fingerprint, manifest, table.to_csv(index=False, lineterminator="\n"))


def write_data_files(folder: Path, fingerprint: str, manifest: str, test: str) -> None:
    """The files of a data folder, then the mark with their hashes."""
    contents = dict(zip(DATA_FILES, (manifest, test), strict=True))
    for name, text in contents.items():
        write_atomically(folder / name, text)
    sums = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in contents.items()}
    write_mark(folder, fingerprint, sums)
