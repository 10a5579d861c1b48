"""A cell of a table: one method on one category, its runs and their values (torch-free). Values are 0..1, arrays are
`[seeds, products]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from benchmark.core.errors import DataError
from benchmark.core.metrics import PAPER_METRICS, Floats
from benchmark.runs.reviews import Recent
from benchmark.runs.store import StoredRun
from benchmark.stats.sides import Side, side

_SIDES: Recent[tuple[Any, ...], Mapping[str, Side]] = Recent(
    64 << 20, lambda found: sum(one.nbytes for one in found.values())
)
"""Of the cells that were read last."""


@dataclass(frozen=True)
class Cell:
    """One method on one category, its runs in the order of their seeds."""

    category: str
    method: str
    drop: tuple[str, ...]
    runs: tuple[StoredRun, ...] = field(repr=False)
    wanted: tuple[int, ...]
    """The seeds that make the cell complete."""

    @property
    def complete(self) -> bool:
        return bool(self.wanted) and len(self.runs) == len(self.wanted)

    @property
    def missing(self) -> str:
        """What a table prints in place of a value: `4/5 seeds`, `not run`; empty if the cell is complete."""
        if self.complete:
            return ""
        return f"{len(self.runs)}/{len(self.wanted)} seeds" if self.runs else "not run"

    @cached_property
    def products(self) -> tuple[str, ...]:
        """Ids of the test products, in the data's order; DataError if two runs saw others."""
        first = self.runs[0].products
        for run in self.runs[1:]:
            ids = run.products
            if ids is not first and ids != first:
                raise DataError(
                    f"{run.folder}: other test products than {self.runs[0].folder}. Run one again."
                )
        return first

    def values(self, metric: str) -> Floats:
        """`[seeds, products]` of one metric."""
        assert self.products is not None  # the check is the point
        return np.stack([run.values(metric) for run in self.runs])

    def side(self, metric: str) -> Side:
        """What an unpaired test needs of `values`, of one of PAPER_METRICS.

        A report asks for each metric in turn, of every cell, more than once. So all metrics are taken when a run is
        read, and what is kept of a cell does not grow with its seeds.
        """
        return self._kept[metric]

    @property
    def _kept(self) -> Mapping[str, Side]:
        return _SIDES.get(tuple(run.key for run in self.runs), self._sides)

    def _sides(self) -> Mapping[str, Side]:
        n_products = len(self.products)
        tables = {metric: np.empty((len(self.runs), n_products)) for metric in PAPER_METRICS}
        for row, run in enumerate(self.runs):
            for metric, table in tables.items():
                table[row] = run.values(metric)
        return {metric: side(table) for metric, table in tables.items()}

    def seed_means(self, metric: str) -> Floats:
        """The data set's value of every seed, of one of PAPER_METRICS: the unweighted mean over its products."""
        if metric not in self._means:
            self._means.update({name: one.seed_means for name, one in self._kept.items()})
        return self._means[metric]

    @cached_property
    def _means(self) -> dict[str, Floats]:
        return {}

    def mean(self, metric: str) -> float:
        return float(self.seed_means(metric).mean())

    def sd(self, metric: str) -> float:
        """Over seeds, n-1; NaN with one seed."""
        means = self.seed_means(metric)
        return float(means.std(ddof=1)) if len(means) > 1 else float("nan")

    def random_order(self, metric: str) -> float:
        """Expected value of a random order of the same reviews."""
        return float(self.runs[0].random_values(metric).mean())

    @property
    def oracle(self) -> float:
        """Every metric's value of the reviews ranked by their labels: the share of products with a relevant
        one. What is attainable from the inputs is another bound, known where it was planted."""
        return float((self.runs[0].n_relevant > 0).mean())
