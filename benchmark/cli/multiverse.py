"""`bench multiverse`: what the open decisions move."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark import models
from benchmark.cli import common, names, output
from benchmark.cli.app import RUN
from benchmark.cli.output import handled, say
from benchmark.cli.run_options import JobOptions, RunOptions
from benchmark.core.errors import EXIT_RUN_FAILED, BenchError, UsageError

if TYPE_CHECKING:
    from benchmark.cli.job import Job
    from benchmark.data.datasets import DataSet
    from benchmark.report.multiverse import Effect, Variant
    from benchmark.runs.spec import RunSpec
    from benchmark.runs.store import StoredRun


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=RUN)(multiverse)


@handled
def multiverse(
    vary: Annotated[
        list[str] | None,
        typer.Option(
            "--vary", metavar="D-ID,...", help="Decisions to vary, see `bench decisions`; repeatable."
        ),
    ] = None,
    method: Annotated[
        str, typer.Option("--method", "--proposed", metavar="M", help="Whose decisions.")
    ] = models.PROPOSED,
    all_single: Annotated[
        bool, typer.Option("--all-single", help="One decision at a time (of all decisions, without --vary).")
    ] = False,
    dataset: common.Datasets = None,
    category: common.Categories = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Also draw it, as .png, .pdf or .svg.")
    ] = None,
    *,
    what: RunOptions,
    how: JobOptions,
) -> None:
    """Run the alternatives of open decisions and print what each choice moves, largest first.

    For clothing of both data sets (of your own: its first category) unless told otherwise. Without
    --all-single the options of several decisions are combined.
    """
    from benchmark.cli.job import Job
    from benchmark.core.words import split_list
    from benchmark.report.multiverse import render, to_json

    wanted = [name.upper() for name in split_list(vary)]
    if not wanted and not all_single:
        raise UsageError("say what to vary: --vary D-OFFSET,D-NEG, or --all-single for every decision.")
    method = names.one_method(method)
    picked = names.pick_data(how.data, dataset, category, first=True)
    varied = _varied(wanted, method, all_single, _places(how.data, picked), what)
    job = Job(
        [
            what.choices(picked, overrides, methods=(method,))
            for overrides in ((), *(variant.overrides for variant in varied))
        ],
        how,
    )
    if how.dry_run:
        job.show_plan()
        return
    failed = job.carry_out(summary=False)
    effects = _effects(job, varied)
    if how.json:
        output.print_json(to_json(effects))
    else:
        output.show(render(effects, models.get(method).title, _caption(job, effects)))
    if plot is not None:
        _draw(effects, plot)
    if failed:
        raise typer.Exit(EXIT_RUN_FAILED)


def _draw(effects: Sequence[Effect], out: Path) -> None:
    """The picture that `bench plot decisions` draws, of these effects."""
    from benchmark.report.plots import canvas, kinds

    canvas.require()
    picture = kinds.decisions(kinds.Subject((), tuple(effects)))
    if picture is None:
        say("no picture: no alternative has runs to compare.")
        return
    canvas.save(picture, out)
    say(f"wrote {out}")


def _places(root: Path | None, picked: tuple[tuple[str, ...], tuple[str, ...]]) -> list[tuple[DataSet, str]]:
    """The picked categories of each picked data set."""
    from benchmark.data.datasets import known

    described = [known(root)[name] for name in picked[0]]
    return [(one, name) for one in described for name in picked[1] if name in one.category_names]


def _varied(
    wanted: Sequence[str],
    method: str,
    all_single: bool,
    places: Sequence[tuple[DataSet, str]],
    what: RunOptions,
) -> list[Variant]:
    """The variants that are to be run; says which are left out, and why."""
    from benchmark.report.multiverse import variants

    varied, inert = _that_change_something(
        method,
        variants(wanted, method, all_single),
        places,
        what.named_preset,
        what.protocol,
        what.set_ or (),
    )
    for name in inert:
        say(f"left out: {name}: the preset's default already")
    absent = {} if wanted else _absent_files(method, varied)
    for name, why in absent.items():
        say(f"left out: {name}: {why}")
    return [variant for variant in varied if variant.name not in absent]


def _that_change_something(
    method: str,
    varied: Sequence[Variant],
    places: Sequence[tuple[DataSet, str]],
    preset: str,
    protocol: str,
    set_: Sequence[str],
) -> tuple[list[Variant], list[str]]:
    """The variants whose configuration is not that of the default's runs, and the names of the others. Where
    the preset has another value than the registry, the registry's default is a variant too."""
    from benchmark.engine import resolve
    from benchmark.report.multiverse import registry_default

    def configs(overrides: Sequence[str]) -> list[dict[str, Any]]:
        qualified = resolve.qualify_overrides(set_, (method,)) | resolve.qualify_overrides(
            overrides, (method,)
        )
        return [
            resolve.resolve(method, *place, preset=preset, protocol=protocol, overrides=qualified).to_json()
            for place in places
        ]

    decided = dict.fromkeys(variant.decision for variant in varied if variant.decision)
    restored = [one for name in decided if (one := registry_default(name, method)) is not None]
    default = configs(())
    kept = [variant for variant in varied if configs(variant.overrides) != default]
    inert = [variant.name for variant in varied if variant not in kept]
    return [*kept, *(variant for variant in restored if configs(variant.overrides) != default)], inert


def _absent_files(method: str, varied: list[Variant]) -> dict[str, str]:
    """Variants that read a file which is not here (a pre-trained encoder), and why: of all decisions, those
    are left out; one that was asked for by name is an error."""
    from benchmark.data.datasets import LAZADA
    from benchmark.engine import resolve

    absent = {}
    for variant in varied:
        overrides = resolve.qualify_overrides(variant.overrides, (method,))
        setting = resolve.resolve(
            method,
            LAZADA,
            LAZADA.category_names[0],
            preset="quick",
            protocol="fair",
            overrides=overrides,
        )
        try:
            models.load(method).files_read(setting.model)
        except BenchError as error:
            absent[variant.name] = str(error)
    return absent


def _effects(job: Job, varied: list[Variant]) -> list[Effect]:
    from benchmark.report.multiverse import REGISTRYS_DEFAULT, effect

    default, *changed = job.specs_of
    places = list(dict.fromkeys((spec.dataset, spec.category) for spec in default))
    specs_of = list(zip(varied, changed, strict=True))
    effects = [
        effect(variant.name, *place, _done(job, default, place), _done(job, specs, place))
        for variant, specs in specs_of
        for place in places
    ]
    registrys = {variant.decision: specs for variant, specs in specs_of if variant.registry_default}
    effects += [
        effect(
            variant.name,
            *place,
            _done(job, registrys[variant.decision], place),
            _done(job, specs, place),
            REGISTRYS_DEFAULT,
        )
        for variant, specs in specs_of
        if variant.decision in registrys and not variant.registry_default
        for place in places
    ]
    return effects


def _done(job: Job, specs: list[RunSpec], place: tuple[str, str]) -> list[StoredRun]:
    from benchmark.runs import files, store

    return [
        store.load_run(spec.folder(job.results))
        for spec in specs
        if (spec.dataset, spec.category) == place and files.is_done(spec, job.results)
    ]


def _caption(job: Job, effects: list[Effect]) -> str:
    from benchmark.report.captions import feature_sentences
    from benchmark.report.grid import manifests

    n_products = {item.result.n_products for item in effects if item.result}
    seeds = len({spec.seed for spec in job.specs})
    places = {(spec.dataset, spec.category): spec for spec in job.specs}
    seen = manifests(run for place, spec in places.items() for run in _done(job, [spec], place))
    return (
        f"Corpus {job.specs[0].conditions.without_overrides}. Points of MAP; crossed seeds x products test, "
        f"paired by seed, {seeds} seeds, {'/'.join(map(str, sorted(n_products)))} test products, "
        f"{len(effects)} comparisons, no correction: read the p-values as a screening, not as claims."
        + "".join(f" {sentence}" for sentence in feature_sentences(seen))
    )
