"""Words for people: near misses of a name, durations, choices."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from benchmark.core.errors import UsageError


def check_choice(kind: str, given: str, known: Sequence[str]) -> str:
    """`given` if it is one of `known`; else a UsageError with near misses."""
    if given not in known:
        raise UsageError(f"unknown {kind} {given!r}.{near_miss(given, known)} Known: {' '.join(known)}.")
    return given


def understood(
    kind: str, given: str, known: Sequence[str], titles: Mapping[str, str] = MappingProxyType({})
) -> str:
    """The one of `known` that is meant, whatever its case, spaces, hyphens and underscores, or by its title
    (`titles`: known name -> as papers print it); else a UsageError with near misses."""
    if given in known:
        return given
    wanted = squashed(given)
    for name in known:
        if wanted and wanted in (squashed(name), squashed(titles.get(name, name))):
            return name
    return check_choice(kind, given, known)


def squashed(name: str) -> str:
    """`MM-SS`, `p_t r_t` -> `mmss`, `ptrt`: letters, digits and the `@` of a metric."""
    return "".join(character for character in name.lower() if character.isalnum() or character == "@")


def split_list(chosen: Iterable[str] | None) -> list[str]:
    """`["a,b", "c"]` -> `["a", "b", "c"]`: an option that is given again and a list with commas are one.

    UsageError for an item without a name in it, such as the value of an unset shell variable: to take it as
    "not given", which chooses everything, would be a surprise."""
    names: list[str] = []
    for item in chosen or ():
        parts = [part.strip() for part in item.split(",") if part.strip()]
        if not parts:
            raise UsageError(f"{item!r} names nothing: give a name, or leave the option out.")
        names += parts
    return names


def count(number: int, one: str, many: str = "") -> str:
    """`1 run`, `2 runs`, `1,200 runs`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


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
