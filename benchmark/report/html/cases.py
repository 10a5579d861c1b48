"""Figure 4's case study: test products as people would read them, each with its reviews as a method ranks them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark import models
from benchmark.report.grid import Setting
from benchmark.report.html.texts import Texts, TextSource
from benchmark.runs.reviews import appearing
from benchmark.runs.store import StoredRun

TOP, BOTTOM = 4, 3
"""Reviews shown of a product that has more than their sum: the first and the last of the ranking."""
MOST_CHARACTERS = 320
MOST_REVIEWS = 200
"""Products with more reviews are compared by this many, spread over the file: every pair is looked at."""
_PAIRS_AT_ONCE = 1 << 20

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class RankedReview:
    rank: int
    review_id: str
    label: int
    score: float
    parts: tuple[tuple[str, float], ...]
    """Each subtask's prediction, where the run stored them."""
    has_image: bool
    text: str
    thumbnails: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """One product under one method's ranking."""

    heading: str
    method: str
    product_id: str
    agreement: float
    """Share of pairs of reviews with different labels in the right order, minus the share in the wrong one."""
    text: str
    thumbnails: tuple[str, ...]
    """`data:` addresses, where the images are here."""
    reviews: tuple[RankedReview, ...]
    left_out: int
    """Reviews between the first and the last shown."""


@dataclass(frozen=True)
class CaseGroup:
    """The cases of one category."""

    place: str
    seed: int
    with_texts: bool
    cases: tuple[Case, ...]
    images_left_out: bool
    """Whether there were more than the page has room for."""


MOST_IMAGE_BYTES = 1_200_000
"""Of all cases' images, as text: with them a page of a few hundred runs stays below 3 MB."""


class _Album:
    """Thumbnails of one category, as many as there is room for."""

    def __init__(self, texts: Texts | None, room: int) -> None:
        self.texts, self.room, self.full = texts, room, False

    def __call__(self, item_id: str) -> tuple[str, ...]:
        found = [] if self.texts is None or self.full else self.texts.thumbnails(item_id)
        self.room -= sum(map(len, found))
        self.full = self.full or self.room < 0
        return () if self.full else tuple(found)


def case_groups(
    settings: Sequence[Setting], texts_of: TextSource, proposed: str = models.PROPOSED
) -> list[CaseGroup]:
    """Per category and method the product that it ranks best and the one that it ranks worst, by its first
    seed; the proposed method first, also where there is no room for all images."""
    groups = []
    room = MOST_IMAGE_BYTES // max(1, sum(len(setting.fingerprints) for setting in settings))
    for setting in settings:
        for category, _ in setting.fingerprints:
            names = sorted(setting.methods, key=lambda name: name != proposed)
            runs = [cell.runs[0] for cell in (setting.cell(category, name) for name in names) if cell.runs]
            if not runs:
                continue
            texts = texts_of(runs[0])
            album = _Album(texts, room)
            cases = tuple(case for run in runs for case in _extremes(run, texts, album))
            place = setting.place(category)
            if cases:
                groups.append(CaseGroup(place, runs[0].spec.seed, texts is not None, cases, album.full))
    return groups


def agreements(scores: pd.DataFrame) -> pd.Series:
    """Product id -> agreement of scores and labels: over the pairs of reviews whose labels differ the share in the
    right order minus the share in the wrong one (Somers' D); a tied score is neither. The lowest first; products
    whose reviews all have one label are left out."""
    ids, product_R = appearing(scores["product_id"])
    order_R = np.argsort(product_R, kind="stable")
    label_R, score_R = (scores[name].to_numpy()[order_R] for name in ("label", "score"))
    count_P = np.bincount(product_R, minlength=len(ids))
    start_P = np.cumsum(count_P) - count_P
    right_P, pairs_P = np.zeros(len(ids), dtype=np.int64), np.zeros(len(ids), dtype=np.int64)
    for count in np.unique(count_P).tolist():
        rows = np.unique(np.linspace(0, count - 1, min(count, MOST_REVIEWS)).round().astype(int))
        products = np.flatnonzero(count_P == count)
        at_once = max(1, _PAIRS_AT_ONCE // len(rows) ** 2)
        for part in (products[start : start + at_once] for start in range(0, len(products), at_once)):
            row_PR = start_P[part, None] + rows
            right_P[part], pairs_P[part] = _agreeing(label_R[row_PR], score_R[row_PR])
    kept = np.flatnonzero(pairs_P)
    value_P = right_P[kept] / pairs_P[kept]
    # of equally ranked products the one with more pairs says more; of those the one that comes first
    order = np.lexsort((-pairs_P[kept], value_P))
    return pd.Series(value_P[order], index=[ids[number] for number in kept[order]], dtype=np.float64)


def _agreeing(label_PR: NDArray[np.int64], score_PR: NDArray[np.float64]) -> tuple[Counts, Counts]:
    """Of each product (pairs in the right order minus pairs in the wrong one, pairs of reviews whose labels differ)."""
    higher = label_PR[:, :, None] > label_PR[:, None, :]
    above = score_PR[:, :, None] > score_PR[:, None, :]
    below = score_PR[:, :, None] < score_PR[:, None, :]
    flat = (one.reshape(len(label_PR), -1) for one in (higher & above, higher & below, higher))
    right_P, wrong_P, pairs_P = (np.count_nonzero(one, axis=1) for one in flat)
    return right_P - wrong_P, pairs_P


def _extremes(run: StoredRun, texts: Texts | None, album: _Album) -> list[Case]:
    values = agreements(run.scores)
    if values.empty:
        return []
    best = values[values == values.max()].index[0]
    chosen = {"Biggest agreement": str(best), "Biggest mistake": str(values.index[0])}
    return [_case(run, texts, album, heading, name, values[name]) for heading, name in chosen.items()]


def _case(
    run: StoredRun, texts: Texts | None, album: _Album, heading: str, product_id: str, value: float
) -> Case:
    group = run.scores[run.scores["product_id"] == product_id]
    group = group.sort_values("score", ascending=False, kind="stable")
    reviews = run.test_reviews
    images = reviews[reviews["product_id"] == product_id].set_index("review_id")["has_image"]
    ranked = list(enumerate(group.to_dict("records"), start=1))
    if len(ranked) > TOP + BOTTOM + 1:
        ranked = [*ranked[:TOP], *ranked[-BOTTOM:]]
    return Case(
        heading=heading,
        method=models.METHODS[run.spec.method].title,
        product_id=product_id,
        agreement=float(value),
        text=shortened(texts.product(product_id)) if texts else "",
        thumbnails=album(product_id),
        reviews=tuple(_review(rank, row, images, texts, album) for rank, row in ranked),
        left_out=len(group) - len(ranked),
    )


def _review(
    rank: int, row: Mapping[Any, Any], images: pd.Series, texts: Texts | None, album: _Album
) -> RankedReview:
    review_id = str(row["review_id"])
    parts = tuple(
        (str(name).removeprefix("score_"), float(value))
        for name, value in row.items()
        if str(name).startswith("score_")
    )
    return RankedReview(
        rank=rank,
        review_id=review_id,
        label=int(row["label"]),
        score=float(row["score"]),
        parts=parts,
        has_image=bool(images.get(review_id, 0)),
        text=shortened(texts.review(review_id)) if texts else "",
        thumbnails=album(review_id),
    )


def shortened(text: str) -> str:
    """One line of at most MOST_CHARACTERS."""
    words = " ".join(text.split())
    return words if len(words) <= MOST_CHARACTERS else words[: MOST_CHARACTERS - 1].rstrip() + "…"
