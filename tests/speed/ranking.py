"""How long `bench rank` takes for many reviews, and how much memory. Not part of the suite.

    python -m tests.speed.ranking --rows 1000000 --folder /tmp/ranking [--method convknrm] [--memory 1GB]

A model is trained on a tiny generated corpus first (one epoch: its scores do not matter here). The ranking runs in a
process of its own, whose processor time and peak resident memory are what is reported.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from benchmark.data.mini.corpus import MiniSpec, write_corpus

SIZES = (1, 3, 8, 9, 10, 11, 12, 16, 20, 110)
"""Reviews of a product, in turn: 20 on the mean."""


def bench(*words: str, stdout: object = None) -> None:
    command = [sys.executable, "-c", "from benchmark.cli import main; main()", *words]
    subprocess.run(command, check=True, stdout=stdout)  # type: ignore[call-overload]


def model_of(method: str, folder: Path) -> Path:
    """A model of the quick preset, exported."""
    root, results, out = folder / "corpus", folder / f"results-{method}", folder / f"model-{method}"
    if out.is_dir():
        return out
    spec = MiniSpec(train_products=24, dev_products=5, test_products=6, roi_width=64, categories=("home",))
    if not root.is_dir():
        write_corpus(root, spec)
    where = ["--data", str(root), "--cache", str(folder / "cache"), "--results", str(results)]
    bench(
        "run",
        "amazon",
        "--method",
        method,
        "--seeds",
        "0",
        "--set",
        "train.epochs=1",
        "--keep-weights",
        *where,
    )
    (run,) = results.glob("runs/*/*/*/seed-0-*")
    bench("model", "export", str(run), "--out", str(out))
    return out


def generate(file: Path, rows: int, root: Path) -> None:
    """Reviews made of the corpus' own words, about 40 of them, products in no order: each is spread over the file."""
    import duckdb

    text = (root / "amazon" / "home" / "home.rvw.train").read_text(encoding="utf-8").lower()
    words = sorted({word for word in text.split() if word.isascii() and word.isalpha()})[:400]
    listed = ", ".join(f"'{word}'" for word in words)
    sizes = ", ".join(str(product) for product, size in enumerate(SIZES) for _ in range(size))
    total = sum(SIZES)
    duckdb.execute("SET threads = 1; SET memory_limit = '1GB'")
    duckdb.execute(
        f"COPY (SELECT 'P' || (i // {total}) || '-' || [{sizes}][1 + i % {total}] AS product_id, "
        "'R' || i AS review_id, "
        f"list_reduce(list_transform(range(20 + i % 40), "
        f"lambda j: [{listed}][1 + (i * 7 + j * j * 13) % {len(words)}]), "
        "lambda a, b: a || ' ' || b) || ' ' || i AS content, i % 5 AS stars "
        f"FROM range({rows}) AS made(i) ORDER BY hash(i)) TO '{file}' (FORMAT csv, HEADER)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--method", default="convknrm")
    parser.add_argument("--memory", default="1GB")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    model = model_of(given.method, given.folder)
    file, out = given.folder / f"reviews-{given.rows}.csv", given.folder / f"ranked-{given.rows}.csv"
    if not file.is_file():
        generate(file, given.rows, given.folder / "corpus")
    started, before = time.perf_counter(), os.times()
    words = ["rank", "--model", str(model), "--input", str(file), "--out", str(out), "--memory", given.memory]
    bench(*words)
    after, wall = os.times(), time.perf_counter() - started
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    with out.open("rb") as lines:
        written = sum(1 for _ in lines) - 1
    each = 1e6 * processor / given.rows
    print(
        f"{given.method}, {written:,} reviews, {file.stat().st_size / 1e6:,.0f} MB: {processor:.0f} s of processor "
        f"time ({each:.0f} us a review), {wall:.0f} s, peak {peak:,.0f} MB with --memory {given.memory}"
    )


if __name__ == "__main__":
    main()
