"""Hand-made features of reviews: what can be told without reading one. Torch-free.

Readability is the automated readability index (Smith and Senter, 1967): it needs letters, words and sentences
alone, so it is defined in any language that writes spaces.
"""

from __future__ import annotations

import re

import numpy as np

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
