"""What the documentation site takes from the code, so that it cannot drift: a hook of mkdocs.

Pages `commands`, `methods`, `decisions` and `changelog` are made when the site is built. In a page that is written by
hand, `<!-- code: mmss/pseudo_labels.py estimate -->` is replaced by that function's (class's, method's) source.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CODE = re.compile(r"^<!-- code: (\S+) (\S+) -->$", re.M)


def generated() -> dict[str, str]:
    """File name -> Markdown of the pages that the code writes."""
    from benchmark.report.decisions import render_markdown

    return {
        "commands.md": commands(),
        "methods.md": methods(),
        "decisions.md": render_markdown(),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
    }


# --- the commands, from the command line itself ---


def commands() -> str:
    """Every command with its arguments and options."""
    import typer

    from benchmark.cli import app

    root: Any = typer.main.get_command(app)
    lines = [
        "# Commands",
        "",
        "Made from the commands themselves; `bench COMMAND --help` prints the same. Results go to standard output,",
        "progress and messages to standard error.",
        "",
        str(root.epilog or ""),
        "",
    ]
    for path, command in walk(root, ()):
        lines += [f"## bench {' '.join(path)}", "", *command_text(command), ""]
    return "\n".join(lines)


def walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The commands that do something, in the order of the command line's own help."""
    for name, child in getattr(command, "commands", {}).items():
        if getattr(child, "hidden", False):
            continue
        if getattr(child, "commands", None):
            yield from walk(child, (*path, name))
        else:
            yield (*path, name), child


def command_text(command: Any) -> Iterator[str]:
    yield plain(command.help or "")
    rows = [row for parameter in command.params if (row := parameter_row(parameter))]
    if rows:
        yield from ("", "| option | what it does |", "|---|---|", *rows)


def parameter_row(parameter: Any) -> str:
    if getattr(parameter, "hidden", False) or parameter.name == "help":
        return ""
    words = ", ".join([*parameter.opts, *parameter.secondary_opts])
    if parameter.param_type_name == "argument":
        words = parameter.metavar or parameter.name.upper()
    elif not parameter.is_flag:
        words += f" {parameter.metavar or 'VALUE'}"
    default = parameter.default
    shown = "" if default in (None, False, "", ()) or callable(default) else f" Default: `{default}`."
    return f"| `{words.replace('|', '&#124;')}` | {plain(parameter.help or '')}{shown} |"


def plain(text: str) -> str:
    """One paragraph per blank line; what Markdown or HTML would take for its own is left as text."""
    paragraphs = [" ".join(part.split()) for part in text.replace("\f", "\n\n").split("\n\n")]
    return "\n\n".join(part for part in paragraphs if part).replace("|", "&#124;").replace("<", "&lt;")


# --- the methods, from the registry ---


def methods() -> str:
    """Every method: what its file says of it, its sizes, its departures and their defects."""
    from benchmark import models

    lines = [
        "# Methods",
        "",
        "Made from the registry and from each method's file; `bench models --method NAME` prints the same. The fair",
        "form is ours at full size; departures are where it differs from released code.",
        "",
    ]
    for name in models.METHODS:
        lines += method_text(name)
    return "\n".join(lines)


def method_text(name: str) -> Iterator[str]:
    from benchmark import models

    info, loaded = models.get(name), models.load(name)
    file = info.target.partition(":")[0].replace(".", "/") + ".py"
    yield from (f"## {info.title}", "")
    yield f"`--method {name}`, {info.modality}, {loaded.reference}; `{file}`."
    yield from ("", "```text", about(loaded), "```", "")
    yield from ("| field | paper preset | quick preset | meaning |", "|---|---|---|---|")
    yield from size_rows(name, loaded)
    yield ""
    if loaded.departures:
        yield from ("Where the fair form departs from the released code:", "")
    for departure in loaded.departures:
        cited = ", ".join(f"[{number}](defects.md#{anchor(number)})" for number in departure.defects)
        yield f"- {plain(departure.what)} Why: {plain(departure.why)}" + (f" ({cited})" if cited else "")
    yield ""


def about(loaded: type) -> str:
    import inspect

    return inspect.cleandoc(sys.modules[loaded.__module__].__doc__ or "")


def size_rows(name: str, loaded: Any) -> Iterator[str]:
    import dataclasses

    from benchmark.cli.inspect import field_docs

    config, docs = loaded.config_class(), field_docs(loaded.config_class)
    for field in dataclasses.fields(config):
        full = getattr(config, field.name)
        quick = loaded.quick.get(field.name, full)
        shown = "" if quick == full else f"`{quick}`"
        yield f"| `{name}.{field.name}` | `{full}` | {shown} | {plain(docs.get(field.name, ''))} |"


def anchor(number: str) -> str:
    """The anchor of a defect's heading on its page."""
    from markdown.extensions.toc import slugify

    page = (ROOT / "docs/defects.md").read_text(encoding="utf-8")
    (heading,) = re.findall(rf"^### ({number}\. .+)$", page, flags=re.M)
    return slugify(heading, "-")


# --- the source beside the text ---


def with_code(markdown: str) -> str:
    """The page with each `<!-- code: FILE SYMBOL -->` replaced by the symbol's source."""
    return CODE.sub(lambda match: snippet(match[1], match[2]), markdown)


def snippet(file: str, symbol: str) -> str:
    """A function, class or method (`Class.method`) as it stands in the file; KeyError if it does not."""
    text = (ROOT / file).read_text(encoding="utf-8")
    node: Any = ast.parse(text)
    for name in symbol.split("."):
        found = [child for child in node.body if getattr(child, "name", None) == name]
        if not found:
            raise KeyError(f"{file} has no {symbol}")
        node = found[0]
    source = "\n".join(text.splitlines()[node.lineno - 1 : node.end_lineno])
    indent = " " * node.col_offset
    source = "\n".join(line.removeprefix(indent) for line in source.splitlines())
    return f'```python title="{file}: {symbol}"\n{source}\n```'


# --- what mkdocs calls ---


def on_files(files: Any, config: Any) -> Any:
    from mkdocs.structure.files import File

    for name, content in generated().items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    return with_code(markdown)
