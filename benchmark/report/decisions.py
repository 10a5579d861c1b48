"""The open decisions of all methods and of the protocol as one document. No torch."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.core import decisions


def render_markdown(chosen: Sequence[decisions.Decision] | None = None) -> str:
    """Decisions (default: all) as a Markdown document, one section each, grouped by scope."""
    chosen = decisions.all_decisions() if chosen is None else chosen
    titles: dict[decisions.Scope, str] = {"mmss": "MM-SS", "baselines": "Baselines", "protocol": "Protocol"}
    lines = ["# Open decisions", ""]
    for scope, title in titles.items():
        sections = [_section(decision) for decision in chosen if decision.scope == scope]
        if sections:
            lines += [f"## {title}", "", *(line for section in sections for line in section)]
    return "\n".join(lines).rstrip() + "\n"


def _section(decision: decisions.Decision) -> list[str]:
    carried = ", ".join(f"`{name}`" for name in decision.fields) or decision.how
    lines = [
        f"### {decision.id}",
        "",
        decision.question,
        "",
        f"- Where: {decision.where}",
        f"- Set by: {carried}",
    ]
    for index, option in enumerate(decision.options):
        extra = ", ".join(f"{name.partition('.')[2]} {value}" for name, value in option.also.items())
        shown = f"`{option.value}`" + (f" ({extra})" if extra else "")
        lines.append(f"- {'Default' if index == 0 else 'Or'} {shown}: {option.meaning}")
    if decision.open_ended:
        lines.append(f"- Or any other {'number' if decision.open_ended == 'number' else 'name or folder'}")
    return [*lines, f"- Why: {decision.reason}", ""]
