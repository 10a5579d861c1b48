"""What the user chose about an import, and what is said about it afterwards. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from benchmark.core.errors import UsageError
from benchmark.core.words import check_choice
from benchmark.data.catalog import SPLITS
from benchmark.data.datasets import BUILT_IN, name_problem
from benchmark.data.imports.columns import RECIPES
from benchmark.data.imports.sources import BadRow

UNVOTED = ("drop", "zero")
DUPLICATES = ("first", "text", "keep")


@dataclass(frozen=True)
class Options:
    """How a data set is made; everything here is written to its `dataset.toml`."""

    name: str
    recipe: str = "table"
    columns: tuple[str, ...] = ()
    title: str = ""
    language: str = ""
    tokenizer: str = ""
    labels: str = "votes"
    """`votes`: min(4, floor(log2 v)); `column`: labels 0..4 as they are."""
    unvoted: str = "drop"
    """Reviews without a vote: `drop`, as the field does, or `zero`: label 0."""
    min_characters: int = 0
    min_reviews: int = 1
    duplicates: str = "first"
    """`first`: of reviews with one id the first is kept; `text`: of equal texts of a product too; `keep`: equal ids
    are an error of the data."""
    category: str = ""
    """All reviews are of this category; empty: as the column says."""
    split: tuple[float, float, float] = (0.64, 0.16, 0.2)
    seed: int = 0
    licence: str = ""
    released_like: str = ""
    features: tuple[str, ...] = ()
    """Folders of .npz or .npy files, or .tsv files, with RoI features of the items' images."""
    strict: bool = False
    memory: str = "2GB"
    threads: int | None = None

    def __post_init__(self) -> None:
        check_choice("recipe", self.recipe, tuple(RECIPES))
        check_choice("label rule", self.labels, ("votes", "column"))
        check_choice("rule for unvoted reviews", self.unvoted, UNVOTED)
        check_choice("rule for duplicates", self.duplicates, DUPLICATES)
        if problem := name_problem(self.name):
            raise UsageError(f"--name {self.name!r}: {problem}.")
        if self.name in BUILT_IN:
            raise UsageError(f"--name {self.name}: that is a data set of the paper; choose another name.")
        if self.category and (problem := name_problem(self.category)):
            raise UsageError(f"--category {self.category!r}: {problem}.")
        if len(self.split) != len(SPLITS) or min(self.split) <= 0 or abs(sum(self.split) - 1) > 1e-6:
            raise UsageError(f"--split takes three shares above 0 that make 1, not {self.split}.")


@dataclass
class Report:
    """What was read, what was dropped and why, and what came out."""

    rows: list[tuple[str, int]] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    columns: dict[str, dict[str, str]] = field(default_factory=dict)
    """File -> what -> the column that was taken for it."""
    splits: list[tuple[str, str, int, int]] = field(default_factory=list)
    """(category, split, products, reviews)"""

    def add(self, what: str, count: int) -> None:
        self.rows.append((what, count))

    def render(self) -> str:
        from tabulate import tabulate

        taken = [
            [file, ", ".join(f"{what} = {name}" for what, name in found.items())]
            for file, found in self.columns.items()
        ]
        parts = [
            tabulate(taken, ["file", "columns"], "github"),
            tabulate(self.rows, ["rows", "number"], "github", intfmt=","),
            tabulate(self.splits, ["category", "split", "products", "reviews"], "github", intfmt=","),
        ]
        if self.bad:
            parts.append("\n".join(["Bad rows, the first of each kind:", *map(str, self.bad)]))
        return "\n\n".join(parts)

    def to_json(self) -> dict[str, Any]:
        return {
            "columns": self.columns,
            "rows": [{"what": what, "number": number} for what, number in self.rows],
            "bad": [vars(one) for one in self.bad],
            "splits": [
                {"category": category, "split": split, "products": products, "reviews": reviews}
                for category, split, products, reviews in self.splits
            ],
        }
