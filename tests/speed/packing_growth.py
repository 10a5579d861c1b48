"""What packing a category, and opening it again, takes in time and memory as its feature files grow in number.

    python -m tests.speed.packing_growth [--files 20000 200000] [--repo OTHER-CHECKOUT]

Every item has a feature file (hard links to 2,000 small ones) and a short text. Each stage is a process of its own;
its peak memory is that process's, and its CPU seconds are told apart from those of the processes it started.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tabulate import tabulate

STAGES = ("pack", "open again")


def generate(root: Path, files: int) -> None:
    from tests.speed import large

    large.ROI_WIDTH, large.WITH_IMAGE, large.WORDS = 16, 1, 10
    items = sum(large.SHARES.values()) * (1 + 1 / large.REVIEWS_PER_PRODUCT)
    large.generate(root, int(files / items), 2_000)


def stage(root: Path, cache: Path) -> dict[str, float]:
    """In a process that does nothing else."""
    from benchmark.data.source import Source
    from tests.speed.large import PLACE, resident

    began = time.perf_counter()
    corpus = Source(root, cache).open(*PLACE)
    wall = time.perf_counter() - began
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    splits = (corpus.train, corpus.dev, corpus.test)
    files = sum(
        int((split.rois(side).count_N > 0).sum()) for split in splits for side in ("product", "review")
    )
    return {
        "files": files,
        "wall s": round(wall, 2),
        "CPU s": round(own.ru_utime + own.ru_stime, 2),
        "CPU s of its children": round(children.ru_utime + children.ru_stime, 2),
        "peak MB": resident()["peak MB"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--repo", type=Path, default=Path(__file__).parents[2], help="whose code packs")
    parser.add_argument("--stage", nargs=2, type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.stage:
        sys.path.insert(0, str(chosen.repo))
        print(json.dumps(stage(*chosen.stage)))
        return
    rows = []
    for files in chosen.files:
        with tempfile.TemporaryDirectory() as temporary:
            root, cache = Path(temporary) / "release", Path(temporary) / "cache"
            generate(root, files)
            for name in STAGES:
                command = [sys.executable, __file__, "--repo", chosen.repo, "--stage", root, cache]
                done = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=chosen.repo)
                rows.append({"stage": name, **json.loads(done.stdout)})
    print(tabulate(rows, "keys", tablefmt="github"))
    print("load average:", *(f"{one:.1f}" for one in os.getloadavg()))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
