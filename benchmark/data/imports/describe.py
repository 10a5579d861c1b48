"""The descriptor of an imported data set. Torch-free."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

from benchmark.core.errors import DataError, UsageError
from benchmark.data.dataset_file import from_record, write
from benchmark.data.datasets import FILE_NAME, Category, DataSet
from benchmark.data.imports.columns import Recipe
from benchmark.data.imports.options import Options, Report
from benchmark.data.imports.sources import Loaded


def describe(
    root: Path,
    options: Options,
    recipe: Recipe,
    files: Sequence[Loaded],
    report: Report,
    categories: Sequence[Category],
) -> DataSet:
    """Writes `dataset.toml`: the descriptor, which is returned, and how the data were made. UsageError for an option's
    text that no descriptor may have."""
    made = DataSet(
        name=options.name,
        title=options.title or options.name,
        language=options.language or recipe.language or "en",
        categories=tuple(categories),
        tokenizer=options.tokenizer,
        licence=options.licence,
        source=", ".join(_printable(loaded.path.name) for loaded in files),
        released_like=options.released_like,
    )
    imported = {
        "recipe": options.recipe,
        "columns": list(options.columns),
        "labels": "min(4, floor(log2 votes))" if options.labels == "votes" else "a column",
        "unvoted": options.unvoted,
        "min_characters": options.min_characters,
        "min_reviews": options.min_reviews,
        "duplicates": options.duplicates,
        "category": options.category,
        "split": list(options.split),
        "seed": options.seed,
        "files": [{"name": one.path.name, "sha256": _sha256(one.path)} for one in files],
        "rows": dict(report.rows),
    }
    write(root / FILE_NAME, made, imported)
    try:
        return from_record(tomllib.loads((root / FILE_NAME).read_text(encoding="utf-8")), FILE_NAME)
    except DataError as error:  # an option's text that no descriptor may have
        raise UsageError(str(error)) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _printable(text: str) -> str:
    return re.sub(r"[^\x20-\x7e]", "?", text)
