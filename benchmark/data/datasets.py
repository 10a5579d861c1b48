"""Data sets as data: one frozen descriptor each, built in for the paper's two, a file for any other. Torch-free.

Everything that lists data sets or categories, prints their names, reads their texts or looks up what was
published on them asks a descriptor. A data set of your own is a root with `dataset.toml` in it (see
`benchmark.data.dataset_file`) and one folder per category, in the release's layout. Runs keep the descriptor
of their data in the results, so that tables need no root.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.core.errors import DataError, UsageError
from benchmark.core.words import check_choice
from benchmark.data.catalog import SPLITS

FILE_NAME = "dataset.toml"
TEXT_FIELDS = ("name", "description")
"""Columns of the product table of which a product's text can be made, in their order."""
LABEL_RULES = ("labels", "votes")
"""What column `upvotes` holds: labels 0..4, or numbers of votes that are still to be mapped to them."""
TOKENIZERS = ("en", "unicode")
"""NLTK's English word tokenizer, or Unicode's word breaks."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(10))}


def name_problem(name: str) -> str:
    """Why a name cannot name a folder everywhere, or an empty string. Names of data sets and categories
    become folders: nothing in them may lead elsewhere."""
    if not _NAME.fullmatch(name):
        return "a name has letters a-z, digits, - and _, begins with a letter or digit, and has 64 at most"
    return "Windows keeps this name for a device" if name.lower() in _DEVICES else ""


@dataclass(frozen=True)
class Category:
    """One category: its folder, and how tables call it."""

    name: str
    title: str
    product_text: tuple[str, ...] = TEXT_FIELDS
    """Which of `TEXT_FIELDS` make a product's text."""
    expected: tuple[tuple[str, int, int], ...] = ()
    """(split, products, reviews): what a complete copy holds, for `bench data check`."""


@dataclass(frozen=True)
class DataSet:
    """One data set: all that the harness knows of it beside its files."""

    name: str
    title: str
    """As tables print it."""
    language: str
    """Of the texts: `en`, `id`, `pt-BR`."""
    categories: tuple[Category, ...]
    """In the order of a table's columns. The first one is what an ablation takes unless told otherwise."""
    labels: str = "labels"
    """One of `LABEL_RULES`."""
    tokenizer: str = ""
    """One of `TOKENIZERS`; empty: `en` for English, else `unicode`."""
    licence: str = ""
    source: str = ""
    released_threshold: int | None = None
    """t of the released evaluations: a review is relevant if its label is above it. None: no code was released
    for this data set, so there are no released settings."""
    released_like: str = ""
    """A data set of the paper whose released settings stand in where this one has none."""
    paper_table: int | None = None
    """Number of the paper's table with its results."""
    recipe: str = ""
    """Of an imported data set, how its files were read (`benchmark.data.imports.columns`); empty for any other, whose
    tables' texts are taken as they are."""
    in_file: str = ""
    """The file that it was read from, for messages."""

    @property
    def category_names(self) -> tuple[str, ...]:
        return tuple(category.name for category in self.categories)

    @property
    def in_paper(self) -> bool:
        return self.paper_table is not None

    @property
    def word_tokenizer(self) -> str:
        """The tokenizer in use, one of `TOKENIZERS`."""
        return self.tokenizer or ("en" if self.language.partition("-")[0] == "en" else "unicode")

    @property
    def released_as(self) -> str:
        """Name of the data set whose released settings hold here; empty where there are none."""
        return self.name if self.released_threshold is not None else self.released_like

    def category(self, name: str) -> Category:
        """The category of that name. One that the descriptor does not list (it was renamed since a run was
        made) is called by its name."""
        for category in self.categories:
            if category.name == name:
                return category
        return Category(name, name)

    def category_title(self, name: str) -> str:
        return self.category(name).title

    def order(self, names: Iterable[str]) -> list[str]:
        """Category names, each once: the descriptor's in its order, then any others by name."""
        given = set(names)
        listed = [name for name in self.category_names if name in given]
        return [*listed, *sorted(given.difference(listed))]


LAZADA = DataSet(
    name="lazada",
    title="Lazada-MRHP",
    language="id",
    categories=(
        Category("clothing", "CS&J", product_text=("name",)),
        Category("electronics", "Elec"),
        Category("home", "H&K"),
    ),
    licence="no licence is stated with the release",
    source="Liu et al., ACL 2021: Indonesian reviews of lazada.co.id",
    released_threshold=0,
    paper_table=1,
)
AMAZON = DataSet(
    name="amazon",
    title="Amazon-MRHP",
    language="en",
    categories=(
        Category("clothing", "CS&J"),
        Category("electronics", "Elec"),
        Category("home", "H&K"),
    ),
    licence="no licence is stated with the release",
    source="Liu et al., ACL 2021, from the Amazon reviews of Ni et al., EMNLP 2019",
    released_threshold=1,
    paper_table=2,
)
BUILT_IN: Mapping[str, DataSet] = {data_set.name: data_set for data_set in (LAZADA, AMAZON)}
"""The paper's data sets, in its order; the embedded corpus and other generated ones hold both of them. Titles
are as the paper prints them, in `published.csv` too."""


def built_in(name: str) -> DataSet:
    """A data set of the paper; UsageError with near misses for any other name."""
    return BUILT_IN[check_choice("data set", name, tuple(BUILT_IN))]


def known(root: Path | None) -> dict[str, DataSet]:
    """The data sets that may be asked for in a root, by name: its own (`dataset.toml`) beside those of the
    paper that have a folder; the paper's two where it has no such file, and without a root.

    DataError, with file and key, for a `dataset.toml` that cannot be used.
    """
    from benchmark.data.dataset_file import read

    if root is None or not os.path.lexists(root / FILE_NAME):
        return dict(BUILT_IN)
    own = read(root / FILE_NAME)
    present = {name: data_set for name, data_set in BUILT_IN.items() if (root / name).is_dir()}
    return {**present, own.name: own}


def find(root: Path | None, name: str) -> DataSet:
    """One data set of a root; UsageError with near misses if it is none of its."""
    data_sets = known(root)
    return data_sets[check_choice("data set", name, tuple(data_sets))]


def in_order(data_sets: Iterable[DataSet]) -> list[DataSet]:
    """The paper's first, in its order, then the others by name; each name once."""
    by_name = {data_set.name: data_set for data_set in data_sets}
    first = [name for name in BUILT_IN if name in by_name]
    return [by_name[name] for name in (*first, *sorted(by_name.keys() - BUILT_IN.keys()))]


def rank(name: str) -> tuple[int, str]:
    """Sorts names of data sets as `in_order` does."""
    return (list(BUILT_IN).index(name) if name in BUILT_IN else len(BUILT_IN), name)


def categories_of(data_sets: Iterable[DataSet]) -> tuple[str, ...]:
    """The categories of all, each once, in the order in which they appear."""
    return tuple(dict.fromkeys(name for data_set in data_sets for name in data_set.category_names))


def released_settings(data_set: DataSet) -> DataSet:
    """The data set whose released settings hold for this one: itself, or the one that it says it is like.

    UsageError where there are none: settings that were tuned elsewhere are never taken silently.
    """
    if not data_set.released_as:
        where = data_set.in_file or FILE_NAME
        raise UsageError(
            f"--protocol released: nothing was released for data set {data_set.name!r}. Use --protocol fair, or say "
            f'in {where} whose settings to take: released_like = "{AMAZON.name}" (or "{LAZADA.name}").'
        )
    return built_in(data_set.released_as)


def generic(name: str, categories: Sequence[str] = ()) -> DataSet:
    """What can be said of a data set of which only names are known (runs whose descriptor was not kept)."""
    return DataSet(name, name, "und", tuple(Category(category, category) for category in categories))


def check_names(data_set: DataSet) -> None:
    """DataError unless every name can be a folder's and each category is there once."""
    where = data_set.in_file or FILE_NAME
    for key, name in [
        ("name", data_set.name),
        *(("category name", name) for name in data_set.category_names),
    ]:
        if problem := name_problem(name):
            raise DataError(f"{where}: {key} {name!r}: {problem}.")
    folded = [name.lower() for name in data_set.category_names]
    for name in data_set.category_names:
        if folded.count(name.lower()) > 1:
            raise DataError(f"{where}: category name {name!r}: there twice (upper and lower case are alike).")
    for category in data_set.categories:
        for split, _, _ in category.expected:
            if split not in SPLITS:
                raise DataError(
                    f"{where}: category {category.name}: {split!r} is not one of {', '.join(SPLITS)}."
                )
