"""The fenced blocks of README and docs: which run, and which say why they do not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^>]+) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    text: str
    reason: str
    """Why it is not run; empty if it is."""

    @property
    def commands(self) -> list[str]:
        """The command lines of a shell block, comments taken off."""
        lines = [line.partition("  #")[0].strip() for line in self.text.splitlines()]
        return [
            part.strip() for line in lines for part in line.split("&&") if part and not part.startswith("#")
        ]


def blocks() -> list[Block]:
    """Every fenced block with a language, page by page."""
    return [
        Block(
            str(page.relative_to(ROOT)),
            page.read_text(encoding="utf-8")[: match.start()].count("\n") + 1,
            match["language"],
            match["text"],
            (match["reason"] or "").strip(),
        )
        for page in PAGES
        for match in FENCE.finditer(page.read_text(encoding="utf-8"))
    ]
