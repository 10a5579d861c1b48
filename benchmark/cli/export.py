"""`bench export`: finished runs for others, as an archive to check or in the field's formats. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli import common, names, output
from benchmark.cli.app import LOOK
from benchmark.cli.output import handled, say
from benchmark.core.words import count, understood
from benchmark.models import PROPOSED

if TYPE_CHECKING:
    from benchmark.runs.store import StoredRun

FORMATS = ("zip", "trec", "csv", "parquet")


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=LOOK)(export)


@handled
def export(
    out: Annotated[
        Path,
        typer.Option("--out", metavar="PLACE", help="The file to write; for trec a new or an empty folder."),
    ],
    results: common.Results = common.DEFAULT_RESULTS,
    dataset: common.Datasets = None,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            autocompletion=names.completing(lambda: FORMATS),
            help="zip: runs, tables and report, to check and to remake tables from; trec: run and qrels files; csv, "
            "parquet: one row per run, metric and test product. Default: by the name of --out, else zip.",
        ),
    ] = None,
    no_pictures: Annotated[
        bool, typer.Option("--no-pictures", help="Of a zip: leave the pictures out; quicker, smaller.")
    ] = False,
    json_: common.Json = False,
) -> None:
    """Bundle runs, provenance, values per product, tables, the report and its pictures for a supplement; or write
    run and qrels files of TREC, or values per product.

    `bench table --from FILE.zip` remakes the tables from the archive anywhere, byte for byte. Weights and review
    texts are in none of them.
    """
    from benchmark.cli.table import remember_methods
    from benchmark.runs import store

    form = _format(format_, out)
    runs = store.load_runs(results)
    remember_methods(runs)
    chosen = names.pick_stored(dataset, (run.spec.dataset for run in runs))
    runs = [run for run in runs if run.spec.dataset in chosen]
    if form == "zip":
        said, facts = _bundle(runs, out, not no_pictures)
    elif form == "trec":
        from benchmark.report.trec import export_trec

        number = export_trec(runs, out)
        said, facts = count(number, "file"), {"files": number}
    else:
        from benchmark.report.frame import write_frame

        number = write_frame(runs, out, form)
        said, facts = count(number, "row"), {"rows": number}
    if json_:
        output.print_json({"out": str(out), "format": form, "runs": len(runs), **facts})
    else:
        say(f"wrote {out}: {count(len(runs), 'run')}, {said}")


def _format(given: str | None, out: Path) -> str:
    if given is not None:
        return understood("format", given, FORMATS)
    suffix = out.suffix.lower().removeprefix(".")
    return suffix if suffix in ("csv", "parquet") else "zip"


def _bundle(runs: Sequence[StoredRun], out: Path, pictures: bool) -> tuple[str, dict[str, object]]:
    """The archive, with the tables, the report and the pictures that the runs give."""
    from benchmark.cli.table import ablation_tables, results_tables, size_table
    from benchmark.report import export as exporting
    from benchmark.report.formats import render_all
    from benchmark.report.supplement import supplement

    tables: dict[str, str] = {}
    for name in dict.fromkeys(run.spec.dataset for run in runs):
        made = results_tables([run for run in runs if run.spec.dataset == name], False, True, None)
        tables[f"{name}.md"] = render_all(made, "md")
    if runs:
        tables["statistics.md"] = render_all([size_table(runs, True)], "md")
    for name in sorted({run.spec.method for run in runs if run.spec.drop}):
        file = "ablation.md" if name == PROPOSED else f"ablation-{name}.md"
        tables[file] = render_all(ablation_tables(runs, False, None, proposed=name), "md")
    further = supplement(runs, list(tables), pictures=pictures) if runs else {}
    number = exporting.export(runs, tables, out, further)
    said = f"{count(len(tables), 'table')}, {count(number, 'file')}"
    return said, {"tables": sorted(tables), "files": number}
