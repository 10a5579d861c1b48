"""Trivial scorers: what a table's numbers must be read against (torch-free).

A method that does not beat "longest review first" has learnt little; one that equals "has image first" may
read nothing but the presence of an image (defect P16). Values are 0..1 means over products.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.core.judge import Judge
from benchmark.core.metrics import (
    PAPER_METRICS,
    Ties,
    ceiling,
)
from benchmark.report.grid import Cell
from benchmark.stats.crossed import SAME

Floats = NDArray[np.float64]
ORACLE_LABEL = "Label oracle"
"""Reviews ranked by their labels. What is planted in a synthetic corpus, and attainable there from the inputs,
is another bound, and another word: the planted ceiling."""
OPPONENTS = ("random", "longest", "oldest", "has-image")
"""Sentinels that anybody could rank by, and that a method must beat: neither the oracle nor the files' order."""


@dataclass(frozen=True)
class Sentinel:
    name: str
    label: str
    per_product: Mapping[str, Floats] | None = field(repr=False)
    """Metric -> value of every product, in the order of the reviews; None where the corpus lacks what it
    sorts by."""
    note: str = ""

    @property
    def values(self) -> dict[str, float] | None:
        """Metric -> mean over products."""
        if self.per_product is None:
            return None
        return {metric: float(values.mean()) for metric, values in self.per_product.items()}

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "label": self.label, "values": self.values, "note": self.note}


@dataclass(frozen=True)
class TieReport:
    """How much one method's values hang on the tie policy."""

    method: str
    tied_pairs: float
    """Share of pairs of reviews of one product with equal scores, mean over seeds."""
    file_order_gain: dict[str, float]
    """Metric -> what `file-order` would add to the `expected` value."""


def sentinels(
    reviews: pd.DataFrame, threshold: float = 0, ties: Ties = "expected", judge: Judge | None = None
) -> list[Sentinel]:
    """All sentinels of one test split.

    Args:
        judge: `judge_of` the reviews with this threshold, where there is one already.
        ties: how scorers with tied scores are judged; `file-order` and the random order are what they say.
        reviews: one row per review in file order: product_id, label, word_count, time (NaN where unknown),
            has_image (0 or 1).
    """
    judge = judge or judge_of(reviews, threshold)

    def judged(score_R: NDArray[Any], ties: Ties = ties) -> dict[str, Floats]:
        values = judge.metrics(score_R, ties)
        return {metric: values[metric] for metric in PAPER_METRICS}

    chance = judge.random
    best_P = ceiling(judge.label_R, judge.product_R, judge.n_products, threshold)
    time_R = pd.to_numeric(reviews["time"], errors="coerce").to_numpy(dtype=np.float64)
    image_R = reviews["has_image"].to_numpy(dtype=np.float64)
    constant_R = np.zeros(len(reviews))
    return [
        Sentinel("oracle", ORACLE_LABEL, dict.fromkeys(PAPER_METRICS, best_P)),
        Sentinel(
            "random",
            "Random order, or a constant score (expected)",
            {metric: chance[metric] for metric in PAPER_METRICS},
        ),
        Sentinel(
            "file-order",
            "Constant score, ties in file order",
            judged(constant_R, "file-order"),
            "above the random order if the files are sorted by something informative",
        ),
        Sentinel("longest", "Longest review first", judged(reviews["word_count"].to_numpy(dtype=np.float64))),
        _oldest_first(time_R, judged),
        Sentinel("has-image", "Has image first", judged(image_R))
        if image_R.any()
        else Sentinel("has-image", "Has image first", None, "no review has an image"),
    ]


def telling_products(judge: Judge) -> dict[str, int]:
    """Metric -> products on which two orders of the reviews have different values: where there is none (every
    review relevant, or none), the metric is the same for every method, and tells nothing."""
    # reviews of equal labels may stand in any order: `file-order` is the quicker one
    best, worst = (judge.metrics(sign * judge.label_R, "file-order") for sign in (1, -1))
    return {metric: int((best[metric] - worst[metric] > SAME).sum()) for metric in PAPER_METRICS}


def tie_report(cell: Cell) -> TieReport | None:
    """Tied pairs of a cell's runs and what the file-order policy would change; None without runs."""
    if not cell.runs:
        return None
    shares, gains = [], []
    for run in cell.runs:
        share, gain = run.tie_gain()
        shares.append(share)
        gains.append({metric: float(gain[metric].mean()) for metric in PAPER_METRICS})
    return TieReport(
        method=cell.method,
        tied_pairs=float(np.mean(shares)),
        file_order_gain={
            metric: float(np.mean([gain[metric] for gain in gains])) for metric in PAPER_METRICS
        },
    )


def _oldest_first(time_R: Floats, judged: Callable[[Floats], dict[str, Floats]]) -> Sentinel:
    known = np.isfinite(time_R)
    if not known.any():
        return Sentinel("oldest", "Oldest review first", None, "the reviews have no times")
    # A review without a time comes last: nothing is known in its favour.
    score_R = np.where(known, -time_R, -np.nanmax(time_R[known]) - 1)
    note = "" if known.all() else f"{(~known).sum()} of {len(known)} reviews have no time and come last"
    return Sentinel("oldest", "Oldest review first", judged(score_R), note)


def judge_of(reviews: pd.DataFrame, threshold: float) -> Judge:
    """Products are numbered in order of appearance."""
    product_R, distinct = pd.factorize(reviews["product_id"])
    return Judge(reviews["label"].to_numpy(), product_R, len(distinct), threshold)
