"""`bench selfcheck`, `bench import-weights`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli import common
from benchmark.cli.common import handled, say
from benchmark.core.errors import EXIT_CHECK, UsageError


def register(app: typer.Typer) -> None:
    app.command()(selfcheck)
    app.command(name="import-weights")(import_weights)


@handled
def selfcheck(
    goldens: Annotated[
        Path | None,
        typer.Option("--goldens", metavar="DIR", help="Goldens to check against. Default: those shipped."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device", help="auto, cpu or cuda. Default: cpu; with --determinism every device that there is."
        ),
    ] = None,
    precision: Annotated[str, typer.Option("--precision", help="float32 or float64. Default: both.")] = "",
    determinism: Annotated[
        bool,
        typer.Option(
            "--determinism",
            help="Instead: train short runs in fresh processes, compare losses, weights and scores bit for bit.",
        ),
    ] = False,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method", metavar="M", help="With --determinism: only these. Default: the paper's nine."
        ),
    ] = None,
    cache: common.Cache = None,
    json_: common.Json = False,
) -> None:
    """Check our implementations against recorded outputs of the released ones; exit code 4 if one differs."""
    if determinism:
        if goldens is not None or precision:
            raise UsageError("--determinism reads no goldens: leave out --goldens and --precision.")
        _check_determinism(method, device, cache, json_)
        return
    if method:
        raise UsageError("--method goes with --determinism; of goldens every file is checked.")
    import torch

    from benchmark import selfcheck as checker
    from benchmark.plan import resolve_device
    from benchmark.settings import check_choice

    precisions = (
        [check_choice("precision", precision, ("float32", "float64"))]
        if precision
        else ["float64", "float32"]
    )
    chosen = resolve_device(device or "cpu")
    cases = [
        case for name in precisions for case in checker.run_selfcheck(goldens, torch.device(chosen), name)
    ]
    if json_:
        common.print_json([case.to_json() for case in cases])
    else:
        print(checker.render(cases))
    if not all(case.ok for case in cases):
        raise typer.Exit(EXIT_CHECK)


def _check_determinism(
    method: Sequence[str] | None, device: str | None, cache: Path | None, json_: bool
) -> None:
    from benchmark import determinism, models
    from benchmark.data.store import cache_root
    from benchmark.plan import pick, resolve_device

    methods = pick("method", method, tuple(models.METHODS)) if method else models.DEFAULT_METHODS
    devices = [resolve_device(device)] if device else dict.fromkeys(["cpu", resolve_device("auto")])
    verdicts = determinism.check(
        methods, list(devices), cache_root(cache), on_progress=(lambda text: None) if json_ else say
    )
    if json_:
        common.print_json([verdict.to_json() for verdict in verdicts])
    else:
        print(determinism.render(verdicts))
    if not all(verdict.ok for verdict in verdicts):
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
