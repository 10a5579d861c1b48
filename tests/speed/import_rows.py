"""How long an import takes and how much memory: generated reviews, as CSV or JSON lines. Not part of the suite.

    python -m tests.speed.import_rows --rows 5000000 --folder /tmp/import-rows [--form jsonl] [--memory 1GB]

The import runs in a process of its own, whose peak resident memory is what is reported.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

REVIEWS_OF_A_PRODUCT = 25


def generate(file: Path, rows: int) -> None:
    """Reviews of about 40 words with votes of a heavy tail; a thousandth of the rows is bad."""
    import duckdb

    words = ["the", "case", "fits", "my", "phone", "very", "well", "but", "its", "battery", "died", "soon"]
    listed = ", ".join(f"'{word}'" for word in words)
    how = "FORMAT json" if file.suffix == ".jsonl" else "FORMAT csv, HEADER"
    duckdb.execute("SET threads = 1; SET memory_limit = '1GB'; SELECT setseed(0.5)")
    duckdb.execute(
        f"COPY (SELECT 'P' || (i // {REVIEWS_OF_A_PRODUCT}) AS asin, 'R' || i AS review_id, "
        f"list_reduce(list_transform(range(20 + i % 40), "
        f"lambda j: [{listed}][1 + (i * 7 + j * j * 13) % {len(words)}]), "
        "lambda a, b: a || ' ' || b) || ' ' || i AS reviewText, "
        "CASE WHEN i % 1000 = 7 THEN 'many' ELSE (1 / (1 - random()))::BIGINT::VARCHAR END AS vote, "
        f"'category ' || (i // {REVIEWS_OF_A_PRODUCT} % 3) AS category "
        f"FROM range({rows}) AS made(i)) TO '{file}' ({how})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--form", choices=("csv", "jsonl"), default="csv")
    parser.add_argument("--memory", default="1GB")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    file, root = given.folder / f"reviews.{given.form}", given.folder / f"root-{given.form}"
    if not file.is_file():
        generate(file, given.rows)
    command = ["from benchmark.cli import main; main()", "data", "import", str(file), "--out", str(root)]
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", *command, "--name", "made", "--memory", given.memory, "--json"],
        check=True,
        stdout=(given.folder / f"report-{given.form}.json").open("w"),
    )
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    kept = json.loads((given.folder / f"report-{given.form}.json").read_text())["rows"][-1]
    print(
        f"{given.rows:,} rows, {file.stat().st_size / 1e6:,.0f} MB of {given.form}: {seconds:.0f} s, "
        f"{given.rows / seconds:,.0f} rows/s, peak {peak:,.0f} MB with --memory {given.memory}; {kept}"
    )


if __name__ == "__main__":
    main()
