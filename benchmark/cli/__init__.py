"""The `bench` command: parse, call, print. Heavy imports are late, so `--help` answers at once.

Results go to standard output, progress and messages to standard error. Exit codes: see
`benchmark.core.errors`.
"""

from __future__ import annotations

from benchmark.cli import checks, data, inspection, judgement, multiverse, runs, speed, tables
from benchmark.cli.common import app

__all__ = ["app", "main"]

runs.register(app)
tables.register(app)
inspection.register(app)
judgement.register(app)
multiverse.register(app)
checks.register(app)
speed.register(app)
data.register(app)


def main() -> None:
    """Entry point of the `bench` command."""
    app()
