"""Hand-made features of a split's reviews: those of the text, the number of RoIs, the age. Torch-free.

R reviews, S features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmark.core.surface import TEXT_FEATURES, text_features

if TYPE_CHECKING:
    from benchmark.data.corpus import Split

_YEAR, _2000 = 365.25 * 24 * 3600, 946_684_800


def surface_features(split: Split) -> NDArray[np.float32]:
    """float32 `[R, S]`, the FEATURES of a split's reviews. `log earlier reviews` counts those of the same product
    in the same split with an earlier time; no label is looked at."""
    n = split.n_reviews
    text = np.array([text_features(split.review_text(row)) for row in range(n)])
    text_RS = text.reshape(n, len(TEXT_FEATURES))
    rois_R = split.rois("review").count_N
    time_R = split.time_R if split.time_R is not None else np.full(n, np.nan)
    known_R = np.isfinite(time_R)
    columns = [
        np.log1p(rois_R),
        rois_R > 0,
        known_R,
        np.where(known_R, (time_R - _2000) / _YEAR, 0.0),
        np.log1p(_earlier(split.product_R, time_R)),
    ]
    return np.column_stack([text_RS, *columns]).astype(np.float32)


def _earlier(product_R: NDArray[np.int64], time_R: NDArray[np.float64]) -> NDArray[np.int64]:
    """Per review, how many of its product's have a strictly earlier time; 0 where its own is not known."""
    # the last key is the first to sort by: products, then times
    order = np.lexsort((time_R, product_R))  # unknown times (NaN) come last in their product
    product, time = product_R[order], time_R[order]
    place = np.arange(len(order))
    first_of_product = np.searchsorted(product, product)
    new = np.ones(len(order), dtype=bool)
    # NaN differs from NaN, so unknown times are each new: they come last and are zeroed below
    new[1:] = (product[1:] != product[:-1]) | (time[1:] != time[:-1])
    first_of_time = np.maximum.accumulate(np.where(new, place, 0))
    earlier = np.where(np.isfinite(time), first_of_time - first_of_product, 0)
    result = np.zeros(len(order), dtype=np.int64)
    result[order] = earlier
    return result
