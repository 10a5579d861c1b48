"""Where a run, its failure record and its data lie in a results folder, and when a run counts as done."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmark.core.files import write_atomically as write_atomically
from benchmark.runs.spec import RunSpec

DONE = "done"


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


def data_folder(results: Path, dataset: str, category: str, fingerprint: str) -> Path:
    return results / "data" / dataset / category / fingerprint[:16]
