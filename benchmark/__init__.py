"""mrhp-bench: the reproducibility benchmark for multimodal review helpfulness prediction.

From Python: `load_runs`, `frame`, `crossed_test`, `paired_test`, `run`, `load_ranker`. Each is imported when it is
first used. None needs torch but `load_ranker`, when it is called, and `run`, in the processes that train.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.cluster.interface import run as run
    from benchmark.rank.ranker import load_ranker as load_ranker
    from benchmark.report.frame import frame as frame
    from benchmark.runs.store import load_runs as load_runs
    from benchmark.stats.crossed import crossed_test as crossed_test
    from benchmark.stats.crossed import paired_test as paired_test

__version__: str
"""Of the installed package; looked up when it is asked for, which most processes never do."""

_HOME = {
    "crossed_test": "benchmark.stats.crossed",
    "frame": "benchmark.report.frame",
    "load_ranker": "benchmark.rank.ranker",
    "load_runs": "benchmark.runs.store",
    "paired_test": "benchmark.stats.crossed",
    "run": "benchmark.cluster.interface",
}
"""Name of the interface -> the module that has it."""

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        found = globals()[name] = _version()
        return found
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("mrhp-bench")
    except PackageNotFoundError:  # a source tree that was never installed
        return "0+unknown"
