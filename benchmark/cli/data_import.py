"""`bench data import`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli import common, output
from benchmark.cli.output import handled, say
from benchmark.core.errors import UsageError


@dataclass(frozen=True)
class Rows:
    """Which rows become reviews, and with what label."""

    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            metavar="WHAT=NAME",
            help="product, review, text, votes, label, time, category, name, description, image; repeatable.",
        ),
    ] = None
    labels: Annotated[
        str, typer.Option("--labels", help="votes: min(4, floor(log2 v)); column: labels 0..4 of a column.")
    ] = "votes"
    unvoted: Annotated[
        str, typer.Option("--unvoted", help="Reviews without a vote: drop, or zero (label 0).")
    ] = "drop"
    min_characters: Annotated[int, typer.Option("--min-characters", min=0, help="Of a review's text.")] = 0
    min_reviews: Annotated[
        int, typer.Option("--min-reviews", min=1, help="Of a product, after all else.")
    ] = 1
    duplicates: Annotated[
        str,
        typer.Option(
            "--duplicates", help="first (of one id), text (of equal texts of a product too) or keep."
        ),
    ] = "first"
    category: Annotated[
        str,
        typer.Option(
            "--category", metavar="C", help="One category for all. Default: the column's, or `all`."
        ),
    ] = ""
    split: Annotated[str, typer.Option("--split", help="Shares of products in train, dev and test.")] = (
        "0.64,0.16,0.2"
    )
    seed: Annotated[int, typer.Option("--seed", help="Of the split.")] = 0
    strict: Annotated[bool, typer.Option("--strict", help="A bad row is an error.")] = False


@dataclass(frozen=True)
class About:
    """What is said of the data set."""

    title: Annotated[str, typer.Option("--title", help="As tables print it. Default: the name.")] = ""
    language: Annotated[
        str, typer.Option("--language", help="en, id, de, ... Default: the recipe's, or en.")
    ] = ""
    tokenizer: Annotated[
        str, typer.Option("--tokenizer", help="en, or unicode (word breaks). Default: by language.")
    ] = ""
    licence: Annotated[str, typer.Option("--licence", help="Of the data, for the record.")] = ""
    released_like: Annotated[
        str,
        typer.Option("--released-like", help="amazon or lazada: whose settings --protocol released takes."),
    ] = ""


@handled
def import_(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="CSV, TSV, JSON lines, JSON or Parquet, also .gz or .zst. What a file holds is told by its columns, "
            "or said: reviews=FILE, products=FILE, votes=FILE.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="ROOT", help="A new folder: the --data of other commands.")
    ],
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="The --dataset of other commands.")],
    recipe: Annotated[
        str, typer.Option("--recipe", help="table, amazon-2014, amazon-2018 or amazon-2023.")
    ] = "table",
    features: Annotated[
        list[str] | None,
        typer.Option(
            "--features",
            metavar="DIR",
            help="RoI features of bottom-up attention: a folder of <id>.npz or .npy, or a .tsv; repeatable.",
        ),
    ] = None,
    memory: Annotated[str, typer.Option("--memory", help="What DuckDB may take.")] = "2GB",
    json_: common.Json = False,
    *,
    rows: Rows,
    about: About,
) -> None:
    """Make a data set of reviews in files of your own, or of the Amazon dumps."""
    from benchmark.cli.progress import counted
    from benchmark.data.imports.importer import import_files
    from benchmark.data.imports.options import Options

    chosen = vars(rows) | vars(about)
    columns, split = tuple(chosen.pop("column") or ()), _shares(chosen.pop("split"))
    options = Options(
        name, recipe, columns, features=tuple(features or ()), memory=memory, split=split, **chosen
    )
    with counted(quiet=json_) as progress:
        report = import_files(sources, out, options, lambda what: progress(0, 1, what) if progress else None)
    if json_:
        output.print_json(report.to_json())
        return
    output.show(report.render())
    say(f"wrote {out}; go on with: bench data check --data {out}; bench run --all-categories --data {out}")


def _shares(text: str) -> tuple[float, float, float]:
    try:
        train, dev, test = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--split takes three shares such as 0.64,0.16,0.2, not {text!r}.") from None
    return train, dev, test
