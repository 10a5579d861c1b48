"""Classes of others: imported from where they lie, with errors that name their file and line. Torch-free."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.core.code import Place, locate
from benchmark.core.errors import UsageError

if TYPE_CHECKING:
    from types import ModuleType


def load_class(target: str, base: type) -> type[Any]:
    """The class at `module:Class` or `path/to/file.py:Class`. UsageError, with file and line, if it cannot be
    imported or is no subclass of `base`."""
    place = locate(target)
    try:
        loaded = getattr(import_place(place), place.attribute)
    except UsageError:
        raise
    except Exception as error:  # whatever a file of somebody's does when it is imported
        raise UsageError(
            f"{place.file}{line_of(error, place)}: cannot be imported ({type(error).__name__}: {error})"
        ) from error
    if not (isinstance(loaded, type) and issubclass(loaded, base)):
        raise UsageError(
            f"{place.file}: {place.attribute} is no subclass of {base.__module__}.{base.__qualname__}."
        )
    return loaded


def import_place(place: Place) -> ModuleType:
    """The module; its root joins the end of the import path, where it shadows nothing."""
    if str(place.root) not in sys.path:
        sys.path.append(str(place.root))
    known = sys.modules.get(place.module)
    if known is not None and _same_file(known, place.file):
        return known
    if "." in place.module:
        return importlib.import_module(place.module)
    # a file by itself is loaded from where it lies, whatever else has its name
    spec = importlib.util.spec_from_file_location(place.module, place.file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[place.module] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[place.module]
        raise
    return module


def _same_file(module: ModuleType, file: Path) -> bool:
    at: Any = getattr(module, "__file__", None)
    return bool(at) and Path(at).resolve() == file.resolve()


def line_of(error: BaseException, place: Place) -> str:
    """`:12`, the last line of the class's own file that led to the error; empty if none did."""
    line, step = None, error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == str(place.file):
            line = step.tb_lineno
        step = step.tb_next
    return f":{line}" if line else ""
