"""What is in two splits and should be in one: products, reviews, and their texts. Torch-free."""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass, field
from itertools import combinations

from benchmark.data.findings import Findings
from benchmark.data.release import CategoryFolder, RawSplit

LONG_TEXT = 8
"""Words from which on two reviews hardly have one text by chance."""


def folded(text: str) -> str:
    """A text without what hides that it is another one's copy: case, width, accents' encoding, white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).digest()


@dataclass
class _Seen:
    products: set[str]
    reviews: set[str]
    texts: dict[bytes, bool]
    """Digest of each folded review text -> whether it is long."""


@dataclass
class Overlaps:
    """Collects the splits of a category and notes what two of them share."""

    seen: dict[str, _Seen] = field(default_factory=dict)

    def add(self, split: RawSplit) -> None:
        folds = [folded(text) for text in split.reviews.texts]
        self.seen[split.name] = _Seen(
            set(split.products.ids),
            set(split.reviews.ids),
            # a folded text has single spaces, one fewer than words
            {_digest(text): text.count(" ") >= LONG_TEXT - 1 for text in folds if text},
        )

    def note(self, folder: CategoryFolder, findings: Findings) -> None:
        """The release splits by product: what overlaps lets a model see in training what it is tested on."""
        for one, other in combinations(self.seen, 2):
            a, b = self.seen[one], self.seen[other]
            between = f"both {one} and {other}"
            if common := a.products & b.products:
                findings.note(folder.path, f"{len(common)} products are in {between}")
            if common := a.reviews & b.reviews:
                findings.note(folder.path, f"{len(common)} reviews (by their id) are in {between}")
            if texts := a.texts.keys() & b.texts.keys():
                long = sum(a.texts[text] for text in texts)
                message = (
                    f"{len(texts)} review texts are in {between}, {long} of them of {LONG_TEXT} words or more"
                )
                findings.note(folder.path, message)

    def warnings(self) -> list[str]:
        """In words, what makes a number too good: reviews to train on that are judged, too."""
        train = self.seen.get("train")
        return [
            f"WARNING: LEAK: {len(common)} {'review is' if len(common) == 1 else 'reviews are'} in both train and "
            f"{name}, with their labels"
            for name, other in self.seen.items()
            if train is not None and other is not train and (common := train.reviews & other.reviews)
        ]
