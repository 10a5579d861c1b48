"""The page put together: one HTML document without any other file, readable without a script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from benchmark import __version__, models
from benchmark.core.errors import UsageError
from benchmark.report.grid import Setting, commits_of, group_settings, manifests, matching_settings
from benchmark.report.html import answers, cells, sections
from benchmark.report.html.cases import case_groups
from benchmark.report.html.texts import TextSource
from benchmark.report.multiverse import Effect
from benchmark.report.paper_claims import check_claims
from benchmark.report.plots import canvas, kinds
from benchmark.report.significance import WORTHWHILE
from benchmark.report.tables import ablation_table, results_table, statistics_table
from benchmark.runs.store import StoredRun

ALL_KINDS = tuple(kinds.KINDS)
OPEN_KINDS = ("forest", "dots", "products", "cd", "decisions", "cost")
"""Pictures that stand open; the others, of many panels, unfold."""


@dataclass(frozen=True)
class Extras:
    """What stands in no run folder, from whoever has it."""

    texts: TextSource = lambda run: None
    """Texts of test items, where the data set lies locally."""
    controls: Sequence[Mapping[str, Any]] = ()
    """Controls that were run: kind, name, ok, found, expected."""
    results: str = "results"
    """The results folder as the reader should name it."""


@canvas.rare_collections()
def build(
    runs: Sequence[StoredRun],
    extras: Extras | None = None,
    *,
    worthwhile: float = WORTHWHILE,
    plots: Sequence[str] = ALL_KINDS,
    proposed: str = models.PROPOSED,
) -> str:
    """The report of finished runs as one HTML document.

    Runs that may not be compared never meet: each setting without overrides is a part of its own, the first
    one in full; settings with overrides show in the decisions' effects and in a list.

    Args:
        worthwhile: the smallest difference worth having, in points.
        plots: kinds of pictures to draw; none are without matplotlib, and the page says so.
        proposed: the method that is judged; the paper's claims stay those about its own.

    Raises:
        UsageError: there are no finished runs.
    """
    extras = extras or Extras()
    settings = group_settings(runs)
    parts = parts_of(settings)
    if not parts:
        raise UsageError("no finished runs to report. Start with: bench run --all-categories")
    drawn = tuple(plots) if canvas.available() else ()
    styles = canvas.Styles()
    view = _View(settings, extras, worthwhile, drawn, styles, proposed)
    views = [view.part(number, part) for number, part in enumerate(parts)]
    shown = {id(setting) for part in parts for setting in part}
    script, css = (_template_file(name) for name in ("script.js", "style.css"))
    template = _environment().get_template("page.html.j2")
    page = template.render(
        version=__version__,
        proposed=models.get(proposed).title,
        parts=views,
        others=[_other(setting) for setting in settings if id(setting) not in shown],
        sizes=cells.table_view(statistics_table(manifests(runs), with_paper=True), set()),
        decisions=sections.decisions_view([run for part in parts for s in part for run in s.runs]),
        controls=extras.controls,
        provenance=sections.provenance_view(runs),
        remake=sections.remake(runs, extras.results, proposed),
        no_pictures="" if canvas.available() else canvas.INSTALL,
        css=Markup(f"{_palette()}{css}{styles.css()}"),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    return page.rstrip() + "\n"


def parts_of(settings: Sequence[Setting]) -> list[list[Setting]]:
    """Groups that the page shows as parts: settings without overrides, or all if every one has some."""
    usable = [setting for setting in settings if setting.methods or setting.drops]
    plain = [
        setting
        for setting in usable
        if not setting.conditions.overrides and not setting.conditions.shuffle_labels
    ]
    return matching_settings(plain or usable)


@dataclass(frozen=True)
class _View:
    """What the parts of a page are made with."""

    settings: Sequence[Setting]
    extras: Extras
    worthwhile: float
    drawn: Sequence[str]
    styles: canvas.Styles
    proposed: str

    def part(self, number: int, part: list[Setting]) -> dict[str, Any]:
        """Everything that the template says of one group of settings; the first part has more."""
        full, proposed, worthwhile = number == 0, self.proposed, self.worthwhile
        runs_of_cells = cells.cell_runs(part) if full else []
        listed_here = {one["anchor"] for one in runs_of_cells}
        effects = tuple(sections.decision_effects(self.settings, proposed)) if full else ()
        subject = kinds.Subject(tuple(part), effects, worthwhile=worthwhile, proposed=proposed)
        wanted = [name for name in self.drawn if full or name == "forest"]
        tests = [sections.tests_view(setting, worthwhile, proposed) for setting in part if setting.methods]
        groups = case_groups(part, self.extras.texts, proposed) if full else []
        return {
            "id": f"part{number + 1}",
            "full": full,
            "name": _name(part),
            "facts": answers.facts(part),
            "warnings": answers.warnings(part),
            "answers": answers.answers(part, worthwhile, proposed),
            "tables": _tables(part, listed_here, proposed),
            "pictures": _pictures(subject, wanted, number, self.styles),
            "tests": tests,
            "cases": [asdict(group) for group in groups],
            "claims": [claim.to_json() for claim in check_claims(part)] if full else [],
            "paper": [sections.paper_view(setting) for setting in part] if full else [],
            "effects": _effects(effects, self.settings),
            "runs": runs_of_cells,
        }


def _tables(part: Sequence[Setting], listed_here: set[str], proposed: str) -> list[dict[str, Any]]:
    found = [
        cells.table_view(
            results_table(setting, with_paper=True, with_sentinels=True, proposed=proposed),
            listed_here,
            setting.conditions.dataset,
        )
        for setting in part
        if setting.methods
    ]
    ablated = [setting for setting in part if setting.drops_of(proposed)]
    if ablated:
        seen = {
            run.spec.category
            for setting in ablated
            for run in setting.runs
            if run.spec.drop and run.spec.method == proposed
        }
        categories = [category for category, _ in ablated[0].fingerprints if category in seen]
        table = ablation_table(ablated, with_paper=True, categories=categories, method=proposed)
        found.append(cells.table_view(table, listed_here))
    return found


def _pictures(
    subject: kinds.Subject, wanted: Sequence[str], number: int, styles: canvas.Styles
) -> list[dict[str, Any]]:
    views = []
    for kind in wanted:
        picture = kinds.KINDS[kind](subject)
        if picture is None:
            continue
        panels = [
            {
                "title": panel.title,
                "svg": Markup(canvas.panel_svg(panel, f"{kind}{number}-{place}", styles)),
            }
            for place, panel in enumerate(picture.panels)
        ]
        views.append(
            {
                "id": f"{kind}{number}",
                "kind": kind,
                "title": picture.title,
                "caption": picture.caption,
                "panels": panels,
                "open": kind in OPEN_KINDS,
            }
        )
    return views


def _effects(effects: Sequence[Effect], settings: Sequence[Setting]) -> list[dict[str, Any]]:
    titles = {setting.conditions.dataset: setting.data_set.title for setting in settings}
    return [
        {
            "variant": one.variant,
            "place": f"{titles[one.dataset]} {one.category}",
            "difference": None if one.result is None else 100 * one.result.difference,
            "interval": ""
            if one.result is None or one.result.interval is None
            else "[{:+.2f}, {:+.2f}]".format(*(100 * bound for bound in one.result.interval)),
            "p": None if one.result is None else one.result.p_value,
        }
        for one in effects
    ]


def _name(part: Sequence[Setting]) -> str:
    conditions = part[0].conditions
    return f"{conditions}{', labels shuffled' if conditions.shuffle_labels else ''}"


def _other(setting: Setting) -> dict[str, Any]:
    return {
        "dataset": setting.data_set.title,
        "name": _name([setting]),
        "runs": len(setting.runs),
        "commits": ", ".join(commits_of(setting.runs)),
    }


def _palette() -> str:
    light = "".join(f"--{name}:{colour};" for name, colour in canvas.COLOURS.items())
    dark = "".join(f"--{name}:{colour};" for name, colour in canvas.DARK.items())
    return f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"


def _template_file(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("benchmark.report.html"),
        autoescape=True,  # whatever comes from data (texts, ids, names) is text
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["p"] = _p
    environment.filters["signed"] = _signed
    return environment


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def _p(value: float | None) -> str:
    return "" if value is None else "< 0.0001" if value < 0.0001 else f"{value:.4f}"
