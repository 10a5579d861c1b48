"""Plant each fault of the list in a copy of the tree and see its test fail.

    python -m tests.mutations.run [--only WORDS] [--fast] [--jobs N]

A fault that no test notices survives, and the exit code is 1. Each fault has a
process of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.mutations.fault import Fault
from tests.mutations.faults import FAULTS

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 300
"""A fault may make a test loop for ever; that is noticed too."""


@dataclass(frozen=True)
class Outcome:
    fault: Fault
    caught: bool
    by: str
    """The first test that failed, or why this says nothing."""
    seconds: float


def copy_tree(target: Path) -> Path:
    """The files that the tests need, the compiled kernels among them."""
    for name in ("benchmark", "baselines", "mmss", "tests", "docs", "examples"):
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "mutations")
            shutil.copytree(ROOT / name, target / name, ignore=ignored, dirs_exist_ok=True)
    for file in ROOT.iterdir():
        if file.is_file() and file.suffix in (".toml", ".md", ".txt", ".py", ".in", ".cff"):
            shutil.copy(file, target)
    return target


@contextlib.contextmanager
def planted(tree: Path, fault: Fault) -> Iterator[None]:
    file = tree / fault.file
    text = file.read_text()
    if text.count(fault.old) != 1:
        raise LookupError(f"{fault.file} holds the edit's text {text.count(fault.old)} times, not once")
    file.write_text(text.replace(fault.old, fault.new))
    try:
        yield
    finally:
        file.write_text(text)


def try_out(fault: Fault, tree: Path) -> Outcome:
    """In a child process: apply, test, restore."""
    started = time.monotonic()
    try:
        with planted(tree, fault):
            code, text = in_child(tree, fault.test)
    except LookupError as error:
        return Outcome(fault, False, str(error), 0.0)
    failed = [line for line in text.splitlines() if line.startswith(("FAILED", "ERROR"))]
    caught = code in (1, -signal.SIGKILL) and not any(
        "error during collection" in line for line in text.splitlines()
    )
    reason = (
        failed[0][:150]
        if failed
        else "too slow: killed"
        if code < 0
        else f"nothing failed (pytest's code {code})"
    )
    return Outcome(fault, caught, reason, time.monotonic() - started)


def in_child(tree: Path, test: str) -> tuple[int, str]:
    """pytest on `test` in a process that sees only the tree: (exit code, output)."""
    command = [sys.executable, "-m", "tests.mutations.child", str(tree), test]
    try:
        made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return -signal.SIGKILL, ""
    return made.returncode, made.stdout + made.stderr


def work(faults: Sequence[Fault], tree: Path) -> list[Outcome]:
    outcomes = []
    for fault in faults:
        outcomes.append(try_out(fault, tree))
        last = outcomes[-1]
        print(
            f"{'caught  ' if last.caught else 'SURVIVED'} {last.seconds:5.1f} s  {fault.name}: {last.by}",
            flush=True,
        )
    return outcomes


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="faults whose name or file holds these words")
    parser.add_argument("--fast", action="store_true", help="those that the suite tries")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args(arguments)
    chosen = [
        fault
        for fault in FAULTS
        if options.only in f"{fault.name} {fault.file}" and (fault.fast or not options.fast)
    ]
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder, ThreadPoolExecutor(options.jobs) as pool:
        trees = [copy_tree(Path(folder) / str(job)) for job in range(options.jobs)]
        parts = [chosen[job :: options.jobs] for job in range(options.jobs)]
        outcomes = [one for part in pool.map(work, parts, trees) for one in part]
    survivors = [one for one in outcomes if not one.caught]
    print(
        f"{len(outcomes)} faults, {len(outcomes) - len(survivors)} caught, {len(survivors)} survived, "
        f"{time.monotonic() - started:.0f} s"
    )
    return 1 if survivors or not outcomes else 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
