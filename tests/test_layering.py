"""Arrows point down only, each module has a room, and what reads runs needs no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("benchmark", "baselines", "mmss")

ALLOWED: dict[str, set[str]] = {
    "core": set(),
    "stats": {"core"},
    "kernels": {"core"},
    "encoders": {"core", "kernels"},
    "data": {"core", "kernels", "encoders"},
    "runs": {"core", "data"},
    "mmss": {"core", "kernels", "encoders"},
    "baselines": {"core", "kernels", "encoders"},
    "models": {"core"},
    "engine": {"core", "stats", "kernels", "data", "runs", "models", "mmss", "baselines"},
    "report": {"core", "stats", "data", "runs", "models", "mmss", "baselines"},
    "cluster": {"core", "data", "runs", "models", "engine"},
    "rank": {"core", "kernels", "encoders", "data", "runs", "models", "engine"},
    "checks": {"core", "stats", "kernels", "data", "runs", "models", "mmss", "engine", "cluster", "report"},
    "speed": {"core", "stats", "kernels", "data", "runs", "models", "engine", "report"},
    "cli": {
        *("core", "stats", "kernels", "data", "runs", "models", "mmss", "baselines"),
        *("engine", "report", "cluster", "rank", "checks", "speed"),
    },
    "__main__": {"cli"},
}
"""Wing -> the wings that its modules may import, beside their own. `benchmark/__init__` is everybody's."""

NEEDS_TORCH = {
    *(
        f"benchmark.checks.{name}"
        for name in ("contract", "determinism", "goldens", "reference", "selfmm", "tracing")
    ),
    *(f"benchmark.engine.{name}" for name in ("adam", "evaluate", "losses", "prefetch", "steps", "train")),
    *(f"benchmark.engine.{name}" for name in ("graphs", "resident", "stepping")),
    *("benchmark.core.model", "benchmark.core.types", "benchmark.data.collate"),
    *("benchmark.encoders.pretrained", "benchmark.encoders.states"),
    *(f"benchmark.data.features.{name}" for name in ("hf_detr", "hf_grid", "roi_align", "vision")),
    *(
        f"benchmark.kernels.{file.stem}"
        for file in (ROOT / "benchmark" / "kernels").glob("*.py")
        if file.stem not in ("__init__", "compiled")
    ),
    "benchmark.speed.measure",
    "benchmark.speed.operations",
}
"""Modules of the harness that may import torch when they are imported; all others must do without."""

LATE_TORCH = {"benchmark.data.corpus"}
"""Modules without torch from which a late import leads to it; a report must not take that way."""


def module_name(root: Path, file: Path) -> str:
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules_below(root: Path) -> dict[str, Path]:
    return {
        module_name(root, file): file
        for package in PACKAGES
        for file in sorted((root / package).rglob("*.py"))
    }


MODULES = modules_below(ROOT)


def wing(module: str) -> str:
    """`benchmark.report.html.page` -> `report`, `mmss.bert` -> `mmss`, `benchmark.models` -> `models`."""
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] if package == "benchmark" else package


def statements(body: list[ast.stmt], late: bool) -> Iterator[ast.stmt]:
    """Statements that run on import, or with `late` those in functions and under TYPE_CHECKING too."""
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and not late:
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not late:
            continue
        yield node
        for part in ("body", "orelse", "finalbody", "handlers"):
            yield from statements(getattr(node, part, []), late)


def imports_of(modules: Mapping[str, Path], module: str, late: bool) -> frozenset[str]:
    """Our modules that a module imports."""
    found: set[str] = set()
    for node in statements(ast.parse(modules[module].read_text()).body, late):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules else str(node.module) for name in inner}
    return frozenset(found & modules.keys())


@cache
def imports(module: str, late: bool) -> frozenset[str]:
    return imports_of(MODULES, module, late)


def upward(modules: Mapping[str, Path], module: str) -> set[str]:
    """Imports of a module, late ones included, that its wing may not make."""
    own = wing(module)
    allowed = ALLOWED.get(own, set()) | {own, ""}
    return {name for name in imports_of(modules, module, True) if wing(name) not in allowed}


def loose(modules: Mapping[str, Path]) -> set[str]:
    """Modules that stand in `benchmark/` itself instead of in a wing."""
    beside = {"benchmark", "benchmark.models", "benchmark.__main__"}
    return {name for name, file in modules.items() if name.count(".") == 1 and file.name != "__init__.py"} & {
        name for name in modules if name.startswith("benchmark.")
    } - beside


def without_torch(root: Path, names: list[str]) -> str:
    """What goes wrong if the modules are imported where torch cannot be; empty if nothing does."""
    code = (
        "import importlib, sys\n"
        "class NoTorch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        assert name.partition('.')[0] not in ('torch', 'transformers'), name\n"
        "sys.meta_path.insert(0, NoTorch())\n"
        f"for name in {names!r}:\n    importlib.import_module(name)"
    )
    made = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    return made.stderr if made.returncode else ""


def test_the_scan_sees_the_imports() -> None:
    assert "benchmark.report.grid" in imports("benchmark.report.results", False)
    late = imports("benchmark.engine.runner", True) - imports("benchmark.engine.runner", False)
    assert "benchmark.engine.train" in late
    assert len(MODULES) > 100


def test_the_table_of_arrows_has_no_cycle() -> None:
    TopologicalSorter(ALLOWED).prepare()


@pytest.mark.parametrize("module", MODULES)
def test_arrows_point_down(module: str) -> None:
    if module != "benchmark":  # whose interface reaches everything, late
        assert not upward(MODULES, module)


def test_every_module_has_a_room() -> None:
    assert not loose(MODULES)


def test_no_cycle_on_import() -> None:
    TopologicalSorter({module: imports(module, False) - {module} for module in MODULES}).prepare()


REPORTS = [name for name in MODULES if wing(name) in ("report", "runs", "stats")]


@pytest.mark.parametrize("module", REPORTS)
def test_what_reads_runs_never_reaches_torch(module: str) -> None:
    """Not even by way of another module, and not late either."""
    seen, ahead = set(), [module]
    while ahead:
        name = ahead.pop()
        if name not in seen and name not in LATE_TORCH:
            seen.add(name)
            ahead += (
                imports(name, True) if wing(name) in ("report", "runs", "stats") else imports(name, False)
            )
    assert not seen & NEEDS_TORCH
    for name in seen:
        assert "import torch" not in MODULES[name].read_text() or wing(name) not in (
            "report",
            "runs",
            "stats",
        )


def test_torch_free_modules_work_without_torch() -> None:
    free = [name for name in MODULES if name.startswith("benchmark") and name not in NEEDS_TORCH]
    assert len(free) > 60
    assert not without_torch(ROOT, free)[-2000:]


def test_the_list_of_torch_modules_is_no_longer_than_needed() -> None:
    assert MODULES.keys() >= NEEDS_TORCH
    for module in NEEDS_TORCH:
        text = MODULES[module].read_text()
        direct = "\nimport torch" in text or "\nfrom torch" in text
        assert direct or imports(module, False) & NEEDS_TORCH, module


PLANTED = {
    "upward": ("benchmark/engine/planted.py", "def late():\n    from benchmark.report import tables\n"),
    "torch": ("benchmark/report/planted.py", "import torch\n"),
    "loose": ("benchmark/planted.py", "X = 1\n"),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_seen(fault: str, tmp_path: Path) -> None:
    """The three faults that these tests are for, each in a copy of the tree."""
    path, text = PLANTED[fault]
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            copy = tmp_path / file.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(file.read_text())
    (tmp_path / path).write_text(text)
    modules = modules_below(tmp_path)
    name = module_name(tmp_path, tmp_path / path)
    seen = {
        "upward": bool(upward(modules, name)),
        "torch": bool(without_torch(tmp_path, [name])),
        "loose": bool(loose(modules)),
    }
    assert seen == {kind: kind == fault for kind in seen}
