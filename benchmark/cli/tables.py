"""`bench table` and the printing of ablations. Reads files only: neither torch nor a GPU is needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from benchmark.cli.common import handled

if TYPE_CHECKING:
    from benchmark.records import RunSpec


def register(app: typer.Typer) -> None:
    app.command()(table)


@handled
def table() -> None:
    """Print the paper's tables from finished runs."""


def print_ablation(specs: Sequence[RunSpec], results: Path, format_: str) -> None:
    """Table 4's rows for these runs."""
