"""The data sets that stored runs are of, by the descriptors that were kept with their data (torch-free)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from benchmark.core.errors import DataError
from benchmark.core.files import read_json
from benchmark.data.dataset_file import from_record
from benchmark.data.datasets import BUILT_IN, Category, DataSet, generic
from benchmark.runs.files import data_folder
from benchmark.runs.store import StoredRun


def data_sets_of(runs: Iterable[StoredRun]) -> dict[str, DataSet]:
    """Name -> descriptor of every data set that the runs are of. A category that was run and that the
    descriptor does not list (two versions of it were used) comes last, by name.

    DataError if a stored descriptor cannot be read.
    """
    found: dict[str, DataSet] = {}
    seen: dict[str, dict[str, Category]] = {}
    for name, category, manifest in sorted(_places(runs)):
        data_set = _stored(name, manifest)
        best = found.get(name)
        if best is None or len(data_set.categories) > len(best.categories):
            found[name] = data_set
        seen.setdefault(name, {})[category] = data_set.category(category)
    return {name: _with_categories(data_set, seen[name]) for name, data_set in found.items()}


def data_set_of(runs: Iterable[StoredRun]) -> DataSet:
    """The descriptor of runs of one data set."""
    (data_set,) = data_sets_of(runs).values()
    return data_set


def _places(runs: Iterable[StoredRun]) -> set[tuple[str, str, Path]]:
    """(data set, category, manifest file), each once: a grid's runs share a few manifests."""
    return {
        (spec.dataset, spec.category, data_folder(run.results, spec.dataset, spec.category, spec.fingerprint))
        for run in runs
        for spec in [run.spec]
    }


def _stored(name: str, folder: Path) -> DataSet:
    if name in BUILT_IN:
        return BUILT_IN[name]
    try:
        status = (folder / "manifest.json").stat()
    except OSError:
        return generic(name)
    return _read(name, folder / "manifest.json", status.st_mtime_ns)


@lru_cache(maxsize=256)
def _read(name: str, manifest: Path, modified: int) -> DataSet:
    try:
        record = read_json(manifest).get("data_set")
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(
            f"{manifest}: cannot be read ({error}). Run something on these data again."
        ) from error
    if record is None:
        return generic(name)
    data_set = from_record(record, str(manifest))
    if data_set.name != name:
        raise DataError(
            f"{manifest}: data_set: describes {data_set.name!r}, but lies in the folder of {name!r}."
        )
    return data_set


def _with_categories(data_set: DataSet, seen: dict[str, Category]) -> DataSet:
    further = [seen[name] for name in sorted(seen.keys() - set(data_set.category_names))]
    return replace(data_set, categories=(*data_set.categories, *further)) if further else data_set
