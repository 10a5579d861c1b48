"""The documentation site: pages from the code hold what the code holds, and the whole builds strictly, offline."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from benchmark import models
from benchmark.cli import app
from tests.docs.snippets import ROOT

SITE = runpy.run_path(str(ROOT / "scripts" / "site_pages.py"))


def test_the_commands_page_has_every_command_and_option() -> None:
    page = SITE["commands"]()
    sections = dict(re.findall(r"^## bench (.+?)\n(.*?)(?=^## |\Z)", page, flags=re.M | re.S))
    root = typer.main.get_command(app)
    for name, command in root.commands.items():
        if getattr(command, "hidden", False):
            continue
        children = getattr(command, "commands", None)
        leaves = {f"{name} {child}": one for child, one in children.items()} if children else {name: command}
        for title, leaf in leaves.items():
            for parameter in leaf.params:
                if (
                    parameter.param_type_name == "option"
                    and parameter.name != "help"
                    and not parameter.hidden
                ):
                    assert f"`{parameter.opts[0]}" in sections[title], (title, parameter.opts)


def test_the_methods_page_has_every_method_size_and_departure() -> None:
    import dataclasses

    page = SITE["methods"]()
    for name, info in models.METHODS.items():
        loaded = models.load(name)
        assert f"## {info.title}\n" in page
        assert loaded.reference in page
        for field in dataclasses.fields(loaded.config_class):
            assert f"`{name}.{field.name}`" in page
        for departure in loaded.departures:
            assert SITE["plain"](departure.what) in page
    assert set(re.findall(r"defects\.md#(p\d+)", page)) >= {"p11", "p15", "p16", "p17", "p21"}


def test_a_snippet_is_the_source_and_a_missing_symbol_an_error() -> None:
    from mmss.subtasks import subtask_losses

    shown = SITE["snippet"]("mmss/subtasks.py", "subtask_losses")
    assert shown.splitlines()[0] == '```python title="mmss/subtasks.py: subtask_losses"'
    assert subtask_losses.__doc__ is not None
    assert subtask_losses.__doc__ in shown
    method = SITE["snippet"]("mmss/model.py", "MMSS.target").splitlines()
    assert method[1].startswith("def target(self")
    with pytest.raises(KeyError, match="no absent"):
        SITE["snippet"]("mmss/subtasks.py", "absent")


def test_every_marker_of_the_pages_finds_its_source() -> None:
    found = 0
    for page in sorted((ROOT / "docs").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        found += len(re.findall("<!-- code:", text))
        assert "<!-- code:" not in SITE["with_code"](text), page.name
    assert found >= 10


def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="the documentation's tools are in the extra `docs`")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = sorted((tmp_path / "site").glob("*.html"))
    assert {"index.html", "commands.html", "methods.html", "mmss.html"} <= {page.name for page in pages}
    for page in pages:
        loaded = re.findall(
            r'<(?:script|img|iframe|link)[^>]*?(?:src|href)="(https?:[^"]+)"', page.read_text()
        )
        assert [one for one in loaded if "canonical" not in one] == [], page.name
