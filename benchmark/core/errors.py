"""Errors that a user can cause, each with the exit code that the command line returns.

0 done; 1 some run failed; 2 usage or configuration; 3 data missing or invalid; 4 a check failed
(`bench compare`, `bench selfcheck`); 130 interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence

EXIT_OK = 0
EXIT_RUN_FAILED = 1
EXIT_USAGE = 2
EXIT_DATA = 3
EXIT_CHECK = 4
EXIT_INTERRUPTED = 130


class BenchError(Exception):
    """Something that the user can mend. The message says what was given, what is allowed, what to do."""

    exit_code = EXIT_RUN_FAILED


class UsageError(BenchError):
    """An unknown name or option, or a configuration that cannot work."""

    exit_code = EXIT_USAGE


class DataError(BenchError):
    """Input files that are missing or invalid. `problems` lists each with file and record."""

    exit_code = EXIT_DATA

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        self.problems = list(problems)
        super().__init__(message if not self.problems else "\n".join([message, *self.problems]))


class TrainingError(BenchError):
    """A run that cannot go on, for example a loss that is not finite. Names epoch and step."""
