"""The characters of a corpus' words."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.data.corpus import MAX_LETTERS, Corpus, open_corpus
from benchmark.data.pack_words import FIRST_WORD


@pytest.fixture
def opened(corpus: Path, cache: Path) -> Corpus:
    return open_corpus(corpus, "lazada", "home", cache=cache)


@pytest.mark.parametrize("field", ["product", "review", "joint"])
def test_every_word_is_spelled_back(opened: Corpus, field: str) -> None:
    """From ids to characters by a list of our own: each word comes back, cut at the limit."""
    characters = sorted({character for word in opened.vocabulary("joint") for character in word})
    spelled_WL, n_ids = opened.spellings(field)
    words, first = list(opened.vocabulary(field)), FIRST_WORD[field]
    assert spelled_WL.shape == (first + len(words), MAX_LETTERS)
    assert n_ids == 2 + len(characters)
    back = ["".join(characters[id_ - 2] for id_ in row if id_) for row in spelled_WL[first:]]
    assert back == [word[:MAX_LETTERS] for word in words]
    assert not spelled_WL[0].any(), "padding has no characters"
    assert spelled_WL[1:first].sum() == first - 1


def test_models_get_them(opened: Corpus) -> None:
    assert opened.shape.spellings is not None
    spelled_WL, n_ids = opened.shape.spellings("review")
    assert len(spelled_WL) == opened.shape.review_vocabulary
    assert int(spelled_WL.max()) < n_ids
