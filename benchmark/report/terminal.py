"""What commands print, on a terminal: their Markdown as rich tables and wrapped text that fit its width.

A table too wide loses its constant columns, which are named once above it, and is cut into blocks that repeat
its first columns: by group of columns (one category each) where the heads name one, else as many as fit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

GUTTER = 2
"""Columns of space between two of a table: one of padding, one of the box."""
NARROWEST_TEXT = 16
"""A column of sentences is not squeezed below this."""
LONGEST_WORD = 22
"""A longer word, such as the name of an encoder, may be broken, but not in a first column."""
_VERDICTS = {
    "green": "supported better ok okay passed pass same equal done reproduced agrees",
    "red": "refuted worse fail failed far differs missing contradicted",
    "yellow": "undecided close near open running weak untested partly",
}
_COLOURS = {word: colour for colour, words in _VERDICTS.items() for word in words.split()}


@dataclass(frozen=True)
class Grid:
    """A pipe table, its cells still with their marks."""

    heads: tuple[str, ...]
    right: tuple[bool, ...]
    """Per column: set flush right."""
    rows: tuple[tuple[str, ...], ...]

    def take(self, columns: Sequence[int], heads: Sequence[str] | None = None) -> Grid:
        return Grid(
            tuple(heads or (self.heads[c] for c in columns)),
            tuple(self.right[c] for c in columns),
            tuple(tuple(row[c] for c in columns) for row in self.rows),
        )

    def least(self, columns: Iterable[int]) -> int:
        """The width below which these columns would break a number or a name."""
        return sum(self._least(column) + GUTTER for column in columns)

    def _least(self, column: int) -> int:
        head = max((len(word) for word in plain(self.heads[column]).split()), default=1)
        longest = 99 if column == 0 else LONGEST_WORD
        return max([head, *(_narrowest(plain(row[column]), longest) for row in self.rows)])


def _narrowest(cell: str, longest_word: int) -> int:
    longest = min(max((len(word) for word in cell.split()), default=0), longest_word)
    return min(len(cell), max(longest, NARROWEST_TEXT)) if len(cell) > NARROWEST_TEXT else len(cell)


def plain(cell: str) -> str:
    """A cell as it is seen."""
    return re.sub(r"\*\*(?=\S)(.+?)(?<=\S)\*\*|<ins>(.*?)</ins>", r"\1\2", _unescaped(cell))


def _unescaped(text: str) -> str:
    return re.sub(r"\\([\\|*<])", r"\1", text)


def show(markdown: str, console: Console) -> None:
    """Print what a command made, for a reader at a terminal."""
    lines = re.sub(r"\n{3,}", "\n\n", markdown.strip("\n")).splitlines()
    for kind, block in _blocks(lines):
        if kind == "table":
            _show_table(_parse(block), console)
        else:
            for line in block:
                _show_line(line, console)


def _blocks(lines: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Pipe tables and all else, in order."""
    for is_table, members in groupby(lines, key=lambda line: line.lstrip().startswith("|")):
        block = list(members)
        ruled = is_table and len(block) > 1 and set(block[1].strip()) <= set("|-: ")
        yield ("table" if ruled else "text"), block


def _parse(lines: Sequence[str]) -> Grid:
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]] for line in lines]
    heads, rule, *rows = cells
    right = tuple(mark.endswith(":") and not mark.startswith(":") for mark in rule)
    return Grid(tuple(heads), right, tuple(tuple(row) for row in rows if len(row) == len(heads)))


def _show_table(grid: Grid, console: Console) -> None:
    columns = list(range(len(grid.heads)))
    if grid.least(columns) <= console.width:
        _print(grid, console)
        return
    constant = [c for c in columns[1:] if len(grid.rows) > 1 and len({row[c] for row in grid.rows}) == 1]
    said = [f"{plain(grid.heads[c])}: {plain(grid.rows[0][c])}" for c in constant if grid.rows[0][c]]
    if said:
        _show_line("; ".join(said), console)
    columns = [c for c in columns if c not in constant]
    if grid.least(columns) <= console.width:
        _print(grid.take(columns), console)
        return
    n_lead = _n_lead(grid, columns)
    lead, rest = columns[:n_lead], columns[n_lead:]
    for number, (title, block) in enumerate(_cut(grid, lead, rest, console.width)):
        if number:
            console.print()
        if title:
            console.print(_text(title, console, "bold"))
        heads = [grid.heads[c] for c in lead] + [
            grid.heads[c].removeprefix(title).strip() if title else grid.heads[c] for c in block
        ]
        _print(grid.take([*lead, *block], heads), console)


def _n_lead(grid: Grid, columns: Sequence[int]) -> int:
    """How many first columns name a row: as many as it takes to tell all rows apart, at most three, else one. A
    name that is left empty is that of the row above."""
    for n in range(1, min(4, len(columns))):
        seen, above = set(), [""] * n
        for row in grid.rows:
            above = [row[column] or above[at] for at, column in enumerate(columns[:n])]
            seen.add(tuple(above))
        if len(seen) == len(grid.rows):
            return n
    return 1


def _cut(grid: Grid, lead: Sequence[int], rest: Sequence[int], width: int) -> Iterator[tuple[str, list[int]]]:
    """Blocks of columns, each with the name of its group, if its columns have one."""
    groups = [(name, list(members)) for name, members in groupby(rest, key=lambda c: _group(grid, c, rest))]
    free = width - grid.least(lead)
    for name, members in groups:
        block: list[int] = []
        for column in members:
            if block and grid.least([*block, column]) - (len(name) if name else 0) > free:
                yield name, block
                block = []
            block.append(column)
        yield name, block


def _group(grid: Grid, column: int, among: Sequence[int]) -> str:
    """The part of a column's head that it shares with its neighbours, the same for every group: `CS&J` of
    `CS&J MAP`, `CS&J N@3`; empty if the heads are not so."""
    split = {c: grid.heads[c].rpartition(" ") for c in among}
    labels: dict[str, list[str]] = {}
    for name, _, label in split.values():
        labels.setdefault(name, []).append(label)
    regular = len({tuple(found) for found in labels.values()}) == 1 and len(labels) > 1 and "" not in labels
    return split[column][0] if regular and len(next(iter(labels.values()))) > 1 else ""


def _print(grid: Grid, console: Console) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, GUTTER - 1, 0, 0), show_edge=False)
    widths = _widths(grid, console)
    for head, right, width in zip(grid.heads, grid.right, widths, strict=True):
        table.add_column(
            _text(head, console, "bold"), justify="right" if right else "left", width=width, overflow="fold"
        )
    for row in grid.rows:
        table.add_row(*(_text(cell, console) for cell in row))
    console.print(table)


def _widths(grid: Grid, console: Console) -> list[int]:
    """Of each column: as wide as its widest cell and head if all have room; else none below what breaks its words,
    and what is left in shares of what each still wants."""
    least = [grid.least([column]) - GUTTER for column in range(len(grid.heads))]
    whole = [
        max(
            least[column],
            *(len(_text(text, console).plain) for text in (head, *(row[column] for row in grid.rows))),
        )
        for column, head in enumerate(grid.heads)
    ]
    free = console.width - GUTTER * (len(least) - 1) - sum(least)
    wanted = [wide - narrow for wide, narrow in zip(whole, least, strict=True)]
    if sum(wanted) <= free:
        return whole
    return [narrow + max(0, free) * want // sum(wanted) for narrow, want in zip(least, wanted, strict=True)]


def _show_line(line: str, console: Console) -> None:
    indent, marks, text = re.match(r"(\s*)(#+ |[-*] )?(.*)", line).groups("")  # type: ignore[union-attr]
    if marks.startswith("#"):
        console.print(_text(text, console, "bold underline" if len(marks) == 3 else "bold"))
        return
    lead = indent + ("• " if marks and console.encoding.startswith("utf") else marks)
    room = max(20, console.width - len(lead))
    for number, part in enumerate(_text(text, console).wrap(console, room)):
        part.rstrip()
        console.print(lead if number == 0 else " " * len(lead), part, sep="", soft_wrap=True)


_MARKS = re.compile(r"\*\*(?=\S)(?P<b>.+?)(?<=\S)\*\*|<ins>(?P<u>.*?)</ins>|`(?P<c>[^`]+)`")
_WORD = re.compile(r"[A-Za-z]+")


def _text(marked: str, console: Console, style: str = "") -> Text:
    """Marks as styles; where the terminal knows none, they stay to be read."""
    from rich.text import Text

    styled = console.color_system is not None
    hidden = {r"\*": "\ue000", r"\<": "\ue001", r"\|": "\ue002", r"\\": "\ue003"}
    for escaped, stand_in in hidden.items():
        marked = marked.replace(escaped, stand_in)
    made, at = Text(style=style), 0
    for found in _MARKS.finditer(marked):
        made.append(_shown(marked[at : found.start()]))
        at = found.end()
        bold, under, code = (found[name] for name in "buc")
        inner = _shown(bold or under or code or "")
        mark = "**" if bold else "_" if under else "`"
        inner = inner if styled and not code else f"{mark}{inner}{mark}"
        made.append(inner, style="bold" if bold else "underline" if under else "cyan")
    made.append(_shown(marked[at:]))
    first = _WORD.match(made.plain)
    if first and not style and (first.end() == len(made.plain) or made.plain[first.end()] in ":;,("):
        colour = _COLOURS.get(first[0].lower())
        if colour:
            made.stylize(f"bold {colour}", 0, first.end())
    return made


def _shown(text: str) -> str:
    for character, stand_in in {"*": "\ue000", "<": "\ue001", "|": "\ue002", "\\": "\ue003"}.items():
        text = text.replace(stand_in, character)
    return text
