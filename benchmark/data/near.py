"""Reviews that are nearly the same in two splits: what `bench data check --deep` looks for. Torch-free.

Shingles are three words in a row of the folded text; the similarity of two texts is the Jaccard index of their
sets of shingles. MinHash with locality-sensitive hashing (datasketch) finds the candidates, whose similarity is
then computed exactly: so nothing is noted that is not there, and of pairs at the bound a few may be missed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from benchmark.core.errors import UsageError
from benchmark.data.findings import Findings
from benchmark.data.leaks import LONG_TEXT, folded
from benchmark.data.release import CategoryFolder, RawSplit

SIMILAR = 0.7
"""Jaccard index from which on two texts are near copies."""
_WORDS = 3
_PERMUTATIONS = 128
_SHOWN = 3
_BATCH = 500

Progress = Callable[[int, int, str], None]


def shingles(text: str) -> set[str]:
    """Of a folded text, every three words in a row."""
    words = text.split()
    return {" ".join(words[i : i + _WORDS]) for i in range(len(words) - _WORDS + 1)}


def similarity(one: str, other: str) -> float:
    """The Jaccard index of two folded texts' shingles."""
    a, b = shingles(one), shingles(other)
    return len(a & b) / len(a | b) if a | b else 0.0


def need_library() -> Any:
    """datasketch; UsageError, with what to install, if it is not there."""
    try:
        import datasketch
    except ImportError:
        raise UsageError(
            "--deep needs datasketch: pip install 'mrhp-bench[deep]', or leave --deep out."
        ) from None
    return datasketch


@dataclass
class NearCopies:
    """Collects the long review texts of a category's splits and notes near copies between two of them."""

    progress: Progress | None = None
    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    """Split -> review id -> folded text, of texts of LONG_TEXT words or more."""

    def add(self, split: RawSplit) -> None:
        folds = zip(split.reviews.ids, map(folded, split.reviews.texts), strict=True)
        self.texts[split.name] = {row: text for row, text in folds if text.count(" ") >= LONG_TEXT - 1}

    def note(self, folder: CategoryFolder, findings: Findings) -> None:
        """One note per pair of splits: how many reviews of the later one have a near copy in the earlier one
        (exact copies, which are noted anyway, not among them), and examples."""
        hashes = {name: self._hashes(name, texts) for name, texts in self.texts.items()}
        for earlier, later in combinations(self.texts, 2):
            pairs = self._pairs(earlier, later, hashes)
            if pairs:
                examples = ", ".join(f"{b} like {a}" for a, b in pairs[:_SHOWN])
                findings.note(
                    folder.path,
                    f"{len(pairs)} reviews of {later} are near copies of one in {earlier} (at least {SIMILAR:.0%} of "
                    f"their word triples in common), for example {examples}",
                )

    def _hashes(self, name: str, texts: dict[str, str]) -> list[Any]:
        made: list[Any] = []
        rows = list(texts.values())
        for start in range(0, len(rows), _BATCH):
            if self.progress is not None:
                self.progress(start, len(rows), f"near copies: {name}")
            batch = [
                [word.encode("utf-8", "surrogatepass") for word in shingles(text)]
                for text in rows[start : start + _BATCH]
            ]
            made += need_library().MinHash.bulk(batch, num_perm=_PERMUTATIONS, seed=1)
        return made

    def _pairs(self, earlier: str, later: str, hashes: dict[str, list[Any]]) -> list[tuple[str, str]]:
        # below the bound, for a MinHash only estimates; what it lets through is computed exactly
        index = need_library().MinHashLSH(threshold=SIMILAR - 0.1, num_perm=_PERMUTATIONS)
        for row, minhash in zip(self.texts[earlier], hashes[earlier], strict=True):
            index.insert(row, minhash)
        found = []
        for row, minhash in zip(self.texts[later], hashes[later], strict=True):
            text = self.texts[later][row]
            others = ((other, self.texts[earlier][other]) for other in sorted(index.query(minhash)))
            close = [other for other, copy in others if copy != text and similarity(copy, text) >= SIMILAR]
            if close:
                found.append((close[0], row))
        return found
