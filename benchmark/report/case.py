"""Figure 4's case study in full: a test product's reviews as MM-SS ranks them, and as it does without SSP-Labels.

Each review has its text, its label, MM-SS's score, the score of ablation (d) by the same seed, and what each
subtask predicts for it; of another method, one of its own parts and what it says of its scores. Nothing is chosen
to please: by default the product at which SSP-Labels help most is shown, and the one at which they hurt most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark import models
from benchmark.core.errors import UsageError
from benchmark.core.words import near_miss
from benchmark.report.html.cases import agreements, shortened
from benchmark.report.html.texts import Texts, TextSource
from benchmark.runs.store import StoredRun

WITHOUT = ("d",)
"""What the ablation of SSP-Labels drops."""
WITHOUT_LABELS: Mapping[tuple[str, ...], str] = {("d",): "SSP-Labels"}
"""What MM-SS is without, where it has a name of its own."""
PART = "score_"
"""Prefix of the columns in which a run stores what its method says beside a score."""
LISTED = 12
"""Reviews listed of a product that has more: the first and the last ones."""


@dataclass(frozen=True)
class CaseReview:
    rank: int
    review_id: str
    label: int
    score: float
    without: float | None
    """The score without the parts; scores of two runs have two scales."""
    rank_without: int | None
    difference: float | None
    """Of the two scores in standard deviations over the product's reviews, each in its run's own."""
    subtasks: dict[str, float]
    has_image: bool
    text: str


@dataclass(frozen=True)
class ProductCase:
    dataset: str
    category: str
    seed: int
    conditions: str
    heading: str
    """Why this product."""
    product_id: str
    text: str
    agreement: float | None
    """Share of pairs of reviews with different labels in the right order, minus the share in the wrong one; None
    where all labels are equal."""
    agreement_without: float | None
    differs_most: str
    """Id of the review at which the two runs differ most; empty without the ablation's run."""
    reviews: tuple[CaseReview, ...]
    """By rank."""
    asked: str = ""
    """Id of the review that was asked for."""
    method: str = models.PROPOSED
    drop: tuple[str, ...] = WITHOUT
    """The parts that the other run lacks, or would; empty if there is none to compare with."""

    @property
    def dropped(self) -> str:
        """`SSP-Labels`, or the names of the parts."""
        return _dropped(self.method, self.drop)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Pair:
    """A run and, where there is one, that of the same method without some parts, with the same seed, data and
    conditions."""

    run: StoredRun
    without: StoredRun | None
    drop: tuple[str, ...] = WITHOUT


def pairs(
    runs: Iterable[StoredRun],
    category: Sequence[str] | None = None,
    seed: int | None = None,
    method: str = models.PROPOSED,
    drop: tuple[str, ...] | None = None,
) -> list[Pair]:
    """Per conditions and category one pair: by the seed asked for, else by the first that has both runs, else by the
    first. UsageError where no run of the method fits.

    Args:
        drop: what the other run lacks; None: SSP-Labels, of another method the first of its ablations that was run.
    """
    own = [
        run
        for run in runs
        if run.spec.method == method and (category is None or run.spec.category in category)
    ]
    fit = [run for run in own if seed in (None, run.spec.seed)]
    newest = {_key(run): run for run in sorted(fit, key=lambda run: run.age_rank)}
    if drop is None:
        dropped = (run.spec.drop for run in own if run.spec.drop)
        drop = WITHOUT if method == models.PROPOSED else next(dropped, ())
    found: dict[Any, Pair] = {}
    for run in sorted(newest.values(), key=lambda run: (run.conditions, run.spec.category, run.spec.seed)):
        if run.spec.drop:
            continue
        pair = Pair(run, newest.get((*_key(run)[:-1], drop)) if drop else None, drop)
        place = (run.conditions, run.spec.category, run.spec.fingerprint)
        if place not in found or (found[place].without is None and pair.without is not None):
            found[place] = pair
    if not found:
        which = "" if seed is None else f" with seed {seed}"
        title = models.METHODS[method].title
        raise UsageError(f"no finished run of {title}{which} here. Start with: bench run --method {method}")
    return list(found.values())


def _key(run: StoredRun) -> tuple[Any, ...]:
    spec = run.spec
    return run.conditions, spec.category, spec.fingerprint, spec.seed, spec.drop


def cases(
    pair: Pair, texts_of: TextSource, product: str | None = None, review: str | None = None
) -> list[ProductCase]:
    """The product asked for, or that of the review asked for; else the two at which the parts help and hurt most
    (without the ablation's run: the best and the worst ranked). UsageError for an id that is not in the test split."""
    scores = pair.run.scores
    texts = texts_of(pair.run)
    if review is not None:
        _known("review", review, scores["review_id"])
        own = str(scores.loc[scores["review_id"].astype(str) == review, "product_id"].iloc[0])
        if product is not None and product != own:
            raise UsageError(f"review {review} is one of product {own}, not of {product}.")
        product = own
    if product is not None:
        _known("product", product, scores["product_id"])
        return [_case(pair, texts, "as asked for", product, review or "")]
    return [_case(pair, texts, heading, name) for heading, name in _telling(pair).items()]


def _known(what: str, given: str, ids: pd.Series) -> None:
    names = ids.astype(str).unique().tolist()
    if given not in names:
        raise UsageError(f"no {what} {given!r} in the test split.{near_miss(given, names)}")


def _telling(pair: Pair) -> dict[str, str]:
    """Heading -> product id."""
    values = agreements(pair.run.scores)
    if values.empty:
        return {}
    if pair.without is None:
        return {"ranked best": str(values.idxmax()), "ranked worst": str(values.idxmin())}
    gain = (values - agreements(pair.without.scores)).dropna()
    parts = _dropped(pair.run.spec.method, pair.drop)
    if gain.empty or gain.max() == gain.min():
        return {f"with and without {parts} alike": str(values.idxmax())}
    many = parts.endswith("s") or len(pair.drop) > 1
    help_, hurt = ("help", "hurt") if many else ("helps", "hurts")
    best = f"{parts} {help_} most here" if gain.max() > 0 else f"{parts} {help_} nowhere; least harm here"
    worst = f"{parts} {hurt} most here" if gain.min() < 0 else f"{parts} {hurt} nowhere; least gain here"
    return {best: str(gain.idxmax()), worst: str(gain.idxmin())}


def _dropped(method: str, drop: tuple[str, ...]) -> str:
    named = WITHOUT_LABELS.get(drop) if method == models.PROPOSED else None
    return named or " and ".join(drop)


def _case(pair: Pair, texts: Texts | None, heading: str, product_id: str, asked: str = "") -> ProductCase:
    table = _ranked(pair, product_id)
    images = pair.run.test_reviews.set_index("review_id")["has_image"]
    reviews = tuple(_review(row, images, texts) for row in table.to_dict("records"))
    differs = ""
    if pair.without is not None:
        differs = max(reviews, key=lambda one: abs(one.difference or 0.0)).review_id
    spec = pair.run.spec
    return ProductCase(
        dataset=spec.dataset,
        category=spec.category,
        seed=spec.seed,
        conditions=str(pair.run.conditions),
        heading=heading,
        product_id=product_id,
        text=texts.product(product_id) if texts else "",
        agreement=_agreement(pair.run, product_id),
        agreement_without=None if pair.without is None else _agreement(pair.without, product_id),
        differs_most=differs,
        reviews=reviews,
        asked=asked,
        method=spec.method,
        drop=pair.drop,
    )


def _agreement(run: StoredRun, product_id: str) -> float | None:
    found = agreements(run.scores[run.scores["product_id"].astype(str) == product_id])
    return None if found.empty else float(found.iloc[0])


def _ranked(pair: Pair, product_id: str) -> pd.DataFrame:
    """The product's reviews by rank, with `rank` and, where there is the other run, `without`,
    `rank_without` and `difference`."""
    scores = pair.run.scores
    own = scores[scores["product_id"].astype(str) == product_id].copy()
    if pair.without is not None:
        other = pair.without.scores.set_index("review_id")["score"]
        own["without"] = other.reindex(own["review_id"]).to_numpy()
        own["difference"] = standardised(own["score"].to_numpy()) - standardised(own["without"].to_numpy())
        own["rank_without"] = own["without"].rank(method="first", ascending=False).astype(int)
    own = own.sort_values("score", ascending=False, kind="stable")
    own["rank"] = np.arange(1, len(own) + 1)
    return own


def standardised(value_R: NDArray[np.float64]) -> NDArray[np.float64]:
    """Less their mean, over their standard deviation; zeros where all are equal."""
    spread = float(value_R.std())
    result: NDArray[np.float64] = (
        (value_R - value_R.mean()) / spread if spread else np.zeros(len(value_R), dtype=np.float64)
    )
    return result


def _review(row: Mapping[Any, Any], images: pd.Series, texts: Texts | None) -> CaseReview:
    review_id = str(row["review_id"])
    both = "without" in row
    return CaseReview(
        rank=int(row["rank"]),
        review_id=review_id,
        label=int(row["label"]),
        score=float(row["score"]),
        without=float(row["without"]) if both else None,
        rank_without=int(row["rank_without"]) if both else None,
        difference=float(row["difference"]) if both else None,
        subtasks={
            str(name).removeprefix(PART): float(value)
            for name, value in row.items()
            if str(name).startswith(PART)
        },
        has_image=bool(images.get(review_id, 0)),
        text=texts.review(review_id) if texts else "",
    )


def render(case: ProductCase) -> str:
    """A case as text for people: a line of numbers per review, and what it says under it."""
    lines = [
        f"{case.dataset}/{case.category}, product {case.product_id}, seed {case.seed}: {case.heading}",
        f"({case.conditions})",
        *_indented(case.text or "(its text is not here: --data names the root that holds it)"),
        _agreement_line(case),
        "",
        _header(case),
    ]
    shown = _shown(case)
    for place, review in enumerate(shown):
        if place and review.rank > shown[place - 1].rank + 1:
            lines.append(f"      ... {review.rank - shown[place - 1].rank - 1} more ...")
        lines.append(_numbers(review))
        marks = [
            "the two differ most here" if review.review_id == case.differs_most else "",
            "asked for" if review.review_id == case.asked else "",
            "with image" if review.has_image else "",
        ]
        note = "; ".join(mark for mark in marks if mark)
        lines.append(f"      {review.review_id}{f' ({note})' if note else ''}")
        lines += _indented(review.text if review.review_id == case.asked else shortened(review.text), 6)
    of_paper = case.method == models.PROPOSED
    if not case.differs_most and case.drop:
        own = "" if of_paper else f" --proposed {case.method}"
        lines.append(
            f"\nNo run without {case.dropped} of this seed: bench ablate{own} --drop {'+'.join(case.drop)}"
        )
    if of_paper and case.reviews and not case.reviews[0].subtasks:
        lines.append(
            "\nThe run stored no predictions of the subtasks: it was made before they were kept. Run it again."
        )
    return "\n".join(lines)


def _shown(case: ProductCase) -> list[CaseReview]:
    """All reviews, or the first and the last ones and those that are spoken of."""
    if len(case.reviews) <= LISTED:
        return list(case.reviews)
    half = LISTED // 2
    return [
        review
        for review in case.reviews
        if review.rank <= half
        or review.rank > len(case.reviews) - half
        or review.review_id in (case.differs_most, case.asked)
    ]


def _agreement_line(case: ProductCase) -> str:
    if case.agreement is None:
        return "All its reviews have one label: no order is better than another."
    without = (
        "" if case.agreement_without is None else f", {case.agreement_without:+.2f} without {case.dropped}"
    )
    return f"Agreement with the labels (-1 to 1): {case.agreement:+.2f}{without}"


def _header(case: ProductCase) -> str:
    first = case.reviews[0]
    part = "SSP" if (case.method, case.drop) == (models.PROPOSED, WITHOUT) else case.dropped
    # as wide as the numbers under it, however long a part's name is
    without = f" {f'w/o {part[:4]}':>8} (rank)" if first.without is not None else ""
    return f" rank label    score{without}" + "".join(f"{name[:7]:>8}" for name in first.subtasks)


def _numbers(review: CaseReview) -> str:
    without = "" if review.without is None else f" {review.without:8.3f} {f'({review.rank_without})':>6}"
    parts = "".join(f"{value:8.2f}" for value in review.subtasks.values())
    return f"{review.rank:5d} {review.label:5d} {review.score:8.3f}{without}{parts}"


def _indented(text: str, by: int = 2) -> list[str]:
    return [" " * by + " ".join(text.split())] if text.strip() else []
