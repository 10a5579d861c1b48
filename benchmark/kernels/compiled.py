"""Where the compiled kernels are, and whether they may be used. Needs no torch."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
from pathlib import Path

SWITCH = "MRHP_BENCH_KERNELS"
SOURCE = Path(__file__).with_name("_kernels.cpp")
MARK = b"mrhp-bench kernels of source "


def wanted() -> bool:
    """False where the environment switches the compiled kernels off."""
    return os.environ.get(SWITCH) != "0"


def want(wanted: bool) -> None:
    """Switch them on or off for this process and those that it starts, before they are used."""
    os.environ[SWITCH] = "1" if wanted else "0"


@functools.cache
def library() -> Path | None:
    """The file of the compiled kernels; None if `problem` says why they cannot be used, or if they are switched
    off."""
    # found, never imported: `native` loads the file by ctypes
    found = importlib.util.find_spec("benchmark.kernels._kernels")
    if not wanted() or found is None or found.origin is None:
        return None
    file = Path(found.origin)
    return file if _is_of_this_source(file) else None


@functools.cache
def problem() -> str:
    """Why the CPU does without compiled kernels, and what to do about it; empty if it has them or if they
    were switched off on purpose."""
    if library() is not None or not wanted():
        return ""
    if importlib.util.find_spec("benchmark.kernels._kernels") is None:
        return (
            "compiled kernels were not built (no C++ compiler with OpenMP when the package was installed?); "
            "PyTorch computes the same, slower."
        )
    return "the compiled kernels are of another version: install again (pip install -e .). PyTorch stands in, slower."


def _is_of_this_source(file: Path) -> bool:
    """Kernels left over from an earlier version would take other arguments than they are given."""
    if not SOURCE.exists():  # an installation without sources cannot have got out of step
        return True
    # the mark is compiled in: a file's time would say nothing after a copy or a checkout
    return MARK + hashlib.sha256(SOURCE.read_bytes()).hexdigest().encode() in file.read_bytes()
