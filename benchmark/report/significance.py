"""`bench stats`: every comparison of one setting, with what must stand beside a p value (torch-free)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmark import models
from benchmark.core.errors import UsageError
from benchmark.core.metrics import PAPER_METRICS
from benchmark.core.seeding import generator
from benchmark.report import opponents
from benchmark.report.grid import Cell, Comparison, Setting, best_baseline
from benchmark.report.numbers import sd_points
from benchmark.report.sentinels import Sentinel, TieReport, tie_report
from benchmark.stats.crossed import MIN_PRODUCTS
from benchmark.stats.effects import WinTieLoss, probability_better, win_tie_loss
from benchmark.stats.power import SeedsNeeded, seeds_needed
from benchmark.stats.robustness import Robustness, robustness

WORTHWHILE = 0.5
"""Points: the smallest difference worth having."""


@dataclass(frozen=True)
class Finding:
    """One comparison of the proposed method with a baseline, and its verdict in words."""

    comparison: Comparison
    verdict: str
    probability: float
    """P(A > B) over pairs of seeds."""
    products: WinTieLoss
    robust: Robustness | None = None
    power: SeedsNeeded | None = None


@dataclass(frozen=True)
class Report:
    """What `bench stats` says of one setting. Values inside are 0..1; printed ones are in percent."""

    setting: Setting
    proposed: str
    against: str
    worthwhile: float
    findings: tuple[Finding, ...]
    family_sizes: dict[str, int]
    """Metric -> comparisons that Holm's correction is over."""
    sentinels: dict[str, list[Sentinel]]
    """Category -> trivial scorers of its test split."""
    ties: dict[str, list[TieReport]]
    """Category -> one report per method."""
    incomplete: int
    """Methods x categories that lack seeds."""
    not_run: int
    """Methods x categories without a run, of the paper's methods and those that have some."""
    trivial: tuple[opponents.AgainstTrivial, ...] = ()
    """Every complete cell against the best trivial scorer of its category and metric."""
    notes: tuple[str, ...] = field(default=())

    def render(self) -> str:
        """Markdown."""
        from benchmark.report.significance_text import blocks

        return "\n\n".join(block for block in blocks(self) if block) + "\n"

    def to_json(self) -> dict[str, Any]:
        """JSON values; differences, intervals and metrics in points."""
        from benchmark.report.facts import comparison_facts, setting_facts

        return {
            "setting": setting_facts(self.setting),
            "proposed": self.proposed,
            "against": self.against,
            "smallest_difference_worth_having": self.worthwhile,
            "family_sizes": self.family_sizes,
            "incomplete": self.incomplete,
            "not_run": self.not_run,
            "comparisons": [
                {
                    **comparison_facts(finding.comparison),
                    "verdict": finding.verdict,
                    "sd_a": sd_points(finding.comparison.a, finding.comparison.metric),
                    "sd_b": sd_points(finding.comparison.b, finding.comparison.metric),
                    "probability_a_better": finding.probability,
                    "products": finding.products._asdict(),
                    "variance": _variance_facts(finding.comparison),
                    "robust": None if finding.robust is None else asdict(finding.robust),
                    "power": None if finding.power is None else asdict(finding.power),
                }
                for finding in self.findings
            ],
            "sentinels": {name: [one.to_json() for one in ones] for name, ones in self.sentinels.items()},
            "ties": {name: [asdict(one) for one in ones] for name, ones in self.ties.items()},
            "against_trivial": [one.to_json() for one in self.trivial],
            "notes": list(self.notes),
        }


def stats_report(
    setting: Setting,
    against: str = "best",
    *,
    robust: bool = False,
    power: bool = False,
    worthwhile: float = WORTHWHILE,
    seeds: Sequence[int] | None = None,
    proposed: str = models.PROPOSED,
) -> Report:
    """Compare the proposed method with the best baseline of each cell, with all, or with one method.

    Whatever is shown, the correction is over the full family: every baseline that was run, in every
    category, one metric.

    Args:
        against: `best`, `all` or a method's name.
        robust, power: add the blocks on request.
        worthwhile: the smallest difference worth having, in points; also the one that power is for.

    Raises:
        UsageError: an unknown method, or the proposed one itself.
    """
    if against not in ("best", "all"):
        models.get(against)
        if against == proposed:
            raise UsageError(f"--against {against}: that is the method which the others are compared with.")
    families = {metric: setting.family(metric, proposed=proposed, seeds=seeds) for metric in PAPER_METRICS}
    shown = [one for family in families.values() for one in _chosen(family, against)]
    categories = [category for category, _ in setting.fingerprints]
    cells = [
        setting.cell(category, name, seeds=seeds)
        for name in dict.fromkeys((*models.DEFAULT_METHODS, *setting.methods))
        for category in setting.data_set.category_names
    ]
    scorers = opponents.trivial_scorers(setting, categories)
    trivial = against_trivial([cell for cell in cells if cell.runs], scorers)
    return Report(
        setting=setting,
        proposed=proposed,
        against=against,
        worthwhile=worthwhile,
        findings=tuple(_finding(one, setting, robust, power, worthwhile) for one in shown),
        family_sizes={metric: len(family) for metric, family in families.items()},
        sentinels={category: list(scorers.by_category[category]) for category in categories},
        ties={category: _ties(setting, category, seeds) for category in categories},
        incomplete=sum(bool(cell.runs) and not cell.complete for cell in cells),
        not_run=sum(not cell.runs for cell in cells),
        trivial=tuple(trivial),
        notes=(
            *_notes(setting, families, proposed, seeds),
            *opponents.mute_sentences(setting, scorers),
            *opponents.trivial_sentences(setting, trivial),
        ),
    )


def verdict(comparison: Comparison, worthwhile: float = WORTHWHILE) -> str:
    """In words: whether there is a difference, and whether it is worth having (`worthwhile` in points)."""
    result = comparison.result
    if comparison.p_holm is None or result.interval is None:
        return f"no test ({result.reason})" if result.p_value is None else f"no verdict ({result.reason})"
    points = 100 * result.difference
    if comparison.p_holm < 0.05:
        direction = "better" if points > 0 else "worse"
        if abs(points) < worthwhile:
            return f"{direction}: significant but below {worthwhile:g}"
        return direction
    low, high = (100 * bound for bound in result.interval)
    if -worthwhile < low and high < worthwhile:
        return f"no difference worth having (interval within ±{worthwhile:g})"
    return "undecided"


def _chosen(family: Sequence[Comparison], against: str) -> list[Comparison]:
    if against == "all":
        return list(family)
    if against == "best":
        best = (best_baseline(family, category) for category in dict.fromkeys(one.category for one in family))
        return [one for one in best if one is not None]
    return [one for one in family if one.b.method == against]


def _finding(one: Comparison, setting: Setting, robust: bool, power: bool, worthwhile: float) -> Finding:
    # seeded by what is compared: a number does not depend on what else is reported
    rng = generator(
        "robustness", setting.conditions.dataset, one.category, one.metric, one.a.method, one.b.method
    )
    # A metric that cannot tell, or too few products, has no power to speak of.
    enough = min(one.result.n_seeds) >= 2 and one.result.n_informative >= MIN_PRODUCTS
    a, b = one.a.side(one.metric), one.b.side(one.metric)
    tables = (one.a.values(one.metric), one.b.values(one.metric)) if robust or power else None
    return Finding(
        comparison=one,
        verdict=verdict(one, worthwhile),
        probability=probability_better(a, b),
        products=win_tie_loss(a, b),
        robust=robustness(*tables, rng) if tables and robust else None,
        power=seeds_needed(*tables, worthwhile / 100) if tables and power and enough else None,
    )


def against_trivial(
    cells: Sequence[Cell], scorers: opponents.TrivialScorers
) -> list[opponents.AgainstTrivial]:
    """The complete ones of the cells, all metrics."""
    return [one for metric in PAPER_METRICS for one in opponents.against_trivial(cells, scorers, metric)]


def _ties(setting: Setting, category: str, seeds: Sequence[int] | None) -> list[TieReport]:
    reports = (tie_report(setting.cell(category, name, seeds=seeds)) for name in setting.methods)
    return [report for report in reports if report is not None]


def _notes(
    setting: Setting, families: dict[str, list[Comparison]], proposed: str, seeds: Sequence[int] | None
) -> list[str]:
    notes = []
    if setting.conditions.synthetic:
        notes.append(
            f"The corpus {setting.conditions.corpus} is synthetic: these results say nothing about real reviews."
        )
    incomplete = [
        f"{setting.data_set.category_title(category)} {models.METHODS[name].title} ({cell.missing})"
        for category in setting.data_set.category_names
        for name in setting.methods
        if not (cell := setting.cell(category, name, seeds=seeds)).complete
    ]
    if incomplete:
        notes.append(f"Left out because seeds are missing: {', '.join(incomplete)}.")
    if not families[PAPER_METRICS[0]]:
        title = models.get(proposed).title
        notes.append(f"No comparison is possible: it needs complete cells of {title} and of a baseline.")
    return notes


def _variance_facts(one: Comparison) -> dict[str, float]:
    result = one.result
    v_A, v_B = result.v_seeds
    return {"v_A": v_A, "v_B": v_B, "v_P": result.v_P, "v_E": result.v_E, "v": result.variance}
