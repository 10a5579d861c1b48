"""`bench speed`: rates, memory and the time of the whole grid on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli import common, names, output
from benchmark.cli.app import CHECK
from benchmark.cli.output import handled, say
from benchmark.core.errors import EXIT_RUN_FAILED

if TYPE_CHECKING:
    from benchmark.data.source import Source
    from benchmark.speed.report import Measured, Request


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=CHECK)(speed)


@handled
def speed(
    method: common.Methods = None,
    preset: Annotated[
        str, typer.Option("--preset", help="paper (full size) or quick (small, for a CPU).")
    ] = "paper",
    protocol: common.Protocol = "fair",
    device: common.Device = "auto",
    precision: Annotated[str, typer.Option("--precision", help="float32, tf32 or bf16.")] = "float32",
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, metavar="N", help="CPU threads. Default: all cores."),
    ] = None,
    steps: Annotated[
        int, typer.Option("--steps", min=1, metavar="N", help="Training steps to time, after two to warm up.")
    ] = 5,
    products: Annotated[
        int,
        typer.Option(
            "--products", min=1, metavar="N", help="Products of the generated corpus, 16 reviews each."
        ),
    ] = 24,
    set_: common.Set = None,
    cache: common.Cache = None,
    json_: common.Json = False,
) -> None:
    """Measure training, scoring and memory of each method on a generated corpus of full-sized items.

    Each method runs alone, in a process of its own and, unlike a run, on all cores. From its rates follows
    what the paper's whole grid would take on this machine.
    """
    from benchmark.core.words import understood
    from benchmark.engine.machine import default_jobs
    from benchmark.speed.report import Request, describe, render

    precision = understood("precision", precision, ("float32", "tf32", "bf16"))
    request = Request(
        methods=names.pick_methods(method),
        preset=preset,
        protocol=protocol,
        device=device,
        precision=precision,
        threads=threads or default_jobs(threads=1),
        steps=steps,
        products=products,
        overrides=tuple(set_ or ()),
        cache=cache,
    )
    source, results = _measure(request, quiet=json_)
    if json_:
        output.print_json([result.to_json(request) for result in results])
    else:
        built = any(result.profile.get("compiled_kernels") for result in results)
        output.show(
            f"{render(results, request)}\n\n{describe(request, source)}, {'with' if built else 'without'} compiled "
            "kernels."
        )
    if any(result.reason for result in results):
        raise typer.Exit(EXIT_RUN_FAILED)


def _measure(request: Request, quiet: bool) -> tuple[Source, list[Measured]]:
    """Every method of the request, one after the other, with a line about each."""
    from benchmark.speed.report import describe, measure_all, speed_corpus

    note = (lambda text: None) if quiet else say
    note("generating the corpus, unless it is in the cache ...")
    source = speed_corpus(request.products, request.cache)
    note(describe(request, source))
    results: list[Measured] = []
    for result in measure_all(request, source):
        results.append(result)
        note(f"{len(results)}/{len(request.methods)} {result.spec.method}: {result.reason or 'measured'}")
    return source, results
