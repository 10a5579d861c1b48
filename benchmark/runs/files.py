"""Where a run, its failure record and its data lie in a results folder, and when a run counts as done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmark.core.errors import DataError
from benchmark.core.files import read_regular
from benchmark.core.files import write_atomically as write_atomically
from benchmark.runs.spec import RunSpec

DONE = "done"
TABLE_FILES = ("config.json", "meta.json", "log.jsonl", "scores.npy")
"""What a run must hold."""
OLDER_TABLE_FILES = ("config.json", "meta.json", "log.jsonl", "per_product.csv", "scores.csv")
"""What a run of before scores were kept as arrays must hold."""
PARTS = "parts.npy"
"""What a method says beside its scores, where it says something."""
DERIVED_FILES = ("per_product.npy",)
"""What the scores give, kept to be read faster: if it is there it must be what was written."""
DATA_FILES = ("manifest.json", "test.csv", "products.csv")
WEIGHTS, VOCABULARY = "weights.safetensors", "vocabulary.json"
"""What a run keeps beside, if asked: its model, and the words of `product`, `review` and `joint` in the order of their
ids."""
_LARGEST = 64 << 20
"""Bytes of the largest JSON file that is read."""


def is_done(spec: RunSpec, results: Path) -> bool:
    """True if the run's folder is complete and what was written: its `done` mark names this identity, and the
    files that tables are made of have the hashes in it. A run that is not is done again."""
    folder = spec.folder(results)
    try:
        sums = read_mark(folder, spec.identity)
        # weights are left out: large, and no table reads them
        return all(name in sums for name in table_files(sums)) and not any(
            damage_of(folder / name, sums) for name in sums if not name.endswith(".safetensors")
        )
    except (OSError, DataError):
        return False


def table_files(sums: Mapping[str, str]) -> tuple[str, ...]:
    """What a run with this mark must hold: today's files, or those of before."""
    return OLDER_TABLE_FILES if "scores.csv" in sums else TABLE_FILES


def read_mark(folder: Path, identity: str | None = None) -> dict[str, str]:
    """The SHA-256 of each of a folder's files, as its `done` mark has them.

    Raises DataError if the mark is damaged or of another identity, OSError if it is not there.
    """
    try:
        mark = json.loads(read_regular(folder / DONE, _LARGEST))
        sums = mark["files"]
        named = mark.get("identity", "")
        if not all(isinstance(part, str) for pair in sums.items() for part in pair):
            raise ValueError("a hash is no text")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(f"{folder / DONE}: damaged ({error}). Remove the folder and run again.") from None
    if identity is not None and named != identity:
        raise DataError(
            f"{folder / DONE}: of run {named!r}, not {identity}. Remove the folder and run again."
        )
    return dict(sums)


def write_mark(folder: Path, identity: str, files: Mapping[str, str]) -> None:
    mark = {"identity": identity, "files": dict(files)}
    write_atomically(folder / DONE, json.dumps(mark, indent=1) + "\n")


def checked(path: Path, sums: Mapping[str, str]) -> bytes:
    """A file's content, if it is what was written: hashed as it is read, in one pass. DataError if not."""
    try:
        content = read_regular(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}. Remove the folder and run again.") from error
    if hashlib.sha256(content).hexdigest() != sums.get(path.name):
        raise DataError(f"{path}: was changed after it was written. Remove the folder and run again.")
    return content


def damage_of(path: Path, sums: Mapping[str, str]) -> str:
    """What is wrong with a file; empty if it is what was written, or is not there and need not be."""
    if path.name in DERIVED_FILES and not path.exists():
        return ""
    try:
        checked(path, sums)
    except DataError as error:
        return str(error)
    return ""


def failure_file(spec: RunSpec, results: Path) -> Path:
    folder = spec.folder(results)
    return folder.with_name(folder.name + ".failed.json")


def read_failure(spec: RunSpec, results: Path) -> dict[str, Any] | None:
    """The recorded reason of a failed run, or None."""
    try:
        return failure_record(failure_file(spec, results))
    except (OSError, DataError):
        return None


def failure_record(file: Path) -> dict[str, Any]:
    """A failure record: `identity`, `spec`, `reason`, `details`. DataError if it is damaged, OSError if it
    cannot be read."""
    try:
        record = json.loads(read_regular(file, _LARGEST))
        names = [record["spec"][name] for name in ("dataset", "category", "method")]
        if not all(isinstance(text, str) for text in (record["identity"], record["reason"], *names)):
            raise ValueError("a field is no text")
        if not all(isinstance(part, str) for part in record["spec"].get("drop", ())):
            raise ValueError("a dropped part is no text")
        int(record["spec"]["seed"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(f"{file}: a damaged failure record ({type(error).__name__}: {error})") from None
    return dict(record)


def write_failure(spec: RunSpec, results: Path, reason: str, details: str) -> None:
    file = failure_file(spec, results)
    file.parent.mkdir(parents=True, exist_ok=True)
    record = {"identity": spec.identity, "spec": asdict(spec), "reason": reason, "details": details}
    write_atomically(file, json.dumps(record, indent=1) + "\n")


def data_folder(results: Path, dataset: str, category: str, fingerprint: str) -> Path:
    return results / "data" / dataset / category / fingerprint[:16]
