"""What the readers of results cost at real size: a results folder written by the product's own writer, then each
command's CPU seconds, wall seconds and peak memory.

    python -m tests.speed.readers                          27 and 270 runs of 4,000 products and 100,000 reviews
    python -m tests.speed.readers --runs 270 --keep DIR    write once, measure again
    python -m tests.speed.readers --runs 2700              ten times as many: ten times the time, the same memory?
    python -m tests.speed.readers --tables --bench 'OTHER/.venv/bin/bench'
                                                           the same runs as tables, as before scores were kept as
                                                           arrays; read by another checkout

CPU seconds are those of the command alone (user and system), so they hold on a busy machine too.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from tabulate import tabulate

from benchmark import models
from benchmark.data.datasets import BUILT_IN
from benchmark.runs.files import write_mark
from benchmark.runs.spec import RunSpec
from benchmark.runs.store import StoredRun, load_run
from benchmark.runs.writer import RunWriter, sha256_of, write_data

PLACES = [(name, category) for name in ("lazada", "amazon") for category in BUILT_IN[name].category_names]
SHAPES = {27: (1, 3), 270: (6, 5), 2700: (6, 50)}
"""Runs -> (categories, seeds), of nine methods each."""
EPOCHS = 20


def commands(results: Path) -> dict[str, list[str]]:
    place, archive = ["--results", str(results)], str(results.with_name(results.name + ".zip"))
    return {
        "table": ["table", *place],
        "stats": ["stats", *place],
        "compare": ["compare", *place],
        "claims": ["claims", *place],
        "table --threshold 1": ["table", "--threshold", "1", *place],
        "export": ["export", "--out", archive, *place],
        "table --from": ["table", "--from", archive],
    }


def test_split(rng: np.random.Generator, products: int, reviews: int) -> SimpleNamespace:
    """Every product has a review; the others are spread unevenly; labels differ from product to product."""
    weight = rng.gamma(1.5, size=products)
    more = rng.choice(products, reviews - products, p=weight / weight.sum())
    product_R = np.sort(np.concatenate([np.arange(products), more]))
    quality_P = rng.normal(size=products)
    latent_R = 0.5 * quality_P[product_R] + rng.normal(size=reviews)
    return SimpleNamespace(
        product_ids=[f"{number:010d}" for number in rng.permutation(10**7)[:products]],
        review_ids=[f"R{number:013X}" for number in rng.integers(0, 16**13, reviews)],
        product_R=product_R,
        label_R=np.digitize(latent_R, [-1.0, 0.0, 0.8, 1.5]),
        latent_R=latent_R,
        n_products=products,
        word_count_R=rng.poisson(40, reviews) + 1,
        time_R=np.round(rng.uniform(1.4e9, 1.6e9, reviews) / 86_400) * 86_400,
        has_image_R=rng.random(reviews) < 0.4,
    )


def write_results(results: Path, runs: int, products: int, reviews: int) -> None:
    categories, seeds = SHAPES[runs]
    for number, (dataset, category) in enumerate(PLACES[:categories]):
        rng = np.random.default_rng(number)
        split = test_split(rng, products, reviews)
        counts = {"products": products, "reviews": reviews}
        images = {
            side: {"with_features": count // 2}
            for side, count in zip(("product", "review"), counts.values(), strict=True)
        }
        write_data(
            results,
            SimpleNamespace(
                dataset=dataset,
                category=category,
                fingerprint=f"{number}" * 64,
                manifest={
                    "splits": {name: {**counts, "images": images} for name in ("train", "dev", "test")}
                },
                test=split,
            ),
        )
        for place, method in enumerate(models.DEFAULT_METHODS):
            for seed in range(seeds):
                write_run(
                    results, dataset, category, method, seed, f"{number}" * 64, split, 0.2 + 0.05 * place, rng
                )


def write_run(
    results: Path,
    dataset: str,
    category: str,
    method: str,
    seed: int,
    fingerprint: str,
    split: SimpleNamespace,
    skill: float,
    rng: np.random.Generator,
) -> None:
    training = {"relevance_threshold": 0, "epochs": EPOCHS, "learning_rate": 1e-3}
    spec = RunSpec(
        dataset, category, method, seed, {"training": training, "model": {}}, fingerprint, "fair", "paper",
        corpus="made up",
    )  # fmt: skip
    writer = RunWriter(spec, results)
    score_R = (skill * split.latent_R + rng.normal(size=len(split.label_R))).astype(np.float32)
    reviews = writer.write_scores(split, score_R, {}, 0).reviews
    for epoch in range(1, EPOCHS + 1):
        tasks = {name: {"mean_change": 0.5 / epoch} for name in ("ptrt", "pvrv", "ptrv", "pvrt", "rtrv")}
        notes = {"pseudo_labels": {"tasks": tasks}} if method == models.PROPOSED else {}
        writer.log({"epoch": epoch, "loss": 1.0 / epoch, "dev_map": 0.5, "notes": notes})
    meta = {"commit": "abc123", "package": "1", "finished": 1.7e9, "seconds": {"total": 100.0}}
    writer.write_json("meta.json", meta | {"data": {"reviews": reviews}})
    writer.finish()


def as_tables(results: Path) -> None:
    """Every run as it lay before scores were kept as arrays: tables with ids of their own."""
    for mark in sorted(results.glob("runs/*/*/*/*/done")):
        _as_tables(load_run(mark.parent))


def _as_tables(run: StoredRun) -> None:
    for name, table in (("scores.csv", run.scores), ("per_product.csv", run.per_product)):
        table.to_csv(run.folder / name, index=False, lineterminator="\n")
    for name in ("scores.npy", "per_product.npy"):
        (run.folder / name).unlink()
    files = sorted(path for path in run.folder.iterdir() if path.name != "done")
    write_mark(run.folder, run.id, {path.name: sha256_of(path) for path in files})


def measured(bench: list[str], words: list[str]) -> dict[str, float]:
    """One command: CPU and wall seconds, peak memory in MB."""
    started = time.perf_counter()
    with open(os.devnull, "w") as nowhere:
        child = os.posix_spawn(
            bench[0], [*bench, *words], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, nowhere.fileno(), 1)]
        )
        _, status, usage = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, 4):  # 4: a published number was not met
        raise SystemExit(f"{shlex.join([*bench, *words])} ended with {code}")
    return {
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "wall_s": round(time.perf_counter() - started, 2),
        "peak_mb": round(usage.ru_maxrss / 1024),
    }


def measure(bench: list[str], results: Path) -> dict[str, dict[str, float]]:
    found = {}
    for name, words in commands(results).items():
        found[name] = measured(bench, words)
        if name == "export":
            archive = results.with_name(results.name + ".zip")
            found[name]["archive_mb"] = round(archive.stat().st_size / 1e6, 1)
    return found


def render(found: dict[int, dict[str, dict[str, float]]]) -> str:
    """One line a command; the last column is the most runs' CPU seconds over the fewest's."""
    counts = sorted(found)
    rows = []
    for name in found[counts[0]]:
        row: list[Any] = [name]
        for count in counts:
            one = found[count][name]
            row += [one["cpu_s"], one["wall_s"], one["peak_mb"]]
        row.append(f"{found[counts[-1]][name]['cpu_s'] / found[counts[0]][name]['cpu_s']:.1f}")
        archive = found[counts[-1]][name].get("archive_mb")
        rows.append([*row, "" if archive is None else f"{archive:g} MB"])
    heads = [
        "command",
        *(f"{what}, {count} runs" for count in counts for what in ("CPU s", "wall s", "peak MB")),
    ]
    return tabulate(rows, [*heads, "times", "archive"], tablefmt="github")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, nargs="+", choices=SHAPES, default=[27, 270])
    parser.add_argument("--products", type=int, default=4_000)
    parser.add_argument("--reviews", type=int, default=100_000)
    parser.add_argument("--keep", type=Path, help="write the results folders here and leave them")
    parser.add_argument("--tables", action="store_true", help="runs as they lay before there were arrays")
    parser.add_argument("--bench", default="", help="another program than this checkout's")
    parser.add_argument("--out", type=Path, help="all figures as JSON")
    chosen = parser.parse_args()
    ours = [sys.executable, "-c", "from benchmark.cli import main; main()"]
    bench = shlex.split(chosen.bench) if chosen.bench else ours
    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        place: Path = chosen.keep or Path(temporary)
        for runs in chosen.runs:
            results = place / f"{runs}{'-tables' if chosen.tables else ''}"
            if not results.is_dir():
                started = time.process_time()
                write_results(results, runs, chosen.products, chosen.reviews)
                print(f"{runs} runs written in {time.process_time() - started:.0f} CPU s", flush=True)
                if chosen.tables:
                    as_tables(results)
            found[runs] = measure(bench, results)
    print(render(found))
    print("load average:", *(f"{one:.1f}" for one in os.getloadavg()))
    if chosen.out:
        chosen.out.write_text(
            json.dumps({str(runs): figures for runs, figures in found.items()}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
