"""Pictures of training: loss and dev MAP over epochs, pseudo labels (Eq. 12) and sigmas (Eq. 15) of MM-SS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmark.report.plots.canvas import COLOURS, HUES, Panel, thinned
from benchmark.runs.store import StoredRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def curves(title: str, runs: Sequence[StoredRun]) -> Panel:
    """Dev MAP and training loss of every epoch, one line per seed, the epoch that was kept marked on each."""

    def draw(*sides: Axes) -> None:
        for axes, (what, label, factor) in zip(sides, _CURVES, strict=True):
            _draw_curve(axes, runs, what, label, factor)

    ends = "; ".join(
        f"seed {run.spec.seed}: {max(points)} epochs, kept {best}, dev MAP there {100 * points[best]:.1f}"
        for run in runs
        if (best := run.provenance.get("best_epoch")) in (points := curve(run, "dev_map"))
    )
    return Panel(title, f"Dev MAP and training loss over epochs. {ends}.", draw, 2.0, len(_CURVES))


_CURVES = (("dev_map", "dev MAP, percent", 100.0), ("loss", "training loss", 1.0))


def _draw_curve(axes: Axes, runs: Sequence[StoredRun], what: str, label: str, factor: float) -> None:
    for run in runs:
        points = curve(run, what)
        best = run.provenance.get("best_epoch")
        epochs = list(points)
        shown = thinned(len(epochs), [epochs.index(best)] if best in points else ())
        line = [factor * points[epochs[i]] for i in shown]
        axes.plot([epochs[i] for i in shown], line, color=COLOURS["muted"], linewidth=1, alpha=0.8)
        if best in points:
            axes.plot(best, factor * points[best], "o", color=COLOURS["ours"], markersize=4, zorder=3)
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    _whole_numbers(axes)


def curve(run: StoredRun, what: str) -> dict[int, float]:
    """Epoch -> value, from the run's log; empty if it was not logged."""
    return {int(entry["epoch"]): float(entry[what]) for entry in run.log if entry.get(what) is not None}


def pseudo_labels(run: StoredRun) -> dict[int, Mapping[str, Any]]:
    """Epoch -> what the log says of the pseudo labels; empty for a run without subtasks."""
    logged = {int(entry["epoch"]): entry.get("notes", {}).get("pseudo_labels") for entry in run.log}
    return {epoch: notes for epoch, notes in logged.items() if notes and notes.get("tasks")}


def subtasks(run: StoredRun) -> list[str]:
    """Subtasks with logged pseudo labels, in the paper's order; the target task is none of them."""
    logged = pseudo_labels(run)
    return [task for task, facts in logged[min(logged)]["tasks"].items() if "q25" in facts] if logged else []


def labels(title: str, run: StoredRun, task: str) -> Panel:
    """One subtask's pseudo labels over epochs: quartiles and mean over the training reviews, and single
    reviews spread over the range of labels."""
    logged = pseudo_labels(run)
    epochs = [list(logged)[i] for i in thinned(len(logged))]

    def facts(name: str) -> list[float]:
        return [float(logged[epoch]["tasks"][task][name]) for epoch in epochs]

    def draw(axes: Axes) -> None:
        axes.fill_between(epochs, facts("q25"), facts("q75"), color=COLOURS["hue1"], alpha=0.22, linewidth=0)
        axes.plot(epochs, facts("median"), color=COLOURS["hue1"], linewidth=1.6)
        axes.plot(epochs, facts("mean"), color=COLOURS["hue2"], linewidth=1.4, linestyle="--")
        samples = [logged[epoch].get("samples", {}) for epoch in epochs]
        for number, label in enumerate(samples[0].get("label", [])):
            path = [float(label), *(float(sample[task][number]) for sample in samples)]
            axes.plot([0, *epochs], path, color=COLOURS["muted"], linewidth=0.7, alpha=0.8)
        axes.set_xlabel("epoch (0: the given label)")
        axes.set_ylabel("pseudo label")
        _whole_numbers(axes)

    def quartiles(epoch: int) -> str:
        of = logged[epoch]["tasks"][task]
        return f"{of['q25']:.2f}, {of['median']:.2f}, {of['q75']:.2f}, mean {of['mean']:.2f}"

    words = (
        f"Pseudo labels of {task}, quartiles over training reviews: epoch {epochs[0]}: {quartiles(epochs[0])}; "
        f"epoch {epochs[-1]}: {quartiles(epochs[-1])}."
    )
    return Panel(title, words, draw, 2.2)


def sigmas(title: str, run: StoredRun) -> Panel | None:
    """The sigmas of Eq. 15 over epochs, one line per subtask; None if the run has none."""
    logged = {int(entry["epoch"]): entry.get("notes", {}).get("sigma") for entry in run.log}
    found = {epoch: sigma for epoch, sigma in logged.items() if sigma}
    if not found:
        return None
    epochs = [list(found)[i] for i in thinned(len(found))]
    tasks = list(found[epochs[0]])
    styles = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))

    def draw(axes: Axes) -> None:
        for task, hue, style in zip(tasks, HUES, styles, strict=False):
            line = [float(found[epoch][task]) for epoch in epochs]
            axes.plot(epochs, line, color=COLOURS[hue], linestyle=style, linewidth=1.4, label=task)
        axes.set_xlabel("epoch")
        axes.set_ylabel("sigma (Eq. 15)")
        axes.legend(ncols=3, loc="best", handlelength=2.4, columnspacing=1)
        _whole_numbers(axes)

    last = ", ".join(f"{task} {found[epochs[-1]][task]:.3f}" for task in tasks)
    return Panel(title, f"Sigmas after epoch {epochs[-1]}: {last}.", draw, 2.2)


def _whole_numbers(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
