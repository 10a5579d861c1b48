"""What every picture is drawn on: a matplotlib figure without global state, written to a file or into a page.

Inside a page a picture is an SVG element whose colours are the page's CSS variables, so that it follows light
and dark, and whose texts stay texts. The same runs give the same bytes: no dates, no random ids.
"""

from __future__ import annotations

import gc
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from benchmark.core.errors import UsageError
from benchmark.core.files import written_beside
from benchmark.core.words import check_choice

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INSTALL = "pip install 'mrhp-bench[plots]'"
"""What brings matplotlib."""

COLOURS = {
    "paper": "#fffffe",
    "ink": "#1b1f24",
    "muted": "#5f6772",
    "faint": "#d7dbe0",
    "ours": "#0a5fb4",
    "win": "#187038",
    "loss": "#b42318",
    "hue1": "#0b6e8f",
    "hue2": "#a15c00",
    "hue3": "#7a3fb0",
    "hue4": "#3d7a1f",
    "hue5": "#b0306a",
}
"""Name -> colour on white; in a page the CSS variable `--name` stands in its place."""
DARK = {
    "paper": "#14171c",
    "ink": "#e6e9ee",
    "muted": "#a0a9b5",
    "faint": "#333a44",
    "ours": "#6cb2ff",
    "win": "#4cc38a",
    "loss": "#ff8a80",
    "hue1": "#5cc8e8",
    "hue2": "#f0a94a",
    "hue3": "#c79bf2",
    "hue4": "#9ad06a",
    "hue5": "#f58ab8",
}
"""The same names where a page is dark."""
HUES = tuple(name for name in COLOURS if name.startswith("hue"))
FILE_TYPES = ("svg", "pdf", "png")
PANEL_WIDTH = 4.6
"""Inches. A page shows a panel about as wide as a phone, so that its 9 point texts stay legible there."""
MOST_POINTS = 60
"""Of a line: more are thinned, for a picture that size shows no more."""

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mrhp-bench",
    "pdf.fonttype": 42,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.edgecolor": COLOURS["muted"],
    "axes.labelcolor": COLOURS["ink"],
    "axes.titlecolor": COLOURS["ink"],
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": COLOURS["faint"],
    "grid.linewidth": 0.6,
    "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
    "xtick.labelcolor": COLOURS["ink"],
    "ytick.labelcolor": COLOURS["ink"],
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.facecolor": "none",
}


@dataclass(frozen=True)
class Panel:
    """What is drawn on one pair of axes, or on several side by side, and what it shows in words."""

    title: str
    words: str
    """For those who cannot see it: what is shown, with the numbers that matter."""
    draw: Callable[..., None]
    """Takes the axes, one argument for each."""
    height: float = 2.6
    """Inches, at PANEL_WIDTH."""
    parts: int = 1
    """Pairs of axes."""


@dataclass(frozen=True)
class Picture:
    """Panels that belong together, with how to read them."""

    kind: str
    title: str
    caption: str
    panels: tuple[Panel, ...]


def available() -> bool:
    """Whether matplotlib is installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def require() -> None:
    """UsageError, with what to install, if matplotlib is not there."""
    if not available():
        raise UsageError(f"pictures need matplotlib: {INSTALL}.")


@contextmanager
def rare_collections() -> Iterator[None]:
    """Many pictures are a million objects that live on: to look through them for garbage takes a tenth of the time."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def panel_svg(panel: Panel, name: str, styles: Styles) -> str:
    """The panel as an SVG element for a page; `name` must be unique in the page, which holds `styles` once."""
    buffer = io.StringIO()
    with _styled():
        _figure([panel], columns=1, titles=False).savefig(buffer, format="svg", metadata={"Date": None})
    return _inlined(_stable(buffer.getvalue()), name, panel, styles)


class Styles:
    """The style attributes of a page's pictures, each once: thousands of elements share a few dozen."""

    def __init__(self) -> None:
        self._classes: dict[str, str] = {}

    def class_of(self, declarations: str) -> str:
        return self._classes.setdefault(declarations, f"p{len(self._classes)}")

    def css(self) -> str:
        return "".join(f".{name}{{{text}}}" for text, name in self._classes.items())


def save(picture: Picture, out: Path, columns: int | None = None) -> None:
    """The whole picture as an .svg, .pdf or .png file, its panels side by side.

    UsageError for another ending, or without matplotlib.
    """
    require()
    kind = out.suffix.lstrip(".").lower()
    check_choice("kind of file", kind, FILE_TYPES)
    out.parent.mkdir(parents=True, exist_ok=True)
    with written_beside(out) as unfinished:
        unfinished.write_bytes(to_bytes(picture, kind, columns))


def to_bytes(picture: Picture, kind: str, columns: int | None = None) -> bytes:
    """What `save` writes: `kind` is one of FILE_TYPES."""
    count = len(picture.panels)
    columns = columns or (1 if count == 1 else 2 if count in (2, 4) else 3)
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[kind]
    buffer = io.BytesIO()
    with _styled():
        figure = _figure(picture.panels, columns, titles=True)
        figure.savefig(buffer, format=kind, dpi=200, metadata=metadata, facecolor="white")
    return _stable(buffer.getvalue().decode()).encode() if kind == "svg" else buffer.getvalue()


def _stable(svg: str) -> str:
    """matplotlib names a clip path after its address in memory, another one each time: here they are numbered."""
    names = dict.fromkeys(re.findall(r'<clipPath id="(\w+)"', svg))
    numbers = {name: f"clip{number}" for number, name in enumerate(sorted(names, key=svg.index))}
    return re.sub(
        r'(<clipPath id="|url\(#)(\w+)', lambda found: found[1] + numbers.get(found[2], found[2]), svg
    )


def thinned(length: int, keep: Iterable[int] = (), most: int = MOST_POINTS) -> list[int]:
    """Indices of the points of a line that are drawn: evenly spaced, with first, last and those to keep."""
    if length <= most:
        return list(range(length))
    even = {round(i * (length - 1) / (most - 1)) for i in range(most)}
    return sorted(even | {index for index in keep if 0 <= index < length})


def rows(axes: Axes, labels: Sequence[str]) -> None:
    """One horizontal row per label, the first on top."""
    axes.set_yticks(range(len(labels)), list(labels))
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")


def _styled() -> Any:
    import matplotlib

    return matplotlib.rc_context(_STYLE)


def _figure(panels: Sequence[Panel], columns: int, titles: bool) -> Figure:
    """To be called, like what saves its result, under `_styled`."""
    from matplotlib.figure import Figure

    from benchmark.report.plots.layout import SettledLayout

    columns = min(columns, len(panels))
    lines = -(-len(panels) // columns)
    height = max(panel.height for panel in panels)
    figure = Figure(figsize=(PANEL_WIDTH * columns, height * lines), layout=SettledLayout())
    places = figure.subfigures(lines, columns, squeeze=False).ravel()
    for place, panel in zip(places, panels, strict=False):
        panel.draw(*place.subplots(1, panel.parts, squeeze=False).ravel())
        if titles:
            place.suptitle(panel.title, x=0.02, ha="left", fontsize=10, fontweight="bold")
    return figure


_VARIABLES = {colour: f"var(--{name})" for name, colour in COLOURS.items()}
_COLOUR = re.compile("|".join(_VARIABLES))
_NUMBER = re.compile(r"-?\d+\.\d+")


_COMMON = frozenset({"stroke-linejoin:miter", "stroke-linecap:square", "font-family:sans-serif"})


def _inlined(svg: str, name: str, panel: Panel, styles: Styles) -> str:
    """A stand-alone SVG document as an element of a page: described, smaller, in the page's colours and font."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'<path d="[^"]*" style="fill: none"/>', "", body)  # empty backgrounds
    body = re.sub(r' transform="rotate\(-0 [^"]*"', "", body)
    body = re.sub(r'<g id="(?:figure|axes|patch|matplotlib|line2d|text|xtick|ytick|legend)[^"]*"', "<g", body)
    body = re.sub(r'(\b(?:id|xlink:href|clip-path)="(?:#|url\(#)?)(?=[A-Za-z])', rf"\g<1>{name}-", body)
    body = re.sub(r' style="([^"]*)"', lambda found: _class(found.group(1), styles), body)
    body = re.sub(r' (?:d|x|y|transform|width|height)="[^"]*"', _rounded, body)
    body = re.sub(r">\s+<", "><", body)
    view = re.search(r'viewBox="([^"]*)"', body)
    assert view is not None
    head = (
        f'<svg role="img" viewBox="{view.group(1)}" aria-labelledby="{name}-t {name}-d" '
        'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
        f'<title id="{name}-t">{escape(panel.title)}</title><desc id="{name}-d">{escape(panel.words)}</desc>'
    )
    body = head + body[body.index(">") + 1 :].rstrip()
    while (
        less := re.sub(
            r"<g></g>|<g/>|<defs></defs>|<g>(<(?:path|use)[^>]*/>|<text[^>]*>[^<]*</text>)</g>", r"\1", body
        )
    ) != body:
        body = less
    return body


def _class(declarations: str, styles: Styles) -> str:
    """A style attribute as a class; colours become variables, the font is the page's."""
    text = _COLOUR.sub(lambda found: _VARIABLES[found.group()], declarations).replace("&apos;", "'")
    text = re.sub(r"'DejaVu Sans',? ?", "", text)
    kept = [re.sub(r"\s*:\s*", ":", part.strip()) for part in text.split(";")]
    kept = [part for part in kept if part and part not in _COMMON]
    return f' class="{styles.class_of(";".join(kept))}"' if kept else ""


def _rounded(match: re.Match[str]) -> str:
    text = _NUMBER.sub(lambda number: f"{float(number.group()):.1f}".removesuffix(".0"), match.group())
    return re.sub(r"\s*([MLCQZz\"])\s*", r"\1", text)
