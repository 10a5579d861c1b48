"""How fast feature files are read, by one process and by several, and in how much memory.

    python -m tests.speed.packing [--files 20000] [--readers 1 2]

A split's feature files (eight RoIs of 2048 in float32, as released) are read, judged, hashed and written as packing
does it, once for each number of readers, in turns; the content that comes out must be one. Files are hard links to
`--distinct` ones. CPU seconds are told apart: of this process, and of its readers; with as many processors as
processes, the larger of (this process) and (the readers' share each) is what the wall clock shows.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from tabulate import tabulate

from benchmark.data.findings import Findings
from benchmark.data.release import find_category
from benchmark.data.roi_crew import RoiCrew
from benchmark.data.roi_files import FeatureReader
from benchmark.data.store import RowWriter
from tests.fixtures_release import feature_path, write_features, write_release

PLACE = ("amazon", "electronics")


def generate(root: Path, files: int, distinct: int) -> list[str]:
    """Item ids, each with a feature file."""
    rng = np.random.default_rng(0)
    pool = []
    for number in range(min(distinct, files)):
        x = np.abs(rng.normal(size=(4 + number % 9, 2048))).astype(np.float32)
        pool.append(write_features(root, *PLACE, "train", f"I{number:07}", [x]))
    ids = [f"I{number:07}" for number in range(files)]
    for number, item in enumerate(ids[len(pool) :]):
        path = feature_path(root, *PLACE, "train", item)
        path.parent.mkdir(parents=True)
        os.link(pool[number % len(pool)], path)
    return ids


def read_all(root: Path, ids: list[str], readers: int, out: Path) -> dict[str, float | str]:
    """What packing does with a split's features."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    started, digest, count = time.perf_counter(), hashlib.sha256(), 0
    rois = RowWriter(out, np.float16)
    with RoiCrew(readers) as crew:
        for _, roi_VF in FeatureReader(find_category(root, *PLACE), Findings(), crew).items("train", ids):
            if roi_VF is not None:
                count += 1
                rois.append(roi_VF)
                digest.update(roi_VF.data.cast("B"))
    rois.close()
    wall = time.perf_counter() - started

    def spent(who: int, before: resource.struct_rusage) -> float:
        now = resource.getrusage(who)
        return now.ru_utime + now.ru_stime - before.ru_utime - before.ru_stime

    parent, share = spent(resource.RUSAGE_SELF, own), spent(resource.RUSAGE_CHILDREN, children) / readers
    # with fewer processors than processes, all of the work is shared
    free = max(parent, share, (parent + share * readers) / (os.cpu_count() or 1))
    return {
        "readers": readers,
        "files": count,
        "wall s": round(wall, 2),
        "parent CPU s": round(parent, 2),
        "CPU s of each reader": round(share, 2),
        "files/s": round(count / wall),
        "files/s if nothing else ran": round(count / free),
        "peak MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "content": digest.hexdigest()[:12],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--distinct", type=int, default=2_000)
    parser.add_argument("--readers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--out", type=Path, help="all figures as JSON")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = write_release(Path(temporary) / "release", products=1, reviews=4, roi_width=2048)
        ids = generate(root, chosen.files, chosen.distinct)
        rows = [
            read_all(root, ids, readers, Path(temporary) / "rois.npy")
            for _ in range(chosen.turns)
            for readers in chosen.readers
        ]
    if len({row["content"] for row in rows}) != 1:
        raise SystemExit("other content with other readers")
    print(tabulate(rows, "keys", tablefmt="github"))
    print("load average:", *(f"{one:.1f}" for one in os.getloadavg()))
    if chosen.out:
        chosen.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
