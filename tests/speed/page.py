"""Makes the measured parts of `results/speed.md` anew; the rest of the page stays as it is.

    python tests/speed/page.py [--only reference|methods] [--repeats 3] [--seconds 1] [--steps 2] [--page FILE]

A script for a quiet machine. What it writes stands between `<!-- measured: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.speed import reference  # noqa: E402

PARTS = ("machine", "reference", "methods")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=PARTS[1:], help="default: everything")
    parser.add_argument("--repeats", type=int, default=3, help="fresh processes per network")
    parser.add_argument("--seconds", type=float, default=1.0, help="of training steps, and of scoring, each")
    parser.add_argument("--steps", type=int, default=2, help="training steps of `bench speed`")
    parser.add_argument("--page", type=Path, default=ROOT / "results" / "speed.md")
    options = parser.parse_args(arguments)
    started = time.perf_counter()
    made = {"machine": machine()}
    if options.only != "methods":
        made["reference"] = against_released(options.repeats, options.seconds)
    if options.only != "reference":
        made["methods"] = all_methods(options.steps)
    options.page.write_text(with_parts(options.page.read_text(), made))
    print(f"{options.page}: {', '.join(made)} in {time.perf_counter() - started:.0f} s", file=sys.stderr)


def with_parts(page: str, made: dict[str, str]) -> str:
    """The page with these parts in place of what stood there. ValueError where it has no such place."""
    for name, text in made.items():
        mark = f"<!-- measured: {name} -->"
        before, found, rest = page.partition(mark)
        _, ended, after = rest.partition("<!-- end -->")
        if not found or not ended:
            raise ValueError(f"the page has no {mark} ... <!-- end -->")
        page = f"{before}{mark}\n{text.strip()}\n{ended}{after}"
    return page


def machine() -> str:
    """What the figures were measured on."""
    import torch

    from benchmark.engine.machine import git_commit, processor_name, processors
    from benchmark.kernels import native

    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"Commit {git_commit()}; {processors()} cores of {processor_name()}, {gigabytes:.0f} GB of memory, {gpu}; "
        f"{platform.system()}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"{'with' if native.available() else 'without'} compiled kernels."
    )


def against_released(repeats: int, seconds: float) -> str:
    """The released forms at the released code's own lengths, and pair construction and tokenising."""
    chosen = reference.cases(forms=("released",))
    measured = reference.repeated(chosen, repeats, seconds)
    said = (
        f"`python tests/speed/page.py`: two threads, float32, medians of {repeats} fresh processes in random order. "
        "`!`: below its target."
    )
    return f"{said}\n\n{reference.report(chosen, measured, reference.data_rows())}"


def all_methods(steps: int) -> str:
    """`bench speed` at full size, as many runs side by side as `bench run` makes."""
    given = ["speed", "--preset", "paper", "--steps", str(steps)]
    command = [sys.executable, "-m", "benchmark", *given]
    # the children's own libraries take their threads from the configuration
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    return f"`bench {' '.join(given)}`:\n\n{done.stdout}"


if __name__ == "__main__":
    main()
