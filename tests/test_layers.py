"""Dependencies point one way, and what reads files only needs no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("benchmark", "baselines", "mmss")
NEEDS_TORCH = {
    *(f"benchmark.{name}" for name in ("determinism", "evaluate", "import_weights", "prefetch", "selfcheck")),
    *("benchmark.speed", "benchmark.train", "benchmark.data.collate"),
    *(
        f"benchmark.core.{name}"
        for name in ("encoders", "graph", "kernels", "layers", "losses", "matching", "model")
    ),
    *(f"benchmark.core.{name}" for name in ("recurrent", "transformer", "types")),
}
"""Modules of the harness that may import torch when they are imported; all others must do without."""


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(file): file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))}


def statements(body: list[ast.stmt], late: bool) -> Iterator[ast.stmt]:
    """Statements that run on import, or with `late` those in functions and under TYPE_CHECKING too."""
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and not late:
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not late:
            continue
        yield node
        for part in ("body", "orelse", "finalbody"):
            yield from statements(getattr(node, part, []), late)


@cache
def imports(module: str, late: bool) -> frozenset[str]:
    """Our modules that a module imports."""
    found: set[str] = set()
    for node in statements(ast.parse(MODULES[module].read_text()).body, late):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else str(node.module) for name in inner}
    return frozenset(found & MODULES.keys())


def test_the_scan_sees_the_imports() -> None:
    assert "benchmark.cells" in imports("benchmark.tables", False)
    assert "benchmark.train" in imports("benchmark.runner", True) - imports("benchmark.runner", False)
    assert len(MODULES) > 60


def layer(module: str) -> str:
    for name in ("benchmark.core", "benchmark.cli", "benchmark.data", "benchmark.stats"):
        if module == name or module.startswith(name + "."):
            return name
    return module.partition(".")[0]


ALLOWED = {
    "benchmark.core": {"benchmark.core"},
    "baselines": {"baselines", "benchmark.core"},
    "mmss": {"mmss", "benchmark.core"},
    "benchmark.data": {
        "benchmark.data",
        "benchmark.core",
    },  # and `published`: the counts of the paper's Table 3
    "benchmark.stats": {"benchmark.stats", "benchmark.core", "benchmark", "benchmark.data"},
    "benchmark": {"benchmark", "benchmark.core", "benchmark.data", "benchmark.stats", "mmss", "baselines"},
    "benchmark.cli": {"benchmark.cli", "benchmark", "benchmark.core", "benchmark.data", "benchmark.stats"},
}


@pytest.mark.parametrize("module", MODULES)
def test_dependencies_point_one_way(module: str) -> None:
    allowed = ALLOWED[layer(module)]
    wrong = {name for name in imports(module, True) if layer(name) not in allowed}
    assert wrong <= ({"benchmark.published"} if module == "benchmark.data.check" else set())


def test_no_cycle_on_import() -> None:
    TopologicalSorter({module: imports(module, False) - {module} for module in MODULES}).prepare()


READERS = [
    *("benchmark.cells", "benchmark.tables", "benchmark.table_formats", "benchmark.sentinels"),
    *(
        "benchmark.compare",
        "benchmark.claims",
        "benchmark.published",
        "benchmark.records",
        "benchmark.export",
    ),
    *("benchmark.lookup", "benchmark.controls", "benchmark.stats.report", "benchmark.stats.crossed"),
]


@pytest.mark.parametrize("module", READERS)
def test_what_reads_runs_never_trains(module: str) -> None:
    """Not even by way of another module, and not late either."""
    seen, ahead = set(), [module]
    while ahead:
        name = ahead.pop()
        if name not in seen:
            seen.add(name)
            ahead += imports(name, True)
    assert not seen & {"benchmark.train", "benchmark.runner", "benchmark.evaluate", "benchmark.data.collate"}


def test_torch_free_modules_work_without_torch() -> None:
    free = [name for name in MODULES if layer(name).startswith("benchmark") and name not in NEEDS_TORCH]
    assert len(free) > 40
    code = (
        "import importlib, sys\n"
        "class NoTorch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        assert name.partition('.')[0] not in ('torch', 'transformers'), name\n"
        "sys.meta_path.insert(0, NoTorch())\n"
        f"for name in {free!r}:\n    importlib.import_module(name)"
    )
    made = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr[-2000:]


def test_the_list_of_torch_modules_is_no_longer_than_needed() -> None:
    assert MODULES.keys() >= NEEDS_TORCH
    for module in NEEDS_TORCH:
        text = MODULES[module].read_text()
        direct = "\nimport torch" in text or "\nfrom torch" in text
        assert direct or imports(module, False) & NEEDS_TORCH, module
