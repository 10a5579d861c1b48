"""Claim C7: when do the pseudo labels settle, and how much of it does Eq. 12 force? (torch-free)"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmark import models
from benchmark.report.claim_finding import Finding, Settings, decide, ordered
from benchmark.runs.store import StoredRun

PROPOSED = models.PROPOSED
STABLE_CHANGE = 0.05
"""C7: labels (0..4) are stable from the epoch on after which no subtask's mean change exceeds this."""
STABLE_FROM, STABLE_BY = 10, 20
"""C7: "after about 15 epochs" is taken as: after one of these."""


def pseudo_labels_settle(settings: Settings, seeds: Sequence[int] | None) -> Finding:
    """C7, each run by itself, by the first epoch after which no subtask's labels move by more than
    STABLE_CHANGE on average: from STABLE_FROM to STABLE_BY supports, later contradicts. Labels that settle
    earlier hardly move at all, which says nothing of 15 epochs; a run too short says nothing either."""
    found: dict[str, list[int]] = {"about 15": [], "later": [], "earlier": [], "unknown": []}
    numbers = []
    for run in _full_runs(settings, seeds):
        changes = pseudo_label_changes(run)
        if not changes:
            continue
        settled, kind = settling_epoch(changes), "unknown"
        if settled is None and max(changes) > STABLE_BY:
            settled = max(changes)  # still moving there
        if settled is not None:
            kind = "earlier" if settled < STABLE_FROM else "about 15" if settled <= STABLE_BY else "later"
        found[kind].append(max(changes) if settled is None else settled)
        numbers.append(f"{run.spec}: {_settling_words(changes, settled)}")
    if not numbers:
        return Finding("undecided", "no run of MM-SS has pseudo labels")
    words = {
        "about 15": f"settle at epochs {STABLE_FROM} to {STABLE_BY}",
        "later": f"settle later than epoch {STABLE_BY} or not at all",
        "earlier": f"settle before epoch {STABLE_FROM}, which is no support",
        "unknown": "end before their labels settle",
    }
    why = f"of {len(numbers)} runs " + ", ".join(
        f"{len(found[kind])} {text}" for kind, text in words.items() if found[kind]
    )
    supported = len(found["about 15"]) == len(numbers)
    refuted = bool(found["later"]) and not found["about 15"] and not found["earlier"]
    return Finding(decide(supported, refuted), why, tuple(numbers))


def _settling_words(changes: Mapping[int, float], settled: int | None) -> str:
    """How much of the settling Eq. 12 forces: its weight of the estimate after epoch e is 2/(e+2)."""
    first, last = min(changes), max(changes)
    when = f"not settled by epoch {last}" if settled is None else f"settled after epoch {settled}"
    if changes[first] <= 0:
        return f"{when}; the labels do not move in epoch {first}"
    forced = (first + 2) / (last + 2)
    alone = next(e for e in range(first, 10**6) if changes[first] * (first + 2) / (e + 3) <= STABLE_CHANGE)
    return (
        f"{when}; from epoch {first} to {last} the mean change falls to {changes[last] / changes[first]:.0%}, by "
        f"Eq. 12's weight alone it would fall to {forced:.0%} and be at most {STABLE_CHANGE:g} after epoch {alone}"
    )


def pseudo_label_changes(run: StoredRun) -> dict[int, float]:
    """Epoch -> the largest mean absolute change of a subtask's pseudo labels, from the run's log."""
    changes = {}
    for entry in run.log:
        tasks = entry.get("notes", {}).get("pseudo_labels", {}).get("tasks", {})
        moved = [task["mean_change"] for task in tasks.values() if "mean_change" in task]
        if moved:
            changes[int(entry["epoch"])] = float(max(moved))
    return changes


def settling_epoch(changes: Mapping[int, float]) -> int | None:
    """The epoch after which every recorded change is at most STABLE_CHANGE; None if the last one is larger.

    At least three quiet epochs must follow, else the record is too short to say.
    """
    restless = [epoch for epoch, change in changes.items() if change > STABLE_CHANGE]
    last = max(restless, default=0)
    quiet = [epoch for epoch in changes if epoch > last]
    return last if len(quiet) >= 3 else None


def _full_runs(settings: Settings, seeds: Sequence[int] | None) -> list[StoredRun]:
    return [
        run
        for setting in ordered(settings)
        for run in setting.runs
        if run.spec.method == PROPOSED and not run.spec.drop and (seeds is None or run.spec.seed in seeds)
    ]
