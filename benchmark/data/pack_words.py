"""The words of a category: tokenized, numbered, counted; beside the reading of features where there are many.

N items, T their tokens, W words of a vocabulary. Torch-free.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.data.catalog import SIDES
from benchmark.data.roi_crew import processors
from benchmark.data.store import Ragged, Strings, offsets_of
from benchmark.data.text import CLS, PAD, UNKNOWN, vocabulary, word_hashes, word_tokenizer

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

FIRST_WORD = {"product": UNKNOWN + 1, "review": UNKNOWN + 1, "joint": CLS + 1}
"""Id of the most frequent word of each vocabulary."""
MANY = 20_000
"""From so many texts on, a process of their own tokenizes them."""
_REPORT_EVERY = 500

Progress = Callable[[int, int, str], None]
"""(done, total, what)"""


class Words:
    """Numbers words as they come, then, when train has been read, by vocabulary.

    Every text is tokenized once; what follows is array work on the provisional numbers.
    """

    def __init__(self, tokenizer: str) -> None:
        self._tokenize = word_tokenizer(tokenizer)
        self._number: defaultdict[str, int] = defaultdict()
        self._number.default_factory = self._number.__len__
        self._flat: dict[tuple[str, str], array[int]] = defaultdict(lambda: array("i"))
        self._count: dict[tuple[str, str], array[int]] = defaultdict(lambda: array("i"))

    def add(self, out: Path, split: str, side: str, progress: Progress) -> None:
        """Reads `<split>.<side>.text` of a pack that is being made."""
        texts = Strings.open(out / f"{split}.{side}.text")
        flat, count = self._flat[split, side], self._count[split, side]
        for row, text in enumerate(texts):
            tokens = self._tokenize(text)
            flat.extend(map(self._number.__getitem__, tokens))
            count.append(len(tokens))
            if row % _REPORT_EVERY == 0:
                progress(row, len(texts), f"{split} {side} words")

    def write(self, out: Path) -> dict[str, int]:
        """Writes vocabularies and word ids; returns the number of ids of each vocabulary."""
        words = list(self._number)
        frequency = {side: self._frequency("train", side, len(words)) for side in SIDES}
        frequency["joint"] = frequency["product"] + frequency["review"]
        id_of = {
            name: self._number_vocabulary(name, count_W, words, out) for name, count_W in frequency.items()
        }
        for side in SIDES:
            kept = np.argsort(id_of[side], kind="stable")[np.sum(id_of[side] == PAD) :]
            special = np.arange(FIRST_WORD[side], dtype=np.int32)
            np.save(out / f"joint_of.{side}.npy", np.concatenate([special, id_of["joint"][kept]]))
        for (split, side), flat in self._flat.items():
            number_T, count_N = _view(flat), _view(self._count[split, side])
            np.save(out / f"{split}.{side}.word_count.npy", count_N)
            for name, vocabulary_name in (("words", side), ("joint", "joint")):
                delete_rare(id_of[vocabulary_name][number_T], count_N).save(out / f"{split}.{side}.{name}")
        return {name: int(ids.max(initial=FIRST_WORD[name] - 1)) + 1 for name, ids in id_of.items()}

    def _frequency(self, split: str, side: str, n_words: int) -> Int64:
        return np.bincount(_view(self._flat[split, side]), minlength=n_words).astype(np.int64)

    def _number_vocabulary(self, name: str, count_W: Int64, words: list[str], out: Path) -> Int32:
        """int32, provisional number -> id, 0 for words outside of the vocabulary."""
        counts = Counter({words[number]: int(count_W[number]) for number in np.flatnonzero(count_W).tolist()})
        kept = vocabulary(counts)
        Strings.save(kept, out / f"vocabulary.{name}")
        np.save(out / f"vocabulary.{name}.hash.npy", word_hashes(kept))
        ids = np.zeros(len(words), dtype=np.int32)
        ids[[self._number[word] for word in kept]] = np.arange(len(kept), dtype=np.int32) + FIRST_WORD[name]
        return ids


def _view(numbers: array[int]) -> Int32:
    return np.frombuffer(numbers, dtype=np.int32) if len(numbers) else np.zeros(0, dtype=np.int32)


def delete_rare(id_T: Int32, count_N: npt.NDArray[Any]) -> Ragged:
    """Word ids without those of rare words (id 0), which the field deletes; a text of which nothing is left
    becomes a single unknown token, so that no review is ever dropped (defect P24).

    `id_T` are the ids of all texts one after another, `count_N` the tokens of each.
    """
    kept_T = id_T != PAD
    ends_N1 = np.concatenate([[0], np.cumsum(kept_T)])[offsets_of(count_N)]
    left_N = np.diff(ends_N1)
    offset_N1 = offsets_of(np.maximum(left_N, 1))
    flat = np.full(int(offset_N1[-1]), UNKNOWN, dtype=np.int32)
    shift_N = offset_N1[:-1] - ends_N1[:-1]
    flat[np.arange(int(left_N.sum())) + np.repeat(shift_N, left_N)] = id_T[kept_T]
    return Ragged(flat, offset_N1)


# --- In a process of their own ---------------------------------------------------------------------------


class TextWorker:
    """`Words` beside what else is done: where texts are many and there is more than one processor, in a child.

    The child reads texts from the pack that is being made and writes words there, so nothing but names and counts
    goes through its pipes. If it dies, all is done here.
    """

    def __init__(self, out: Path, tokenizer: str, progress: Progress) -> None:
        self._out, self._tokenizer, self._progress = out, tokenizer, progress
        self._given: list[tuple[str, str]] = []
        self._words: Words | None = None
        self._child: subprocess.Popen[str] | None = None

    def __enter__(self) -> TextWorker:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()

    def add(self, split: str, side: str, texts: int) -> None:
        """`<split>.<side>.text` is written; the split has so many texts."""
        if not self._given and self._words is None:
            self._begin(texts)
        self._given.append((split, side))
        if self._words is not None:
            self._words.add(self._out, split, side, self._progress)
        else:
            self._tell([split, side])

    def write(self) -> dict[str, int]:
        """Like `Words.write`; of a child, after everything that it was given."""
        sizes = self._heard() if self._words is None and self._given else None
        if sizes is not None:
            return sizes
        if self._words is None:
            self._words = Words(self._tokenizer)
            for split, side in self._given:
                self._words.add(self._out, split, side, self._progress)
        return self._words.write(self._out)

    def _begin(self, texts: int) -> None:
        if texts < MANY or processors() == 1:
            self._words = Words(self._tokenizer)
            return
        home = str(Path(__file__).resolve().parents[2])
        program = (
            f"import sys; sys.path.insert(0, {home!r})\n"
            f"from benchmark.data import pack_words\npack_words.serve({str(self._out)!r}, {self._tokenizer!r})"
        )
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what is wrong is said when it is tried here
            encoding="utf-8",
        )

    def _tell(self, message: list[str]) -> None:
        assert self._child is not None
        assert self._child.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died: seen at the end
            self._child.stdin.write(json.dumps(message) + "\n")
            self._child.stdin.flush()

    def _heard(self) -> dict[str, int] | None:
        """What the child says until its sizes; None if it died before them."""
        assert self._child is not None
        assert self._child.stdout is not None
        self._tell([])
        for line in self._child.stdout:
            said = json.loads(line)
            if isinstance(said, dict):
                return said
            self._progress(*said)
        return None


def serve(out: str, tokenizer: str) -> None:
    """The child's main: a side of a split a line, then an empty list. It ends when its parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    said = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # what a library prints must not end up among the replies
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)

    def say(message: object) -> None:
        said.write(json.dumps(message) + "\n")
        said.flush()

    words = Words(tokenizer)
    for line in sys.stdin:
        given = json.loads(line)
        if not given:
            say(words.write(Path(out)))
            return
        split, side = given
        words.add(Path(out), split, side, lambda *progress: say(progress))
