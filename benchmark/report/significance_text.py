"""`bench stats` in words and tables (torch-free)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from benchmark import models
from benchmark.core.metrics import PAPER_METRICS
from benchmark.core.words import count
from benchmark.data.published import METRIC_LABELS
from benchmark.report import latex
from benchmark.report.captions import made_line
from benchmark.report.facts import significance
from benchmark.report.latex import Layout
from benchmark.report.numbers import grid, interval_words, n_words, p_words, points, sd_words
from benchmark.report.opponents import ALPHA, AgainstTrivial
from benchmark.report.sentinels import TieReport
from benchmark.report.significance import Finding, Report


def blocks(report: Report) -> list[str]:
    """In order; an empty one is left out."""
    setting = report.setting
    dataset = setting.data_set.title
    return [
        f"## {dataset}: {models.get(report.proposed).title} against {_against(report.against)}",
        f"**{summary(report)}**",
        made_line(setting),
        *(f"**{note}**" for note in report.notes),
        _comparison_block(report),
        _robust_block(report),
        _power_block(report),
        _sentinel_block(report),
        _trivial_block(report),
        _tie_block(report),
    ]


def summary(report: Report) -> str:
    """By MAP: in how many comparisons it is better, worse, neither; and what was not run."""
    title, against = models.get(report.proposed).title, _against(report.against)
    primary = [one for one in report.findings if one.comparison.metric == PAPER_METRICS[0]]
    missing = f"{count(report.incomplete, 'cell')} incomplete, {report.not_run} not run"
    if not primary:
        return f"No comparison with {against}; {missing}."
    real = [one for one in primary if significance(one.comparison.p_holm)]
    better = sum(one.comparison.result.difference > 0 for one in real)
    open_ = len(primary) - len(real)
    return (
        f"By MAP, {title} is better than {against} in {better} of {count(len(primary), 'comparison')}, worse in "
        f"{len(real) - better}, neither in {open_} (p < 0.05 after Holm); {missing}."
    )


def _by_size(findings: Sequence[Finding]) -> list[Finding]:
    """The metrics in the paper's order, in each the best difference first."""

    def key(one: Finding) -> tuple[int, float]:
        return PAPER_METRICS.index(one.comparison.metric), -one.comparison.result.difference

    return sorted(findings, key=key)


def _against(against: str) -> str:
    words = {"best": "the best baseline of each cell", "all": "every baseline"}
    return words.get(against) or models.get(against).title


def comparison_rows(report: Report) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the table of comparisons."""
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
        for finding in _by_size(report.findings)
    ]
    headers = ["", "metric", "against", "difference", "95% interval", "p", "p (Holm)", "verdict"]
    headers += ["sd over seeds", "P(A>B)", "win / tie / loss", "seeds x products"]
    return headers, rows


def comparison_words(report: Report) -> str:
    """What must stand under that table."""
    sizes = "; ".join(f"{METRIC_LABELS[metric]} {size}" for metric, size in report.family_sizes.items())
    return (
        "Crossed test over seeds and products (two-way random effects), two-sided. Differences in points, A is "
        f"{models.get(report.proposed).title}. Holm over the family of all baselines run x categories, per metric "
        f"({sizes} comparisons), whatever is shown; MAP is primary, N@3 and N@5 are secondary. Best first, by "
        "metric. P(A>B): over pairs of seeds. Win / tie / loss: products. Smallest difference worth having: "
        f"{report.worthwhile:g} points."
    )


_TELLING = ("", "metric", "against", "difference", "95% interval", "p (Holm)", "verdict")


def to_latex(report: Report, layout: Layout | None = None) -> str:
    """The table of comparisons as a float; in a column its first and most telling columns."""
    layout = layout or Layout()
    headers, rows = comparison_rows(report)
    if layout.width == "column":
        kept = [number for number, head in enumerate(headers) if head in _TELLING]
        headers, *rows = ([line[number] for number in kept] for line in (headers, *rows))
    cells = [[latex.escape(cell) for cell in row] for row in rows]
    heads = pd.Index([latex.escape(head) for head in headers[1:]], name="")
    setting = report.setting
    return latex.framed(
        pd.DataFrame(
            [row[1:] for row in cells], index=[row[0] for row in cells], columns=heads, dtype=object
        ),
        caption=f"{setting.data_set.title}: {models.get(report.proposed).title} against {_against(report.against)}.",
        notes=[f"{summary(report)} {made_line(setting)} {' '.join(report.notes)} {comparison_words(report)}"],
        label=f"stats-{setting.conditions.dataset}",
        layout=layout,
    )


def _comparison_block(report: Report) -> str:
    if not report.findings:
        return ""
    headers, rows = comparison_rows(report)
    return f"{grid(rows, headers)}\n\n{comparison_words(report)}"


def _robust_block(report: Report) -> str:
    with_block = [
        (finding, finding.robust) for finding in _by_size(report.findings) if finding.robust is not None
    ]
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
    with_block = [
        (finding, finding.power) for finding in _by_size(report.findings) if finding.power is not None
    ]
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


def _trivial_block(report: Report) -> str:
    """Each method's MAP against the best that ranks without learning."""
    primary = [one for one in report.trivial if one.metric == PAPER_METRICS[0]]
    if not primary:
        return ""
    title = report.setting.data_set.category_title
    rows = [
        [
            title(one.category),
            f"{one.scorer.label} ({points((one.scorer.values or {})[one.metric])})",
            models.METHODS[one.method].title,
            points(one.result.difference, signed=True),
            interval_words(one.result.interval),
            p_words(one.p_holm),
            _trivial_verdict(one),
        ]
        for one in primary
    ]
    headers = ["", "best trivial scorer", "method", "difference", "95% interval", "p (Holm)", "verdict"]
    return (
        f"### Against the best trivial scorer\n\n{grid(rows, headers)}\n\n"
        "MAP, differences in points. The crossed test with a side that has no seeds, two-sided; Holm over methods x "
        "trivial scorers x categories, so that the best scorer may be chosen after looking. A method that is not above "
        "one of them has learnt nothing that shows. N@3 and N@5 are in --json."
    )


def _trivial_verdict(one: AgainstTrivial) -> str:
    if one.p_holm is None:
        return f"no verdict ({one.result.reason})"
    if one.p_holm < ALPHA:
        return "above" if one.above else "below"
    return "undecided" if one.above else "not above"


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
