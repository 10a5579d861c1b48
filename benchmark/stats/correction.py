"""Correction for many comparisons."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjusted p values of one family, in the order given (Holm 1979, step-down): reject at level alpha
    where the result is below alpha, and the chance of any false rejection in the family is at most alpha.

    The i-th smallest of m is multiplied by m - i + 1, made monotone and capped at 1. NaN (no test was
    possible) stays NaN and does not count towards m. ValueError if a p value lies outside 0..1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    tested = ~np.isnan(p)
    if ((p[tested] < 0) | (p[tested] > 1)).any():
        raise ValueError("p values must lie in 0..1")
    adjusted = np.full(p.shape, np.nan)
    values = p[tested]
    order = np.argsort(values, kind="stable")
    stepped = values[order] * (len(values) - np.arange(len(values)))
    # a running maximum: where a smaller p value was not rejected, no larger one may be
    monotone = np.minimum(np.maximum.accumulate(stepped), 1.0)
    back = np.empty_like(monotone)
    back[order] = monotone
    adjusted[tested] = back
    return adjusted
