"""Pictures of comparisons: intervals against each baseline, seeds, products, ranks over categories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from benchmark import models
from benchmark.data.published import METRIC_LABELS
from benchmark.report.facts import significance
from benchmark.report.grid import Cell, Comparison
from benchmark.report.plots.canvas import COLOURS, Panel, rows
from benchmark.stats.effects import win_tie_loss
from benchmark.stats.ranking import AverageRanks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW_INCHES = 0.27


def forest(title: str, family: Sequence[Comparison], worthwhile: float) -> Panel:
    """The proposed method minus each baseline in one category: difference, 95% interval, and the smallest
    difference worth having (`worthwhile`, points)."""

    def draw(axes: Axes) -> None:
        axes.axvspan(-worthwhile, worthwhile, color=COLOURS["faint"], alpha=0.6, linewidth=0)
        axes.axvline(0, color=COLOURS["ink"], linewidth=0.9)
        for side in (-worthwhile, worthwhile):
            axes.axvline(side, color=COLOURS["muted"], linewidth=0.8, linestyle="--")
        for row, one in enumerate(family):
            colour = COLOURS[_direction(one)]
            points = 100 * one.result.difference
            if one.result.interval is not None:
                low, high = (100 * bound for bound in one.result.interval)
                axes.plot([low, high], [row, row], color=colour, linewidth=1.6, solid_capstyle="butt")
            filled = bool(significance(one.p_holm))
            face = colour if filled else COLOURS["paper"]
            axes.plot(points, row, "o", color=colour, markerfacecolor=face, markersize=5, markeredgewidth=1.3)
        rows(axes, [_title(one.b) for one in family])
        axes.set_xlabel(f"{_title(family[0].a)} minus baseline, points of {METRIC_LABELS[family[0].metric]}")

    words = "; ".join(f"{_title(one.b)} {_difference(one)}" for one in family)
    return Panel(title, f"Differences with 95% intervals. {words}.", draw, 0.75 + ROW_INCHES * len(family))


def seed_dots(title: str, cells: Sequence[Cell], metric: str, proposed: str = models.PROPOSED) -> Panel:
    """Each method's value of every seed, its mean, and the random order's expectation."""

    def draw(axes: Axes) -> None:
        chance = 100 * cells[0].random_order(metric)
        axes.axvline(chance, color=COLOURS["muted"], linewidth=0.9, linestyle=":")
        for row, cell in enumerate(cells):
            colour = COLOURS["ours" if cell.method == proposed else "muted"]
            means = 100 * cell.seed_means(metric)
            axes.plot(means, np.full(len(means), row), "o", color=colour, markersize=4, alpha=0.7)
            axes.plot([means.mean()] * 2, [row - 0.32, row + 0.32], color=colour, linewidth=1.8)
        rows(axes, [_title(cell) for cell in cells])
        axes.set_xlabel(f"{METRIC_LABELS[metric]}, percent; dot: seed, bar: mean, dotted: random order")

    words = "; ".join(
        f"{_title(cell)} " + ", ".join(f"{100 * value:.1f}" for value in cell.seed_means(metric))
        for cell in cells
    )
    return Panel(title, f"Value of every seed. {words}.", draw, 0.85 + ROW_INCHES * len(cells))


def win_loss(title: str, one: Comparison, most: int = 240) -> Panel:
    """The products by what the proposed method gains or loses on them, seeds averaged."""
    a, b = one.a.side(one.metric), one.b.side(one.metric)
    gap = 100 * (a.product_means - b.product_means)
    order = np.sort(gap)[::-1]
    counts = win_tie_loss(a, b)

    def draw(axes: Axes) -> None:
        chosen = np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int))
        value, edges = order[chosen], np.linspace(0, 100, len(chosen) + 1)
        for name, bars in (("win", np.maximum(value, 0)), ("loss", np.minimum(value, 0))):
            axes.stairs(bars, edges, fill=True, color=COLOURS[name], alpha=0.75, linewidth=0)
        axes.axhline(0, color=COLOURS["ink"], linewidth=0.8)
        axes.axhline(gap.mean(), color=COLOURS["ours"], linewidth=1.2, linestyle="--")
        axes.set_xlim(0, 100)
        axes.set_xlabel("share of products, percent; dashed: mean")
        axes.set_ylabel(f"{METRIC_LABELS[one.metric]}, points")
        for x, side, name, text in (
            (0.99, "right", "win", f"better on {counts.win}, equal on {counts.tie}"),
            (0.01, "left", "loss", f"worse on {counts.loss}"),
        ):
            axes.annotate(
                text, (x, 0.97 if side == "right" else 0.03), xycoords="axes fraction", ha=side,
                va="top" if side == "right" else "bottom", fontsize=8.5, color=COLOURS[name],
            )  # fmt: skip

    words = (
        f"{_title(one.a)} against {_title(one.b)}: better on {counts.win} products, equal on {counts.tie}, worse on "
        f"{counts.loss}; mean difference {gap.mean():+.2f} points, largest gain {order[0]:+.1f}, largest loss "
        f"{order[-1]:+.1f}."
    )
    return Panel(f"{title}: against {_title(one.b)}", words, draw, 2.5)


def critical_difference(
    title: str, names: Sequence[str], ranks: AverageRanks, proposed: str = models.PROPOSED
) -> Panel:
    """Methods on a line by their average rank; a bar joins those that the Nemenyi test does not separate."""
    order = np.argsort(ranks.ranks, kind="stable")
    sorted_ranks = ranks.ranks[order]
    groups = ranks.groups()
    lines = len(names)

    def draw(axes: Axes) -> None:
        low, high = 1, max(len(names), 2)
        top = 0.6 + 0.45 * len(groups)
        axes.plot([low, high], [0, 0], color=COLOURS["ink"], linewidth=1)
        for tick in range(low, high + 1):
            axes.plot([tick, tick], [0, -0.18], color=COLOURS["ink"], linewidth=0.8)
            axes.text(tick, -0.3, str(tick), ha="center", va="bottom", fontsize=8)
        for place, (first, last) in enumerate(groups):
            height = 0.4 + 0.42 * place
            span = [sorted_ranks[first] - 0.06, sorted_ranks[last] + 0.06]
            axes.plot(span, [height, height], color=COLOURS["muted"], linewidth=3.2, solid_capstyle="butt")
        for place, index in enumerate(order):
            own = names[index] == proposed
            colour = COLOURS["ours" if own else "ink"]
            left = place < (lines + 1) // 2
            height = top + 0.62 * (place if left else lines - 1 - place)
            end = low - 0.2 if left else high + 0.2
            rank = ranks.ranks[index]
            axes.plot([rank, rank, end], [0, height, height], color=colour, linewidth=1.4 if own else 0.8)
            axes.text(
                end + (-0.1 if left else 0.1), height, f"{models.METHODS[names[index]].title} {rank:.2f}",
                ha="right" if left else "left", va="center", fontsize=8.5, color=colour,
                fontweight="bold" if own else "normal",
            )  # fmt: skip
        bottom = top + 0.62 * ((lines + 1) // 2) + 0.1
        axes.plot([low, low + ranks.critical_difference], [-1.1, -1.1], color=COLOURS["ink"], linewidth=1.6)
        axes.text(low, -1.25, f"critical difference {ranks.critical_difference:.2f}", va="bottom", fontsize=8)
        width = high - low
        axes.set_xlim(low - 0.52 * width, high + 0.52 * width)
        axes.set_ylim(bottom, -1.9)
        axes.set_axis_off()

    placed = ", ".join(f"{models.METHODS[names[i]].title} {ranks.ranks[i]:.2f}" for i in order)
    words = (
        f"Average rank over {ranks.n_cells} categories, 1 is best: {placed}. Critical difference "
        f"{ranks.critical_difference:.2f} (Nemenyi, 5%), Friedman p {p_words(ranks.p_value)}."
    )
    return Panel(title, words, draw, 1.5 + 0.22 * len(names))


def p_words(p: float) -> str:
    return "below 0.0001" if p < 0.0001 else f"{p:.4f}"


def _direction(one: Comparison) -> str:
    if not significance(one.p_holm):
        return "muted"
    return "win" if one.result.difference > 0 else "loss"


def _difference(one: Comparison) -> str:
    interval = ""
    if one.result.interval is not None:
        interval = " [{:+.2f}, {:+.2f}]".format(*(100 * bound for bound in one.result.interval))
    return f"{100 * one.result.difference:+.2f}{interval}{one.mark and ' ' + one.mark}"


def _title(cell: Cell) -> str:
    return models.METHODS[cell.method].title
