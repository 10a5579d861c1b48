"""`bench stats`: every comparison of one setting, with what must stand beside a p value (torch-free)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmark import models
from benchmark.core.errors import UsageError
from benchmark.core.metrics import PAPER_METRICS
from benchmark.core.seeding import generator
from benchmark.data.published import METRIC_LABELS
from benchmark.report.grid import Comparison, Setting, best_baseline
from benchmark.report.numbers import grid, interval_words, n_words, p_words, points, sd_points, sd_words
from benchmark.report.sentinels import Sentinel, TieReport, sentinels, tie_report
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
    notes: tuple[str, ...] = field(default=())

    def render(self) -> str:
        """Markdown."""
        return "\n\n".join(block for block in _blocks(self) if block) + "\n"

    def to_json(self) -> dict[str, Any]:
        """JSON values; differences, intervals and metrics in points."""
        from benchmark.report.facts import comparison_facts, setting_facts

        return {
            "setting": setting_facts(self.setting),
            "proposed": self.proposed,
            "against": self.against,
            "smallest_difference_worth_having": self.worthwhile,
            "family_sizes": self.family_sizes,
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
    return Report(
        setting=setting,
        proposed=proposed,
        against=against,
        worthwhile=worthwhile,
        findings=tuple(_finding(one, setting, robust, power, worthwhile) for one in shown),
        family_sizes={metric: len(family) for metric, family in families.items()},
        sentinels={category: _sentinels(setting, category) for category in categories},
        ties={category: _ties(setting, category, seeds) for category in categories},
        notes=tuple(_notes(setting, families, proposed, seeds)),
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
    a, b = one.a.values(one.metric), one.b.values(one.metric)
    # seeded by what is compared: a number does not depend on what else is reported
    rng = generator(
        "robustness", setting.conditions.dataset, one.category, one.metric, one.a.method, one.b.method
    )
    # A metric that cannot tell, or too few products, has no power to speak of.
    enough = min(len(a), len(b)) >= 2 and one.result.n_informative >= MIN_PRODUCTS
    return Finding(
        comparison=one,
        verdict=verdict(one, worthwhile),
        probability=probability_better(a, b),
        products=win_tie_loss(a, b),
        robust=robustness(a, b, rng) if robust else None,
        power=seeds_needed(a, b, worthwhile / 100) if power and enough else None,
    )


def _sentinels(setting: Setting, category: str) -> list[Sentinel]:
    run = next(run for run in setting.runs if run.spec.category == category)
    return sentinels(run.test_reviews, run.relevance_threshold, run.ties)


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


# Rendering --------------------------------------------------------------------------------------------------


def _blocks(report: Report) -> list[str]:
    from benchmark.report.captions import metric_sentence

    setting = report.setting
    dataset = setting.data_set.title
    return [
        f"## {dataset}: {models.get(report.proposed).title} against {_against(report.against)}\n\n"
        f"Corpus {setting.conditions}. {metric_sentence(setting)}.",
        *(f"**{note}**" for note in report.notes),
        _comparison_block(report),
        _robust_block(report),
        _power_block(report),
        _sentinel_block(report),
        _tie_block(report),
    ]


def _against(against: str) -> str:
    words = {"best": "the best baseline of each cell", "all": "every baseline"}
    return words.get(against) or models.get(against).title


def _comparison_block(report: Report) -> str:
    if not report.findings:
        return ""
    rows = [
        [
            *_place(report, finding),
            points(finding.comparison.result.difference, signed=True),
            interval_words(finding.comparison.result.interval),
            p_words(finding.comparison.result.p_value),
            p_words(finding.comparison.p_holm),
            finding.verdict,
            sd_words(finding.comparison),
            f"{finding.probability:.2f}",
            " / ".join(str(count) for count in finding.products),
            n_words(finding.comparison),
        ]
        for finding in report.findings
    ]
    headers = ["", "metric", "against", "difference", "95% interval", "p", "p (Holm)", "verdict"]
    headers += ["sd over seeds", "P(A>B)", "win / tie / loss", "seeds x products"]
    sizes = "; ".join(f"{METRIC_LABELS[metric]} {size}" for metric, size in report.family_sizes.items())
    return (
        f"{grid(rows, headers)}\n\n"
        "Crossed test over seeds and products (two-way random effects), two-sided. Differences in points, A is "
        f"{models.get(report.proposed).title}. Holm over the family of all baselines run x categories, per metric "
        f"({sizes} comparisons), whatever is shown; MAP is primary, N@3 and N@5 are secondary. P(A>B): over pairs "
        "of seeds. Win / tie / loss: products. Smallest difference worth having: "
        f"{report.worthwhile:g} points."
    )


def _robust_block(report: Report) -> str:
    with_block = [(finding, finding.robust) for finding in report.findings if finding.robust is not None]
    if not with_block:
        return ""
    rows = [
        [
            *_place(report, finding),
            p_words(finding.comparison.result.p_value),
            p_words(block.welch),
            "-" if block.permutation is None else p_words(block.permutation.p_value),
            "-" if block.permutation is None else p_words(block.permutation.smallest_possible),
            p_words(block.paired_t),
            p_words(block.sign_flips),
            interval_words((block.bootstrap.low, block.bootstrap.high)),
            f"{block.shares.seed:.0%} / {block.shares.product:.0%} / {block.shares.residual:.0%}",
        ]
        for finding, block in with_block
    ]
    headers = ["", "metric", "against", "crossed p", "Welch p", "permutation p", "its smallest", "paired t p"]
    headers += ["sign flips p", "bootstrap 95%", "seed / product / residual"]
    return (
        f"### Robustness\n\n{grid(rows, headers)}\n\n"
        "Welch and the permutation test take the seeds as the sample, the products as the population; paired t and "
        "sign flips hold given these trained models only; the bootstrap resamples seeds and products. Unadjusted. "
        "Last column: shares of the difference's variance."
    )


def _power_block(report: Report) -> str:
    with_block = [(finding, finding.power) for finding in report.findings if finding.power is not None]
    if not with_block:
        return ""
    rows = [
        [
            *_place(report, finding),
            f"{block.power_now:.0%}",
            f"more than any: at best {points(block.smallest_with_any_seeds)} points"
            if block.seeds is None
            else str(block.seeds),
        ]
        for finding, block in with_block
    ]
    headers = ["", "metric", "against", "power now", "seeds needed"]
    return (
        f"### Power\n\n{grid(rows, headers)}\n\n"
        f"Power now: chance of p < 0.05 (unadjusted) if the true difference is {report.worthwhile:g} points. Seeds "
        "needed: per method, for 80%. Where no number of seeds suffices, the products are too few: the smallest "
        "difference that could be seen is given."
    )


def _sentinel_block(report: Report) -> str:
    categories = list(report.sentinels)
    if not categories:
        return ""

    def cells(name: str) -> list[str]:
        found = []
        for category in categories:
            (one,) = [one for one in report.sentinels[category] if one.name == name]
            found += ["-" if one.values is None else points(one.values[metric]) for metric in PAPER_METRICS]
        return found

    first = report.sentinels[categories[0]]
    notes = dict.fromkeys(
        f"{one.label}: {one.note}." for ones in report.sentinels.values() for one in ones if one.note
    )
    return "\n\n".join(
        [
            "### Sentinels",
            grid(
                [[one.label, *cells(one.name)] for one in first], ["", *_category_heads(report, categories)]
            ),
            *([" ".join(notes)] if notes else []),
        ]
    )


def _tie_block(report: Report) -> str:
    categories = [category for category, ones in report.ties.items() if ones]
    if not categories:
        return ""
    by_place = {(category, one.method): one for category in categories for one in report.ties[category]}
    names = [name for name in models.METHODS if any((category, name) in by_place for category in categories)]

    def cell(category: str, name: str, value: Callable[[TieReport], str]) -> str:
        one = by_place.get((category, name))
        return "-" if one is None else value(one)

    rows = [
        [
            models.METHODS[name].title,
            *(
                text
                for category in categories
                for text in (
                    cell(category, name, lambda one: f"{one.tied_pairs:.2%}"),
                    cell(
                        category,
                        name,
                        lambda one: points(one.file_order_gain["map"], signed=True, decimals=2),
                    ),
                )
            ),
        ]
        for name in names
    ]
    title = report.setting.data_set.category_title
    heads = [f"{title(c)} {what}" for c in categories for what in ("tied pairs", "file order")]
    return (
        f"### Ties\n\n{grid(rows, ['', *heads])}\n\n"
        "Tied pairs: share of a product's pairs of reviews with equal scores. File order: what resolving ties by "
        "file order (the released code) would add to MAP over the expected value, in points."
    )


def _place(report: Report, finding: Finding) -> list[str]:
    one = finding.comparison
    title = report.setting.data_set.category_title(one.category)
    return [title, METRIC_LABELS[one.metric], models.METHODS[one.b.method].title]


def _category_heads(report: Report, categories: Sequence[str]) -> list[str]:
    title = report.setting.data_set.category_title
    return [f"{title(c)} {METRIC_LABELS[metric]}" for c in categories for metric in PAPER_METRICS]
