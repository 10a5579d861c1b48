"""Calls `bench` in this process; what it prints with `--json` must be as its schema says."""

import json
from functools import cache
from typing import Any

from click.testing import Result
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from benchmark.cli import app
from benchmark.cli.schema import schema_names, schema_text


def bench(*words: str, code: int = 0) -> Result:
    """The command's output, after checking its exit code."""
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    if "--json" in words and result.stdout.strip():
        validated(schema_of(words), json.loads(result.stdout))
    return result


def schema_of(words: tuple[str, ...]) -> str:
    """The schema's name: that of the command, which may be of two words."""
    return words[0] if words[0] in schema_names() else "-".join(words[:2])


def validated(name: str, document: Any) -> None:
    """ValidationError if the document is not as the schema of this name says."""
    _validator(name).validate(document)


@cache
def _validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads(schema_text(name)))


def results_of(text: str) -> list[Any]:
    """What a command with `--json` lists, after checking that it says what its document is."""
    document = json.loads(text)
    assert document["schema_version"] == 1
    found: list[Any] = document["results"]
    return found
