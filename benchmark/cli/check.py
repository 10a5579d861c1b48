"""`bench selfcheck`, `bench controls`, `bench import-weights`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli import common, names, output
from benchmark.cli.app import CHECK, YOURS
from benchmark.cli.job import Job
from benchmark.cli.output import handled, say
from benchmark.cli.run_options import CheckpointEvery, JobOptions, Timeout
from benchmark.core.errors import EXIT_CHECK, EXIT_RUN_FAILED, UsageError

if TYPE_CHECKING:
    from benchmark.checks.controls import Control
    from benchmark.engine.plan import Choices


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=CHECK)(selfcheck)
    app.command(rich_help_panel=CHECK)(controls)
    app.command(name="import-weights", rich_help_panel=YOURS)(import_weights)


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
            "--method",
            metavar="M",
            autocompletion=names.complete_methods,
            help="With --determinism: only these. Default: the paper's nine.",
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

    from benchmark.checks import goldens as checker
    from benchmark.core.words import understood
    from benchmark.engine.machine import resolve_device

    precisions = (
        [understood("precision", precision, ("float32", "float64"))] if precision else ["float64", "float32"]
    )
    chosen = resolve_device(device or "cpu")
    cases = [
        case for name in precisions for case in checker.run_selfcheck(goldens, torch.device(chosen), name)
    ]
    if json_:
        output.print_json([case.to_json() for case in cases])
    else:
        output.show(checker.render(cases))
    if not all(case.ok for case in cases):
        raise typer.Exit(EXIT_CHECK)


def _check_determinism(
    method: Sequence[str] | None, device: str | None, cache: Path | None, json_: bool
) -> None:
    from benchmark.checks import determinism
    from benchmark.data.store import cache_root
    from benchmark.engine.machine import resolve_device

    methods = names.pick_methods(method)
    devices = [resolve_device(device)] if device else dict.fromkeys(["cpu", resolve_device("auto")])
    verdicts = determinism.check(
        methods, list(devices), cache_root(cache), on_progress=(lambda text: None) if json_ else say
    )
    if json_:
        output.print_json([verdict.to_json() for verdict in verdicts])
    else:
        output.show(determinism.render(verdicts))
    if not all(verdict.ok for verdict in verdicts):
        raise typer.Exit(EXIT_CHECK)


QUICK_METHODS = ("egcnn", "prhnet", "ssecross", "drnet")
CONTROL_RESULTS = Path("results/controls")
"""Apart from the main results: their tables should not show shuffled labels."""


@handled
def controls(
    results: common.Results = CONTROL_RESULTS,
    dataset: common.Datasets = None,
    category: common.Categories = None,
    method: common.Methods = None,
    seeds: common.Seeds = "0,1,2,3,4",
    data: common.DataRoot = None,
    jobs: common.Jobs = None,
    device: common.Device = "auto",
    cache: common.Cache = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Two text-only and two multimodal methods on amazon/home, if not told."),
    ] = False,
    checkpoint_every: CheckpointEvery = None,
    timeout: Timeout = None,
    json_: common.Json = False,
) -> None:
    """Negative and positive controls on `mini` (home of both data sets unless told); exit code 4 if one fails.

    Negative: shuffled labels leave every method at a random order; equal methods get marks at the nominal
    rate. Positive: without images the multimodal methods fall, the text-only ones do not move; a scorer that
    sees the truth reaches the known ceiling. Finished runs are kept and skipped next time. No method is
    the judged one here: --method names those that are controlled, one of yours too.
    """
    from benchmark.checks import controls as judge

    chosen = names.parse_seeds(seeds)
    if len(chosen) < 3:
        raise UsageError(f"--seeds {seeds}: a control is a test, and a test needs at least 3 seeds.")
    methods = names.pick_methods(method or (QUICK_METHODS if quick else None))
    picked = names.pick_data(data, dataset or (("amazon",) if quick else ()), category or ("home",))
    how = JobOptions(
        *(data, results, jobs, cache), checkpoint_every=checkpoint_every, timeout=timeout, json=json_
    )
    job = Job(_control_choices(picked, methods, chosen, device), how)
    if job.carry_out(summary=False):
        say("some runs failed, so no control can be judged; `bench status` shows why.")
        raise typer.Exit(EXIT_RUN_FAILED)
    found = _judged(job)
    if json_:
        output.print_json([one.to_json() for one in found])
    else:
        output.show(judge.render(found, _controls_caption(job, len(chosen))))
    if not all(one.ok for one in found):
        raise typer.Exit(EXIT_CHECK)


def _control_choices(
    picked: tuple[tuple[str, ...], tuple[str, ...]],
    methods: Sequence[str],
    seeds: tuple[int, ...],
    device: str,
) -> list[Choices]:
    """The runs of each control, in the order in which `_judged` takes them."""
    from benchmark import models
    from benchmark.checks.controls import WITHOUT_IMAGES
    from benchmark.engine.plan import Choices

    multimodal = tuple(name for name in methods if models.METHODS[name].modality == "multimodal")
    text_only = tuple(name for name in methods if name not in multimodal)
    plain = Choices(
        datasets=picked[0], categories=picked[1], methods=tuple(methods), seeds=seeds, device=device
    )
    unmoved = replace(plain, methods=text_only, seeds=seeds[:1])
    return [
        replace(plain, shuffle_labels=True),
        replace(plain, methods=multimodal),
        replace(plain, methods=multimodal, overrides=(WITHOUT_IMAGES,)),
        unmoved,
        replace(unmoved, overrides=(WITHOUT_IMAGES,)),
    ]


def _judged(job: Job) -> list[Control]:
    """Every control, from the runs of `_control_choices`."""
    from benchmark.checks import controls as judge
    from benchmark.runs import store

    shuffled, seen, blind, text_seen, text_blind = (
        judge.places([store.load_run(spec.folder(job.results)) for spec in specs]) for specs in job.specs_of
    )
    runs = [run for place in shuffled for run in place.runs]
    return [
        *judge.shuffled_labels(shuffled),
        judge.marks_control(judge.simulate_marks()),
        *judge.images_taken_away(seen, blind, job.source.root),
        *judge.text_only_unmoved(text_seen, text_blind),
        *judge.truth_reaches_the_ceiling(runs, job.source.root),
    ]


def _controls_caption(job: Job, n_seeds: int) -> str:
    corpora = sorted({f"{spec.corpus} {spec.fingerprint[:12]}" for spec in job.specs})
    return (
        f"Corpus {', '.join(corpora)}; preset quick, protocol fair, {n_seeds} seeds. MAP; differences in points with "
        "95% intervals, crossed test over seeds and products, Holm over the methods and categories of one control."
    )


@handled
def import_weights(
    method: Annotated[str, typer.Option("--method", help="Which method the checkpoint belongs to.")],
    source: Annotated[
        Path, typer.Option("--from", metavar="FILE", help="A checkpoint of the original code, or a golden.")
    ],
    to: Annotated[
        Path, typer.Option("--to", metavar="DIR", help="Folder for weights.safetensors and config.json.")
    ],
    json_: common.Json = False,
) -> None:
    """Load a checkpoint trained with a method's original code; nothing in it can run."""
    from benchmark.checks.reference import import_weights as convert

    convert(names.one_method(method), source, to)
    if json_:
        output.print_json({"to": str(to), "method": method})
    else:
        say(f"wrote {to}")
