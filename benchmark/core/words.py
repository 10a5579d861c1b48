"""Words for people: near misses of a name, durations, choices."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from benchmark.core.errors import UsageError


def check_choice(kind: str, given: str, known: Sequence[str]) -> str:
    """`given` if it is one of `known`; else a UsageError with near misses."""
    if given not in known:
        raise UsageError(f"unknown {kind} {given!r}.{near_miss(given, known)} Known: {' '.join(known)}.")
    return given


def near_miss(given: str, known: Iterable[str]) -> str:
    """ " Did you mean ...?" for the closest known names, or an empty string."""
    close = difflib.get_close_matches(given.lower(), list(known), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(close)}?" if close else ""


def duration(seconds: float) -> str:
    """`8 s`, `2 min 05 s`, `3 h 20 min`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
