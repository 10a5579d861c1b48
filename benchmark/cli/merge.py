"""`bench merge`: results made on several machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli import common, output
from benchmark.cli.app import RUN
from benchmark.cli.output import handled
from benchmark.core.words import count


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=RUN)(merge)


@handled
def merge(
    folders: Annotated[
        list[Path], typer.Argument(metavar="FOLDER...", help="Results folders to take runs from.")
    ],
    results: Annotated[
        Path, typer.Option("--results", metavar="DIR", help="The folder that gets them; made if it is new.")
    ],
    json_: common.Json = False,
) -> None:
    """Copy runs from several results folders into one.

    Every file is checked first. A run that two folders have must have the same scores in both; else nothing is
    copied and each conflict is named.
    """
    from benchmark.runs.merge import merge as merge_into

    merged = merge_into(folders, results)
    if json_:
        output.print_json(
            {
                "copied": [run.id for run in merged.copied],
                "present": merged.present,
                "failures": merged.failures,
            }
        )
        return
    output.show(
        f"{count(len(merged.copied), 'run')} copied to {results}, {merged.present} there already with the same scores"
        + (f", {count(merged.failures, 'failure record')} copied" if merged.failures else "")
        + "."
    )
