"""`bench data images | features`: from image addresses to images, from images to RoI features."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli import common, names, opening, output
from benchmark.cli.output import handled, say
from benchmark.core.errors import EXIT_RUN_FAILED

if TYPE_CHECKING:
    from benchmark.data.fetch.limits import Limits
    from benchmark.data.release import CategoryFolder

Root = Annotated[Path, typer.Option("--data", metavar="ROOT", help="Root of a release, or of an import.")]
PerItem = Annotated[
    int, typer.Option("--per-item", min=0, metavar="N", help="The first N images of an item; 0: all.")
]


@dataclass(frozen=True)
class Manners:
    """How others' servers are asked."""

    concurrent: Annotated[int, typer.Option("--concurrent", min=1, help="Requests at a time.")] = 32
    per_host: Annotated[int, typer.Option("--per-host", min=1, help="Requests at a time to one host.")] = 4
    interval: Annotated[
        float, typer.Option("--interval", min=0, help="Seconds between two requests to one host, at least.")
    ] = 0.05
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, help="Seconds for one request, to its last byte.")
    ] = 30.0
    attempts: Annotated[
        int, typer.Option("--attempts", min=1, help="Of one image, where another may do better.")
    ] = 4


@dataclass(frozen=True)
class Bounds:
    """How much is taken, and from where."""

    megabytes: Annotated[float, typer.Option("--megabytes", min=0.01, help="Of one image, at most.")] = 20.0
    megapixels: Annotated[float, typer.Option("--megapixels", min=0.01, help="Of one image, at most.")] = 50.0
    disk: Annotated[
        float, typer.Option("--disk", min=0, metavar="GB", help="Of all images of a category, at most.")
    ] = 50.0
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="Also connect to this machine and to private networks.")
    ] = False


@handled
def images(
    data: Root,
    dataset: common.Datasets = None,
    category: common.Categories = None,
    per_item: PerItem = 0,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also what failed for good, such as http 404.")
    ] = False,
    labels_from_votes: opening.FromVotes = False,
    votes_column: opening.VotesColumn = None,
    json_: common.Json = False,
    *,
    manners: Manners,
    bounds: Bounds,
) -> None:
    """Fetch the images that `img_url` of products and reviews lists; the same command goes on after an interrupt."""
    from benchmark.cli.progress import counted
    from benchmark.data.fetch.fetch import fetch_images, render
    from benchmark.data.pictures import need_images_extra

    need_images_extra()
    limits = _limits(manners, bounds)
    votes = opening.votes_of(labels_from_votes, votes_column)
    folders = _folders(data, dataset, category, json_)
    with counted(quiet=json_) as progress:
        reports = [
            fetch_images(
                folder, limits, votes=votes, per_item=per_item, retry=retry_failed, progress=progress
            )
            for folder in folders
        ]
    if json_:
        output.print_json([report.to_json() for report in reports])
    else:
        output.show(render(reports))
        say(f"go on with: bench data features --data {data} --extractor hf-grid:MODEL")
    if any(report.wanted for report in reports) and not any(report.got for report in reports):
        raise typer.Exit(EXIT_RUN_FAILED)


def _limits(manners: Manners, bounds: Bounds) -> Limits:
    from benchmark.data.fetch.limits import Limits

    return Limits(
        concurrent=manners.concurrent,
        per_host=manners.per_host,
        interval=manners.interval,
        seconds=manners.timeout,
        attempts=manners.attempts,
        bytes=int(bounds.megabytes * (1 << 20)),
        pixels=int(bounds.megapixels * 1e6),
        disk=int(bounds.disk * 1e9),
        allow_private=bounds.allow_private,
    )


def _folders(
    data: Path, dataset: list[str] | None, category: list[str] | None, quiet: bool
) -> list[CategoryFolder]:
    """The chosen categories that the root has."""
    from benchmark.data.release import find_category

    datasets, categories = names.pick_data(data, dataset, category)
    pairs = opening.find_data(datasets, categories, data, None, None, False, quiet, None)[1]
    return [find_category(data, *pair) for pair in pairs]


@handled
def features(
    data: Root,
    extractor: Annotated[
        str,
        typer.Option(
            "--extractor",
            metavar="NAME",
            help="hf-grid:MODEL, hf-detr or hf-detr:MODEL (MODEL: a folder or a hub name), or a class of your own: "
            "path/to/file.py:Class.",
        ),
    ],
    dataset: common.Datasets = None,
    category: common.Categories = None,
    revision: Annotated[
        str, typer.Option("--revision", metavar="R", help="Of a hub name: a branch, a tag or a commit.")
    ] = "",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An option of the extractor; repeatable."),
    ] = None,
    device: common.Device = "auto",
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", min=1, metavar="N", help="Images at a time. Default: 1; on a GPU 32."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", min=1, metavar="N", help="Processes on the CPU. Default: one per core."),
    ] = None,
    per_item: PerItem = 0,
    replace: Annotated[
        bool, typer.Option("--replace", help="Move features of another origin aside.")
    ] = False,
    labels_from_votes: opening.FromVotes = False,
    votes_column: opening.VotesColumn = None,
    json_: common.Json = False,
) -> None:
    """Turn the fetched images into RoI features; the same command goes on after an interrupt."""
    from benchmark.cli.progress import counted
    from benchmark.data.features.extract import make_features, render
    from benchmark.data.features.registry import choose
    from benchmark.data.pictures import need_images_extra
    from benchmark.engine.machine import default_jobs, resolve_device

    need_images_extra()
    choice = choose(extractor, revision, set_ or ())
    votes = opening.votes_of(labels_from_votes, votes_column)
    folders = _folders(data, dataset, category, json_)
    where = resolve_device(device)
    if jobs is None:
        jobs = default_jobs(1)
    with counted(quiet=json_) as progress:
        reports = [
            make_features(
                folder,
                choice,
                device=where,
                batch_size=batch_size or (1 if where == "cpu" else 32),
                jobs=jobs,
                votes=votes,
                per_item=per_item,
                replace=replace,
                progress=progress,
            )
            for folder in folders
        ]
    if json_:
        output.print_json([report.to_json() for report in reports])
    else:
        output.show(render(reports))
        say(f"go on with: bench data check --data {data}; bench run --all-categories --data {data}")
