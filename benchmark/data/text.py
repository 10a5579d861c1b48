"""Word tokenizers, vocabularies and word vectors. Torch-free.

Both tokenizers work on chunks, the runs of characters between white space: reviews repeat most of their
chunks, so each distinct one is analysed once and then looked up.

W words of a vocabulary, D width of a word vector.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import regex

from benchmark.core.errors import DataError, UsageError
from benchmark.core.files import open_regular

PAD, UNKNOWN, CLS = 0, 1, 2
"""Ids of padding, of the unknown word, and (joint vocabulary only) of the token put before a text."""
MIN_FREQUENCY = 5

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]

_CACHE_LIMIT = 1_000_000
"""Distinct chunks remembered by a tokenizer; beyond it the memory starts anew (about 200 MB)."""
_LONGEST_CHUNK = 10_000
"""A longer run of characters without white space is no word and is analysed in parts of this length: a
word-break pattern keeps a way back for each character, gigabytes for millions."""


def _parts(chunk: str) -> Iterator[str]:
    return (chunk[start : start + _LONGEST_CHUNK] for start in range(0, len(chunk), _LONGEST_CHUNK))


# --- English -----------------------------------------------------------------------------------------

# A chunk that ends a sentence: a closing period that is no ellipsis, or ? or !, then closing marks.
_SENTENCE_END = re.compile(r"""(?:(?:^|[^.])\.|[?!])[\])}>"'»”’]*$""")


def sentences(text: str) -> Iterator[list[str]]:
    """The chunks of each sentence.

    A sentence ends with its line and after a chunk that ends in `.`, `?` or `!` and closing marks (an
    ellipsis does not end one). `nltk.word_tokenize` asks a trained Punkt model instead, a download; the
    two differ after abbreviations only (`Mr.` is two tokens here).
    """
    for line in text.splitlines():
        chunks: list[str] = []
        for chunk in line.split():
            chunks.append(chunk)
            if not chunk[-1].isalnum() and _SENTENCE_END.search(chunk):
                yield chunks
                chunks = []
        if chunks:
            yield chunks


# A chunk whose tokens need no further rule: [(] word [mark], the word in ASCII, a hyphen inside at most.
_PLAIN = re.compile(r"(\(?)([a-z0-9]+(?:-[a-z0-9]+)*)([.,;:!?)]?)", re.IGNORECASE)
# NLTK splits these words.
_CONTRACTIONS = re.compile(r"\b(?:cannot|gimme|gonna|gotta|lemme|wanna)\b", re.IGNORECASE)


class EnglishTokenizer:
    """Lower-cased tokens of NLTK's word tokenizer (the one of `nltk.word_tokenize`), sentence by sentence.

    NLTK's rules look beyond a chunk in three ways only: whether it begins the sentence (opening quotes),
    whether it ends it (commas and periods), and, for the final period, at chunks of closing marks after
    it, which `sentences` has made sentences of their own. So the tokens of a sentence are those of its
    chunks, each tokenized by NLTK between neighbours that stand for the rest, or directly where it is
    plain.
    """

    def __init__(self) -> None:
        self._rules = _nltk_rules()
        self._known: dict[str | tuple[str, bool, bool], list[str]] = {}

    def __call__(self, text: str) -> list[str]:
        tokens: list[str] = []
        known = self._known
        for chunks in sentences(text):
            last = len(chunks) - 1
            for position, chunk in enumerate(chunks):
                found = known.get(chunk)
                if found is None:
                    found = self._analyse(chunk, position == 0, position == last)
                tokens += found
        return tokens

    def _analyse(self, chunk: str, first: bool, last: bool) -> list[str]:
        if len(chunk) > _LONGEST_CHUNK:
            parts = list(_parts(chunk))
            ends = len(parts) - 1
            pairs = [self._analyse(p, first and i == 0, last and i == ends) for i, p in enumerate(parts)]
            return [token for tokens in pairs for token in tokens]
        if len(self._known) >= _CACHE_LIMIT:
            self._known.clear()
        plain = _PLAIN.fullmatch(chunk)
        if plain and not _CONTRACTIONS.search(chunk):
            tokens = self._known[chunk] = [part.lower() for part in plain.groups() if part]
        elif chunk[0] not in "\"'" and chunk[-1].isalnum():  # its place in the sentence does not matter
            tokens = self._known[chunk] = self._tokenize(chunk, False, False)
        else:
            context = (chunk, first, last)
            if context not in self._known:
                self._known[context] = self._tokenize(chunk, first, last)
            tokens = self._known[context]
        return tokens

    def _tokenize(self, chunk: str, first: bool, last: bool) -> list[str]:
        text = ("" if first else "x ") + chunk + ("" if last else " x")
        for pattern, replacement in self._rules:
            text = pattern.sub(replacement, text)
        tokens = text.lower().split()
        return tokens[0 if first else 1 : len(tokens) if last else -1]


def _nltk_rules() -> list[tuple[Any, str]]:
    """NLTK's own substitutions in the order in which its `tokenize` applies them, compiled anew: NLTK runs
    each under a time limit against hostile patterns, which on a chunk costs ten times the matching. Each by
    the engine that NLTK uses for it: `re` and `regex` disagree on what some characters are, superscripts say."""
    from nltk.tokenize.destructive import NLTKWordTokenizer as Nltk

    contractions = [(pattern, r" \1 \2 ") for pattern in (*Nltk.CONTRACTIONS2, *Nltk.CONTRACTIONS3)]
    padded = (regex.compile("^.*$"), r" \g<0> ")
    rules = [
        *Nltk.STARTING_QUOTES,
        *Nltk.PUNCTUATION,
        Nltk.PARENS_BRACKETS,
        Nltk.DOUBLE_DASHES,
        padded,
        *Nltk.ENDING_QUOTES,
        *contractions,
    ]
    engines = [re if isinstance(pattern, re.Pattern) else regex for pattern, _ in rules]
    return [
        (engine.compile(pattern.pattern), replacement)
        for engine, (pattern, replacement) in zip(engines, rules, strict=True)
    ]


# --- Every other language ------------------------------------------------------------------------------

# The word-break rules of Unicode's annex 29 as one pattern, with ICU's change to them: a colon joins no
# letters. `~` stands for what attaches to the character before it (WB4), `A` for a letter. An apostrophe
# joins letters (Jum'at), which regex's own `(?w)\b` denies before vowels. Left out: Hebrew's two rules
# for quotes and the dictionaries that ICU keeps for Thai, Lao, Khmer, Myanmar, Chinese, Japanese, Korean.
_WORD = regex.compile(
    r"""
    (?: A ~ (?: [\p{WB=MidLetter}\p{WB=MidNumLet}'--[:\uFE55\uFF1A]] ~ (?=A) )?                    # WB5-7
      | \p{WB=Numeric} ~ (?: [\p{WB=MidNum}\p{WB=MidNumLet}'] ~ (?=\p{WB=Numeric}) )?              # WB8-12
      | [\p{WB=ExtendNumLet}\p{WB=Katakana}] ~                                                     # WB13
    )+ EMOJI*
    | \p{WB=Regional_Indicator} ~ (?: \p{WB=Regional_Indicator} ~ )? EMOJI*                        # WB15
    | \S ~ EMOJI*
    """.replace("EMOJI", r"(?: (?<=\u200d) \p{Extended_Pictographic} ~ )")  # WB3c
    .replace("~", r"[\p{WB=Extend}\p{WB=Format}\p{WB=ZWJ}]*")
    .replace("A ", r"[\p{WB=ALetter}\p{WB=Hebrew_Letter}] ")
    .replace("(?=A)", r"(?=[\p{WB=ALetter}\p{WB=Hebrew_Letter}])"),
    regex.VERBOSE | regex.VERSION1,
)


class UnicodeTokenizer:
    """Words as ICU breaks them, of the NFKC-normalised, lower-cased text; white space is no token.

    Of scripts without spaces each character is a word (Chinese, Japanese's kanji, Thai): there are no
    dictionaries here."""

    def __init__(self) -> None:
        self._known: dict[str, list[str]] = {}

    def __call__(self, text: str) -> list[str]:
        # NFKC leaves ASCII alone, and most reviews are ASCII
        if not text.isascii():
            text = unicodedata.normalize("NFKC", text)
        tokens: list[str] = []
        for chunk in text.lower().split():
            found = self._known.get(chunk)
            tokens += self._analyse(chunk) if found is None else found
        return tokens

    def _analyse(self, chunk: str) -> list[str]:
        if len(chunk) > _LONGEST_CHUNK:
            return [token for part in _parts(chunk) for token in self._analyse(part)]
        if len(self._known) >= _CACHE_LIMIT:
            self._known.clear()
        tokens: list[str] = _WORD.findall(chunk)
        self._known[chunk] = tokens
        return tokens


def word_tokenizer(language: str) -> Callable[[str], list[str]]:
    """The tokenizer of a language, any but English's being `unicode`."""
    return EnglishTokenizer() if language == "en" else UnicodeTokenizer()


# --- Vocabulary --------------------------------------------------------------------------------------


def count_words(texts: Iterable[Sequence[str]]) -> Counter[str]:
    """Term frequencies over tokenized texts."""
    counts: Counter[str] = Counter()
    for tokens in texts:
        counts.update(tokens)
    return counts


def vocabulary(counts: Counter[str], minimum: int = MIN_FREQUENCY) -> list[str]:
    """The words that occur often enough, most frequent first, then alphabetically: their order is that of
    their ids and does not depend on the order of the texts."""
    kept = [(-count, word) for word, count in counts.items() if count >= minimum]
    return [word for _, word in sorted(kept)]


# --- Word vectors ------------------------------------------------------------------------------------

RANDOM_RANGE = 0.25
"""Words without a pre-trained vector start uniform in [-0.25, 0.25], as in the field's released code."""


def word_hashes(words: Sequence[str]) -> npt.NDArray[np.uint64]:
    """uint64 [W], a 64-bit hash of each word that is the same on every machine."""
    digests = b"".join(
        hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest() for word in words
    )
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def random_vectors(hash_W: npt.NDArray[np.uint64], width: int) -> Float32:
    """float32 [W, width], uniform in [-0.25, 0.25): a function of the word alone, so that a word begins
    with one vector in every field, corpus and run (SplitMix64, Steele et al. 2014, seeded by its hash)."""
    # unsigned 64-bit overflow is wanted: SplitMix64 counts modulo 2^64
    state_WD = hash_W[:, None] + np.arange(1, width + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state_WD = (state_WD ^ (state_WD >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state_WD = (state_WD ^ (state_WD >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    state_WD ^= state_WD >> np.uint64(31)
    # the upper 24 bits: as many as a float32 in [0, 1) holds exactly
    unit_WD = (state_WD >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
    vector_WD: Float32 = (2 * unit_WD - np.float32(1)) * np.float32(RANDOM_RANGE)
    return vector_WD


@dataclass(frozen=True)
class WordVectors:
    """The rows of a vector file that a vocabulary needs."""

    vector_WD: Float32
    """Zero where the file lacks the word."""
    found_W: npt.NDArray[np.bool_]
    sha256: str
    """Of the whole file."""

    @property
    def coverage(self) -> float:
        """Share of the vocabulary's words that the file has."""
        return float(self.found_W.mean()) if len(self.found_W) else 0.0


def read_vectors(path: Path, words: Sequence[str]) -> WordVectors:
    """The vectors of `words` from a text file: fastText's `.vec` (first line: count and width) or GloVe's
    `.txt` (no such line). One pass; other rows are skipped unread; of a word listed twice the first counts.

    Raises DataError, with the line's number, for a row whose width differs or that is not finite numbers.
    """
    row_of = {word.encode("utf-8", "surrogatepass"): row for row, word in enumerate(words)}
    found_W = np.zeros(len(words), dtype=np.bool_)
    vector_WD: Float32 | None = None
    digest = hashlib.sha256()
    try:
        with open_regular(path) as lines:
            for number, line in enumerate(lines, start=1):
                digest.update(line)
                fields = line.rstrip().split(b" ")
                # fastText's count and width
                if number == 1 and len(fields) == 2:
                    continue
                if vector_WD is None:
                    vector_WD = np.zeros((len(words), len(fields) - 1), dtype=np.float32)
                width = vector_WD.shape[1]
                if len(fields) <= width or width == 0:
                    raise DataError(f"{path}, line {number}: expected a word and {width or 'its'} numbers")
                # A few GloVe words hold spaces; the numbers are the last fields of their line.
                row = row_of.get(b" ".join(fields[: len(fields) - width]))
                if row is not None and not found_W[row]:
                    vector_WD[row] = _numbers(fields[-width:], path, number)
                    found_W[row] = True
    except OSError as error:
        raise UsageError(f"cannot read word vectors from {path}: {error.strerror}") from error
    if vector_WD is None:
        raise DataError(f"{path}: no word vectors in it")
    return WordVectors(vector_WD, found_W, digest.hexdigest())


def _numbers(fields: list[bytes], path: Path, line: int) -> Float32:
    try:
        vector_D = np.array([float(field) for field in fields], dtype=np.float32)
    except ValueError as error:
        raise DataError(f"{path}, line {line}: not a number ({error})") from error
    if not np.isfinite(vector_D).all():
        raise DataError(f"{path}, line {line}: not a finite number")
    return vector_D
