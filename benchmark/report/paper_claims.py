"""The claims C1-C7 of the MM-SS paper (arXiv 2402.18107) as checks on finished runs (torch-free).

Each gives `supported`, `refuted` or `undecided`, the numbers behind it, and the command that would decide
it. "Undecided" whenever runs are missing, the corpus is synthetic, or an interval holds both answers. What a
claim's loose words ("about", "stable") are taken to mean stands in its check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy.special import stdtrit

from benchmark import models
from benchmark.core.metrics import PAPER_METRICS
from benchmark.data.datasets import BUILT_IN
from benchmark.data.published import METRIC_LABELS, PART_LABELS
from benchmark.report.grid import Cell, Comparison, Setting, best_baseline, compare_pairs
from benchmark.runs.store import StoredRun

ClaimVerdict = Literal["supported", "refuted", "undecided"]

PROPOSED = models.PROPOSED
BASELINES = tuple(name for name in models.DEFAULT_METHODS if name != PROPOSED)
TEXT_ONLY = tuple(name for name in models.DEFAULT_METHODS if models.METHODS[name].modality == "text")
MULTIMODAL = tuple(name for name in models.DEFAULT_METHODS if name not in TEXT_ONLY)
SUBTASKS = ("ptrt", "pvrv", "ptrv", "pvrt", "rtrv")
ABLATED = "clothing"
ALPHA = 0.05
ABOUT = 1.0
"""C6, points: "about 2" is 1 to 3. The paper's own two data sets differ by 0.5 (d) and 0.8 (b)."""
MODULE_COSTS = {"d": 2.0, "b": 6.0}
STABLE_CHANGE = 0.05
"""C7: labels (0..4) are stable from the epoch on after which no subtask's mean change exceeds this."""
STABLE_BY = 20
"""C7: "after about 15 epochs" is taken as: by the end of this one. Earlier is stable after 15, too."""


@dataclass(frozen=True)
class Claim:
    """One claim and what our runs say of it."""

    id: str
    statement: str
    verdict: ClaimVerdict
    why: str
    numbers: tuple[str, ...] = ()
    command: str = ""
    """What would decide it; empty if it is decided."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"numbers": list(self.numbers)}


@dataclass(frozen=True)
class _Finding:
    """What a check found, before the corpus is considered."""

    verdict: ClaimVerdict
    why: str
    numbers: tuple[str, ...] = ()


Settings = Mapping[str, Setting]
"""Data set of the paper -> the setting that speaks for it."""
_N_CATEGORIES = sum(len(data_set.categories) for data_set in BUILT_IN.values())

STATEMENTS = {
    "C1": "MM-SS is best in every cell of Tables 1 and 2, p < 0.01 against the best baseline.",
    "C2": "Every multimodal system beats every text-only one.",
    "C3": "EG-CNN is the worst baseline.",
    "C4": "The gain over the best baseline is larger on Amazon than on Lazada.",
    "C5": "Removing any one subtask lowers every metric; rtrv costs most; ptrt and pvrv cost least.",
    "C6": "Removing module (d) costs about 2 MAP points; removing module (b) about 6.",
    "C7": "Pseudo labels become stable after about 15 epochs.",
}
_GRID = "bench run --all-categories"
_ABLATIONS = "bench ablate --drop all"
_COMMANDS = {
    "C1": _GRID,
    "C2": _GRID,
    "C3": _GRID,
    "C4": _GRID,
    "C5": _ABLATIONS,
    "C6": _ABLATIONS,
    "C7": f"bench run --all-categories --method {PROPOSED} --set train.epochs=30 --set train.patience=0",
}


def check_claims(settings: Sequence[Setting], *, seeds: Sequence[int] | None = None) -> list[Claim]:
    """All claims from the settings, at most one per data set and alike in all but the data. Those of data sets that
    are not in the paper are left out: it claims nothing about them."""
    settings = [setting for setting in settings if setting.data_set.in_paper]
    by_dataset = {setting.conditions.dataset: setting for setting in settings}
    if len(by_dataset) != len(settings):
        raise ValueError("at most one setting per data set")
    return [_claim(name, check(by_dataset, seeds), by_dataset) for name, check in _CHECKS.items()]


def render(claims: Iterable[Claim]) -> str:
    """Markdown."""
    blocks = []
    for claim in claims:
        lines = [f"**{claim.id}** {claim.statement}", "", f"- {claim.verdict.upper()}: {claim.why}"]
        lines += [f"- {number}" for number in claim.numbers]
        lines += [f"- To decide it: `{claim.command}`"] if claim.command else []
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _claim(name: str, finding: _Finding, settings: Settings) -> Claim:
    synthetic = sorted(
        {setting.conditions.corpus for setting in settings.values() if setting.conditions.synthetic}
    )
    if synthetic:
        why = f"the corpus {', '.join(synthetic)} is synthetic, and the claim is about real reviews"
        leaning = "" if finding.verdict == "undecided" else f"; on it alone it would be {finding.verdict}"
        finding = replace(finding, verdict="undecided", why=f"{why}{leaning} ({finding.why})")
    shuffled = any(setting.conditions.shuffle_labels for setting in settings.values())
    if shuffled:
        finding = replace(
            finding, verdict="undecided", why="training labels were shuffled: a negative control"
        )
    undecided = finding.verdict == "undecided"
    command = _COMMANDS[name] + (" --data ROOT --preset paper" if undecided else "")
    return Claim(
        name, STATEMENTS[name], finding.verdict, finding.why, finding.numbers, command if undecided else ""
    )


# The checks -------------------------------------------------------------------------------------------------


def _best_everywhere(settings: Settings, seeds: Sequence[int] | None) -> _Finding:
    """C1. Refuted where a baseline is significantly above MM-SS (p < 0.05 after Holm)."""
    missing = _missing(settings, seeds, models.DEFAULT_METHODS)
    numbers, below, unproven = [], [], []
    for setting in _ordered(settings):
        for metric in PAPER_METRICS:
            family = setting.family(metric, seeds=seeds)
            for category in setting.data_set.category_names:
                best = best_baseline(family, category)
                if best is None:
                    continue
                numbers.append(f"{_where(best)}: {_versus(best)}")
                if best.p_holm is None or best.p_holm >= 0.01 or best.result.difference <= 0:
                    unproven.append(_where(best))
                if best.p_holm is not None and best.p_holm < ALPHA and best.result.difference < 0:
                    below.append(_where(best))
    if below:
        return _Finding("refuted", f"MM-SS is below the best baseline in {', '.join(below)}", tuple(numbers))
    if missing:
        return _Finding("undecided", missing, tuple(numbers))
    if unproven:
        return _Finding("undecided", f"not shown at p < 0.01 in {', '.join(unproven)}", tuple(numbers))
    return _Finding("supported", f"best with p < 0.01 after Holm in all {len(numbers)} cells", tuple(numbers))


def _multimodal_beats_text(settings: Settings, seeds: Sequence[int] | None) -> _Finding:
    """C2, on all three metrics; Holm over the pairs and categories of one data set and metric."""
    pairs = [(a, b) for a in MULTIMODAL for b in TEXT_ONLY]
    return _all_above(settings, seeds, pairs, "the multimodal system is above the text-only one")


def _egcnn_is_worst(settings: Settings, seeds: Sequence[int] | None) -> _Finding:
    """C3, likewise: every other baseline is above EG-CNN."""
    pairs = [(name, "egcnn") for name in BASELINES if name != "egcnn"]
    return _all_above(settings, seeds, pairs, "the other baseline is above EG-CNN")


def _all_above(
    settings: Settings, seeds: Sequence[int] | None, pairs: Sequence[tuple[str, str]], what: str
) -> _Finding:
    """Supported if A is significantly above B in every cell, refuted if significantly below in one."""
    missing = _missing(settings, seeds, sorted({name for pair in pairs for name in pair}))
    found = []
    for setting in _ordered(settings):
        for metric in PAPER_METRICS:
            cells = [
                (setting.cell(category, a, seeds=seeds), setting.cell(category, b, seeds=seeds))
                for category in setting.data_set.category_names
                for a, b in pairs
            ]
            complete = [(a, b) for a, b in cells if a.complete and b.complete]
            found += compare_pairs(complete, metric)
    above = [one for one in found if _significant(one) and one.result.difference > 0]
    below = [one for one in found if _significant(one) and one.result.difference < 0]
    open_ = [one for one in found if not _significant(one)]
    count = f"{what} in {len(above)} of {len(found)} comparisons, below in {len(below)}, open in {len(open_)}"
    numbers = tuple(f"{_where(one)}: {_versus(one)}" for one in sorted(found, key=_weakest)[:3])
    if below:
        return _Finding("refuted", count, numbers)
    if missing or not found:
        return _Finding("undecided", "; ".join(filter(None, (missing, count if found else ""))), numbers)
    return _Finding("undecided" if open_ else "supported", count, numbers)


def _larger_gain_on_amazon(settings: Settings, seeds: Sequence[int] | None) -> _Finding:
    """C4: the gains in MAP, each the mean over categories of MM-SS minus that category's best baseline. The
    data sets are independent, so variances add; that the best baseline is chosen by its value is ignored."""
    missing = _missing(settings, seeds, models.DEFAULT_METHODS)
    gains: dict[str, tuple[float, float, float]] = {}
    for setting in _ordered(settings):
        family = setting.family("map", seeds=seeds)
        chosen = (best_baseline(family, category) for category in setting.data_set.category_names)
        best = [one for one in chosen if one is not None]
        if best and all(one.result.df is not None for one in best):
            gains[setting.conditions.dataset] = _mean_gain(best)
    numbers = tuple(
        f"gain on {BUILT_IN[name].title}: {100 * gain[0]:+.2f} points" for name, gain in gains.items()
    )
    if missing or len(gains) < 2:
        return _Finding("undecided", missing or "no test is possible", numbers)
    difference = gains["amazon"][0] - gains["lazada"][0]
    parts = [(variance, df) for _, variance, df in gains.values()]
    low, high = _satterthwaite_interval(difference, parts)
    why = f"Amazon minus Lazada {100 * difference:+.2f} points, 95% interval {_interval(low, high)}"
    return _Finding(_decide(low > 0, high < 0), why, numbers)


def _subtask_ablations(settings: Settings, seeds: Sequence[int] | None) -> _Finding:
    """C5: without each subtask against the full model; and the order of the costs, without X against without
    Y. Holm over all of one data set and metric."""
    missing = _missing_drops(settings, seeds, [(), *((part,) for part in SUBTASKS)])
    # (A, B): the claim says that A is below B.
    claims: list[tuple[tuple[str, ...], tuple[str, ...]]] = [((part,), ()) for part in SUBTASKS]
    claims += [(("rtrv",), (part,)) for part in SUBTASKS if part != "rtrv"]
    claims += [((costly,), (cheap,)) for costly in ("ptrv", "pvrt") for cheap in ("ptrt", "pvrv")]
    found = _ablation_comparisons(settings, seeds, claims)
    holds = [one for one in found if _significant(one) and one.result.difference < 0]
    against = [one for one in found if _significant(one) and one.result.difference > 0]
    count = f"{len(holds)} of {len(found)} orderings shown, {len(against)} reversed"
    numbers = tuple(
        f"{_where(one)}: {_versus(one)}" for one in found if not one.b.drop and one.metric == "map"
    )
    if against:
        reversed_ = ", ".join(f"{_where(one)} {_pair(one)}" for one in against)
        return _Finding("refuted", f"{count}: {reversed_}", numbers)
    if missing:
        return _Finding("undecided", missing, numbers)
    return _Finding("supported" if len(holds) == len(found) else "undecided", count, numbers)


def _module_ablations(settings: Settings, seeds: Sequence[int] | None) -> _Finding:
    """C6, on both data sets: the cost's 95% interval within ABOUT of the stated one supports, wholly outside
    refutes."""
    missing = _missing_drops(settings, seeds, [(), ("b",), ("d",)])
    numbers, inside, outside = [], [], []
    for one in _ablation_comparisons(
        settings, seeds, [((part,), ()) for part in MODULE_COSTS], metrics=["map"]
    ):
        if one.result.interval is None:
            continue
        part = one.a.drop[0]
        low, high = sorted(-100 * bound for bound in one.result.interval)
        least, most = MODULE_COSTS[part] - ABOUT, MODULE_COSTS[part] + ABOUT
        inside.append(least <= low and high <= most)
        outside.append(high < least or low > most)
        cost = -100 * one.result.difference
        numbers.append(
            f"{_where(one)}: without module ({part}) costs {cost:.2f} points, 95% interval "
            f"[{low:.2f}, {high:.2f}]; about {MODULE_COSTS[part]:g} is taken as {least:g} to {most:g}"
        )
    if any(outside):
        return _Finding("refuted", "a cost's interval lies wholly outside", tuple(numbers))
    if missing or not inside:
        return _Finding("undecided", missing or "no test is possible", tuple(numbers))
    if all(inside):
        return _Finding("supported", "every cost's interval lies inside", tuple(numbers))
    return _Finding("undecided", "an interval reaches beyond what 'about' admits", tuple(numbers))


def _pseudo_labels_settle(settings: Settings, seeds: Sequence[int] | None) -> _Finding:
    """C7, by the first epoch after which no subtask's labels move by more than STABLE_CHANGE on average.

    Eq. 12's weight 2/(i+1) damps the changes whatever the estimates do, so this is a weak claim.
    """
    epochs, too_short = [], 0
    for run in _full_runs(settings, seeds):
        changes = pseudo_label_changes(run)
        settled = settling_epoch(changes)
        if settled is not None:
            epochs.append(settled)
        elif changes and max(changes) > STABLE_BY:
            epochs.append(max(changes))  # still moving there, which is later than "about 15"
        else:
            too_short += 1
    numbers = (
        (f"settled (mean change at most {STABLE_CHANGE:g}) after epochs {sorted(epochs)}",) if epochs else ()
    )
    if too_short or not epochs:
        why = (
            f"{too_short} runs end before their labels settle"
            if too_short
            else "no run of MM-SS has pseudo labels"
        )
        return _Finding("undecided", why, numbers)
    within = [epoch <= STABLE_BY for epoch in epochs]
    median = f"at epoch {np.median(epochs):g} in the median"
    why = f"{sum(within)} of {len(epochs)} runs settle by epoch {STABLE_BY}, {median}"
    return _Finding(_decide(all(within), not any(within)), why, numbers)


_CHECKS: dict[str, Callable[[Settings, Sequence[int] | None], _Finding]] = {
    "C1": _best_everywhere,
    "C2": _multimodal_beats_text,
    "C3": _egcnn_is_worst,
    "C4": _larger_gain_on_amazon,
    "C5": _subtask_ablations,
    "C6": _module_ablations,
    "C7": _pseudo_labels_settle,
}


# Parts of the checks ----------------------------------------------------------------------------------------


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


def _ablation_comparisons(
    settings: Settings,
    seeds: Sequence[int] | None,
    pairs: Sequence[tuple[tuple[str, ...], tuple[str, ...]]],
    metrics: Sequence[str] = PAPER_METRICS,
) -> list[Comparison]:
    """A's variant against B's, where both are complete; Holm over the pairs of one data set and metric."""
    found = []
    for setting in _ordered(settings):
        for metric in metrics:
            cells = [(_ablated(setting, a, seeds), _ablated(setting, b, seeds)) for a, b in pairs]
            found += compare_pairs([(a, b) for a, b in cells if a.complete and b.complete], metric)
    return found


def _ablated(setting: Setting, drop: tuple[str, ...], seeds: Sequence[int] | None) -> Cell:
    if seeds is None:
        own = [run for run in setting.runs if run.spec.method == PROPOSED and run.spec.category == ABLATED]
        seeds = sorted({run.spec.seed for run in own})
    return setting.cell(ABLATED, PROPOSED, drop, seeds)


def _missing(settings: Settings, seeds: Sequence[int] | None, methods: Sequence[str]) -> str:
    """What of the two tables is missing, in words; empty if nothing is."""
    cells = [
        setting.cell(category, method, seeds=seeds)
        for setting in settings.values()
        for category in setting.data_set.category_names
        for method in methods
    ]
    return _missing_words(settings, cells, _N_CATEGORIES * len(methods))


def _missing_drops(settings: Settings, seeds: Sequence[int] | None, drops: Sequence[tuple[str, ...]]) -> str:
    cells = [_ablated(setting, drop, seeds) for setting in settings.values() for drop in drops]
    return _missing_words(settings, cells, len(BUILT_IN) * len(drops))


def _missing_words(settings: Settings, cells: Sequence[Cell], needed: int) -> str:
    complete = sum(cell.complete for cell in cells)
    if complete < needed:
        return f"runs are missing: {complete} of {needed} cells are complete"
    if min(len(cell.runs) for cell in cells) < 3:
        return "fewer than 3 seeds: no test is possible"
    return ""


def _mean_gain(best: Sequence[Comparison]) -> tuple[float, float, float]:
    """(mean difference, its variance, degrees of freedom) over independent categories."""
    n = len(best)
    variances = [one.result.variance / n**2 for one in best]
    total = sum(variances)
    spread = sum(v**2 / (one.result.df or 1.0) for v, one in zip(variances, best, strict=True))
    return sum(one.result.difference for one in best) / n, total, total**2 / spread if spread else 1.0


def _satterthwaite_interval(difference: float, parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """95% interval from independent (variance, degrees of freedom)."""
    v = sum(variance for variance, _ in parts)
    spread = sum(variance**2 / df for variance, df in parts)
    half_width = float(stdtrit(v**2 / spread, 0.975) * np.sqrt(v)) if spread else 0.0
    return difference - half_width, difference + half_width


def _full_runs(settings: Settings, seeds: Sequence[int] | None) -> list[StoredRun]:
    return [
        run
        for setting in _ordered(settings)
        for run in setting.runs
        if run.spec.method == PROPOSED and not run.spec.drop and (seeds is None or run.spec.seed in seeds)
    ]


def _ordered(settings: Settings) -> list[Setting]:
    return [settings[dataset] for dataset in BUILT_IN if dataset in settings]


def _decide(supported: bool, refuted: bool) -> ClaimVerdict:
    return "supported" if supported else "refuted" if refuted else "undecided"


def _significant(one: Comparison) -> bool:
    return one.p_holm is not None and one.p_holm < ALPHA


def _weakest(one: Comparison) -> float:
    return one.result.difference


def _where(one: Comparison) -> str:
    data_set = BUILT_IN[one.a.runs[0].spec.dataset]
    return f"{data_set.title} {data_set.category_title(one.category)} {METRIC_LABELS[one.metric]}"


def _versus(one: Comparison) -> str:
    interval = "" if one.result.interval is None else f" {_interval(*one.result.interval)}"
    if one.p_holm is None:
        p = f", no test ({one.result.reason})"
    else:
        p = f", p (Holm) {'< 0.0001' if one.p_holm < 0.0001 else format(one.p_holm, '.4f')}"
    return f"{_pair(one)} {100 * one.result.difference:+.2f}{interval}{p}"


def _pair(one: Comparison) -> str:
    return f"{_name(one.a)} minus {_name(one.b)}"


def _name(cell: Cell) -> str:
    title = models.METHODS[cell.method].title
    return " ".join([title, *(f"w/o {PART_LABELS[part]}" for part in cell.drop)])


def _interval(low: float, high: float) -> str:
    return f"[{100 * low:.2f}, {100 * high:.2f}]"
