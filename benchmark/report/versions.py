"""Runs that were asked for alike and made by different versions of the package: the newest stand in a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmark import models
from benchmark.runs.store import StoredRun


def newest(runs: Sequence[StoredRun]) -> tuple[tuple[StoredRun, ...], tuple[StoredRun, ...]]:
    """(shown, older), each in the order given: of every method (and set of dropped parts) on every category, the
    runs of the version (configuration, code, numerics) that holds the latest run, and the others."""
    by_cell: dict[tuple[object, ...], list[StoredRun]] = {}
    for run in runs:
        by_cell.setdefault((run.spec.category, run.spec.method, run.spec.drop), []).append(run)
    shown: set[str] = set()
    for members in by_cell.values():
        latest = members[0].version
        if any(run.version != latest for run in members):
            latest = max(members, key=lambda run: run.age_rank).version
        shown |= {run.id for run in members if run.version == latest}
    return (
        tuple(run for run in runs if run.id in shown),
        tuple(run for run in runs if run.id not in shown),
    )


def version_sentences(
    shown: Sequence[StoredRun], older: Sequence[StoredRun], category_title: Callable[[str], str]
) -> list[str]:
    """For a caption: which runs are left out for newer ones, which methods' rows are of two versions of the
    code, and which methods are not installed here."""
    sentences = []
    if older:
        sentences.append(
            f"Runs of an older configuration or version, not shown: {_named(older, category_title)}. "
            "`bench clean --dry-run` lists what no present configuration asks for."
        )
    versions: dict[str, set[tuple[str, int]]] = {}
    for run in shown:
        versions.setdefault(run.spec.method, set()).add((run.spec.code, run.numerics))
    if mixed := [name for name, found in versions.items() if len(found) > 1]:
        titles = ", ".join(models.METHODS[name].title for name in mixed)
        sentences.append(f"CELLS OF ONE METHOD WERE MADE BY DIFFERENT VERSIONS OF THE CODE: {titles}.")
    if unknown := [name for name in versions if not models.METHODS[name].installed]:
        titles = ", ".join(f"{models.METHODS[name].title} ({name})" for name in unknown)
        sentences.append(f"Not a method of this installation, shown from what its runs store: {titles}.")
    return sentences


def _named(runs: Sequence[StoredRun], category_title: Callable[[str], str]) -> str:
    """`MCR (Elec, seeds 0 1; H&K, seeds 0), MM-SS without d (Elec, seeds 2)`."""
    seeds: dict[str, dict[str, set[int]]] = {}
    for run in runs:
        without = f" without {' '.join(run.spec.drop)}" if run.spec.drop else ""
        place = seeds.setdefault(models.METHODS[run.spec.method].title + without, {})
        place.setdefault(category_title(run.spec.category), set()).add(run.spec.seed)
    return ", ".join(
        f"{title} ({'; '.join(f'{where}, seeds {_spaced(found)}' for where, found in places.items())})"
        for title, places in seeds.items()
    )


def _spaced(numbers: set[int]) -> str:
    return " ".join(str(number) for number in sorted(numbers))
