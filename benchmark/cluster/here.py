"""Runs side by side on this machine."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path

from benchmark.data.source import Source
from benchmark.engine.runner import Outcome, execute
from benchmark.runs.spec import RunSpec


def run_all(
    specs: Sequence[RunSpec], source: Source, results: Path, *, jobs: int, keep_weights: bool = False
) -> Generator[Outcome, None, None]:
    """Carry out the runs, `jobs` at a time, and yield each as it ends (in no fixed order).

    A failure is recorded and yielded like a success; only an interrupt ends the iteration early.
    """
    from joblib import Parallel, delayed

    if jobs == 1:
        for spec in specs:
            yield execute(spec, source, results, keep_weights)
        return
    tasks = (delayed(execute)(spec, source, results, keep_weights) for spec in specs)
    # Runs are long next to the cost of handing one over: no batching, nothing dispatched far ahead.
    yield from Parallel(n_jobs=jobs, batch_size=1, pre_dispatch=jobs, return_as="generator_unordered")(tasks)
