"""What a data set on disk consists of: its splits, its tables, and how a cell becomes text.

Torch-free. Source: Liu et al. (ACL 2021) for the release's layout. Which data sets there are: `datasets`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

SPLITS = ("train", "dev", "test")
SIDES = ("product", "review")

TABLE_COLUMNS = {
    "prd": ("product_id", "name", "description"),
    "rvw": ("review_id", "content"),
    "rel": ("product_id", "review_id", "upvotes"),
}
"""Columns without which a table cannot be used. `time`, `img_url` and `votes` are read where they exist;
any other column is ignored."""


def plain_text(value: Any) -> str:
    """A text field's value as text.

    Missing (null, NaN) and empty values are empty text. A non-empty list, as Amazon's raw descriptions
    are, takes the form that Python prints for it: that is what the field's loaders feed their tokenizers.
    """
    if value is None or value == [] or value != value:
        return ""
    return str(value)


def joined_text(values: Sequence[Any]) -> str:
    """The texts of a product's fields (`Category.product_text`) with a space between them."""
    return " ".join(plain_text(value) for value in values).strip() if len(values) > 1 else plain_text(*values)
