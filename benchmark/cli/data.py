"""`bench data check | stats | pack | verify | make | croissant`; `import`, `images`, `features` have other files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli import common, names, opening, output
from benchmark.cli.app import DATA, Commands
from benchmark.cli.data_images import features, images
from benchmark.cli.data_import import import_
from benchmark.cli.output import handled, say
from benchmark.core.errors import EXIT_CHECK, EXIT_DATA, UsageError

if TYPE_CHECKING:
    from benchmark.data.corpus import Corpus
    from benchmark.data.fields import Votes


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        cls=Commands,
        help="Check, count, pack, make and import data; images and their features.",
        rich_markup_mode=None,
    )
    group.command()(check)
    group.command()(stats)
    group.command()(pack)
    group.command()(verify)
    group.command()(make)
    group.command(name="import")(import_)
    group.command()(croissant)
    group.command()(images)
    group.command()(features)
    app.add_typer(group, name="data", rich_help_panel=DATA)


@handled
def check(
    data: Annotated[Path, typer.Option("--data", metavar="ROOT", help="Root of a release.")],
    labels_from_votes: opening.FromVotes = False,
    votes_column: opening.VotesColumn = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also look for near copies of reviews between splits (slower).")
    ] = False,
    json_: common.Json = False,
) -> None:
    """Validate a release: every problem at once, and its counts beside the paper's Table 3."""
    from benchmark.cli.progress import counted
    from benchmark.data import check as checker

    votes = opening.votes_of(labels_from_votes, votes_column)
    with counted(quiet=json_) as progress:
        report = checker.check(data, labels_from_votes=votes, deep=deep, progress=progress)
    if json_:
        output.print_json(checker.to_json(report))
    else:
        output.show(checker.render(report))
    if not report.ok:
        raise typer.Exit(EXIT_DATA)


@handled
def stats(
    data: common.DataRoot = None,
    dataset: common.Datasets = None,
    category: common.Categories = None,
    vectors: common.Vectors = None,
    labels_from_votes: opening.FromVotes = False,
    votes_column: opening.VotesColumn = None,
    cache: common.Cache = None,
    json_: common.Json = False,
) -> None:
    """Counts, labels, text lengths, image coverage and vocabulary of each category."""
    from benchmark.data.statistics import render, summarise

    votes = opening.votes_of(labels_from_votes, votes_column)
    corpora = _packed(dataset, category, data, cache, vectors, votes, json_)
    summaries = [summarise(corpus) for corpus in corpora]
    if json_:
        output.print_json(summaries)
    else:
        output.show(render(summaries))


@handled
def pack(
    data: common.DataRoot = None,
    dataset: common.Datasets = None,
    category: common.Categories = None,
    vectors: common.Vectors = None,
    labels_from_votes: opening.FromVotes = False,
    votes_column: opening.VotesColumn = None,
    cache: common.Cache = None,
    json_: common.Json = False,
) -> None:
    """Read, validate and pack categories into the cache, so that runs start at once."""
    votes = opening.votes_of(labels_from_votes, votes_column)
    corpora = _packed(dataset, category, data, cache, vectors, votes, json_)
    if json_:
        output.print_json([corpus.manifest for corpus in corpora])
        return
    for corpus in corpora:
        name = f"{corpus.dataset}/{corpus.category}"
        print(f"{name}: {corpus.fingerprint[:16]} ({corpus.train.n_reviews:,} training reviews)")


@handled
def verify(
    data: common.DataRoot = None,
    dataset: common.Datasets = None,
    category: common.Categories = None,
    labels_from_votes: opening.FromVotes = False,
    votes_column: opening.VotesColumn = None,
    cache: common.Cache = None,
    json_: common.Json = False,
) -> None:
    """Read packs from end to end: whether each file, the large ones too, is what was written. A damaged pack is
    named and packed anew; exit code 4 if there was one."""
    from benchmark.cli.opening import find_data
    from benchmark.cli.progress import counted

    votes = opening.votes_of(labels_from_votes, votes_column)
    datasets, categories = names.pick_data(data, dataset, category)
    with counted(quiet=json_) as progress:
        source, pairs = find_data(datasets, categories, data, cache, None, votes, json_, progress)
        checked = [source.verify(*pair, progress) for pair in pairs]
    records = [
        {"dataset": one, "category": other, "pack": str(pack), "state": state}
        for (one, other), (pack, state) in zip(pairs, checked, strict=True)
    ]
    if json_:
        output.print_json(records)
    else:
        for record in records:
            print("{dataset}/{category}: {state} ({pack})".format(**record))
    if any(state.startswith("damaged") for _, state in checked):
        raise typer.Exit(EXIT_CHECK)


def _packed(
    dataset: list[str] | None,
    category: list[str] | None,
    data: Path | None,
    cache: Path | None,
    vectors: Path | None,
    votes: Votes,
    quiet: bool,
) -> list[Corpus]:
    """The chosen categories, opened (packed first, where that was not done yet)."""
    from benchmark.cli.opening import open_data

    datasets, categories = names.pick_data(data, dataset, category)
    return open_data(datasets, categories, data, cache, vectors, votes, quiet)[1]


@handled
def make(
    out: Annotated[Path, typer.Option("--out", metavar="ROOT", help="A new folder for the corpus.")],
    products: Annotated[
        int,
        typer.Option(
            "--products",
            min=4,
            max=10_000_000,
            help="Training products of a category (dev: half, test: 3/4 of it).",
        ),
    ] = 40,
    reviews: Annotated[
        int, typer.Option("--reviews", min=2, max=100_000, help="Mean number of reviews of a product.")
    ] = 9,
    roi_width: Annotated[
        int, typer.Option("--roi-width", min=1, max=1_000_000, help="Width of a RoI feature.")
    ] = 2048,
    images: Annotated[
        int, typer.Option("--images", min=1, max=10_000, help="Images of an item, at most.")
    ] = 2,
    rois: Annotated[int, typer.Option("--rois", min=1, max=10_000, help="RoIs of an image, at most.")] = 4,
    dataset: common.Datasets = None,
    category: common.Categories = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the generator.")] = 2024,
    json_: common.Json = False,
) -> None:
    """Write a synthetic corpus of any size in the release's format, with known planted effects."""
    from benchmark.cli.progress import counted
    from benchmark.data.mini.corpus import MiniSpec, write_corpus

    datasets, categories = names.pick_data(None, dataset, category)
    spec = MiniSpec(
        train_products=products,
        dev_products=max(1, products // 2),
        test_products=max(1, products * 3 // 4),
        min_reviews=max(1, reviews - 1),
        max_reviews=reviews + 1,
        roi_width=roi_width,
        max_images=images,
        min_rois=min(2, rois),
        max_rois=rois,
        datasets=datasets,
        categories=categories,
        seed=seed,
    )
    with counted(quiet=json_) as progress:
        write_corpus(out, spec, progress)
    if json_:
        output.print_json({"out": str(out), "datasets": list(datasets), "categories": list(categories)})
        return
    say(f"wrote {out}; use it with: bench run --all-categories --data {out}")


@handled
def croissant(
    data: Annotated[Path, typer.Option("--data", metavar="ROOT", help="Root of a data set.")],
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", metavar="D", help="Which, where the root has several."),
    ] = None,
    licence: Annotated[
        str,
        typer.Option(
            "--licence",
            help="Of the data: best the address of a text (https://...). Default: dataset.toml's, else unknown.",
        ),
    ] = "",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Default: ROOT/croissant.json.")
    ] = None,
    json_: common.Json = False,
) -> None:
    """Describe a data set in Croissant (JSON-LD): its files with their hashes, its fields, its licence. An import
    writes one by itself."""
    from benchmark.data.croissant import write_croissant
    from benchmark.data.datasets import known

    if not data.is_dir():
        raise UsageError(f"--data {data}: no such folder.")
    data_sets = known(data)
    there = [name for name in data_sets if (data / name).is_dir()]
    chosen = names.pick("dataset", [dataset] if dataset else None, tuple(data_sets)) if dataset else there
    if len(chosen) != 1:
        raise UsageError(
            f"--data {data} has {' and '.join(there) or 'no data set'}: say which, --dataset NAME."
        )
    file = write_croissant(data, data_sets[chosen[0]], licence, out)
    if json_:
        output.print_json({"out": str(file), "dataset": chosen[0]})
    else:
        say(f"wrote {file}")
