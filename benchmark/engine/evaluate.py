"""A trained model and a split -> one score per review -> one row of metrics per product."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.core import metrics
from benchmark.core.errors import TrainingError
from benchmark.core.metrics import PAPER_METRICS, per_product_metrics
from benchmark.core.model import RankingModel
from benchmark.core.types import Batch
from benchmark.engine.machine import return_freed_memory

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.data.collate import Collator
    from benchmark.data.corpus import Split
    from benchmark.engine.resident import Resident

SCORE_ROWS = 256
"""Reviews scored at once. Bounds memory; has no influence on the scores of a batch-invariant model."""

DIVERGED_ADVICE = "Lower the learning rate (--set train.learning_rate=...) or use float32."


def score_split(
    model: RankingModel,
    split: Split,
    collator: Collator | Resident,
    device: torch.device,
    rows: int = SCORE_ROWS,
    on_batch: Callable[[], None] = lambda: None,
    *,
    alone: bool = False,
) -> NDArray[np.float32]:
    """`score_R`: the model's score of every review of the split, in the split's order.

    Evaluation mode, no gradients. Products come whole to a listwise method; the others see at most `rows`
    reviews at a time, short ones together where that cannot change a score. `on_batch` is called after
    each; what it raises ends the scoring.

    `alone`: each product in batches of its own. What else is in a batch changes no score of an invariant model but
    its last bits, for libraries sum in an order that depends on the size; a product that is alone has the same bits
    wherever it is scored.
    """
    score_R = np.zeros(split.n_reviews, dtype=np.float32)
    scored: list[tuple[NDArray[np.int64], Tensor]] = []
    with evaluation(model):
        for row_B, batch in _whole(model, split, collator, rows, alone):
            # float() before numpy(), which has no bf16
            scored.append((row_B, model.score(batch.to(device)).float()))
            on_batch()
        for row_B, score_B in scored:  # not before: to read a number is to wait for the device
            score_R[row_B] = score_B.cpu().numpy()
    if not np.isfinite(score_R).all():
        raise TrainingError(
            f"{np.sum(~np.isfinite(score_R)):,} of {len(score_R):,} scores on {split.name} are not finite: the "
            f"training diverged. {DIVERGED_ADVICE}"
        )
    return score_R


def explain_split(
    model: RankingModel,
    split: Split,
    collator: Collator | Resident,
    device: torch.device,
    rows: int = SCORE_ROWS,
    on_batch: Callable[[], None] = lambda: None,
    *,
    alone: bool = False,
) -> dict[str, NDArray[np.float32]]:
    """What the model says of every review of the split beside its score, by name, `[R]` each; see `explain` of the
    contract. Apart from `score_split`, so that no score depends on it; arguments as there."""
    if type(model).explain is RankingModel.explain:
        return {}
    found: dict[str, NDArray[np.float32]] = {}
    with evaluation(model):
        for row_B, batch in _whole(model, split, collator, rows, alone):
            for name, value_B in model.explain(batch.to(device)).items():
                column_R = found.setdefault(name, np.full(split.n_reviews, np.nan, dtype=np.float32))
                column_R[row_B] = value_B.float().cpu().numpy()
            on_batch()
    return found


@contextmanager
def evaluation(model: RankingModel) -> Iterator[None]:
    """Dropout off, no gradients; afterwards the model is as it was."""
    was_training = model.training
    model.eval()
    return_freed_memory()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)
        return_freed_memory()


def _whole(
    model: RankingModel, split: Split, collator: Collator | Resident, rows: int, alone: bool
) -> Iterator[tuple[NDArray[np.int64], Batch]]:
    """(review rows, their batch) of all of a split, as `score_split` goes through it."""
    if model.sampling == "lists":
        for products in _product_chunks(split, 1 if alone else rows):
            yield collator.product_reviews(products), collator.products(products)
    elif alone:
        for product in _product_chunks(split, 1):
            own = collator.product_reviews(product)
            for start in range(0, len(own), rows):
                yield own[start : start + rows], collator.pairs(own[start : start + rows], None)
    else:
        for chunk in _row_chunks(split, collator, rows, model.batch_invariant):
            yield chunk, collator.pairs(chunk, None)


def _product_chunks(split: Split, rows: int) -> Iterator[NDArray[np.int64]]:
    """Products in order, so many at a time that they hold about `rows` reviews, at least one."""
    size_P = np.bincount(split.product_R, minlength=split.n_products)
    # a product larger than `rows` skips numbers: hence np.unique instead of a range
    chunk_P = np.cumsum(size_P) // max(1, rows)
    for chunk in np.unique(chunk_P):
        products = np.flatnonzero((chunk_P == chunk) & (size_P > 0))
        if len(products):
            yield products


def _row_chunks(
    split: Split, collator: Collator | Resident, rows: int, bucket: bool
) -> Iterator[NDArray[np.int64]]:
    """Review rows, product by product; with `bucket`, products of similar review length together.

    Without it (the released forms, whose scores depend on how far a batch is padded: defect P17) the
    file's order is kept.
    """
    order = np.arange(split.n_reviews)
    if bucket:
        longest_P = np.zeros(split.n_products, dtype=np.int64)
        # `at`, because products repeat: plain indexing would keep one review of each
        np.maximum.at(longest_P, split.product_R, collator.review_length_R)
        # lexsort's last key counts most: longest review of the product, product, file order
        order = np.lexsort((order, split.product_R, longest_P[split.product_R]))
    for start in range(0, len(order), rows):
        yield order[start : start + rows]


def per_product_table(split: Split, score_R: NDArray[np.float32], threshold: int) -> pd.DataFrame:
    """One row per product of the split; ties count with their expected value (`records.per_product_table`)."""
    return metrics.per_product_table(
        split.product_ids, split.product_R, split.label_R, score_R.astype(np.float64), threshold
    )


def mean_metrics(split: Split, score_R: NDArray[np.float32], threshold: int) -> dict[str, float]:
    """Means over all products of the split; a product with nothing relevant counts 0."""
    values = per_product_metrics(
        split.label_R, score_R.astype(np.float64), split.product_R, split.n_products, threshold=threshold
    )
    return {name: float(np.mean(values[name])) for name in PAPER_METRICS}
