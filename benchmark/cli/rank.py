"""`bench rank`: reviews of products that were never seen, ranked by an exported model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark.cli import common, output
from benchmark.cli.app import YOURS
from benchmark.cli.output import handled, say
from benchmark.core.errors import UsageError
from benchmark.core.words import check_choice, count

if TYPE_CHECKING:
    from benchmark.rank.files import RankReport


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=YOURS)(rank)


@handled
def rank(
    model: Annotated[
        list[Path],
        typer.Option("--model", metavar="DIR", help="From `bench model export`; repeatable with --ensemble."),
    ],
    input_: Annotated[
        list[Path],
        typer.Option(
            "--input",
            metavar="FILE",
            help="Reviews: product_id and content; review_id and time where known. CSV, TSV, JSON lines, JSON or "
            "Parquet, also .gz or .zst; repeatable.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="All columns of the input, with rank and score, in the format of its name. Default: a table here.",
        ),
    ] = None,
    products: Annotated[
        list[Path] | None,
        typer.Option(
            "--products", metavar="FILE", help="Of the products: product_id, name, description; repeatable."
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option("--images", metavar="DIR", help="RoI features, <id>/<id>.pth of products and reviews."),
    ] = None,
    ensemble: Annotated[
        bool,
        typer.Option("--ensemble", help="Several --model, seeds of one method: the mean of their ranks."),
    ] = False,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Add what the method says beside: of MM-SS, its five subtasks' predictions."
        ),
    ] = False,
    method: Annotated[
        str | None,
        typer.Option("--method", metavar="FILE.py:Class", help="The model's method, if it is not installed."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", help="As of `bench data import`. Default: the one of the model's data."),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            metavar="WHAT=NAME",
            help="product, review, text, time, name, description; repeatable.",
        ),
    ] = None,
    prefix: Annotated[str, typer.Option("--prefix", help="Of the names of the columns that are added.")] = "",
    sort: Annotated[
        str, typer.Option("--sort", help="input (rows as they were) or rank (by product, the best first).")
    ] = "input",
    device: common.Device = "auto",
    strict: Annotated[bool, typer.Option("--strict", help="A bad row is an error.")] = False,
    memory: Annotated[str, typer.Option("--memory", help="What DuckDB may take, beside the model.")] = "1GB",
    json_: common.Json = False,
) -> None:
    """Rank the reviews of each product, the most helpful first, by an exported model.

    No labels are needed, and none are read. A product's scores do not depend on what else is in the file.
    """
    from benchmark.cli.progress import counted
    from benchmark.rank.files import RankOptions, rank_files
    from benchmark.rank.ranker import Ranker

    check_choice("order", sort, ("input", "rank"))
    if len(model) > 1 and not ensemble:
        raise UsageError("several --model make one ranker with --ensemble; without it, name one.")
    if ensemble and len(model) < 2:
        raise UsageError("--ensemble takes several --model: seeds of one method.")
    if recipe is not None:
        from benchmark.data.imports.columns import RECIPES

        check_choice("recipe", recipe, tuple(RECIPES))
    ranker = Ranker(model, method=method, device=device)
    for note in ranker.notes:
        say(f"note: {note}")
    options = RankOptions(
        recipe=recipe or "",
        columns=tuple(column or ()),
        images=images,
        explain=explain,
        strict=strict,
        prefix=prefix,
        sort=sort,
        memory=memory,
    )
    with counted(quiet=json_) as progress:
        report = rank_files(ranker, input_, products or [], out, options, progress)
    ids = [folder.id for folder in ranker.folders]
    if json_:
        output.print_json(_document(report, ids, out))
        return
    _say(report, ids, out)


def _say(report: RankReport, ids: list[str], out: Path | None) -> None:
    for file, columns in report.read.columns.items():
        say(f"{file}: " + ", ".join(f"{what} = {name}" for what, name in columns.items()))
    for what, number in report.read.rows:
        if number and not what.startswith(("read:", "ranked")):
            say(f"{what}: {number:,}")
    for bad in report.read.bad:
        say(f"  {bad}")
    if report.images:
        found = report.images
        say(f"images: {found.get('with features', 0):,} of {found.get('items', 0):,} items have features")
    if report.shown is not None:
        from tabulate import tabulate

        table = report.shown.map(lambda value: f"{value:.4f}" if isinstance(value, float) else value)
        output.show(tabulate(table.to_numpy().tolist(), list(table.columns), "github", disable_numparse=True))
        if report.reviews > len(table):
            say(f"{report.reviews - len(table):,} more; --out FILE writes all.")
    done = f"{count(report.reviews, 'review')} of {count(report.products, 'product')} ranked by model {' '.join(ids)}"
    say(done + (f"; wrote {out}" if out is not None else ""))


def _document(report: RankReport, ids: list[str], out: Path | None) -> dict[str, Any]:
    document: dict[str, Any] = {
        "models": ids,
        "out": None if out is None else str(out),
        "reviews": report.reviews,
        "products": report.products,
        "columns": report.read.columns,
        "rows": [{"what": what, "number": number} for what, number in report.read.rows],
        "bad": [vars(one) for one in report.read.bad],
        "images": report.images,
    }
    if report.shown is not None:
        document["ranked"] = report.shown.astype(object).where(report.shown.notna(), None).to_dict("records")
    return document
