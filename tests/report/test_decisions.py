"""The document of open decisions."""

from __future__ import annotations

from benchmark.core import decisions
from benchmark.report.decisions import render_markdown


def test_the_document_holds_every_decision_and_option() -> None:
    text = render_markdown()
    for decision in decisions.all_decisions():
        section = text.split(f"### {decision.id}\n")[1].split("\n### ")[0]
        assert decision.question in section
        assert decision.reason in section
        for option in decision.options:
            assert f"`{option.value}`" in section
            assert option.meaning in section
        assert section.count("- Default ") == 1


def test_a_document_of_some_decisions_holds_only_them() -> None:
    text = render_markdown([decisions.get("D-COV"), decisions.get("D-TIES")])
    assert text.count("\n### ") == 2
    assert "## Baselines" not in text
