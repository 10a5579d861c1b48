"""Where the data of a category comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.data.datasets import in_order, known
from benchmark.data.fields import Votes

if TYPE_CHECKING:
    from benchmark.data.corpus import Corpus


@dataclass(frozen=True)
class Source:
    """Where the data of a category comes from; small enough to hand to a worker process."""

    root: Path
    cache: Path | None = None
    vectors: Path | None = None
    labels_from_votes: Votes = False

    def open(self, dataset: str, category: str, progress: Any = None) -> Corpus:
        """The packed category; packs it first if that was not done yet. Raises DataError."""
        from benchmark.data.corpus import open_corpus

        return open_corpus(
            self.root,
            dataset,
            category,
            cache=self.cache,
            vectors=self.vectors,
            labels_from_votes=self.labels_from_votes,
            progress=progress,
        )

    def verify(self, dataset: str, category: str, progress: Any = None) -> tuple[Path, str]:
        """The category's pack, each byte of it checked, and in words whether it was whole, not there yet, or what
        was damaged (then it is made anew)."""
        from benchmark.data.pack import cache_root, ensure_pack, pack_damage
        from benchmark.data.release import find_category

        folder, cache = find_category(self.root, dataset, category), cache_root(self.cache)
        damage = pack_damage(folder, cache, self.labels_from_votes)
        pack = ensure_pack(
            folder, cache, labels_from_votes=self.labels_from_votes, progress=progress, thorough=True
        )
        if damage is None:
            return pack, "packed now"
        return pack, f"damaged: {damage}; packed anew" if damage else "whole"


def available_categories(
    root: Path, datasets: Sequence[str], categories: Sequence[str]
) -> list[tuple[str, str]]:
    """The (dataset, category) pairs that have a folder below `root`, in the order of the descriptors."""
    return [
        (data_set.name, category)
        for data_set in in_order(known(root).values())
        for category in data_set.category_names
        if data_set.name in datasets and category in categories and (root / data_set.name / category).is_dir()
    ]
