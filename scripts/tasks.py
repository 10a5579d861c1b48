"""Set up and do: what `make` does, for machines without make too. Needs Python 3.11 and nothing else.

    python scripts/tasks.py demo       # the main job on the embedded corpus, both tables
    python scripts/tasks.py test       # style, types, the whole suite
    python scripts/tasks.py check      # style and types
    python scripts/tasks.py docs       # the documentation site, in build/site
    python scripts/tasks.py tables     # the tables under results/tables, remade
    python scripts/tasks.py mutants    # plant faults in a copy of the tree, each of which a test must catch
    python scripts/tasks.py faults     # an hour: 100 kills, all damages and bad inputs, a cluster that loses workers
    python scripts/tasks.py resolve    # do the pinned versions install on every Python and operating system?

Each sets up what it needs in .venv, with the versions of constraints.txt, once and again when those change.
`--torch-index URL` (or TORCH_INDEX in the environment) takes torch from another index, as the one of CPU builds that
PyTorch's installation page names: what there is for Linux by default is the build for GPUs, gigabytes of it.
`--dry-run` prints the commands and runs none.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
WINDOWS = os.name == "nt"
PYTHON = VENV / ("Scripts/python.exe" if WINDOWS else "bin/python")
BENCH = VENV / ("Scripts/bench.exe" if WINDOWS else "bin/bench")
PIP = (str(PYTHON), "-m", "pip", "install", "-q", "-c", "constraints.txt")
SET_UP_BY = ("pyproject.toml", "setup.py", "constraints.txt", "benchmark/kernels/_kernels.cpp")
"""A change of one of these means that the environment is set up again."""

Command = tuple[str, ...]


def python(*words: str) -> Command:
    return (str(PYTHON), *words)


def bench(*words: str) -> Command:
    return (str(BENCH), *words)


def main_job() -> Command:
    return bench("run", "--all-categories")


def jobs() -> str:
    """Processes of the suite: as many as this one may use processors."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every operating system
    cores = len(affinity(0)) if affinity else os.cpu_count() or 2
    return os.environ.get("JOBS") or str(cores)


TASKS: dict[str, tuple[str, tuple[Command, ...]]] = {
    "demo": (
        "",
        (main_job(), bench("table", "--dataset", "lazada"), bench("table", "--dataset", "amazon")),
    ),
    "check": (
        "dev",
        (
            python("-m", "ruff", "check", "."),
            python("-m", "ruff", "format", "--check", "."),
            python("-m", "mypy"),
        ),
    ),
    "mutants": ("dev", (python("-m", "tests.mutations.run", "--jobs", jobs()),)),
    "faults": (
        "dev",
        (
            python("-m", "tests.faults.campaign", "--kills", "100"),
            python("-m", "tests.faults.damage"),
            python("-m", "tests.faults.bad_input"),
            python("-m", "tests.cluster.grid", "local"),
        ),
    ),
    "docs": ("docs", (python("-m", "mkdocs", "build", "--strict", "--site-dir", "build/site"),)),
    "tables": (
        "",
        (main_job(), bench("ablate", "--drop", "all"), ("sh", "results/make_tables.sh", str(BENCH))),
    ),
    "resolve": ("", ((*PIP, "uv"), python("scripts/resolve.py"))),
}
"""Name -> the extra that it needs, and its commands."""
TASKS["test"] = ("dev", (*TASKS["check"][1], python("-m", "pytest", "-n", jobs())))


def set_up(extra: str, *, torch_index: str = "") -> Iterator[Command]:
    """What is still to be done before a task with this extra can run."""
    if not PYTHON.exists():
        yield (sys.executable, "-m", "venv", str(VENV))
    if stale(VENV / ".ready"):
        # beside the usual index, which has what torch needs at its pinned version; 2.13.0+cpu counts as newer
        yield (*PIP, *(("--extra-index-url", torch_index) if torch_index else ()), "torch")
        yield (*PIP, "-e", ".")
        yield touch(VENV / ".ready")
    if extra and stale(VENV / f".ready-{extra}", VENV / ".ready"):
        yield (*PIP, "-e", f".[{extra}]")
        yield touch(VENV / f".ready-{extra}")


def touch(file: Path) -> Command:
    return python("-c", "import pathlib, sys; pathlib.Path(sys.argv[1]).touch()", str(file))


def stale(stamp: Path, *also: Path) -> bool:
    sources = [*(ROOT / name for name in SET_UP_BY), *also]
    return not stamp.exists() or any(
        not file.exists() or file.stat().st_mtime > stamp.stat().st_mtime for file in sources
    )


def main(arguments: list[str] | None = None) -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="tasks.py TASK [options]",
    )
    parser.add_argument("task", choices=TASKS, metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--torch-index", metavar="URL", default=os.environ.get("TORCH_INDEX", ""))
    parser.add_argument("--dry-run", action="store_true")
    chosen = parser.parse_args(arguments)
    extra, commands = TASKS[chosen.task]
    for command in [*set_up(extra, torch_index=chosen.torch_index), *commands]:
        if chosen.dry_run:
            print(*command)
            continue
        status = subprocess.run(command, cwd=ROOT).returncode
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
