"""What a user may call things: methods, data sets, categories, parts, seeds; and what the shell completes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from benchmark import models
from benchmark.core import words
from benchmark.core.errors import UsageError
from benchmark.core.words import split_list
from benchmark.engine.plan import PARTS

MOST_SEEDS = 1000


def pick(
    kind: str, chosen: Sequence[str] | None, known: Sequence[str], titles: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """The chosen names in the registry's order, each once; all if none was chosen.

    A list with commas is several names; case, spaces, hyphens and underscores do not matter."""
    names = [words.understood(kind, name, known, titles or {}) for name in split_list(chosen)]
    return tuple(name for name in known if not names or name in names)


def pick_methods(chosen: Sequence[str] | None) -> tuple[str, ...]:
    """The chosen methods in the registry's order, each once, by name or title (`MM-SS`, `d&r net`); the paper's
    nine if none was chosen. What has a colon (`path/to/file.py:Class`, `module:Class`) is registered first."""
    picked = [one_method(given) for given in split_list(chosen)]
    return tuple(name for name in models.METHODS if name in picked) if picked else models.DEFAULT_METHODS


def one_method(given: str) -> str:
    """The name of one method, by name, title or where its class lies; UsageError if it is unknown."""
    if ":" in given:
        return models.register(given).name
    titles = {name: method.title for name, method in models.METHODS.items()}
    return words.understood("method", given, tuple(models.METHODS), titles)


def rival(given: str) -> str:
    """`best`, `all`, or the name of one method."""
    return given.lower() if given.lower() in ("best", "all") else one_method(given)


def pick_data(
    root: Path | None,
    datasets: Sequence[str] | None,
    categories: Sequence[str] | None,
    *,
    first: bool = False,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The chosen names of data sets and categories, checked against what a root knows; all if none was chosen
    (with `first`, of the categories only the first of each data set, as the paper's ablation takes)."""
    from benchmark.data.datasets import categories_of, known

    data_sets = known(root)
    names = pick("dataset", datasets, tuple(data_sets))
    chosen = [data_sets[name] for name in names]
    if first and not categories:
        categories = [data_set.category_names[0] for data_set in chosen]
    return names, pick("category", categories, categories_of(chosen))


def pick_stored(datasets: Sequence[str] | None, found: Iterable[str]) -> tuple[str, ...]:
    """The chosen names of data sets, checked against the paper's and those that results hold; all of these if
    none was chosen."""
    from benchmark.data.datasets import BUILT_IN, rank

    return pick("dataset", datasets, sorted({*BUILT_IN, *found}, key=rank))


def parse_seeds(text: str) -> tuple[int, ...]:
    """`0,1,2` or `0-4` -> seeds, each once, in order. A lone number above 0 is an error, for it may be meant as
    how many."""
    shown = repr(text[:80])
    seeds: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        try:
            chosen = range(int(low), int(high) + 1) if dash else range(int(low), int(low) + 1)
            if chosen.stop - chosen.start > MOST_SEEDS:
                raise UsageError(f"--seeds {shown} names more than {MOST_SEEDS:,} seeds.")
        except ValueError:
            raise UsageError(f"--seeds takes numbers such as 0,1,2 or 0-4, not {shown}.") from None
        if chosen and chosen[-1] >= 2**63:
            raise UsageError("--seeds: a seed is below 2^63.")
        seeds += chosen
        if len(seeds) > MOST_SEEDS:
            raise UsageError(f"--seeds {shown} names more than {MOST_SEEDS:,} seeds.")
    if not seeds:
        raise UsageError(f"--seeds {shown} names no seed.")
    if text.strip().isdecimal() and 0 < seeds[0] <= MOST_SEEDS:
        number = seeds[0]
        how_many = f"--seeds 0-{number - 1}" if number > 1 else "--seeds 0"
        raise UsageError(
            f"--seeds {number} may mean two things: {how_many} is {words.count(number, 'seed')}, "
            f"--seeds {number}-{number} is seed {number} alone."
        )
    return tuple(dict.fromkeys(seeds))


def parse_drops(drops: Sequence[str], parts: Sequence[str] = PARTS) -> tuple[tuple[str, ...], ...]:
    """`["ptrt", "rtrv"]` -> one ablation each; `all` -> each of `parts` (the paper's seven); `ptrt+rtrv` drops both
    at once."""
    chosen: list[tuple[str, ...]] = []
    for drop in split_list(drops):
        names = [words.understood("part to drop", name, (*parts, "all")) for name in drop.split("+")]
        if names == ["all"]:
            chosen += [(part,) for part in parts]
        else:
            chosen.append(tuple(part for part in parts if part in names))
    return tuple(dict.fromkeys(chosen))


def split_assignments(chosen: list[str] | None) -> list[str] | None:
    """`["a=1,b=2"]` -> `["a=1", "b=2"]`; a comma within a value (`d=1,2`) stays."""
    if not chosen:
        return chosen
    return [part.strip() for item in chosen for part in re.split(r",(?=\s*[A-Za-z][\w.]*=)", item)]


def lowered(given: str | None) -> str | None:
    """`Paper` -> `paper`: of options whose values are all lower case."""
    return given.lower() if given else given


Completion = Callable[[str], list[str]]


def completing(known: Callable[[], Iterable[str]], separators: str = ",") -> Completion:
    """What the shell offers for the beginning of a name, also of the last one in a list."""

    def complete(incomplete: str) -> list[str]:
        cut = max((incomplete.rfind(separator) for separator in separators), default=-1) + 1
        lead, begun = incomplete[:cut], words.squashed(incomplete[cut:])
        return [lead + name for name in known() if words.squashed(name).startswith(begun)]

    return complete


def _data_sets() -> Iterable[str]:
    from benchmark.data.datasets import BUILT_IN

    return tuple(BUILT_IN)


def _categories() -> Iterable[str]:
    from benchmark.data.datasets import BUILT_IN, categories_of

    return categories_of(BUILT_IN.values())


complete_methods = completing(lambda: models.METHODS)
complete_data_sets = completing(_data_sets)
complete_categories = completing(_categories)
complete_parts = completing(lambda: (*PARTS, "all"), separators=",+")
