"""Finished runs, grouped into what may stand in one table, and the cells of that table (torch-free).

A setting holds runs that may be compared: of equal `Conditions` and, on each category, of one fingerprint.
A cell is one method (with its dropped parts) on one category: its runs, one per seed. Values are 0..1, arrays
are `[seeds, products]`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby, pairwise, product
from typing import Any

import numpy as np

from benchmark import models
from benchmark.core.errors import DataError
from benchmark.data.dataset_file import to_record
from benchmark.data.datasets import DataSet, rank
from benchmark.report.cell import Cell as Cell
from benchmark.report.versions import newest
from benchmark.runs.described import data_sets_of
from benchmark.runs.spec import Conditions
from benchmark.runs.store import StoredRun
from benchmark.stats.correction import holm
from benchmark.stats.crossed import CrossedResult, crossed_test, paired_test

_Place = tuple[str, str, tuple[str, ...]]
"""Category, method, dropped parts."""


@dataclass(frozen=True)
class Comparison:
    """A against B in one cell, with the crossed test and its place in a family."""

    category: str
    metric: str
    a: Cell
    b: Cell
    result: CrossedResult
    p_holm: float | None
    """Adjusted within the family; None where no test was possible."""

    @property
    def mark(self) -> str:
        """`*` p < 0.05, `**` p < 0.01 after Holm, if A is the better one; else empty."""
        if self.p_holm is None or self.result.difference <= 0:
            return ""
        return "**" if self.p_holm < 0.01 else "*" if self.p_holm < 0.05 else ""


@dataclass(frozen=True)
class Setting:
    """Runs of one data set that may be compared."""

    conditions: Conditions
    data_set: DataSet
    """As it was stored with the runs."""
    fingerprints: tuple[tuple[str, str], ...]
    """(category, fingerprint), in the descriptor's order of categories."""
    runs: tuple[StoredRun, ...] = field(repr=False)
    older: tuple[StoredRun, ...] = field(repr=False, default=())
    """Runs asked for alike, of an older configuration or version: in no cell."""

    def place(self, category: str) -> str:
        """The data set and the category as tables print them."""
        return f"{self.data_set.title} {self.data_set.category_title(category)}"

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """Of the undiminished runs (of all, if there are only ablations)."""
        full = [run for run in self.runs if not run.spec.drop]
        return tuple(sorted({run.spec.seed for run in full or self.runs}))

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods with an undiminished run, in the paper's row order, then those of others."""
        present = {run.spec.method for run in self.runs if not run.spec.drop}
        return tuple(name for name in models.METHODS if name in present)

    @property
    def drops(self) -> tuple[tuple[str, ...], ...]:
        """Combinations of dropped parts that were run, in order of appearance."""
        return tuple(dict.fromkeys(run.spec.drop for run in self.runs if run.spec.drop))

    def drops_of(self, method: str) -> tuple[tuple[str, ...], ...]:
        """The same of one method."""
        runs = (run.spec for run in self.runs if run.spec.method == method)
        return tuple(dict.fromkeys(spec.drop for spec in runs if spec.drop))

    def cell(
        self, category: str, method: str, drop: Sequence[str] = (), seeds: Sequence[int] | None = None
    ) -> Cell:
        """The cell's runs among the wanted seeds (default: all of the setting).

        DataError if two runs claim one seed (`group_settings` leaves those of one version).
        """
        wanted = tuple(sorted(set(self.seeds if seeds is None else seeds)))
        place = (category, method, tuple(drop))
        if (place, wanted) not in self._cells:
            runs = [run for run in self._runs_of.get(place, ()) if run.spec.seed in wanted]
            runs.sort(key=lambda run: run.spec.seed)
            for before, run in pairwise(runs):
                if run.spec.seed == before.spec.seed:
                    raise DataError(
                        f"{before.folder} and {run.folder}: one seed twice. Move one of them away."
                    )
            self._cells[place, wanted] = Cell(*place, tuple(runs), wanted)
        return self._cells[place, wanted]

    @cached_property
    def _cells(self) -> dict[tuple[_Place, tuple[int, ...]], Cell]:
        return {}

    @cached_property
    def _runs_of(self) -> dict[_Place, list[StoredRun]]:
        found: dict[_Place, list[StoredRun]] = {}
        for run in self.runs:
            found.setdefault((run.spec.category, run.spec.method, run.spec.drop), []).append(run)
        return found

    def family(
        self,
        metric: str,
        *,
        proposed: str = models.PROPOSED,
        seeds: Sequence[int] | None = None,
        baselines: Sequence[str] | None = None,
    ) -> list[Comparison]:
        """One family of tests: the proposed method against every baseline (all that were run, or those named)
        in every category, one metric, Holm over all of them. Only complete cells take part."""
        names = [name for name in self.methods if baselines is None or name in baselines]
        pairs = []
        for category in self.data_set.category_names:
            own = self.cell(category, proposed, seeds=seeds)
            others = [self.cell(category, name, seeds=seeds) for name in names if name != proposed]
            pairs += [(own, other) for other in others if own.complete and other.complete]
        return compare_pairs(pairs, [metric])[metric]


def compare_pairs(
    pairs: Sequence[tuple[Cell, Cell]], metrics: Sequence[str], *, paired: bool = False
) -> dict[str, list[Comparison]]:
    """Metric -> the crossed test of every pair, corrected over all of them; `paired` as in `cell_test`. The two cells
    of a pair must be of one category; DataError if their test products differ."""
    results: dict[str, list[CrossedResult]] = {metric: [] for metric in metrics}
    for a, b in pairs:  # all that is asked of a pair while its runs are at hand
        for metric, found in results.items():
            found.append(cell_test(a, b, metric, paired=paired))
    return {
        metric: [
            Comparison(a.category, metric, a, b, result, p)
            for (a, b), result, p in zip(pairs, found, corrected(found), strict=True)
        ]
        for metric, found in results.items()
    }


def corrected(results: Sequence[CrossedResult]) -> list[float | None]:
    """Holm's p of each test of one family; None where no verdict is possible, which does not count."""
    adjusted = holm([np.nan if one.reason or one.p_value is None else one.p_value for one in results])
    return [None if np.isnan(p) else float(p) for p in adjusted]


def cell_test(a: Cell, b: Cell, metric: str, *, paired: bool = False, level: float = 0.95) -> CrossedResult:
    """The crossed test of two cells; DataError if their test products differ.

    `paired`: A and B are variants of one method, so runs of equal seed are pairs (they share batches and
    initial weights). Where the seeds differ, the unpaired test; `result.paired` says which it was.
    """
    if a.products != b.products:
        raise DataError(f"{a.runs[0].folder} and {b.runs[0].folder}: other test products. Run one again.")
    seeds_A, seeds_B = ([run.spec.seed for run in cell.runs] for cell in (a, b))
    if paired and seeds_A == seeds_B:
        return paired_test(a.values(metric), b.values(metric), level=level)
    return crossed_test(a.side(metric), b.side(metric), level=level)


def best_baseline(comparisons: Iterable[Comparison], category: str) -> Comparison | None:
    """The family's comparison with the baseline that has the highest mean in a category.

    Choosing it after looking costs nothing, since the correction is over all baselines.
    """
    here = [comparison for comparison in comparisons if comparison.category == category]
    return max(here, key=lambda comparison: comparison.b.mean(comparison.metric), default=None)


def group_settings(
    runs: Iterable[StoredRun], *, overrides: Sequence[str] | None = None, dataset: str | None = None
) -> list[Setting]:
    """Settings in a fixed order: by data set, real corpora first, by name; without overrides before with.

    A run carries only the overrides that apply to its method. So a setting with overrides O takes, of each
    method, the runs whose overrides are exactly those of O that apply to it (`train.*` or `<method>.*`): with
    `mmss.d_g=64` the baselines' plain runs belong to it. `overrides=None` finds the sets from the runs
    (`override_sets`); a set whose runs all belong to a larger setting as well is left out.

    A category with two fingerprints (its data changed) gives a setting for each. Of runs that were asked for
    alike the newest version is taken, see `newest`. Methods that only the runs know join the registry.
    """
    runs = list(runs)
    for run in runs:
        models.remember(run.spec.method, run.spec.title, run.spec.modality)
    chosen = [run for run in runs if dataset in (None, run.spec.dataset)]

    def common(run: StoredRun) -> Conditions:
        return run.conditions.without_overrides

    settings = []
    for conditions, members in groupby(sorted(chosen, key=common), key=common):
        same = list(members)
        data_set = data_sets_of(same)[conditions.dataset]
        settings += _split_by_overrides(conditions, data_set, same, overrides)
    return sorted(settings, key=_order)


def _split_by_overrides(
    common: Conditions, data_set: DataSet, runs: list[StoredRun], overrides: Sequence[str] | None
) -> list[Setting]:
    sets = override_sets(runs) if overrides is None else {tuple(sorted(overrides))}
    found = [
        setting
        for one in sorted(sets)
        for setting in _split_by_data(replace(common, overrides=one), data_set, runs)
    ]
    if overrides is not None:
        return found
    ids = [frozenset(run.id for run in setting.runs) for setting in found]
    return [
        setting
        for setting, own in zip(found, ids, strict=True)
        if not setting.conditions.overrides or not any(own < other for other in ids)
    ]


def override_sets(runs: Iterable[StoredRun]) -> set[tuple[str, ...]]:
    """The sets of overrides of which settings are made: each run's, and with it those of other methods that the same
    bare `--set` gives them. `--set text_encoder=bert --set encoder=E` is `mcr.text_encoder=bert mcr.encoder=E`
    for MCR and `mmss.encoder=E` for MM-SS, which has no such field: rows of one table."""
    fields: dict[tuple[str, tuple[str, ...]], set[str]] = {}
    for run in runs:
        own = fields.setdefault((run.spec.method, run.spec.overrides), set())
        own |= set(run.spec.config.get("model", {}))
    sets = set()
    for method, overrides in fields:
        train, asked = _parted(overrides)
        joined = set(overrides)
        for (other, others), has in fields.items():
            others_train, given = _parted(others)
            if other == method or not given or others_train != train:
                continue
            if given == {one for one in asked if one.partition("=")[0] in has}:
                joined |= set(others)
        sets.add(tuple(sorted(joined)))
    return sets


def _parted(overrides: Iterable[str]) -> tuple[set[str], set[str]]:
    """(those of training, those of the method without its name)."""
    train = {one for one in overrides if one.startswith("train.")}
    return train, {one.partition(".")[2] for one in set(overrides) - train}


def _split_by_data(conditions: Conditions, data_set: DataSet, runs: list[StoredRun]) -> list[Setting]:
    """A setting for each combination of the categories' fingerprints."""
    belonging = [run for run in runs if run.conditions == conditions.for_method(run.spec.method)]
    versions = {
        category: sorted({run.spec.fingerprint for run in belonging if run.spec.category == category})
        for category in data_set.category_names
    }
    present = [category for category, found in versions.items() if found]
    settings = []
    for chosen in product(*(versions[category] for category in present)) if present else ():
        fingerprints = dict(zip(present, chosen, strict=True))
        seen = [run for run in belonging if run.spec.fingerprint == fingerprints[run.spec.category]]
        shown, older = newest(seen)
        settings.append(Setting(conditions, data_set, tuple(fingerprints.items()), shown, older))
    return settings


def commits_of(runs: Iterable[StoredRun]) -> list[str]:
    """Commits of the source tree that the runs name, sorted; `version 0.1.0` for a run of an installation
    outside a checkout, which names none."""
    return sorted({str(run.provenance.get("commit") or _version(run)) for run in runs})


def _version(run: StoredRun) -> str:
    return f"version {run.provenance.get('package') or 'unknown'}"


def _order(setting: Setting) -> tuple[object, ...]:
    conditions = setting.conditions
    return (
        rank(conditions.dataset),
        conditions.without_overrides,
        len(conditions.overrides),
        conditions.overrides,
        setting.fingerprints,
    )


def manifests(runs: Iterable[StoredRun]) -> list[Mapping[str, Any]]:
    """The manifest of every distinct corpus category that the runs saw, in the descriptors' order."""
    found = {(run.spec.dataset, run.spec.category, run.spec.fingerprint): run for run in runs}
    data_sets = data_sets_of(found.values())
    order = sorted(
        found, key=lambda key: (rank(key[0]), data_sets[key[0]].category_names.index(key[1]), key[2])
    )
    return [
        {
            "dataset": key[0],
            "category": key[1],
            "fingerprint": key[2],
            "label": found[key].spec.corpus,
            "synthetic": found[key].spec.synthetic,
        }
        | found[key].manifest
        | {"data_set": to_record(data_sets[key[0]])}
        for key in order
    ]


def matching_settings(settings: Iterable[Setting]) -> list[list[Setting]]:
    """Settings of different data sets that are alike in everything else, for a table over both data sets: where one
    has several (its data changed), each comes with the first of the other."""
    groups: dict[Conditions, dict[str, list[Setting]]] = {}
    for setting in settings:
        group = groups.setdefault(setting.conditions.of_any_dataset, {})
        group.setdefault(setting.conditions.dataset, []).append(setting)
    return [
        [members[min(i, len(members) - 1)] for members in by_dataset.values()]
        for by_dataset in groups.values()
        for i in range(max(len(members) for members in by_dataset.values()))
    ]
