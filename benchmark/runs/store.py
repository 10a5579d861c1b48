"""Run folders: written once by a run, read by everything else. Needs no torch.

<results>/runs/<dataset>/<category>/<method>[-no-<part>...]/seed-<n>-<identity>/
    config.json      the RunSpec: what was asked, fully resolved
    meta.json        provenance: versions, commit, device, durations
    log.jsonl        one object per epoch
    scores.npy       float32 [R], one score per test review, in the order of the data's test.csv
    parts.npy        where the method says more: a record of float32 fields `score_<name>` per test review
    per_product.npy  a record of float64 metrics per test product, in the order of the data's products.csv
    *.safetensors    weights and training state, where kept
    vocabulary.json  with weights: the words that their ids stand for
    done             written last: identity and SHA-256 of every other file
<results>/data/<dataset>/<category>/<fingerprint>/   what runs saw of the data
    manifest.json, test.csv (ids and labels of the test reviews), products.csv, done

A run of before scores were kept as arrays has scores.csv and per_product.csv instead, with ids and labels of their
own. `numpy.load("scores.npy")` and test.csv side by side are what scores.csv was.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.core.errors import DataError
from benchmark.runs.files import DONE, checked, failure_record, read_mark, table_files
from benchmark.runs.spec import NUMERICS_VERSION, RunSpec, spec_from_json
from benchmark.runs.stored import StoredRun as StoredRun
from benchmark.runs.stored import rescored as rescored

_log = logging.getLogger(__name__)


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
    if missing := [name for name in table_files(sums) if name not in sums]:
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
