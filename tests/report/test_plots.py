"""Pictures: what is drawn is what the runs say, files of every kind are written, colours follow the page."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from benchmark.core.errors import UsageError
from benchmark.report.grid import group_settings, matching_settings
from benchmark.report.multiverse import effect
from benchmark.report.plots import canvas, comparisons, costs, kinds, training
from benchmark.runs.store import StoredRun
from benchmark.stats.ranking import average_ranks
from tests.report.report_runs import SUBTASKS, write_report_runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[StoredRun]:
    return write_report_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def subject(runs: list[StoredRun]) -> kinds.Subject:
    (part,) = matching_settings(group_settings(runs))
    default = part[0].cell("clothing", "mmss").runs
    changed = part[0].cell("clothing", "mmss", ("d",)).runs
    effects = (effect("D-OFFSET: offset=printed", "lazada", "clothing", default, changed),)
    return kinds.Subject(tuple(part), effects)


def axes_of(panel: canvas.Panel) -> list:
    axes = np.ravel(Figure().subplots(1, panel.parts, squeeze=False)).tolist()
    panel.draw(*axes)
    return axes


# What is drawn -----------------------------------------------------------------------------------------------


def test_the_forest_holds_every_difference_and_its_interval(subject: kinds.Subject) -> None:
    picture = kinds.forest(subject)
    assert picture is not None
    assert len(picture.panels) == 6
    family = [one for one in subject.families["lazada"] if one.category == "clothing"]
    (axes,) = axes_of(picture.panels[0])
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    drawn = [float(dot.get_xdata()[0]) for dot in dots]
    np.testing.assert_allclose(drawn, [100 * one.result.difference for one in family])
    bars = [
        line
        for line in axes.lines
        if len(line.get_xdata()) == 2 and line.get_ydata()[0] == line.get_ydata()[1]
    ]
    wanted = [[100 * bound for bound in one.result.interval or ()] for one in family]
    np.testing.assert_allclose([line.get_xdata() for line in bars], wanted)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["BiMPM", "EG-CNN", "MCR", "MCL"]
    dashed = [float(line.get_xdata()[0]) for line in axes.lines if line.get_linestyle() == "--"]
    assert sorted(dashed) == [-subject.worthwhile, subject.worthwhile]


def test_every_seed_has_its_dot(subject: kinds.Subject) -> None:
    picture = kinds.dots(subject)
    assert picture is not None
    (axes,) = axes_of(picture.panels[0])
    drawn = {line.get_ydata()[0]: line.get_xdata() for line in axes.lines if line.get_marker() == "o"}
    cells = subject.cells(subject.settings[0], "clothing")
    for row, cell in enumerate(cells):
        np.testing.assert_allclose(drawn[row], 100 * cell.seed_means("map"))


def test_curves_mark_the_epoch_that_was_kept(subject: kinds.Subject) -> None:
    cell = subject.settings[0].cell("clothing", "mcr")
    kept = [replace(run, provenance={**run.provenance, "best_epoch": 2}) for run in cell.runs]
    dev, loss = axes_of(training.curves("", kept))
    for axes, at_two in ((dev, 52.0), (loss, 0.5)):
        marks = [line for line in axes.lines if line.get_marker() == "o"]
        assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in marks] == [
            (2, pytest.approx(at_two))
        ] * 3


def test_pseudo_labels_show_quartiles_and_single_reviews(subject: kinds.Subject) -> None:
    run = subject.settings[0].cell("clothing", "mmss").runs[0]
    assert training.subtasks(run) == list(SUBTASKS)
    (axes,) = axes_of(training.labels("", run, "rtrv"))
    band = axes.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (pytest.approx(0.2), pytest.approx(2.1))
    paths = [line for line in axes.lines if len(line.get_xdata()) == 4]  # from the given label on
    assert [line.get_ydata()[0] for line in paths] == [0.0, 4.0]
    np.testing.assert_allclose(paths[1].get_ydata(), [4.0, 3.9, 3.8, 3.7])
    sigmas = training.sigmas("", run)
    assert sigmas is not None
    assert len(axes_of(sigmas)[0].lines) == 5
    plain = subject.settings[0].cell("clothing", "mcr").runs[0]
    assert training.subtasks(plain) == []
    assert training.sigmas("", plain) is None


def test_won_and_lost_products_add_up(subject: kinds.Subject) -> None:
    one = subject.families["lazada"][0]
    panel = comparisons.win_loss("", one)
    gap = 100 * (one.a.values("map").mean(axis=0) - one.b.values("map").mean(axis=0))
    assert f"better on {(gap > 0).sum()} products" in panel.words
    won, lost = (patch.get_data().values for patch in axes_of(panel)[0].patches)
    np.testing.assert_allclose(won + lost, np.sort(gap)[::-1])


def test_a_line_of_many_products_is_thinned(subject: kinds.Subject) -> None:
    panel = comparisons.win_loss("", subject.families["lazada"][0], most=7)
    assert len(axes_of(panel)[0].patches[0].get_data().values) == 7


def test_ranks_join_what_is_not_told_apart(subject: kinds.Subject) -> None:
    ranks = average_ranks(np.tile([0.1, 0.5, 0.9], (6, 1)))
    panel = comparisons.critical_difference("", ["bimpm", "mcr", "mmss"], ranks)
    texts = [text.get_text() for text in axes_of(panel)[0].texts]
    assert {"MM-SS 1.00", "MCR 2.00", "BiMPM 3.00"} <= set(texts)
    picture = kinds.critical_difference(subject)
    assert picture is not None
    assert kinds.CD_WARNING in picture.caption
    assert "only 6" in picture.caption


def test_effects_of_decisions_largest_first(subject: kinds.Subject) -> None:
    picture = kinds.decisions(subject)
    assert picture is not None
    assert "D-OFFSET" in picture.panels[0].words
    assert kinds.decisions(kinds.Subject(subject.settings)) is None


def test_cost_has_what_was_recorded(subject: kinds.Subject, runs: list[StoredRun]) -> None:
    picture = kinds.cost(subject)
    assert picture is not None
    assert [panel.title for panel in picture.panels] == ["Time of a run"]  # memory was not recorded
    run = StoredRun(runs[0].folder, runs[0].spec, {"memory": {"peak_bytes": 5, "device_peak_bytes": 7}})
    assert costs.memory_of(run) == 7
    assert costs.memory_of(runs[0]) is None


def test_thinning_keeps_ends_and_what_matters() -> None:
    assert canvas.thinned(5) == [0, 1, 2, 3, 4]
    shown = canvas.thinned(1000, [334], most=10)
    assert shown[0] == 0
    assert shown[-1] == 999
    assert 334 in shown
    assert len(shown) == 11


# Files and pages ---------------------------------------------------------------------------------------------


def test_files_of_every_kind(subject: kinds.Subject, tmp_path: Path) -> None:
    picture = kinds.forest(subject)
    assert picture is not None
    for ending, start in (("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")):
        out = tmp_path / f"new/forest.{ending}"
        canvas.save(picture, out)
        first = out.read_bytes()
        assert first.startswith(start)
        canvas.save(picture, out)
        assert out.read_bytes() == first, "the same runs give the same bytes"
    assert b"<text" in (tmp_path / "new/forest.svg").read_bytes()
    with pytest.raises(UsageError, match=r"Known: svg pdf png"):
        canvas.save(picture, tmp_path / "forest.gif")


def test_places_do_not_depend_on_where_things_lie_in_memory() -> None:
    """The layout's solver orders what it adds by address: of many panels the last bits would differ each time."""

    def draw(*sides: Any) -> None:
        for axes in sides:
            axes.plot([0, 1, 2], [0.1, 0.7, 0.3], "o-")
            axes.set_xlabel("epoch")
            axes.set_ylabel("loss")

    panels = tuple(canvas.Panel(f"panel {number}", "", draw, 2.0, 2) for number in range(6))
    places = []
    for turn in range(2):
        keep = [bytearray(size % 977) for size in range(5000 * turn)]
        with canvas._styled():
            figure = canvas._figure(panels, 3, titles=True)
            figure.draw_without_rendering()
        del keep
        parts = [part.bbox_relative.get_points() for part in figure.subfigs]
        titles = [text.get_position() for part in figure.subfigs for text in part.texts]
        places.append([*parts, *titles, *(axes.get_position().get_points() for axes in figure.axes)])
    for first, second in zip(*places, strict=True):
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(first, np.round(first, 9), "a last bit may differ next time")
    lefts = {round(axes.bbox.x0, 3) for axes in figure.axes}
    assert len(lefts) == 6, "three columns of two"


def test_a_panel_of_a_page_is_described_and_follows_its_colours() -> None:
    hostile = 'a <script>alert(1)</script> & "b" $x$'

    def draw(axes) -> None:
        axes.plot([0, 1], [0, 1], color=canvas.COLOURS["win"])
        axes.set_xlabel(hostile)

    styles = canvas.Styles()
    svg = canvas.panel_svg(canvas.Panel(hostile, hostile, draw), "one", styles)
    root = ElementTree.fromstring(svg)
    space = "{http://www.w3.org/2000/svg}"
    assert root.get("role") == "img"
    named = {element.get("id"): element.text for element in root if element.get("id")}
    assert root.get("aria-labelledby") == " ".join(named)
    assert set(named.values()) == {hostile}
    assert hostile in [element.text for element in root.iter(f"{space}text")]
    assert not list(root.iter(f"{space}script"))
    css = styles.css()
    assert "var(--win)" in css
    assert not set(re.findall(r"#[0-9a-f]{6}", svg + css)) & set(canvas.COLOURS.values())
    ids = re.findall(r'\bid="([^"]*)"', svg)
    assert len(ids) == len(set(ids))
    assert all(name.startswith("one") for name in ids)


def test_light_and_dark_know_the_same_colours_and_can_be_read() -> None:
    assert canvas.COLOURS.keys() == canvas.DARK.keys()
    for palette in (canvas.COLOURS, canvas.DARK):
        for name in set(palette) - {"paper", "faint"}:
            assert contrast(palette[name], palette["paper"]) >= 4.5, name


def contrast(a: str, b: str) -> float:
    """WCAG 2.2's contrast ratio."""

    def luminance(colour: str) -> float:
        parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_without_matplotlib_the_message_says_what_to_install(
    subject: kinds.Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = kinds.forest(subject)
    assert picture is not None
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert not canvas.available()
    with pytest.raises(UsageError, match=r"mrhp-bench\[plots\]"):
        canvas.save(picture, tmp_path / "a.png")


def test_the_method_that_is_judged_may_be_another(subject: kinds.Subject) -> None:
    other = replace(subject, proposed="mcl")
    family = other.families["lazada"]
    assert {one.a.method for one in family} == {"mcl"}
    assert {one.b.method for one in family} == {"bimpm", "egcnn", "mcr", "mmss"}
    ours = to_rgba(canvas.COLOURS["ours"])
    for proposed, row in (("mmss", 4), ("mcl", 3)):
        picture = kinds.dots(replace(subject, proposed=proposed))
        assert picture is not None
        (axes,) = axes_of(picture.panels[0])
        drawn = [
            line.get_ydata()[0]
            for line in axes.lines
            if line.get_marker() == "o" and to_rgba(line.get_color()) == ours
        ]
        assert drawn == [row], "one method has the colour of what is judged"
