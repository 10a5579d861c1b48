"""Pictures of what runs cost, and of what the open decisions move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from benchmark import models
from benchmark.report.multiverse import PRESETS_DEFAULT, Effect, by_size
from benchmark.report.plots.canvas import COLOURS, Panel, rows
from benchmark.runs.store import StoredRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MEGABYTE = 1e6
ROW_INCHES = 0.27


def seconds_of(run: StoredRun) -> float | None:
    """Wall-clock seconds of the whole run; None if it did not record them."""
    value = run.provenance.get("seconds", {}).get("total")
    return None if value is None else float(value)


def memory_of(run: StoredRun) -> float | None:
    """Peak memory in bytes: of the GPU if the run used one, else of its process; None if not recorded."""
    memory = run.provenance.get("memory") or {}
    value = memory.get("device_peak_bytes") or memory.get("peak_bytes")
    return None if value is None else float(value)


def cost(
    title: str,
    values: Mapping[str, Sequence[float]],
    label: str,
    unit: str,
    proposed: str = models.PROPOSED,
) -> Panel:
    """One dot per run and a bar at the median, per method, on a logarithmic axis."""
    names = [name for name, found in values.items() if found]

    def draw(axes: Axes) -> None:
        from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

        for row, name in enumerate(names):
            colour = COLOURS["ours" if name == proposed else "muted"]
            distinct = np.unique(np.round(values[name], 3))
            axes.plot(distinct, np.full(len(distinct), row), "o", color=colour, markersize=3.5, alpha=0.5)
            axes.plot([np.median(values[name])] * 2, [row - 0.32, row + 0.32], color=colour, linewidth=1.8)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        rows(axes, [models.METHODS[name].title for name in names])
        axes.set_xlabel(f"{label}, {unit}; dots: runs, bar: median")

    medians = "; ".join(f"{models.METHODS[name].title} {np.median(values[name]):.3g}" for name in names)
    return Panel(title, f"Median {label} in {unit}: {medians}.", draw, 0.8 + ROW_INCHES * len(names))


def effects(title: str, found: Sequence[Effect], worthwhile: float) -> Panel:
    """What each alternative of an open decision adds to MAP against the default, with its 95% interval."""
    shown = [item for item in by_size(found) if item.result is not None]

    def draw(axes: Axes) -> None:
        axes.axvspan(-worthwhile, worthwhile, color=COLOURS["faint"], alpha=0.6, linewidth=0)
        axes.axvline(0, color=COLOURS["ink"], linewidth=0.9)
        for row, item in enumerate(shown):
            assert item.result is not None
            points = 100 * item.result.difference
            low, high = (100 * bound for bound in item.result.interval or (item.result.difference,) * 2)
            axes.plot([low, high], [row, row], color=COLOURS["muted"], linewidth=1.6, solid_capstyle="butt")
            axes.plot(points, row, "o", color=COLOURS["ours"], markersize=5)
        rows(axes, [_wrapped(item) for item in shown])
        axes.tick_params(axis="y", labelsize=7.5)
        axes.set_xlabel("MAP against the default, points")

    words = "; ".join(
        f"{item.variant} {100 * item.result.difference:+.2f}" for item in shown if item.result is not None
    )
    return Panel(title, f"Effect of each alternative on MAP: {words}.", draw, 0.75 + 0.4 * len(shown))


def _wrapped(item: Effect) -> str:
    """`D-OFFSET: offset=printed` on two lines, and what it is compared with if that is not the preset's default."""
    lines = item.variant.replace(": ", ":\n", 1).replace(", D-", ",\nD-")
    return lines if item.against == PRESETS_DEFAULT else f"{lines}\nagainst {item.against}"
