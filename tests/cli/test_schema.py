"""Schemas of what commands print with `--json`: every command has one, and it refuses what is wrong.

That documents are as their schemas say is checked wherever a test calls a command with `--json`
(`tests.command_line`); here are the commands whose documents cost little.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import validator_for

from benchmark.cli import app
from benchmark.cli.schema import schema_names, schema_text
from benchmark.core.schema import SCHEMA_VERSION
from tests.command_line import bench, validated
from tests.fixtures_runs import write_grid, write_run

EVERY = schema_names()


def commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command that has no commands of its own, its words joined by hyphens."""
    children = getattr(command, "commands", None)
    if children is None:
        yield "-".join(words), command
    for name, child in (children or {}).items():
        yield from commands(child, (*words, name))


def test_every_command_has_json_and_a_schema() -> None:
    with_json = {
        name
        for name, command in commands(typer.main.get_command(app))
        if any("--json" in option.opts for option in command.params)
    }
    everything = {name for name, _ in commands(typer.main.get_command(app))}
    assert everything - with_json == {"help"}
    assert with_json == set(EVERY)


@pytest.mark.parametrize("name", EVERY)
def test_it_is_a_schema_of_2020_12_and_closed(name: str) -> None:
    schema = json.loads(schema_text(name))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert validator_for(schema) is Draft202012Validator
    Draft202012Validator.check_schema(schema)
    for document in schema.get("oneOf", [schema]):
        assert document["properties"]["schema_version"]["const"] == SCHEMA_VERSION
        assert "schema_version" in document["required"]
        assert document["additionalProperties"] is False


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    write_grid(folder, {"mcr": 0.5, "mmss": 0.6}, seeds=range(3), categories=("clothing", "home"))
    for seed in range(3):
        write_run(folder, "mmss", seed, value=0.55, drop=("d",))
    return folder


CHEAP = {
    "table": ["table", "lazada"],
    "statistics": ["table", "--statistics"],
    "ablation": ["table", "--ablation"],
    "stats": ["stats", "lazada", "--power"],
    "compare": ["compare"],
    "claims": ["claims"],
    "status": ["status"],
    "clean": ["clean"],
    "models": ["models"],
    "one model": ["models", "--method", "egcnn"],
    "decisions": ["decisions", "D-NEG"],
    "schema": ["schema"],
}
WITHOUT_RESULTS = ("models", "decisions", "schema")


@pytest.fixture(scope="module")
def documents(results: Path) -> dict[str, tuple[str, Any]]:
    """What -> the schema's name, and a document that it takes."""
    found = {}
    for what, words in CHEAP.items():
        where = [] if words[0] in WITHOUT_RESULTS else ["--results", str(results)]
        found[what] = (words[0], json.loads(bench(*words, *where, "--json").stdout))
    return found


def spoilt(document: Any) -> Iterator[tuple[str, Any]]:
    """The document with one thing wrong at a time: a field gone, a field too many, another version."""
    for name in document:
        yield f"without {name}", {key: value for key, value in document.items() if key != name}
    yield "a field too many", {**document, "more": 1}
    yield "another version", {**document, "schema_version": SCHEMA_VERSION + 1}
    yield "a list", [document]
    for name, value in document.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            for key in value[0]:
                wrong = copy.deepcopy(document)
                wrong[name][0][key] = {"planted": ["wrong"]} if not isinstance(value[0][key], dict) else 7
                if isinstance(value[0][key], list | str | int | float | bool) and key not in ("value",):
                    yield f"{name}[0].{key} of another kind", wrong


@pytest.mark.parametrize("what", list(CHEAP))
def test_a_planted_wrong_document_is_refused(documents: dict[str, tuple[str, Any]], what: str) -> None:
    name, document = documents[what]
    validated(name, document)
    taken = [why for why, wrong in spoilt(document) if is_valid(name, wrong)]
    assert not taken
    assert len(list(spoilt(document))) >= 4


def is_valid(name: str, document: Any) -> bool:
    try:
        validated(name, document)
    except ValidationError:
        return False
    return True


def test_the_command_prints_them(results: Path) -> None:
    assert bench("schema").stdout.split() == list(EVERY)
    assert json.loads(bench("schema", "data", "check").stdout)["title"] == "bench data check --json"
    assert bench("schema", "Data-Check").stdout == schema_text("data-check")
    assert "table" in bench("schema", "tabel", code=2).stderr
