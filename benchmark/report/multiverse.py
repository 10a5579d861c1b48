"""What the open decisions move: the alternatives beside the default, with the crossed interval. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from tabulate import tabulate

from benchmark.core import decisions
from benchmark.core.errors import UsageError
from benchmark.runs.store import StoredRun
from benchmark.stats import CrossedResult, crossed_test, paired_test

METRIC = "map"
PRESETS_DEFAULT, REGISTRYS_DEFAULT = "the preset's default", "the registry's default"


@dataclass(frozen=True)
class Variant:
    """One set of alternatives to the default: `D-OFFSET=printed`, say, and the `--set` values behind it."""

    name: str
    overrides: tuple[str, ...]
    decision: str = ""
    """The one decision that it varies; empty for a combination."""
    registry_default: bool = False
    """It restores the registry's default, where the preset has another."""


def variants(decision_ids: Sequence[str], method: str, all_single: bool) -> list[Variant]:
    """The alternatives of the chosen decisions; with `all_single` one decision at a time, else the product
    of the chosen decisions' options.

    UsageError for a decision that no configuration field of `method` or of its training carries.
    """
    if not decision_ids:
        chosen = [item for item in decisions.all_decisions() if _alternatives(item.id, method)]
    else:
        chosen = [decisions.get(name) for name in decision_ids]
    axes = []
    for decision in chosen:
        found = _alternatives(decision.id, method)
        if not found:
            how = f" ({decision.how})" if decision.how else ""
            raise UsageError(f"{decision.id} has no alternative that --set could choose for {method}{how}.")
        axes.append(found)
    if all_single or not decision_ids:
        return [variant for axis in axes for variant in axis]
    # nameless: of its axis nothing is changed; a combination of these alone is left out
    default = Variant("", ())
    combined = []
    for combination in product(*([default, *axis] for axis in axes)):
        named = [variant for variant in combination if variant.name]
        if named:
            overrides = tuple(override for variant in named for override in variant.overrides)
            combined.append(Variant(", ".join(variant.name for variant in named), overrides))
    return combined


def _alternatives(decision_id: str, method: str) -> list[Variant]:
    found = []
    for setting in decisions.alternatives(decision_id):
        if all(name.partition(".")[0] in ("train", method) for name in setting):
            shown = ", ".join(f"{name.partition('.')[2]}={_text(value)}" for name, value in setting.items())
            overrides = tuple(f"{name}={_text(value)}" for name, value in setting.items())
            found.append(Variant(f"{decision_id}: {shown}", overrides, decision_id))
    return found


def registry_default(decision_id: str, method: str) -> Variant | None:
    """The variant that sets a decision's fields to the registry's default; it differs from the preset's only
    where the preset has another. None where no field of `method` or of its training carries the decision."""
    decision = decisions.get(decision_id)
    settings = decision.settings(decision.options[0])
    if not settings or any(name.partition(".")[0] not in ("train", method) for name in settings):
        return None
    shown = ", ".join(f"{name.partition('.')[2]}={_text(value)}" for name, value in settings.items())
    overrides = tuple(f"{name}={_text(value)}" for name, value in settings.items())
    return Variant(f"{decision_id}: {shown} (the registry's default)", overrides, decision_id, True)


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


@dataclass(frozen=True)
class Effect:
    """What one variant moves in one category, in points of MAP against the default."""

    variant: str
    dataset: str
    category: str
    result: CrossedResult | None
    missing: str = ""
    against: str = PRESETS_DEFAULT


def effect(
    variant: str,
    dataset: str,
    category: str,
    default: Sequence[StoredRun],
    changed: Sequence[StoredRun],
    against: str = PRESETS_DEFAULT,
) -> Effect:
    """Variant minus default, by the crossed test over seeds and products, paired by seed: a method against a
    variant of itself. Where the seeds differ the unpaired test, which the result says.

    Another relevance threshold is another metric: no points, but the words for it.
    """
    if not default or not changed:
        return Effect(variant, dataset, category, None, "not run", against)
    if len({run.relevance_threshold for run in (*default, *changed)}) > 1:
        return Effect(variant, dataset, category, None, "changes the metric: no points to compare", against)
    # the paired test pairs by position, so both sides are put in the order of their seeds
    default, changed = (sorted(runs, key=lambda run: run.spec.seed) for runs in (default, changed))
    alike = [run.spec.seed for run in default] == [run.spec.seed for run in changed]
    test = paired_test if alike else crossed_test
    return Effect(variant, dataset, category, test(_values(changed), _values(default)), against=against)


def _values(runs: Sequence[StoredRun]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.stack([run.values(METRIC) for run in runs])


def by_size(effects: Sequence[Effect]) -> list[Effect]:
    """Largest difference first; what could not be computed last."""
    return sorted(effects, key=lambda item: -abs(item.result.difference) if item.result else np.inf)


def render(effects: Sequence[Effect], method: str, caption: str) -> str:
    """Variants by the size of what they move."""
    rows = []
    for item in by_size(effects):
        where = f"{item.dataset}/{item.category}"
        if item.result is None:
            rows.append([item.variant, item.against, where, item.missing, "", ""])
            continue
        low, high = item.result.interval or (np.nan, np.nan)
        p_value = item.result.p_value
        rows.append(
            [
                item.variant,
                item.against + ("" if item.result.paired else " (other seeds: unpaired)"),
                where,
                f"{100 * item.result.difference:+.2f}",
                f"[{100 * low:+.2f}, {100 * high:+.2f}]" if item.result.interval else "",
                item.result.reason or f"{p_value:.3f}",
            ]
        )
    headers = ["variant", "against", "category", f"MAP of {method}", "95% interval", "p (uncorrected)"]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + "\n\n" + caption


def to_json(effects: Sequence[Effect]) -> list[dict[str, Any]]:
    return [
        {
            "variant": item.variant,
            "dataset": item.dataset,
            "category": item.category,
            "against": item.against,
            "missing": item.missing,
            "difference": item.result.difference if item.result else None,
            "interval": list(item.result.interval) if item.result and item.result.interval else None,
            "p_value": item.result.p_value if item.result else None,
            "paired": item.result.paired if item.result else None,
            "reason": item.result.reason if item.result else None,
        }
        for item in by_size(effects)
    ]
