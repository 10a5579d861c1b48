"""`bench selfcheck --determinism`: are the numbers of a run a function of its specification alone?

A short run of every method is carried out in fresh processes: twice alone, with Python's hash seed changed
and the methods in the other order, then twice more side by side, as `--jobs 2` does. Losses of every step,
dev metrics, weights, training state and test scores must agree bit for bit.

If they do not, the method runs twice more under a trace: a checksum of every tensor operation's result, of
every gradient and of every parameter after each step. The first entry that differs, all before it being
equal, names the operation that is not a function of its inputs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import models
from benchmark.core.errors import BenchError
from benchmark.data.source import Source
from benchmark.engine.plan import Choices, expand
from benchmark.runs.spec import RunSpec, spec_from_json

if TYPE_CHECKING:
    from benchmark.data.mini.corpus import MiniSpec
from benchmark.checks.tracing import Record, first_difference, first_event, record_run

EPOCHS = 3
"""MM-SS moves its pseudo labels from the second epoch on, and they enter the third's loss moved."""
DATASET, CATEGORY = "amazon", "electronics"
PROCESS_LIMIT_S = 1800


def corpus_spec() -> MiniSpec:
    """A few products, enough for some steps per epoch."""
    from benchmark.data.mini.corpus import MiniSpec

    return MiniSpec(
        train_products=20,
        dev_products=6,
        test_products=8,
        datasets=(DATASET,),
        categories=(CATEGORY,),
        roi_width=16,
    )


# What one process records ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Assignment:
    """The work of one process: some runs, one after the other."""

    specs: tuple[RunSpec, ...]
    source: Source
    trace: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "specs": [asdict(spec) for spec in self.specs],
            "targets": {spec.method: models.get(spec.method).target for spec in self.specs},
            "source": {
                key: str(value) if isinstance(value, Path) else value
                for key, value in asdict(self.source).items()
            },
            "trace": self.trace,
        }


def start(job: Assignment, folder: Path, hash_seed: int) -> subprocess.Popen[bytes]:
    """A fresh process that does the job and writes its records into `folder`.

    Its hash seed differs from the others': an order that hangs on a set's or an address's hash would show.
    """
    (folder / "job.json").write_text(json.dumps(job.to_json()))
    environment = os.environ | {"PYTHONHASHSEED": str(hash_seed)}
    environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    with (folder / "errors.txt").open("wb") as errors:
        command = [sys.executable, "-P", "-m", "benchmark.checks.determinism", str(folder)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=errors)


def collect(process: subprocess.Popen[bytes], folder: Path) -> dict[str, Record]:
    """Method -> record, once the process has ended. BenchError with its last words if it failed."""
    try:
        process.wait(PROCESS_LIMIT_S)
    finally:
        if process.poll() is None:
            process.kill()
    if process.returncode != 0:
        words = (folder / "errors.txt").read_text(errors="replace").strip().splitlines()
        raise BenchError(f"a run of the determinism check failed: {words[-1] if words else 'without a word'}")
    found = json.loads((folder / "records.json").read_text())
    return {method: Record.from_json(value) for method, value in found.items()}


def work(folder: Path) -> None:
    """What a fresh process does: read the job, carry out its runs, write their records."""
    job = json.loads((folder / "job.json").read_text())
    for method, target in job["targets"].items():
        if method not in models.METHODS:  # one that the calling process registered
            models.register(target, method)
    given = job["source"]
    paths = {key: None if given[key] is None else Path(given[key]) for key in ("root", "cache", "vectors")}
    source = Source(**{**given, **paths})
    specs = [spec_from_json(record) for record in job["specs"]]
    found = {spec.method: record_run(spec, source, job["trace"]).to_json() for spec in specs}
    (folder / "records.json").write_text(json.dumps(found))


# The check ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Repeatability:
    """One method on one device."""

    method: str
    device: str
    steps: int
    tests: tuple[str, ...]
    """What was compared with the first run."""
    differs: str = ""
    """Which comparison failed, and the first thing that differs; empty if all agree."""
    operation: str = ""
    """What the trace names as the first operation that differs."""

    @property
    def ok(self) -> bool:
        return not self.differs

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"ok": self.ok}


OTHER_ORDER = "again, other methods before it"
NEIGHBOURS = ("beside another run (1)", "beside another run (2)")


def check(
    methods: Sequence[str],
    devices: Sequence[str],
    cache: Path,
    *,
    on_progress: Callable[[str], None] = lambda text: None,
) -> list[Repeatability]:
    """The check of these methods on these devices, `cpu` or `cuda`."""
    from benchmark.data.mini.corpus import cached_corpus

    source = Source(cached_corpus(cache, corpus_spec()), cache)
    return [verdict for device in devices for verdict in _check_device(methods, device, source, on_progress)]


def _check_device(
    methods: Sequence[str], device: str, source: Source, on_progress: Callable[[str], None]
) -> list[Repeatability]:
    specs = short_runs(methods, device, source)
    on_progress(f"{device}: {len(specs)} methods in a fresh process")
    (first,) = _carry_out([Assignment(specs, source)])
    on_progress(f"{device}: again in another, in the other order")
    (second,) = _carry_out([Assignment(specs[::-1], source)], hash_seed=1)
    on_progress(f"{device}: in two processes side by side")
    neighbours = _carry_out([Assignment(specs, source), Assignment(specs, source)], hash_seed=2)
    others = dict(zip((OTHER_ORDER, *NEIGHBOURS), (second, *neighbours), strict=True))
    return [_repeatability(spec, first, others, source, on_progress) for spec in specs]


def short_runs(methods: Sequence[str], device: str, source: Source) -> tuple[RunSpec, ...]:
    """A run of few epochs of each method, quick preset, never stopped early."""
    choices = Choices(
        datasets=(DATASET,),
        categories=(CATEGORY,),
        methods=tuple(methods),
        seeds=(0,),
        overrides=(f"train.epochs={EPOCHS}", "train.patience=0", "train.max_tokens=24"),
        device=device,
    )
    return tuple(expand(choices, [source.open(DATASET, CATEGORY)]))


def _carry_out(jobs: Sequence[Assignment], hash_seed: int = 0) -> list[dict[str, Record]]:
    """All jobs at once, each in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="mrhp-bench-") as scratch:
        folders = [Path(scratch) / str(number) for number in range(len(jobs))]
        processes = []
        try:
            for number, (job, folder) in enumerate(zip(jobs, folders, strict=True)):
                folder.mkdir()
                processes.append(start(job, folder, hash_seed + number))
            return [collect(process, folder) for process, folder in zip(processes, folders, strict=True)]
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()


def _repeatability(
    spec: RunSpec,
    first: Mapping[str, Record],
    others: Mapping[str, Mapping[str, Record]],
    source: Source,
    on_progress: Callable[[str], None],
) -> Repeatability:
    record = first[spec.method]
    verdict = Repeatability(spec.method, spec.device, len(record.losses), tuple(others))
    for test, found in others.items():
        difference = first_difference(record, found[spec.method])
        if difference:
            on_progress(f"{spec.device}: {spec.method} differs; looking for the operation")
            operation = find_operation(spec, source)
            return replace(verdict, differs=f"{test}: {difference}", operation=operation)
    return verdict


def find_operation(spec: RunSpec, source: Source) -> str:
    """Run a method twice under a trace; the first operation that differs, in words."""
    job = Assignment((spec,), source, trace=True)
    (a,), (b,) = _carry_out([job]), _carry_out([job], hash_seed=1)
    return first_event(a[spec.method], b[spec.method]) or (
        "not seen again in two fresh processes with this method alone: suspect what other runs leave behind"
    )


def render(verdicts: Sequence[Repeatability]) -> str:
    """One line per method and device, and what differs."""
    from tabulate import tabulate

    rows = [
        [v.method, v.device, v.steps, len(v.tests) + 1, "identical" if v.ok else "DIFFERS"] for v in verdicts
    ]
    lines = [tabulate(rows, ["method", "device", "steps", "runs", "bit for bit"], tablefmt="github")]
    lines += [
        f"{v.method} on {v.device}: {v.differs}\n  first operation that differs: {v.operation}"
        for v in verdicts
        if not v.ok
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    work(Path(sys.argv[1]))
