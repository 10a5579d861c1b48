"""`bench speed`: rates, memory and the time of the whole grid on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli import common, names, output
from benchmark.cli.app import CHECK
from benchmark.cli.output import handled, say
from benchmark.cli.run_options import RunOptions
from benchmark.core.errors import EXIT_RUN_FAILED

if TYPE_CHECKING:
    from pathlib import Path

    from benchmark.data.source import Source
    from benchmark.speed.report import Measured, Request


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=CHECK)(speed)


@handled
def speed(
    method: common.Methods = None,
    precision: Annotated[
        str | None, typer.Option("--precision", help="float32, tf32 or bf16. Default: float32.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, metavar="N", help="The same as --set train.threads=N. Default: 1."),
    ] = None,
    jobs: common.Jobs = None,
    steps: Annotated[
        int, typer.Option("--steps", min=1, metavar="N", help="Training steps to time, after one to warm up.")
    ] = 5,
    products: Annotated[
        int,
        typer.Option(
            "--products", min=1, metavar="N", help="Products of the generated corpus, 16 reviews each."
        ),
    ] = 24,
    cache: common.Cache = None,
    json_: common.Json = False,
    *,
    what: RunOptions,
) -> None:
    """Measure training, scoring and memory of each method on a generated corpus of full-sized items.

    What is timed is what `bench run` would do with the same options: the same configuration, preset (quick unless
    --preset paper is given), precision and threads, and as many runs side by side. From the rates follows what the
    paper's whole grid would take on this machine.
    """
    from benchmark.speed.report import PLACE, Request, describe, render

    overrides = [f"train.precision={precision}"] if precision is not None else []
    overrides += [f"train.threads={threads}"] if threads is not None else []
    choices = what.choices(
        (PLACE[:1], PLACE[1:]), overrides=tuple(overrides), methods=names.pick_methods(method)
    )
    request = Request(choices, jobs, steps, products)
    source, results = _measure(request, cache, quiet=json_)
    if json_:
        output.print_json([result.to_json() for result in results])
    else:
        built = any(result.profile.get("compiled_kernels") for result in results)
        output.show(
            f"{render(results)}\n\n{describe(request, source)}, {'with' if built else 'without'} compiled kernels."
        )
    if any(result.reason for result in results):
        raise typer.Exit(EXIT_RUN_FAILED)


def _measure(request: Request, cache: Path | None, quiet: bool) -> tuple[Source, list[Measured]]:
    """Every method of the request, one after the other, with a line about each."""
    from benchmark.speed.report import describe, measure_all, speed_corpus

    note = (lambda text: None) if quiet else say
    note("generating the corpus, unless it is in the cache ...")
    source = speed_corpus(request.products, cache)
    note(describe(request, source))
    results: list[Measured] = []
    for result in measure_all(request, source):
        results.append(result)
        note(
            f"{len(results)}/{len(request.choices.methods)} {result.spec.method}: {result.reason or 'measured'}"
        )
    return source, results
