"""What is wrong or odd about a release, collected rather than raised: its owner sees all of it at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.core.errors import DataError

_SHOWN = 20
"""Records named per kind of problem and file; the rest are counted."""
_LONGEST = 120
"""Letters of a value that a message shows."""


@dataclass
class Findings:
    """What is wrong (`problems`) or odd (`notes`) about a release; each line names file and record.

    A problem changes a number or makes one impossible, so nothing is packed; a note deserves a look.
    """

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def problem(self, file: Path | str, record: str, message: str) -> None:
        self.problems.append(_line(file, record, message))

    def problem_records(self, file: Path | str, records: Sequence[str], message: str) -> None:
        """The same problem for many records: the first ones by name, then their number."""
        _extend(self.problems, file, records, message)

    def note(self, file: Path | str, message: str) -> None:
        self.notes.append(f"{file}: {message}")

    def note_records(self, file: Path | str, records: Sequence[str], message: str) -> None:
        """The same oddity of many records: their number and the first by name."""
        if records:
            self.note(file, f"{len(records)} times: {message} (first: {records[0]})")

    def raise_if_any(self, folder: Path) -> None:
        """DataError with every problem, if there is one."""
        if self.problems:
            count = f"{len(self.problems)} problem" + "s" * (len(self.problems) > 1)
            raise DataError(
                f"{folder}: {count}; `bench data check` lists those of a whole root", self.problems
            )


def _line(file: Path | str, record: str, message: str) -> str:
    return f"{file}: {record}: {message}" if record else f"{file}: {message}"


def _extend(lines: list[str], file: Path | str, records: Sequence[str], message: str) -> None:
    lines += [_line(file, record, message) for record in records[:_SHOWN]]
    if len(records) > _SHOWN:
        lines.append(f"{file}: {len(records) - _SHOWN} more: {message}")


def shown(value: Any) -> str:
    """A value for a message: as Python prints it, not longer than a line."""
    if isinstance(value, str) and len(value) > _LONGEST:
        return f"{value[:_LONGEST]!r}... ({len(value):,} letters)"
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deeply, or a number of thousands of digits
        return f"a {type(value).__name__}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
