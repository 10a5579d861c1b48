"""`bench selfcheck`, `bench import-weights`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli import common
from benchmark.cli.common import handled, say
from benchmark.core.errors import EXIT_CHECK


def register(app: typer.Typer) -> None:
    app.command()(selfcheck)
    app.command(name="import-weights")(import_weights)


@handled
def selfcheck(
    goldens: Annotated[
        Path | None,
        typer.Option("--goldens", metavar="DIR", help="Goldens to check against. Default: those shipped."),
    ] = None,
    device: common.Device = "cpu",
    precision: Annotated[str, typer.Option("--precision", help="float32 or float64. Default: both.")] = "",
    json_: common.Json = False,
) -> None:
    """Check our implementations against recorded outputs of the released ones; exit code 4 if one differs."""
    import torch

    from benchmark import selfcheck as checker
    from benchmark.plan import resolve_device
    from benchmark.settings import check_choice

    precisions = (
        [check_choice("precision", precision, ("float32", "float64"))]
        if precision
        else ["float64", "float32"]
    )
    chosen = resolve_device(device)
    cases = [case for name in precisions for case in checker.run_selfcheck(goldens, torch.device(chosen), name)]
    if json_:
        common.print_json([case.to_json() for case in cases])
    else:
        print(checker.render(cases))
    if not all(case.ok for case in cases):
        raise typer.Exit(EXIT_CHECK)


@handled
def import_weights(
    method: Annotated[str, typer.Option("--method", help="Which method the checkpoint belongs to.")],
    source: Annotated[
        Path, typer.Option("--from", metavar="FILE", help="A checkpoint of the original code, or a golden.")
    ],
    to: Annotated[
        Path, typer.Option("--to", metavar="DIR", help="Folder for weights.safetensors and config.json.")
    ],
) -> None:
    """Load a checkpoint trained with a method's original code; nothing in it can run."""
    from benchmark.import_weights import import_weights as convert

    convert(method, source, to)
    say(f"wrote {to}")
