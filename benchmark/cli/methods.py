"""Methods as the command line names them: registered ones, and classes in files of one's own."""

from __future__ import annotations

from collections.abc import Sequence


def pick_methods(chosen: Sequence[str] | None) -> tuple[str, ...]:
    """Names of the chosen methods in the registry's order, each once; the paper's nine if none was chosen. What
    has a colon (`path/to/file.py:Class`, `module:Class`) is registered first."""
    from benchmark import models
    from benchmark.cli.common import pick

    if not chosen:
        return models.DEFAULT_METHODS
    names = [one_method(name) for name in chosen]
    return pick("method", names, tuple(models.METHODS))


def one_method(given: str) -> str:
    """The name of one method; UsageError if it is unknown."""
    from benchmark import models

    return models.register(given).name if ":" in given else models.get(given).name
