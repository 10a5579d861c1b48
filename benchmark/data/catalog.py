"""What the published MRHP release consists of: names, languages, and which fields make an item's text.

Torch-free. Sources: Liu et al. (ACL 2021) for the release's layout, Table 3 of the MM-SS paper for the
labels of the categories.
"""

from __future__ import annotations

from typing import Any

DATASETS = ("lazada", "amazon")
CATEGORIES = ("clothing", "electronics", "home")
SPLITS = ("train", "dev", "test")
SIDES = ("product", "review")

DATASET_LABELS = {"lazada": "Lazada-MRHP", "amazon": "Amazon-MRHP"}
"""As the paper prints them (column `dataset` of published.csv)."""
CATEGORY_LABELS = {"clothing": "CS&J", "electronics": "Elec", "home": "H&K"}
"""As the paper prints them (column `category` of published.csv)."""
LANGUAGES = {"lazada": "id", "amazon": "en"}

TABLE_COLUMNS = {
    "prd": ("product_id", "name", "description"),
    "rvw": ("review_id", "content"),
    "rel": ("product_id", "review_id", "upvotes"),
}
"""Columns without which a table cannot be used. `time`, `img_url` and `votes` are read where they exist;
any other column is ignored."""


def uses_description(dataset: str, category: str) -> bool:
    """Whether a product's text includes its description: everywhere but in Lazada clothing."""
    return not (dataset == "lazada" and category == "clothing")


def plain_text(value: Any) -> str:
    """A text field's value as text.

    Missing (null, NaN) and empty values are empty text. A non-empty list, as Amazon's raw descriptions
    are, takes the form that Python prints for it: that is what the field's loaders feed their tokenizers.
    """
    if value is None or value == [] or value != value:
        return ""
    return str(value)


def product_text(dataset: str, category: str, name: Any, description: Any) -> str:
    """Name, a space, description; the name alone for Lazada clothing."""
    if not uses_description(dataset, category):
        return plain_text(name)
    return f"{plain_text(name)} {plain_text(description)}".strip()
