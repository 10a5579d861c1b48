"""`bench schema`: what the documents that commands print with `--json` hold, as JSON Schemas (2020-12)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli import names, output
from benchmark.cli.app import YOURS
from benchmark.cli.output import handled
from benchmark.core.words import understood

FOLDER = Path(__file__).parent / "schemas"


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=YOURS)(schema)


def schema_names() -> tuple[str, ...]:
    """A command's words joined by hyphens: `table`, `data-check`."""
    return tuple(sorted(file.stem for file in FOLDER.glob("*.json")))


def schema_text(name: str) -> str:
    return (FOLDER / f"{name}.json").read_text(encoding="utf-8")


@handled
def schema(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="COMMAND",
            autocompletion=names.completing(schema_names),
            help="A command's name: table, data check, ... Without it their list.",
        ),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="The list as one JSON document.")] = False,
) -> None:
    """The JSON Schema of what a command prints with --json; without a name, of which commands there is one."""
    if command:
        print(schema_text(understood("command with --json", "-".join(command), schema_names())), end="")
    elif json_:
        output.print_json({"schemas": list(schema_names())})
    else:
        print("\n".join(schema_names()))
