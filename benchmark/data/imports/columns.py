"""Which column of somebody's table is what: usual names, recipes for known dumps, and what the user says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmark.core.errors import DataError, UsageError
from benchmark.core.words import near_miss

_MOST, _LONGEST = 60, 80
"""Columns that a message names, and characters of each."""
USUAL_NAMES: Mapping[str, tuple[str, ...]] = {
    "product": ("product_id", "asin", "parent_asin", "item_id", "sku", "product"),
    "review": ("review_id", "reviewid", "id"),
    "text": ("content", "review_body", "reviewtext", "review_text", "text", "body", "comment", "review"),
    "votes": ("helpful_votes", "helpful_vote", "votes", "vote", "upvotes", "helpful", "likes"),
    "label": ("label", "helpfulness"),
    "time": ("time", "date", "review_date", "unixreviewtime", "timestamp", "reviewtime", "created_at"),
    "category": ("category", "product_category", "main_category", "main_cat"),
    "name": ("product_name", "product_title", "name", "title"),
    "description": ("product_description", "description"),
    "image": ("img_url", "image_urls", "images", "image"),
}
"""What a column can be -> names that it usually has, compared without case; the first that is there counts."""


@dataclass(frozen=True)
class Recipe:
    """How a known dump calls its columns, and what else is particular about it."""

    name: str
    about: str
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """As `USUAL_NAMES`, in place of it for the columns that are listed."""
    language: str = ""
    unescape: bool = False
    """Texts have HTML entities in them."""


RECIPES: Mapping[str, Recipe] = {
    one.name: one
    for one in (
        Recipe("table", "any table, its columns by their usual names or --column"),
        Recipe(
            "amazon-2014",
            "reviews with helpful: [up, total]; metadata also as Python literals",
            {
                "product": ("asin",),
                "text": ("reviewtext",),
                "votes": ("helpful",),
                "time": ("unixreviewtime",),
                "image": ("imurl",),
            },
            "en",
            True,
        ),
        Recipe(
            "amazon-2018",
            'reviews with vote: "1,234", absent where nobody voted, and lists of images',
            {
                **{"product": ("asin",), "text": ("reviewtext",), "votes": ("vote",)},
                **{
                    "time": ("unixreviewtime",),
                    "name": ("title",),
                    "category": ("main_cat",),
                    "image": ("image",),
                },
            },
            "en",
            True,
        ),
        Recipe(
            "amazon-2023",
            "reviews and metadata, joined by parent_asin",
            {
                **{"product": ("parent_asin",), "text": ("text",), "votes": ("helpful_vote",)},
                **{"time": ("timestamp",), "name": ("title",), "category": ("main_category",)},
                "image": ("images",),
            },
            "en",
            True,
        ),
    )
}
"""By name: the dumps of McAuley et al. (2014), Ni et al. (2018) and Hou et al. (2023), and plain tables."""


def parse_columns(assignments: Sequence[str]) -> dict[str, str]:
    """`["votes=likes"]` -> `{"votes": "likes"}`; UsageError with near misses for what no column can be."""
    given: dict[str, str] = {}
    for assignment in assignments:
        key, equals, name = assignment.partition("=")
        if not equals or not name:
            raise UsageError(f"--column takes what=name, such as votes=likes, not {assignment!r}.")
        if key not in USUAL_NAMES:
            raise UsageError(
                f"--column {key}=: unknown.{near_miss(key, USUAL_NAMES)} Known: {' '.join(USUAL_NAMES)}."
            )
        given[key] = name
    return given


def recognise(names: Sequence[str], recipe: Recipe, given: Mapping[str, str]) -> dict[str, str]:
    """What -> the name of its column in a file that has these. A name that was given counts for every file that
    has it (exactly), and no usual name stands in for it."""
    by_lower = {name.lower(): name for name in reversed(names)}
    found = {}
    for what, usual in {**USUAL_NAMES, **recipe.columns}.items():
        wanted = [given[what].lower()] if what in given else [name.lower() for name in usual]
        for name in wanted:
            if name in by_lower:
                found[what] = by_lower[name]
                break
    return found


def of_reviews(found: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """The columns of a table of reviews: its `title` or `name` is the review's, or of whoever wrote it, unless it was
    given as the product's."""
    own = dict(found)
    if "name" not in given and own.get("name", "").lower() in ("title", "name"):
        del own["name"]
    return own


def listed(names: Sequence[str]) -> str:
    """Names of columns for a message, which a file of any bytes does not make endless."""
    shown = [name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..." for name in names[:_MOST]]
    more = [f"{len(names) - _MOST} more"] if len(names) > _MOST else []
    return ", ".join([*shown, *more]) or "no columns"


def need(found: Mapping[str, str], what: str, file: str, names: Sequence[str]) -> str:
    """The column of `what`; DataError that says how to name it."""
    if what not in found:
        raise DataError(
            f"{file}: no column for {what}: it has {listed(names)}. Name it: --column {what}=NAME."
        )
    return found[what]
