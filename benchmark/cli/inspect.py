"""`bench models`, `bench decisions`, `bench show`, `bench diff`."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark.cli import common, names, output
from benchmark.cli.app import LOOK, YOURS
from benchmark.cli.output import handled
from benchmark.core.errors import DataError

if TYPE_CHECKING:
    from benchmark.core.model import RankingModel
    from benchmark.runs.store import StoredRun


def register(app: typer.Typer) -> None:
    app.command(name="models", rich_help_panel=YOURS)(models_command)
    app.command(rich_help_panel=YOURS)(decisions)
    app.command(rich_help_panel=LOOK)(show)
    app.command(rich_help_panel=LOOK)(diff)


@handled
def models_command(
    method: common.Methods = None,
    dataset: Annotated[
        str, typer.Option("--dataset", help="For the released settings: lazada or amazon.")
    ] = "lazada",
    category: Annotated[str, typer.Option("--category", help="For the released settings.")] = "electronics",
    preset: common.Preset = None,
    protocol: common.Protocol = "fair",
    results: Annotated[
        Path,
        typer.Option(
            "--results", metavar="DIR", help="Whose runs are asked for methods that are not installed here."
        ),
    ] = common.DEFAULT_RESULTS,
    json_: common.Json = False,
) -> None:
    """The methods; with --method, one in full: fields, sizes, and how the fair form departs from the release. Of one
    that is not installed here, what its runs store."""
    from benchmark import models
    from benchmark.cli.table import remember_methods
    from benchmark.runs.store import load_runs

    runs: list[StoredRun] = []
    with contextlib.suppress(
        DataError
    ):  # runs that cannot be read are no matter of the methods that are here
        runs = load_runs(results)
    remember_methods(runs)
    if not method:
        rows = [dataclasses.asdict(info) | {"installed": info.installed} for info in models.METHODS.values()]
        if json_:
            output.print_json(rows)
            return
        from tabulate import tabulate

        table = [[row["name"], row["title"], row["modality"], _place_of(row)] for row in rows]
        output.show(
            tabulate(table, ["name", "title", "modality", "in the paper's tables"], tablefmt="github")
        )
        output.show("\nbench models --method NAME shows one in full.")
        return
    preset = "quick" if preset is None else preset
    described = [
        _describe(name, dataset, category, preset, protocol)
        if models.get(name).installed
        else _stored(name, runs)
        for name in names.pick_methods(method)
    ]
    if json_:
        output.print_json(described)
    else:
        output.show("\n\n".join(_render(description) for description in described))


@handled
def decisions(
    decision: Annotated[list[str] | None, typer.Argument(metavar="[D-ID]...", help="Only these.")] = None,
    json_: common.Json = False,
) -> None:
    """Every decision that the paper leaves open: the question, our default and why, the alternatives."""
    from benchmark.core import decisions as registry
    from benchmark.core.words import split_list
    from benchmark.report.decisions import render_markdown

    chosen = (
        [registry.get(name.upper()) for name in split_list(decision)]
        if decision
        else registry.all_decisions()
    )
    if json_:
        output.print_json([dataclasses.asdict(item) for item in chosen])
    else:
        output.show(render_markdown(chosen))


@handled
def show(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run's folder, or the beginning of its identity.")
    ],
    results: common.Results = common.DEFAULT_RESULTS,
    json_: common.Json = False,
) -> None:
    """Everything about one run: data, configuration, provenance, epochs, results; of one that failed, why."""
    from benchmark.report.show import describe, find_failure, find_run, render, render_failure

    failure = find_failure(results, run)
    if failure is not None:
        if json_:
            output.print_json(failure)
        else:
            output.show(render_failure(failure))
        return
    found = find_run(results, run)
    if json_:
        output.print_json(describe(found))
    else:
        output.show(render(found))


@handled
def diff(
    a: Annotated[
        str, typer.Argument(metavar="RUN", help="A run's folder, or the beginning of its identity.")
    ],
    b: Annotated[str, typer.Argument(metavar="RUN")],
    results: common.Results = common.DEFAULT_RESULTS,
    json_: common.Json = False,
) -> None:
    """What differs between two runs: configuration, data, versions, results per product."""
    from benchmark.report.show import differences, find_run, render_difference

    first, second = find_run(results, a), find_run(results, b)
    if json_:
        output.print_json(differences(first, second))
    else:
        output.show(render_difference(first, second))


def _place_of(row: dict[str, Any]) -> str:
    if not row["installed"]:
        return "known from its runs alone"
    return "yes" if row["in_paper"] else "extra"


def _stored(name: str, runs: Sequence[StoredRun]) -> dict[str, Any]:
    """Of a method that is not installed: what the newest of its runs says."""
    from benchmark import models

    newest = max((run for run in runs if run.spec.method == name), key=lambda run: run.age_rank)
    spec = newest.spec

    def fields(scope: str, config: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"key": f"{scope}.{key}", "value": value, "help": ""} for key, value in config.items()]

    return {
        "name": name,
        "title": models.get(name).title,
        "modality": models.get(name).modality,
        "reference": f"Not a method of this installation. Its class was {spec.target or 'somewhere else'}, code "
        f"{spec.code or 'unknown'}; to run it, name it: --method path/to/file.py:Class.",
        "preset": spec.preset,
        "protocol": spec.protocol,
        "fields": fields(name, spec.config["model"]),
        "training": fields("train", spec.config["training"]),
        "quick_reasons": {},
        "released_form": None,
        "departures": [],
        "about": f"As run {newest.id} has it, the newest of {sum(run.spec.method == name for run in runs)}.",
    }


def _describe(name: str, dataset: str, category: str, preset: str, protocol: str) -> dict[str, Any]:
    from benchmark import models
    from benchmark.data.datasets import built_in
    from benchmark.engine import resolve

    model_class = models.load(name)
    setting = resolve.resolve(name, built_in(dataset), category, preset=preset, protocol=protocol)
    return {
        "name": name,
        "title": models.get(name).title,
        "modality": models.get(name).modality,
        "reference": model_class.reference,
        "preset": preset,
        "protocol": protocol,
        "fields": _fields(name, setting.model),
        "training": _fields("train", setting.training),
        "quick_reasons": resolve.quick_reasons(name) if preset == "quick" else {},
        "released_form": model_class.released is not None,
        "departures": [dataclasses.asdict(departure) for departure in model_class.departures],
        "about": _about(model_class),
    }


def _fields(scope: str, config: Any) -> list[dict[str, Any]]:
    docs = field_docs(type(config))
    return [
        {
            "key": f"{scope}.{field.name}",
            "value": getattr(config, field.name),
            "help": docs.get(field.name, ""),
        }
        for field in dataclasses.fields(config)
    ]


def field_docs(config_class: type[Any]) -> dict[str, str]:
    """The string under each field of a dataclass, its bases' included: its help (read from the source)."""
    docs: dict[str, str] = {}
    for base in reversed(config_class.__mro__):
        if dataclasses.is_dataclass(base):
            docs |= _own_docs(base)
    for field in dataclasses.fields(config_class):
        if field.name not in docs and field.metadata.get("help"):
            docs[field.name] = str(field.metadata["help"])
    return docs


def _own_docs(config_class: type[Any]) -> dict[str, str]:
    import ast
    import inspect
    import textwrap

    body = ast.parse(textwrap.dedent(inspect.getsource(config_class))).body[0]
    assert isinstance(body, ast.ClassDef)
    docs: dict[str, str] = {}
    for field, follower in zip(body.body, body.body[1:], strict=False):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(follower, ast.Expr) and isinstance(follower.value, ast.Constant):
            docs[field.target.id] = " ".join(str(follower.value.value).split())
    return docs


def _about(model_class: type[RankingModel]) -> str:
    import inspect
    import sys

    # the file's own account of the method, equations and all
    text = inspect.cleandoc(sys.modules[model_class.__module__].__doc__ or "")
    return _flowing(text) if output.on_terminal() else text


def _flowing(text: str) -> str:
    """Paragraphs as one line each, to be broken where the terminal ends; equations and lists stay as they are."""
    paragraphs = [
        part if re.search(r"^(\s|[-*|])", part, re.MULTILINE) else " ".join(part.split())
        for part in text.split("\n\n")
    ]
    return "\n\n".join(paragraphs)


def _widths() -> list[int | None] | None:
    """Where the columns of key, value and meaning are broken; on a terminal it is known only when they are shown."""
    return None if output.on_terminal() else [None, 24, 70]


def _render(description: dict[str, Any]) -> str:
    from tabulate import tabulate

    lines = [
        f"{description['title']} (--method {description['name']}), {description['modality']}",
        description["reference"],
        "",
        description["about"],
        "",
        f"configuration, {description['preset']} preset, {description['protocol']} protocol (--set KEY=VALUE):",
    ]
    rows = [[row["key"], row["value"], row["help"]] for row in description["fields"]]
    columns = ["key", "value", "meaning"]
    lines.append(tabulate(rows, columns, tablefmt="github", maxcolwidths=_widths()))
    rows = [[row["key"], row["value"], row["help"]] for row in description["training"]]
    lines += ["", "training, the same for every method under the fair protocol:"]
    lines.append(tabulate(rows, columns, tablefmt="github", maxcolwidths=_widths()))
    lines.append("")
    if description["quick_reasons"]:
        lines.append("what the quick preset sets beside sizes and budget, and why:")
        lines += [f"- {key}: {why}" for key, why in description["quick_reasons"].items()]
        lines.append("")
    if description["departures"]:
        lines.append("where the fair form departs from the released code, and why:")
        for departure in description["departures"]:
            defects = f" (defects {', '.join(departure['defects'])})" if departure["defects"] else ""
            lines.append(f"- {departure['what']}: {departure['why']}{defects}")
    elif description["released_form"] is False:
        lines.append("no code of this method was released for the task; see the text above for what is ours.")
    return "\n".join(lines)
