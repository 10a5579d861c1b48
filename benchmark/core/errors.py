"""Errors that a user can cause, each with the exit code that the command line returns.

0 done; 1 some run failed; 2 usage or configuration; 3 data missing or invalid; 4 a check failed
(`bench compare`, `bench selfcheck`); 5 the machine said no (disk, permission, memory); 75 stopped by
SIGTERM or SIGUSR1, unfinished runs saved: the same command goes on; 130 interrupted.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

EXIT_OK = 0
EXIT_RUN_FAILED = 1
EXIT_USAGE = 2
EXIT_DATA = 3
EXIT_CHECK = 4
EXIT_MACHINE = 5
EXIT_STOPPED = 75
"""EX_TEMPFAIL: try again later."""
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


class StoppedError(BenchError):
    """The work was asked to stop and has saved where it stands; the same command goes on from there."""

    exit_code = EXIT_STOPPED


_ADVICE = {
    errno.ENOSPC: "the disk is full: make room, or name another folder",
    errno.EDQUOT: "your share of the disk is used up: make room, or name another folder",
    errno.EACCES: "give yourself the permission, or name another file",
    errno.EPERM: "give yourself the permission, or name another file",
    errno.EROFS: "the disk is read-only: name another folder",
    errno.ENAMETOOLONG: "the name is too long for the file system",
    errno.ENOTDIR: "a part of the path is a file where a folder should be",
    errno.EISDIR: "a folder is there where a file should be",
    errno.EEXIST: "a file is there where a folder should be",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n), or lower --jobs",
    errno.ENFILE: "too many files are open on this machine",
    errno.ENOMEM: "out of memory: lower --jobs, or close other programs",
}


def refusal(error: OSError | MemoryError) -> str:
    """What the machine refused and what to do about it, in one line."""
    if isinstance(error, MemoryError):
        return f"{_ADVICE[errno.ENOMEM]}{f' ({error})' if str(error) else ''}"
    what = error.strerror or str(error) or type(error).__name__
    where = f": {error.filename}" if error.filename else ""
    advice = _ADVICE.get(error.errno or 0)
    return f"{what}{where}" + (f"; {advice}" if advice else "")
