"""Counts of a packed category, for people: `bench data stats`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from tabulate import tabulate

if TYPE_CHECKING:
    from benchmark.data.corpus import Corpus, Split

LABELS = range(5)


def summarise(corpus: Corpus) -> dict[str, Any]:
    """Counts, label shares, lengths and image coverage of each split, as JSON values."""
    return {
        "corpus": corpus.label,
        "synthetic": corpus.synthetic,
        "dataset": corpus.dataset,
        "category": corpus.category,
        "fingerprint": corpus.fingerprint,
        "splits": {split.name: _split(split) for split in (corpus.train, corpus.dev, corpus.test)},
    }


def _split(split: Split) -> dict[str, Any]:
    size_P = np.bincount(split.product_R, minlength=split.n_products)
    return {
        "products": split.n_products,
        "reviews": split.n_reviews,
        "reviews_per_product": {
            "min": int(size_P.min()),
            "median": float(np.median(size_P)),
            "max": int(size_P.max()),
        },
        "labels": [int(count) for count in np.bincount(split.label_R, minlength=5)[:5]],
        "products_without_relevant": int(
            split.n_products - len(np.unique(np.asarray(split.product_R)[np.asarray(split.label_R) > 0]))
        ),
        "median_words": float(np.median(split.word_count_R)),
        "reviews_with_image": int(np.sum(split.has_image_R)),
    }


def render(summaries: Sequence[dict[str, Any]]) -> str:
    """One row per category and split."""
    rows = []
    for summary in summaries:
        for name, split in summary["splits"].items():
            spread = split["reviews_per_product"]
            rows.append(
                [
                    f"{summary['dataset']}/{summary['category']}",
                    name,
                    split["products"],
                    split["products_without_relevant"],
                    split["reviews"],
                    f"{spread['median']:g} ({spread['min']}-{spread['max']})",
                    " / ".join(str(count) for count in split["labels"]),
                    split["median_words"],
                    split["reviews_with_image"],
                ]
            )
    headers = [
        "category",
        "split",
        "products",
        "without label > 0",
        "reviews",
        "reviews/product",
        "label 0 / 1 / 2 / 3 / 4",
        "median words",
        "reviews with image",
    ]
    names = ", ".join(
        dict.fromkeys(
            f"{summary['corpus']}{' (synthetic)' if summary['synthetic'] else ''} "
            f"{summary['dataset']}/{summary['category']}: {summary['fingerprint'][:16]}"
            for summary in summaries
        )
    )
    return tabulate(rows, headers, tablefmt="github") + f"\n\nFingerprints: {names}."
