"""`bench data images | features`: from image addresses to images, from images to RoI features."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli import common, names, opening, output
from benchmark.cli.output import handled, say
from benchmark.core.errors import EXIT_RUN_FAILED

_MB = 1 << 20
Root = Annotated[Path, typer.Option("--data", metavar="ROOT", help="Root of a release, or of an import.")]


@handled
def images(
    data: Root,
    dataset: common.Datasets = None,
    category: common.Categories = None,
    per_item: Annotated[
        int, typer.Option("--per-item", min=0, metavar="N", help="The first N images of an item; 0: all.")
    ] = 0,
    concurrent: Annotated[int, typer.Option("--concurrent", min=1, help="Requests at a time.")] = 32,
    per_host: Annotated[int, typer.Option("--per-host", min=1, help="Requests at a time to one host.")] = 4,
    interval: Annotated[
        float, typer.Option("--interval", min=0, help="Seconds between two requests to one host, at least.")
    ] = 0.05,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, help="Seconds for one request, to its last byte.")
    ] = 30.0,
    attempts: Annotated[
        int, typer.Option("--attempts", min=1, help="Of one image, where another may do better.")
    ] = 4,
    megabytes: Annotated[float, typer.Option("--megabytes", min=0.01, help="Of one image, at most.")] = 20.0,
    megapixels: Annotated[
        float, typer.Option("--megapixels", min=0.01, help="Of one image, at most.")
    ] = 50.0,
    disk: Annotated[
        float, typer.Option("--disk", min=0, metavar="GB", help="Of all images of a category, at most.")
    ] = 50.0,
    allow_private: Annotated[
        bool,
        typer.Option("--allow-private", help="Also connect to this machine and to private networks."),
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also what failed for good, such as http 404.")
    ] = False,
    labels_from_votes: opening.FromVotes = False,
    votes_column: opening.VotesColumn = None,
    json_: common.Json = False,
) -> None:
    """Fetch the images that `img_url` of products and reviews lists; the same command goes on after an interrupt."""
    from benchmark.cli.progress import counted
    from benchmark.data.fetch.fetch import fetch_images, render
    from benchmark.data.fetch.limits import Limits
    from benchmark.data.pictures import need_images_extra
    from benchmark.data.release import find_category

    need_images_extra()
    limits = Limits(
        concurrent=concurrent,
        per_host=per_host,
        interval=interval,
        seconds=timeout,
        attempts=attempts,
        bytes=int(megabytes * _MB),
        pixels=int(megapixels * 1e6),
        disk=int(disk * 1e9),
        allow_private=allow_private,
    )
    votes = opening.votes_of(labels_from_votes, votes_column)
    datasets, categories = names.pick_data(data, dataset, category)
    reports = []
    with counted(quiet=json_) as progress:
        _, pairs = opening.find_data(datasets, categories, data, None, None, votes, json_, progress)
        for pair in pairs:
            folder = find_category(data, *pair)
            reports.append(
                fetch_images(
                    folder, limits, votes=votes, per_item=per_item, retry=retry_failed, progress=progress
                )
            )
    if json_:
        output.print_json([report.to_json() for report in reports])
    else:
        output.show(render(reports))
        say(f"go on with: bench data features --data {data} --extractor hf-grid:MODEL")
    if any(report.wanted for report in reports) and not any(report.got for report in reports):
        raise typer.Exit(EXIT_RUN_FAILED)
