"""The `bench` command: parse, call, print. Heavy imports are late, so `--help` answers at once.

Results go to standard output, progress and messages to standard error. Exit codes: see
`benchmark.core.errors`.
"""

from __future__ import annotations

import sys

from benchmark.cli import (
    case,
    check,
    clean,
    data,
    export,
    inspect,
    judge,
    merge,
    model,
    multiverse,
    own,
    page,
    rank,
    run,
    schema,
    speed,
    status,
    table,
)
from benchmark.cli.app import app
from benchmark.cli.output import prepare_output, refuse
from benchmark.core.errors import EXIT_MACHINE

__all__ = ["app", "main"]

run.register(app)
status.register(app)
table.register(app)
export.register(app)
page.register(app)
case.register(app)
inspect.register(app)
judge.register(app)
multiverse.register(app)
check.register(app)
speed.register(app)
clean.register(app)
merge.register(app)
own.register(app)
schema.register(app)
model.register(app)
rank.register(app)
data.register(app)


def main() -> None:
    """Entry point of the `bench` command."""
    prepare_output()
    try:
        app()
    except OSError as error:  # help and version are printed outside of any command
        refuse(error)
        sys.exit(EXIT_MACHINE)
