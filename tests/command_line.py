"""Calls `bench` in this process."""

from click.testing import Result
from typer.testing import CliRunner

from benchmark.cli import app


def bench(*words: str, code: int = 0) -> Result:
    """The command's output, after checking its exit code."""
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    return result
