"""Are a setting's data the paper's? One rule for every place that puts published numbers beside ours."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.data.catalog import SPLITS
from benchmark.data.published import published_count
from benchmark.report.grid import Setting


def other_data(setting: Setting) -> dict[str, str]:
    """Category -> why its published numbers are not to be put beside ours; only where they are not.

    The data are the paper's if they are real, trained on with their own labels, and count as many products
    and reviews in every split as its Table 3.
    """
    if not setting.data_set.in_paper:
        why = "the data set is not in the paper"
    elif setting.conditions.synthetic:
        why = f"the corpus {setting.conditions.corpus} is synthetic"
    elif setting.conditions.shuffle_labels:
        why = "the training labels were shuffled"
    else:
        counted = {category: _counts_differ(setting, category) for category, _ in setting.fingerprints}
        return {category: words for category, words in counted.items() if words}
    return {category: why for category, _ in setting.fingerprints}


def paper_categories(setting: Setting) -> tuple[str, ...]:
    """Categories whose data are the paper's."""
    others = other_data(setting)
    return tuple(category for category, _ in setting.fingerprints if category not in others)


def other_data_sentences(setting: Setting, categories: Sequence[str] | None = None) -> list[str]:
    """One line why no published number stands beside ours, for each reason."""
    by_reason: dict[str, list[str]] = {}
    for category, why in other_data(setting).items():
        if categories is None or category in categories:
            by_reason.setdefault(why, []).append(setting.data_set.category_title(category))
    return [
        f"Not the paper's data ({', '.join(labels)}): {why}. No published value is put beside ours there, and "
        "none is judged."
        for why, labels in by_reason.items()
    ]


def _counts_differ(setting: Setting, category: str) -> str:
    manifest = next(run for run in setting.runs if run.spec.category == category).manifest
    for split in SPLITS:
        for what in ("products", "reviews"):
            ours = int(manifest["splits"][split][what])
            theirs = published_count(setting.conditions.dataset, category, split, what)
            if ours != theirs:
                printed = "no number" if theirs is None else f"{theirs:,}"
                return f"{ours:,} {split} {what} where Table 3 prints {printed}"
    return ""
