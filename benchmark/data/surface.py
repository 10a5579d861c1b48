"""Hand-made features of reviews: what can be told without reading one. Torch-free.

R reviews of a split, S features.

Readability is the automated readability index (Smith and Senter, 1967): it needs letters, words and sentences
alone, so it is defined in any language that writes spaces.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from benchmark.data.corpus import Split

TEXT_FEATURES = (
    "log characters",
    "log words",
    "log sentences",
    "letters per word",
    "words per sentence / 10",
    "readability / 10",
    "distinct words, share",
    "capitals, share of letters",
    "words in capitals, share",
    "digits, share",
    "punctuation, share",
    "log exclamation marks",
    "log question marks",
    "log lines",
)
FEATURES = (*TEXT_FEATURES, "log RoIs", "has RoIs", "time known", "years since 2000", "log earlier reviews")
"""Names of the columns. `time` features are 0 where no time is known."""

_WORD = re.compile(r"\w+")
_SENTENCE_END = re.compile(r"[.!?…。！？]+(?:\s|$)|\n+")
_YEAR, _2000 = 365.25 * 24 * 3600, 946_684_800


def text_features(text: str) -> list[float]:
    """The TEXT_FEATURES of one text; finite for any text, an empty one included."""
    words = _WORD.findall(text)
    n_words, n_characters = max(1, len(words)), max(1, len(text))
    n_sentences = 1 + len(_SENTENCE_END.findall(text.strip().rstrip(".!?…。！？")))
    n_letters = sum(map(str.isalpha, text))
    in_words = sum(map(len, words))
    per_word, per_sentence = in_words / n_words, n_words / n_sentences
    punctuation = sum(not (c.isalnum() or c.isspace()) for c in text)
    return [
        np.log1p(len(text)),
        np.log1p(len(words)),
        np.log1p(n_sentences),
        per_word,
        per_sentence / 10,
        (4.71 * per_word + 0.5 * per_sentence - 21.43) / 10,
        len({word.lower() for word in words}) / n_words,
        sum(map(str.isupper, text)) / max(1, n_letters),
        sum(word.isupper() and len(word) > 1 for word in words) / n_words,
        sum(map(str.isdigit, text)) / n_characters,
        punctuation / n_characters,
        np.log1p(text.count("!")),
        np.log1p(text.count("?")),
        np.log1p(text.count("\n")),
    ]


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
    order = np.lexsort((time_R, product_R))  # unknown times (NaN) come last in their product
    product, time = product_R[order], time_R[order]
    place = np.arange(len(order))
    first_of_product = np.searchsorted(product, product)
    new = np.ones(len(order), dtype=bool)
    new[1:] = (product[1:] != product[:-1]) | (time[1:] != time[:-1])
    first_of_time = np.maximum.accumulate(np.where(new, place, 0))
    earlier = np.where(np.isfinite(time), first_of_time - first_of_product, 0)
    result = np.zeros(len(order), dtype=np.int64)
    result[order] = earlier
    return result
