"""docs/defects.md is the one list of the protocol's defects: every number cited has its entry there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "defects.md"
NUMBERS = [f"P{number}" for number in range(1, 27)]
CITATION = re.compile(r"(?<![\w.@-])P\d{1,2}(?!\w)")
"""A word by itself: `P@5`, `P1024` and `x.P3` are none."""


def entries(page: str) -> dict[str, str]:
    """Number -> the text of its entry."""
    parts = re.split(r"^### (P\d+)\. .+$", page, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def citations(text: str) -> set[str]:
    return set(CITATION.findall(text))


def sources() -> list[Path]:
    folders = ("benchmark", "baselines", "mmss", "tests", "docs", "results")
    found = [
        file
        for folder in folders
        for file in (ROOT / folder).rglob("*")
        if file.suffix in (".py", ".md", ".cpp", ".csv", ".sh") and "runs" not in file.relative_to(ROOT).parts
    ]
    return [*found, *ROOT.glob("*.md")]


def test_every_number_has_one_entry_in_order() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert re.findall(r"^### (P\d+)\.", page, flags=re.M) == NUMBERS


def test_every_cited_number_has_an_entry() -> None:
    known = set(entries(PAGE.read_text(encoding="utf-8")))
    cited = {file: citations(file.read_text(encoding="utf-8")) for file in sources()}
    assert sum(len(found) for found in cited.values()) > 100, "the search for citations finds too few"
    unknown = {str(file.relative_to(ROOT)): found - known for file, found in cited.items() if found - known}
    assert not unknown, f"cited, but not in docs/defects.md: {unknown}"


def test_citations_are_recognised() -> None:
    text = 'defect P17, (P3), `P9`; ("P16", "P18"): P2. But not P@5, AP1, P100, P5x, D-P4, x.P3'
    assert citations(text) == {"P17", "P3", "P9", "P16", "P18", "P2"}


@pytest.mark.parametrize("number", NUMBERS)
def test_every_entry_says_where_it_is_dealt_with(number: str) -> None:
    entry = entries(PAGE.read_text(encoding="utf-8"))[number]
    assert entry.count("**Here:**") == 1
    paths = re.findall(r"`((?:benchmark|baselines|mmss|tests)/[\w/]+\.py)`", entry.partition("**Here:**")[2])
    assert paths, f"{number} names no file of ours"
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_departures_cite_known_numbers() -> None:
    from benchmark import models

    known = set(NUMBERS)
    for name in models.METHODS:
        for departure in models.load(name).departures:
            assert set(departure.defects) <= known, (name, departure)


def test_decisions_named_on_the_page_exist() -> None:
    from benchmark.core import decisions

    named = set(re.findall(r"\bD-[A-Z]+\b", PAGE.read_text(encoding="utf-8")))
    assert named
    for name in named:
        assert decisions.get(name).id == name
