"""What several seeds of a method gain as one ranker: the mean of their ranks on test, from stored scores. Torch-free.

S seeds, R test reviews, P test products.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.core.errors import DataError, UsageError
from benchmark.core.metrics import PAPER_METRICS, per_product_table
from benchmark.rank.order import mean_places
from benchmark.runs.spec import RunSpec
from benchmark.runs.store import StoredRun


@dataclass(frozen=True)
class Gain:
    """One metric, 0..1, means over the test products."""

    of_seed: Mapping[int, float]
    """Seed -> what it reaches alone."""
    ensemble: float
    error: float
    """Standard error of the gain over products."""

    @property
    def mean(self) -> float:
        """Of the seeds alone."""
        return float(np.mean(list(self.of_seed.values())))

    @property
    def gain(self) -> float:
        """Of the ensemble over the mean of its seeds."""
        return self.ensemble - self.mean


@dataclass(frozen=True)
class Measured:
    """The seeds of one method on one category."""

    spec: RunSpec
    """Of the first seed."""
    title: str
    seeds: tuple[int, ...]
    products: int
    metrics: Mapping[str, Gain]

    def to_json(self) -> dict[str, Any]:
        return {
            "dataset": self.spec.dataset,
            "category": self.spec.category,
            "method": self.spec.model,
            "seeds": list(self.seeds),
            "products": self.products,
            "metrics": {
                name: {
                    "of_seed": {str(seed): value for seed, value in gain.of_seed.items()},
                    "mean": gain.mean,
                    "ensemble": gain.ensemble,
                    "gain": gain.gain,
                    "standard_error": gain.error,
                }
                for name, gain in self.metrics.items()
            },
        }


def groups(runs: Sequence[StoredRun]) -> list[list[StoredRun]]:
    """Runs that differ by their seed alone, together and by seed; the groups in the order of their first run."""
    found: dict[str, list[StoredRun]] = {}
    for run in runs:
        found.setdefault(_alike(run), []).append(run)
    for key, group in found.items():
        latest: dict[int, StoredRun] = {}
        for run in sorted(group, key=lambda run: run.age_rank):
            latest[run.spec.seed] = run
        found[key] = [latest[seed] for seed in sorted(latest)]
    return list(found.values())


def _alike(run: StoredRun) -> str:
    spec = run.spec
    return json.dumps(
        [spec.dataset, spec.category, spec.model, spec.fingerprint, str(run.conditions), run.version],
        sort_keys=True,
        default=str,
    )


def measure(runs: Sequence[StoredRun]) -> Measured:
    """The seeds alone and as one ranker, on the run's own metrics and threshold.

    Raises:
        UsageError: fewer than two runs, or runs that are no seeds of one method.
        DataError: their stored scores are of different reviews.
    """
    if len(runs) < 2:
        raise UsageError("an ensemble takes two seeds at least.")
    first = runs[0]
    for run in runs[1:]:
        if _alike(run) != _alike(first):
            raise UsageError(f"{first.spec} and {run.spec} are no seeds of one method trained alike.")
        if not run.scores[["review_id", "product_id"]].equals(first.scores[["review_id", "product_id"]]):
            raise DataError(f"{run.folder} and {first.folder}: scores of different reviews.")
    table = first.scores
    products = list(dict.fromkeys(table["product_id"]))
    number = {product: row for row, product in enumerate(products)}
    product_R = table["product_id"].map(number).to_numpy(dtype=np.int64)
    score_SR = np.stack([run.scores["score"].to_numpy(dtype=np.float32) for run in runs])

    def values(score_R: NDArray[np.floating]) -> Any:
        return per_product_table(products, product_R, table["label"], score_R, first.relevance_threshold)

    alone = [values(score_R.astype(np.float64)) for score_R in score_SR]
    together = values(-mean_places(score_SR, product_R))
    found = {}
    for name in PAPER_METRICS:
        of_P = together[name].to_numpy() - np.mean([one[name].to_numpy() for one in alone], axis=0)
        found[name] = Gain(
            {run.spec.seed: float(one[name].mean()) for run, one in zip(runs, alone, strict=True)},
            float(together[name].mean()),
            float(np.std(of_P, ddof=1) / np.sqrt(len(of_P))) if len(of_P) > 1 else float("nan"),
        )
    seeds = tuple(run.spec.seed for run in runs)
    without = f" without {' '.join(first.spec.drop)}" if first.spec.drop else ""
    title = (first.spec.title or first.spec.method) + without
    return Measured(first.spec, title, seeds, len(products), found)


def render(measured: Sequence[Measured]) -> str:
    """One table in Markdown per group: each seed, their mean, the ensemble, its gain; in %."""
    from tabulate import tabulate

    names = {"map": "MAP", "ndcg@3": "N@3", "ndcg@5": "N@5"}
    parts = []
    for one in measured:
        rows = [
            [f"seed {seed}", *(f"{100 * one.metrics[name].of_seed[seed]:.2f}" for name in names)]
            for seed in one.seeds
        ]
        rows.append(["mean of the seeds", *(f"{100 * one.metrics[name].mean:.2f}" for name in names)])
        rows.append(["ensemble", *(f"{100 * one.metrics[name].ensemble:.2f}" for name in names)])
        gains = [one.metrics[name] for name in names]
        rows.append(
            ["gain ± its standard error", *(f"{100 * g.gain:+.2f} ± {100 * g.error:.2f}" for g in gains)]
        )
        parts.append(
            f"{one.title}, {one.spec.dataset}/{one.spec.category}, {one.products:,} test products:\n\n"
            + tabulate(rows, ["", *names.values()], "github", disable_numparse=True)
        )
    return "\n\n".join(parts)
