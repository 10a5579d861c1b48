"""What a method's source means, as a hash: its module and what that reaches of its own package (torch-free).

Nothing is imported or run: files are read and parsed. Comments, docstrings and layout do not count.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from benchmark.core.errors import UsageError
from benchmark.core.files import read_regular

FIRST_PARTY = ("baselines", "mmss")
"""Packages of the harness's own methods: what a method borrows of them is part of it. Not `benchmark`, whose
arithmetic the numerics version stands for."""


@dataclass(frozen=True)
class Place:
    """Where a class lies: `root` must be on the import path for `module` to be found."""

    root: Path
    module: str
    attribute: str

    @property
    def file(self) -> Path:
        found = module_file(self.root, self.module)
        if found is None:
            raise UsageError(f"{self.root}: no module {self.module} there.")
        return found


def locate(target: str) -> Place:
    """`module:Class` or `path/to/file.py:Class`. Of a file in a package (`__init__.py` beside it), the package
    counts as a whole, so that its relative imports work. UsageError if there is no such module or file."""
    where, colon, attribute = target.rpartition(":")
    if not colon or not attribute.isidentifier():
        raise UsageError(f"{target!r}: a class is given as path/to/file.py:Class or module:Class.")
    if not where.endswith(".py"):
        return Place(_root_of(where, target), where, attribute)
    file = Path(os.path.realpath(Path(where).expanduser()))
    if not file.is_file():
        raise UsageError(f"{where}: no such file.")
    parts, root = [] if file.stem == "__init__" else [file.stem], file.parent
    while (root / "__init__.py").is_file():
        parts.insert(0, root.name)
        root = root.parent
    return Place(root, ".".join(parts), attribute)


def _root_of(module: str, target: str) -> Path:
    top = module.partition(".")[0]
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None or (spec.origin is None and not spec.submodule_search_locations):
        raise UsageError(f"{target!r}: no module {top} is installed here.")
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).parent
    return Path(str(spec.origin)).parent


def module_file(root: Path, module: str) -> Path | None:
    """The source file of a module below `root`; None if it has none there."""
    path = root.joinpath(*module.split("."))
    for file in (path / "__init__.py", path.with_suffix(".py")):
        if file.is_file():
            return file
    return None


@lru_cache(maxsize=64)
def code_of(target: str) -> str:
    """16 hexadecimal digits over the meaning of a method's module and of all that it imports, directly or not,
    of its own top-level package (of its folder, if it is a file by itself) and of FIRST_PARTY."""
    place = locate(target)
    meanings: dict[str, str] = {}
    waiting = [(place.root, place.module)]
    while waiting:
        root, module = waiting.pop()
        file = module_file(root, module)
        if module in meanings or file is None:
            continue
        tree = _parse(file)
        meanings[module] = _meaning(tree)
        package = module if file.name == "__init__.py" else module.rpartition(".")[0]
        for name in _imported(tree, package):
            top = name.partition(".")[0]
            own = root if top != "benchmark" and module_file(root, top) else None
            home = _root_of(top, target) if own is None and top in FIRST_PARTY else own
            if home is not None:  # `a.b` is the module b or a name in a: both are looked for
                parts = name.split(".")
                waiting += [(home, ".".join(parts[:end])) for end in range(1, len(parts) + 1)]
    # the place by its class, not by its path: a method that was moved is the same
    text = "\n".join([place.attribute, *(f"{name} {meanings[name]}" for name in sorted(meanings))])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def class_constants(target: str) -> dict[str, object]:
    """The plain constants that the body of the class assigns (`title = "..."`), read without importing it.
    UsageError if the file has no such class."""
    place = locate(target)
    for node in _parse(place.file).body:
        if isinstance(node, ast.ClassDef) and node.name == place.attribute:
            return dict(_constants(node))
    raise UsageError(f"{place.file}: no class {place.attribute} in it.")


def _constants(node: ast.ClassDef) -> Iterator[tuple[str, object]]:
    for statement in node.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        value = getattr(statement, "value", None)
        if isinstance(value, ast.Constant):
            yield from ((name.id, value.value) for name in targets if isinstance(name, ast.Name))


def _parse(file: Path) -> ast.Module:
    try:
        return ast.parse(read_regular(file), str(file))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        raise UsageError(f"{file}{f':{line}' if line else ''}: {getattr(error, 'msg', error)}") from None


def _imported(tree: ast.Module, package: str) -> Iterator[str]:
    """Absolute names of all that a module imports, late imports included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".") if package else []
            above = parts[: len(parts) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" if base else alias.name for alias in node.names)


def _meaning(node: object) -> str:
    """A dump of a tree without strings that stand by themselves; the same under every version of Python: fields
    that are empty, as later versions add them, are left out."""
    if isinstance(node, ast.Constant):
        return f"{type(node.value).__name__} {node.value!r}"
    if isinstance(node, list):
        return "[" + ",".join(_meaning(one) for one in node if not _is_comment(one)) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = ((name, getattr(node, name, None)) for name in node._fields)
    held = (f"{name}={_meaning(value)}" for name, value in fields if value is not None and value != [])
    return f"{type(node).__name__}({','.join(held)})"


def _is_comment(node: object) -> bool:
    """A string as a statement: a docstring, or one under a field."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
