"""Tokenizers against NLTK and ICU themselves; vocabularies and word vectors against plain loops."""

from __future__ import annotations

import itertools
import json
import random
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nltk.tokenize.destructive import NLTKWordTokenizer

from benchmark.core.errors import DataError, UsageError
from benchmark.data import text as t
from tests.data import make_icu_words

ENGLISH_PARTS = r"""
    can't don't " '' ` `` ' a The . .. ... , : ; ( ) [ { < > ? ! n't 's 'S 'tis 'twas cannot gonna wanna gimme lemme
    d'ye more'n 3 1,000 3.5 $ - -- --- — « » “ ” ‘ ’ * & x. U.S. Mr. é dogs' they'll WON'T (so) "quoted" end."
    (really?) well-known 10% #1 a/b e.g., ok... wow!! ,, :) ;-) :( 5'10" 'n' rock'n'roll
""".split()  # noqa: SIM905
english_texts = st.lists(
    st.one_of(st.sampled_from([*ENGLISH_PARTS, " ", "  ", "\n", "\t", "\u00a0"]), st.text(max_size=3)),
    max_size=25,
).map("".join)


def nltk_tokens(text: str) -> list[str]:
    nltk = NLTKWordTokenizer()
    return [token.lower() for chunks in t.sentences(text) for token in nltk.tokenize(" ".join(chunks))]


@settings(max_examples=400, deadline=None)
@given(english_texts)
@example("¹'tis")  # a superscript is a word character to `re`, none to `regex`
@example("cannot\U00018d80")  # and so is a letter newer than Python's tables
def test_english_tokens_are_nltks(text: str) -> None:
    assert t.EnglishTokenizer()(text) == nltk_tokens(text)


def test_english_tokens_are_nltks_whatever_was_seen_before() -> None:
    rng = random.Random(0)
    tokenizer = t.EnglishTokenizer()  # one for all: what it remembers must not depend on the place
    for _ in range(3000):
        text = "".join(rng.choice([*ENGLISH_PARTS, " ", " ", "\n"]) for _ in range(rng.randint(1, 14)))
        assert tokenizer(text) == nltk_tokens(text), text


def test_sentences_end_where_a_reader_would_end_them() -> None:
    text = 'It broke. Then (after a week!) I said "no." Wait... what?\nnew line'
    assert [" ".join(chunks) for chunks in t.sentences(text)] == [
        "It broke.",
        "Then (after a week!)",
        'I said "no."',
        "Wait... what?",
        "new line",
    ]
    assert t.EnglishTokenizer()("It broke. I can't, really.") == [
        "it", "broke", ".", "i", "ca", "n't", ",", "really", ".",
    ]  # fmt: skip


RECORDED = json.loads(make_icu_words.FILE.read_text())
"""How ICU 72.1 breaks words (`make_icu_words`)."""


def words(text: str, ends: list[int]) -> list[str]:
    """The segments that end there, without white space."""
    segments = [text[start:end].strip() for start, end in itertools.pairwise([0, *ends])]
    return [segment for segment in segments if segment]


def icu_tokens(text: str) -> list[str]:
    """Word breaks by the ICU that is installed, without white space."""
    breakers = pytest.importorskip("icu4py.breakers")
    segments = breakers.WordBreaker(make_icu_words.prepared(text), "id")
    return [segment.strip() for segment in segments if segment.strip()]


def test_indonesian_tokens_are_icus_for_every_character_of_many_scripts() -> None:
    tokenizer = t.UnicodeTokenizer()
    checked = 0
    for ends_of_templates, ranges in RECORDED["characters"]:
        for code in (code for first, last in ranges for code in range(first, last + 1)):
            for template, ends in zip(RECORDED["templates"], ends_of_templates, strict=True):
                if ends is not None:
                    text = template.format(chr(code)).lower()
                    assert tokenizer(text) == words(text, ends), (hex(code), text)
                    checked += 1
    assert checked > 25_000


def test_indonesian_tokens_are_icus_for_recorded_texts() -> None:
    tokenizer = t.UnicodeTokenizer()
    assert len(RECORDED["texts"]) == make_icu_words.N_TEXTS
    for text, ends in RECORDED["texts"]:
        assert tokenizer(text) == words(text, ends), text


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet=make_icu_words.ALPHABET.replace(":", ""), max_size=30))
def test_indonesian_tokens_are_those_of_the_icu_that_is_installed(text: str) -> None:
    assert t.UnicodeTokenizer()(text) == icu_tokens(text)


def covers(ranges: list[list[int]], character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in ranges)


def test_a_colon_joins_no_letters_as_in_the_recorded_icu() -> None:
    """ICU's releases differ on it, 78.3 joins: the reason for recording one of them."""
    assert t.UnicodeTokenizer()("a:b") == ["a", ":", "b"]
    ends = next(ends[0] for ends, ranges in RECORDED["characters"] if covers(ranges, ":"))
    assert words("a:b", ends) == ["a", ":", "b"]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Jum'at Do'a Qur’an", ["jum'at", "do'a", "qur’an"]),  # an apostrophe before a vowel joins
        ("'oke' bagus!!", ["'", "oke", "'", "bagus", "!", "!"]),
        ("Rp 10.000,- 3,5jt", ["rp", "10.000", ",", "-", "3,5jt"]),
        ("anak-anak 👍🏽 ok", ["anak", "-", "anak", "👍🏽", "ok"]),
        ("ﬁlm　ＡＢＣ", ["film", "abc"]),  # NFKC
        ("", []),
    ],
)
def test_indonesian_examples(text: str, tokens: list[str]) -> None:
    assert t.UnicodeTokenizer()(text) == tokens
    assert icu_tokens(text) == tokens


def test_vocabulary_keeps_frequent_words_in_an_order_of_its_own() -> None:
    texts = [["b"] * 5, ["a"] * 5, ["c"] * 4, ["d"] * 9, ["c"]]
    counts = t.count_words(texts)
    assert t.vocabulary(counts) == ["d", "a", "b", "c"]
    assert t.vocabulary(t.count_words(texts[::-1])) == ["d", "a", "b", "c"]
    assert t.vocabulary(counts, minimum=6) == ["d"]
    assert t.vocabulary(Counter()) == []


def test_random_vectors_depend_on_the_word_alone_and_are_uniform() -> None:
    words = [f"word{i}" for i in range(2000)]
    vector_WD = t.random_vectors(t.word_hashes(words), 50)
    again = t.random_vectors(t.word_hashes(["other", "word7"]), 50)
    np.testing.assert_array_equal(again[1], vector_WD[7])
    np.testing.assert_array_equal(t.random_vectors(t.word_hashes(["word7"]), 20)[0], vector_WD[7, :20])
    from scipy import stats

    assert stats.kstest(vector_WD.ravel(), "uniform", args=(-0.25, 0.5)).pvalue > 0.001
    correlation = np.corrcoef(vector_WD, rowvar=False) - np.eye(50)
    assert np.abs(correlation).max() < 5 / np.sqrt(2000)


def write_vectors(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("header", [["3 2"], []])
def test_vectors_of_both_formats(tmp_path: Path, header: list[str]) -> None:
    lines = [*header, "the 0.5 -1", "naïve 1e-3 2 ", "rare 7 7", "the 9 9", ". . 3 4"]
    read = t.read_vectors(write_vectors(tmp_path / "v.vec", *lines), ["naïve", "the", "absent", ". ."])
    np.testing.assert_array_equal(
        read.vector_WD, np.array([[1e-3, 2], [0.5, -1], [0, 0], [3, 4]], dtype=np.float32)
    )
    assert read.found_W.tolist() == [True, True, False, True]
    assert read.coverage == 0.75


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["2 2", "a 1 2", "b 1"], "line 3: expected a word and 2 numbers"),
        (["a 1 2", "b 1 x"], "line 2: not a number"),
        (["a 1 2", "b 1 nan"], "line 2: not a finite number"),
        (["a", "b 1"], "line 1: expected"),
    ],
)
def test_vector_errors_name_the_line(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        t.read_vectors(write_vectors(tmp_path / "v.vec", *lines), ["a", "b"])


def test_a_vector_file_that_is_missing_or_empty(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read word vectors"):
        t.read_vectors(tmp_path / "absent.vec", ["a"])
    (tmp_path / "empty.vec").write_text("")
    with pytest.raises(DataError, match="no word vectors"):
        t.read_vectors(tmp_path / "empty.vec", ["a"])


@pytest.mark.parametrize("letter", ["a", "é", "a'", "a\u0301", "\U0001f600", "("])
@pytest.mark.parametrize("language", ["en", "id"])
def test_a_text_without_a_space_is_analysed_in_parts(language: str, letter: str) -> None:
    """Five million letters took gigabytes in one go."""
    long = (letter * 500_000)[:500_000]
    tokens = t.word_tokenizer(language)(f"before {long} after")
    assert (tokens[0], tokens[-1]) == ("before", "after")
    kept = unicodedata.normalize("NFKC", "".join(tokens[1:-1]))
    assert kept == unicodedata.normalize("NFKC", long)
    assert max(map(len, tokens)) <= 10_000
