"""The data that a command reads: where its labels come from, which categories, opened and warned about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark.cli.output import say
from benchmark.core.errors import DataError, UsageError

if TYPE_CHECKING:
    from benchmark.data.fields import Votes
    from benchmark.data.source import Source

FromVotes = Annotated[
    bool,
    typer.Option(
        "--labels-from-votes",
        help="Make labels 0..4 of raw vote counts, in column `votes` or, without one, `upvotes`; drop unvoted "
        "reviews.",
    ),
]
VotesColumn = Annotated[
    str | None,
    typer.Option(
        "--votes-column",
        metavar="NAME",
        help="The column of the relation tables that holds the vote counts; implies --labels-from-votes.",
    ),
]


def votes_of(from_votes: bool, column: str | None) -> Votes:
    """What `--labels-from-votes` and `--votes-column` ask for together."""
    if column == "":
        raise UsageError("--votes-column takes the name of a column, such as votes, not an empty text.")
    return column or from_votes


def open_data(
    datasets: Sequence[str],
    categories: Sequence[str],
    data: Path | None,
    cache: Path | None,
    vectors: Path | None = None,
    votes: Votes = False,
    quiet: bool = False,
) -> tuple[Source, list[Any]]:
    """The data source and its chosen categories, packed if that was not done yet.

    A category that the root does not have is an error only if nothing is left.
    """
    from benchmark.cli.progress import counted
    from benchmark.data.features import descriptor
    from benchmark.data.images import image_warnings

    with counted(quiet) as progress:
        source, pairs = find_data(datasets, categories, data, cache, vectors, votes, quiet, progress)
        corpora = [source.open(dataset, category, progress) for dataset, category in pairs]
    for corpus in () if quiet else corpora:
        name, manifest = f"{corpus.dataset}/{corpus.category}", corpus.manifest
        if manifest["labels"].startswith("from votes"):
            say(f"{name}: labels {manifest['labels']}")
        if manifest.get("features"):
            say(f"{name}: image features: {descriptor.title(manifest['features'])}, not bottom-up attention")
        for warning in image_warnings({split: of["images"] for split, of in manifest["splits"].items()}):
            say(f"{name}: {warning}")
    return source, corpora


def find_data(
    datasets: Sequence[str],
    categories: Sequence[str],
    data: Path | None,
    cache: Path | None,
    vectors: Path | None,
    votes: Votes,
    quiet: bool,
    progress: Any,
) -> tuple[Source, list[tuple[str, str]]]:
    """The data source and the chosen (dataset, category) pairs that it has, unread; see `open_data`."""
    from benchmark.data.datasets import find
    from benchmark.data.pack import cache_root
    from benchmark.data.source import Source, available_categories

    if data is None:
        from benchmark.data.mini.corpus import mini_root

        data = mini_root(cache_root(cache), progress)
    if not data.is_dir():
        raise DataError(
            f"{data}: no such folder. --data takes the folder that holds lazada/ or amazon/, or dataset.toml."
        )
    pairs = available_categories(data, datasets, categories)
    wanted = [(d, c) for d in datasets for c in find(data, d).category_names if c in categories]
    if not pairs:
        raise DataError(
            f"{data}: none of the chosen categories is there (looked for "
            f"{', '.join(f'{d}/{c}' for d, c in wanted)}). "
            "Expected <ROOT>/<dataset>/<category>/<category>.prd.train and so on; see `bench data check`."
        )
    missing = [f"{d}/{c}" for d, c in wanted if (d, c) not in pairs]
    if missing and not quiet:
        say(f"not in {data}, left out: {', '.join(missing)}")
    return Source(data, cache, vectors, votes), pairs
