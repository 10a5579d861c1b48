"""Markdown on a terminal: nothing wider than it, nothing lost, marks as styles."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from tabulate import tabulate

from benchmark.report import terminal


def shown(markdown: str, width: int = 80, **settings: object) -> str:
    out = io.StringIO()
    options: dict = {
        "force_terminal": True,
        "color_system": None,
        "markup": False,
        "highlight": False,
        **settings,
    }
    terminal.show(markdown, Console(file=out, width=width, _environ={}, **options))
    return out.getvalue()


def results(groups: int = 3) -> str:
    heads = ["Type", "Method", *(f"C{g} {m}" for g in range(groups) for m in ("MAP", "N@3", "N@5"))]
    rows = [
        [kind, name, *(f"{10 * r + c}.{c} ± 1.{r}" for c in range(3 * groups))]
        for r, (kind, name) in enumerate([("Text-only", "BiMPM"), ("", "EG-CNN"), ("Multimodal", "MM-SS")])
    ]
    return tabulate(
        rows, heads, "pipe", disable_numparse=True, colalign=["left"] * 2 + ["right"] * 3 * groups
    )


def words(text: str) -> list[str]:
    return re.findall(r"[^\s|─•]+", text)


def test_one_category_per_block_with_the_methods_in_each() -> None:
    text = shown(results())
    assert max(map(len, text.splitlines())) <= 80
    blocks = text.split("\n\n")
    assert [block.splitlines()[0].strip() for block in blocks] == ["C0", "C1", "C2"]
    for block in blocks:
        assert all(name in block for name in ("BiMPM", "EG-CNN", "MM-SS", "MAP", "N@3", "N@5"))


def test_a_table_that_fits_stays_whole() -> None:
    assert len(shown(results(), width=200).split("\n\n")) == 1


def test_constants_stand_once_above() -> None:
    names = [f"corpus-{'x' * 20}", f"protocol-{'y' * 20}", f"preset-{'z' * 20}"]
    table = tabulate([["a", *names, "1"], ["b", *names, "2"]], ["model", "c", "p", "q", "value"], "github")
    text = shown(table)
    assert all(text.count(name) == 1 for name in names)
    assert text.index(names[0]) < text.index("model")


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 9).flatmap(
        lambda n: st.lists(
            st.lists(st.text("abcdefg hij", min_size=1, max_size=40), min_size=n, max_size=n),
            min_size=1,
            max_size=5,
        )
    )
)
def test_no_cell_is_lost_and_no_line_too_long(rows: list[list[str]]) -> None:
    table = tabulate(
        [[f"r{i}", *row] for i, row in enumerate(rows)],
        ["name", *(f"h{i}" for i in range(len(rows[0])))], "github", disable_numparse=True,
    )  # fmt: skip
    text = shown(table)
    assert max(map(len, text.splitlines())) <= 80
    for i in range(len(rows[0])):
        assert f"h{i}" in text
    for (
        character
    ) in "dfgj":  # which neither heads nor names hold; a constant column stands once, not in each row
        columns = [[row[i].strip() for row in rows] for i in range(len(rows[0]))]
        once = [column[:1] if len({*column}) == 1 else column for column in columns]
        assert text.count(character) >= sum("".join(column).count(character) for column in once)


def test_marks_are_styles_where_there_are_some_and_stay_where_not() -> None:
    table = tabulate(
        [["a", "**78.6** ± 1", "<ins>5</ins>", r"1\*\*"]], ["m", "x", "y", "z"], "pipe", disable_numparse=True
    )
    styled = shown(table, color_system="standard")
    assert "\x1b[1m78.6\x1b[0m" in styled
    assert "\x1b[4m5\x1b[0m" in styled
    assert "**78" not in styled
    assert "1**" in styled
    dumb = shown(table)
    assert "**78.6** ± 1" in dumb
    assert "_5_" in dumb
    assert "\x1b" not in dumb


@pytest.mark.parametrize(
    ("word", "colour"), [("better", "32"), ("UNDECIDED: few", "33"), ("FAIL", "31"), ("failed: x", "31")]
)
def test_verdicts_have_colours_unless_none_are_wanted(word: str, colour: str) -> None:
    assert f"\x1b[1;{colour}m" in shown(f"- {word}", color_system="standard")
    assert f";{colour}m" not in shown(f"- {word}", color_system="standard", no_color=True)
    assert f"{colour}m" not in shown("- a better name", color_system="standard")


def test_text_is_broken_between_words_and_hangs() -> None:
    text = "- " + "word " * 40
    lines = shown(text).splitlines()
    assert len(lines) > 2
    assert max(map(len, lines)) <= 80
    assert all(line.startswith("  word") for line in lines[1:])
    assert words("\n".join(lines)) == ["word"] * 40


@pytest.mark.parametrize("width", [60, 72, 80, 81, 120])
def test_no_head_and_no_word_is_cut_whatever_the_width(width: int) -> None:
    """Heads of two words, numbers, names and sentences: all that went in comes out, within the width."""
    heads = [
        "Data set",
        "Category",
        *(f"{one} {two}" for one in ("Train", "Dev", "Test") for two in ("Products", "Reviews")),
    ]
    rows = [["Amazon-MRHP", "H&K", "14,570", "369,518", "3,616", "92,707", "4,529", "111,193"]]
    options = [
        ["method.embedding", "google/some-name", "Width of the word vectors, read as `other.option` says."]
    ]
    for table in (tabulate(rows, heads, "pipe"), tabulate(options, ["key", "value", "meaning"], "pipe")):
        text = shown(table, width=width)
        assert max(map(len, text.splitlines())) <= width
        words = [
            word
            for line in table.splitlines()
            if "---" not in line
            for word in line.split()
            if set(word) - set("|:-")
        ]
        assert not [word for word in words if word.strip("`") not in text.replace("`", "")]
