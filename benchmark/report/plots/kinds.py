"""The kinds of pictures, each from the settings of a group: alike in everything but the data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from benchmark import models
from benchmark.core.metrics import PAPER_METRICS
from benchmark.data.datasets import BUILT_IN, generic
from benchmark.data.published import METRIC_LABELS
from benchmark.report.grid import Cell, Comparison, Setting, best_baseline
from benchmark.report.multiverse import Effect
from benchmark.report.plots import comparisons, costs, training
from benchmark.report.plots.canvas import Panel, Picture
from benchmark.report.significance import WORTHWHILE
from benchmark.stats.ranking import average_ranks

CD_WARNING = "Weak evidence: each category counts as one observation"


@dataclass(frozen=True)
class Subject:
    """What pictures are made of."""

    settings: tuple[Setting, ...]
    """One per data set, alike in the rest."""
    effects: tuple[Effect, ...] = ()
    """Of open decisions, where alternatives were run."""
    metric: str = "map"
    worthwhile: float = WORTHWHILE
    categories: tuple[str, ...] | None = None
    """Shown; None: all."""
    methods: tuple[str, ...] = tuple(models.METHODS)
    """Shown; tests are corrected over all of them whatever is shown."""
    seed: int | None = None
    """Of the run whose pseudo labels are shown; None: the first."""
    proposed: str = models.PROPOSED
    """The method that is judged."""

    @property
    def title(self) -> str:
        """Of the method that is judged."""
        return models.get(self.proposed).title

    @cached_property
    def families(self) -> Mapping[str, list[Comparison]]:
        """Data set -> the proposed method against every baseline."""
        return {
            setting.conditions.dataset: setting.family(self.metric, proposed=self.proposed)
            for setting in self.settings
        }

    def places(self) -> list[tuple[Setting, str]]:
        return [
            (setting, category)
            for setting in self.settings
            for category, _ in setting.fingerprints
            if self.categories is None or category in self.categories
        ]

    def comparisons(self, setting: Setting, category: str) -> list[Comparison]:
        """With the baselines shown."""
        return [
            one
            for one in self.families[setting.conditions.dataset]
            if one.category == category and one.b.method in self.methods
        ]

    def cells(self, setting: Setting, category: str) -> list[Cell]:
        """Complete cells of undiminished methods, in the paper's order."""
        cells = [setting.cell(category, name) for name in setting.methods if name in self.methods]
        return [cell for cell in cells if cell.complete]


def where(setting: Setting, category: str) -> str:
    return setting.place(category)


def forest(subject: Subject) -> Picture | None:
    panels = [
        comparisons.forest(where(setting, category), here, subject.worthwhile)
        for setting, category in subject.places()
        if (here := subject.comparisons(setting, category))
    ]
    return _picture(
        "forest",
        f"{subject.title} against each baseline, {METRIC_LABELS[subject.metric]}",
        f"Right of 0: {subject.title} is better. Bars: 95% intervals of the crossed test over seeds and products. A "
        "filled dot is significant after Holm (p < 0.05). Dashed: the smallest difference worth having, "
        f"{subject.worthwhile:g} points; an interval wholly inside the band says that there is none.",
        panels,
    )


def dots(subject: Subject) -> Picture | None:
    panels = [
        comparisons.seed_dots(where(setting, category), cells, subject.metric, subject.proposed)
        for setting, category in subject.places()
        if (cells := subject.cells(setting, category))
    ]
    caption = "How far apart the seeds of one method lie, beside how far apart the methods do."
    return _picture("dots", f"Every seed, {METRIC_LABELS[subject.metric]}", caption, panels)


def curves(subject: Subject) -> Picture | None:
    panels = [
        training.curves(f"{where(setting, category)}: {models.METHODS[cell.method].title}", cell.runs)
        for setting, category in subject.places()
        for cell in subject.cells(setting, category)
        if any(training.curve(run, "loss") for run in cell.runs)
    ]
    caption = "Dev MAP chooses the epoch that is tested. MM-SS's loss rises at epoch 2, where its subtasks enter it."
    return _picture("curves", "Learning curves", caption, panels)


def labels(subject: Subject) -> Picture | None:
    panels: list[Panel] = []
    for setting, category in subject.places():
        cell = setting.cell(category, models.PROPOSED)
        run = next((run for run in cell.runs if subject.seed in (None, run.spec.seed)), None)
        if run is None:
            continue
        place = f"{where(setting, category)}, seed {run.spec.seed}"
        panels += [training.labels(f"{place}: {task}", run, task) for task in training.subtasks(run)]
        panels += [panel for panel in [training.sigmas(f"{place}: sigmas", run)] if panel is not None]
    caption = (
        "Pseudo labels of the subtasks (Eq. 12) over the epochs: band: quartiles over the training reviews; line: "
        "median; dashed: mean; thin: single reviews, from the label they were given. Sigmas weigh the subtasks' "
        "losses (Eq. 15)."
    )
    return _picture("labels", "Pseudo labels and sigmas of MM-SS", caption, panels)


def products(subject: Subject) -> Picture | None:
    panels = [
        comparisons.win_loss(where(setting, category), best)
        for setting, category in subject.places()
        if (best := best_baseline(subject.families[setting.conditions.dataset], category)) is not None
    ]
    caption = (
        f"Every test product by what {subject.title} gains or loses on it against the category's best baseline, seeds "
        "averaged, largest gain first. Dashed: the mean."
    )
    return _picture("products", "Won and lost products", caption, panels)


def critical_difference(subject: Subject) -> Picture | None:
    """None with fewer than two categories or three methods that are complete in all of them."""
    places = subject.places()
    by_place = [{cell.method: cell for cell in subject.cells(*place)} for place in places]
    by_place = [cells for cells in by_place if cells]
    names = [name for name in models.METHODS if by_place and all(name in cells for cells in by_place)]
    if len(by_place) < 2 or len(names) < 3:
        return None
    values = np.array([[cells[name].mean(subject.metric) for name in names] for cells in by_place])
    ranks = average_ranks(values)
    title = f"Average ranks over {len(by_place)} categories, {METRIC_LABELS[subject.metric]}"
    caption = (
        f"{CD_WARNING}, and there are only {len(by_place)}; seeds and products are not in it. The forest plot is the "
        "evidence. Bars join methods that Nemenyi's test (5%) does not separate; Friedman p "
        f"{comparisons.p_words(ranks.p_value)}."
    )
    return _picture(
        "cd", title, caption, [comparisons.critical_difference(title, names, ranks, subject.proposed)]
    )


def decisions(subject: Subject) -> Picture | None:
    titles = {setting.conditions.dataset: setting.data_set for setting in subject.settings}
    panels = []
    for dataset, category in dict.fromkeys((one.dataset, one.category) for one in subject.effects):
        here = [one for one in subject.effects if (one.dataset, one.category) == (dataset, category)]
        if any(one.result is not None for one in here):
            of = titles.get(dataset) or BUILT_IN.get(dataset) or generic(dataset)
            title = f"{of.title} {of.category_title(category)}"
            panels.append(costs.effects(title, here, subject.worthwhile))
    caption = (
        "Each alternative against the default, largest effect first; 95% intervals, uncorrected: a screening."
    )
    return _picture("decisions", "What the open decisions move", caption, panels)


def cost(subject: Subject) -> Picture | None:
    panels = []
    for of, label, unit, scale in (
        (costs.seconds_of, "time of a run", "seconds", 1.0),
        (costs.memory_of, "peak memory of a run", "MB", costs.MEGABYTE),
    ):
        values = {
            name: [
                value / scale
                for setting in subject.settings
                for run in setting.runs
                if run.spec.method == name in subject.methods
                and not run.spec.drop
                and (value := of(run)) is not None
            ]
            for name in models.METHODS
        }
        if any(values.values()):
            panels.append(costs.cost(label.capitalize(), values, label, unit, subject.proposed))
    caption = (
        "As the runs were carried out, possibly side by side: an impression; bench speed measures. Memory is the "
        "peak of the process, which includes the libraries, or of the GPU where one was used."
    )
    return _picture("cost", "Time and memory of a run", caption, panels)


KINDS: dict[str, Callable[[Subject], Picture | None]] = {
    "forest": forest,
    "dots": dots,
    "curves": curves,
    "labels": labels,
    "products": products,
    "cd": critical_difference,
    "decisions": decisions,
    "cost": cost,
}
"""Name for `bench plot` -> what makes it; None where the runs do not have it."""
METRICS = PAPER_METRICS


def _picture(kind: str, title: str, caption: str, panels: Sequence[Panel]) -> Picture | None:
    return Picture(kind, title, caption, tuple(panels)) if panels else None
