"""`benchmark.run`: train and test from Python, as `bench run` does."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark import models
from benchmark.cluster.here import run_all
from benchmark.core.errors import BenchError, DataError, UsageError
from benchmark.data.datasets import categories_of, known
from benchmark.data.source import Source, available_categories
from benchmark.data.store import cache_root
from benchmark.engine import callbacks
from benchmark.engine.execute import RunOptions
from benchmark.engine.machine import default_jobs
from benchmark.engine.plan import PAPER_SEEDS, Choices, expand, make_plan
from benchmark.runs.store import StoredRun, load_run
from benchmark.runs.writer import write_data


def run(
    methods: Sequence[str | type[Any]] | str | type[Any] = models.DEFAULT_METHODS,
    *,
    dataset: str | Sequence[str] | None = None,
    category: str | Sequence[str] | None = None,
    seeds: Sequence[int] = PAPER_SEEDS,
    data: str | Path | None = None,
    results: str | Path = "results",
    preset: str = "quick",
    protocol: str = "fair",
    overrides: Mapping[str, Any] | None = None,
    device: str = "auto",
    jobs: int | None = None,
    log: Sequence[str] = (),
    cache: str | Path | None = None,
) -> list[StoredRun]:
    """Carry out the runs that are not done yet, in processes of their own; all of them, seed by seed.

    Args:
        methods: names, `path/to/file.py:Class`, or classes that stand in a file (not in a notebook's cell).
        dataset, category: one or several; None: all that `data` has.
        data: the root of a release or of a data set of one's own; None: the embedded corpus `mini`.
        overrides: as `--set`: `{"train.epochs": 3, "mcr.hidden": 32}`.
        jobs: runs side by side; None: one per core (one on a GPU).
        log: as `--log`: `["tensorboard", "path/to/file.py:Class"]`.

    Raises:
        UsageError: a name or value is not known.
        DataError: none of the chosen categories is there.
        BenchError: runs failed; the message has each one's reason, and the others are done and kept.
    """
    results = Path(results)
    options = RunOptions(log=callbacks.check(log))
    source = Source(_root(data, cache), None if cache is None else Path(cache))
    chosen = _listed(methods)
    choices = Choices(
        *_places(source.root, _names(dataset), _names(category)),
        methods=tuple(_name(method) for method in chosen),
        seeds=tuple(seeds),
        preset=preset,
        protocol=protocol,
        overrides=tuple(f"{key}={value}" for key, value in (overrides or {}).items()),
        device=device,
    )
    pairs = available_categories(source.root, choices.datasets, choices.categories)
    if not pairs:
        raise DataError(f"{source.root}: none of the chosen categories is there.")
    corpora = [source.open(*pair) for pair in pairs]
    plan = make_plan(expand(choices, corpora), results)
    for corpus in corpora:
        write_data(results, corpus)
    on_gpu = any(spec.device == "cuda" for spec in plan.specs)
    side_by_side = jobs or (1 if on_gpu else default_jobs(1))
    outcomes = run_all(plan.to_do, source, results, jobs=side_by_side, options=options)
    failed = [outcome for outcome in outcomes if not outcome.ok]
    if failed:
        raise BenchError("\n".join(f"{outcome.spec}: {outcome.reason}" for outcome in failed))
    return [load_run(spec.folder(results)) for spec in plan.specs]


def _root(data: str | Path | None, cache: str | Path | None) -> Path:
    if data is not None:
        return Path(data)
    from benchmark.data.mini.corpus import mini_root

    return mini_root(cache_root(None if cache is None else Path(cache)))


def _places(
    root: Path, datasets: tuple[str, ...], categories: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of data sets and categories, all where none is given; UsageError for one that the root does not know."""
    data_sets = known(root)
    if unknown := [name for name in datasets if name not in data_sets]:
        raise UsageError(f"unknown dataset {unknown[0]!r}. Known: {' '.join(data_sets)}.")
    datasets = datasets or tuple(data_sets)
    there = categories_of([data_sets[name] for name in datasets])
    if unknown := [name for name in categories if name not in there]:
        raise UsageError(f"unknown category {unknown[0]!r}. Known: {' '.join(there)}.")
    return datasets, categories or tuple(there)


def _listed(methods: Sequence[str | type[Any]] | str | type[Any]) -> list[str | type[Any]]:
    return [methods] if isinstance(methods, str | type) else list(methods)


def _names(given: str | Sequence[str] | None) -> tuple[str, ...]:
    return () if given is None else (given,) if isinstance(given, str) else tuple(given)


def _name(method: str | type[Any]) -> str:
    """The registered name of a method, registered first if it is a class or names one."""
    if isinstance(method, str):
        return models.register(method).name if ":" in method else models.get(method).name
    for known_method in models.METHODS.values():
        if known_method.target == f"{method.__module__}:{method.__qualname__}":
            return known_method.name
    try:
        file = inspect.getsourcefile(method)
    except TypeError:
        file = None
    if file is None or not Path(file).is_file():
        raise UsageError(
            f"{method.__name__} stands in no file, so other processes cannot load it. Write it to one: "
            '"path/to/file.py:Class".'
        )
    return models.register(f"{file}:{method.__qualname__}").name
