"""Calls `bench` in this process."""

import json
from typing import Any

from click.testing import Result
from typer.testing import CliRunner

from benchmark.cli import app


def bench(*words: str, code: int = 0) -> Result:
    """The command's output, after checking its exit code."""
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    return result


def results_of(text: str) -> list[Any]:
    """What a command with `--json` lists, after checking that it says what its document is."""
    document = json.loads(text)
    assert document["schema_version"] == 1
    found: list[Any] = document["results"]
    return found
