"""The options that commands share."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli import names

Results = Annotated[Path, typer.Option("--results", metavar="DIR", help="Folder of the run folders.")]
DEFAULT_RESULTS = Path("results")
DataRoot = Annotated[
    Path | None,
    typer.Option("--data", metavar="ROOT", help="Root of a release; without it the embedded corpus `mini`."),
]
Datasets = Annotated[
    list[str] | None,
    typer.Option(
        "--dataset",
        metavar="D",
        autocompletion=names.complete_data_sets,
        help="lazada, amazon, or that of the root's dataset.toml; repeatable, or a list with commas. Default: all.",
    ),
]
Named = Annotated[
    list[str] | None,
    typer.Argument(metavar="D", autocompletion=names.complete_data_sets, help="The same as --dataset."),
]
Categories = Annotated[
    list[str] | None,
    typer.Option(
        "--category",
        metavar="C",
        autocompletion=names.complete_categories,
        help="clothing, electronics, home, or as in the root's dataset.toml; repeatable, or a list with commas.",
    ),
]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        metavar="M",
        autocompletion=names.complete_methods,
        help="See `bench models`, or FILE.py:Class; repeatable, or a list with commas. Default: the paper's nine.",
    ),
]
Proposed = Annotated[
    str,
    typer.Option(
        "--proposed",
        metavar="M",
        autocompletion=names.complete_methods,
        help="The method that is judged: its row has the marks. A name, or FILE.py:Class.",
    ),
]
Seeds = Annotated[str, typer.Option("--seeds", metavar="LIST", help="Seeds, such as 0,1,2 or 0-4.")]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        callback=names.lowered,
        help="quick (small, for a CPU) or paper (full size). Default: quick.",
    ),
]
Protocol = Annotated[
    str,
    typer.Option(
        "--protocol",
        callback=names.lowered,
        help="fair (one budget, masked models) or released (per-method settings).",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        callback=names.split_assignments,
        help="Override a configuration field; repeatable. See `bench models`.",
    ),
]
Jobs = Annotated[
    int | None, typer.Option("--jobs", min=1, metavar="N", help="Runs side by side. Default: one per core.")
]
Device = Annotated[
    str,
    typer.Option(
        "--device", callback=names.lowered, help="auto, cpu, cuda or cuda:N (the GPU with that number)."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        autocompletion=names.completing(lambda: ("md", "latex", "csv", "json")),
        help="md, latex, csv or json. Default: tables that fit on a terminal, md elsewhere.",
    ),
]
Width = Annotated[str, typer.Option("--width", help="Of LaTeX: page (both columns) or column (one of two).")]
Vectors = Annotated[
    Path | None,
    typer.Option(
        "--vectors", metavar="FILE", help="Word vectors: fastText .vec or GloVe .txt. Default: random ones."
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        help="Where packed data is kept. Default: $MRHP_BENCH_CACHE or the user's cache folder.",
    ),
]
Threshold = Annotated[
    int | None,
    typer.Option(
        "--threshold",
        metavar="T",
        help="Recompute the metrics with label > T as relevant. Default: as the runs were evaluated.",
    ),
]


def _worth(points: float) -> float:
    if not 0 < points < 100:  # also for what is not a number
        raise typer.BadParameter(f"points of a metric, above 0 and below 100, not {points:g}")
    return points


Worthwhile = Annotated[
    float,
    typer.Option(
        "--worthwhile", callback=_worth, metavar="POINTS", help="The smallest difference worth having."
    ),
]
Ties = Annotated[
    str,
    typer.Option("--ties", help="Tied scores: expected (mean over their orders) or file-order."),
]


def with_results(command: str, results: Path) -> str:
    """A command to be copied, about this folder."""
    return command if results == DEFAULT_RESULTS else f"{command} --results {shlex.quote(str(results))}"


def both(named: list[str] | None, chosen: list[str] | None) -> list[str] | None:
    """Data sets given by their names alone and by --dataset."""
    return [*(named or ()), *(chosen or ())] or None
