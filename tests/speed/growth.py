"""Twice the reviews: how much more time and memory? Called by `reference.py --growth`.

A corpus and one of twice its products are generated, packed, trained on for some epochs and scored, each in a
fresh process with one thread, in turn and several times; medians are compared.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PRODUCTS = 500
REPEATS = 3
EPOCHS = 5
METHODS = ("egcnn", "mcr")
STAGES = ("pack", "first step", "train", "score")
PLACE = ("amazon", "home")


def main(out: Path | None = None) -> None:
    measured: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        roots = {size: Path(folder) / str(size) for size in (PRODUCTS, 2 * PRODUCTS)}
        for size, root in roots.items():
            print(f"generating {size} products", file=sys.stderr, flush=True)
            generate(root, size)
        for repeat in range(REPEATS):
            for method in METHODS:
                for size, root in roots.items():
                    command = [
                        sys.executable,
                        __file__,
                        method,
                        str(root),
                        f"{folder}/cache-{method}-{repeat}",
                    ]
                    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                    measured.setdefault(f"{method} {size}", []).append(json.loads(finished.stdout))
                    print(f"{method} {size} {finished.stdout.strip()}", file=sys.stderr, flush=True)
    print(report(measured))
    if out:
        out.write_text(json.dumps(measured, indent=1) + "\n")


def generate(root: Path, products: int) -> None:
    """A corpus with RoIs of 512 and 10 reviews a product; its dev and test splits grow with it too."""
    from benchmark.data.mini.corpus import MiniSpec, write_corpus

    spec = MiniSpec(
        train_products=products, dev_products=products // 10, test_products=products // 10, min_reviews=10,
        max_reviews=10, roi_width=512, datasets=PLACE[:1], categories=PLACE[1:],
    )  # fmt: skip
    write_corpus(root, spec)


def measure(method: str, root: Path, cache: Path) -> dict[str, float]:
    """Seconds of each stage, peak of the resident set, and the part of it that are pages of data files."""
    import numpy as np
    import torch

    from benchmark.data.source import Source
    from benchmark.engine.evaluate import score_split
    from benchmark.engine.machine import peak_host_bytes
    from benchmark.engine.plan import Choices, expand
    from benchmark.speed.measure import Trial

    seconds: dict[str, float] = {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        seconds[name] = time.perf_counter() - started

    with stage("pack"):
        corpus = Source(root, cache).open(*PLACE)
    imported = peak_host_bytes()
    with stage("first step"):
        choices = Choices(PLACE[:1], PLACE[1:], (method,), (0,), overrides=("max_tokens=64",), device="cpu")
        (spec,) = expand(choices, [corpus])
        trainer = Trial(spec, corpus)
        batches = trainer.batches(EPOCHS * len(trainer.plan))
        trainer.step(next(batches))
    with stage("train"):
        for batch in batches:
            trainer.step(batch)
    with stage("score"):
        scores = score_split(trainer.model, corpus.train, trainer.collator, torch.device("cpu"))
    assert np.isfinite(scores).all()
    return {
        **{name: round(value, 3) for name, value in seconds.items()},
        "reviews": corpus.train.n_reviews,
        "packed_mb": round(imported / 1e6),
        "peak_mb": round(peak_host_bytes() / 1e6),
        "file_mb": round(_file_bytes() / 1e6),
    }


def _file_bytes() -> int:
    """Resident pages of mapped files, libraries included: the system takes them back when it needs room."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssFile:"):
            return int(line.split()[1]) * 1024
    return 0


def report(measured: dict[str, list[dict[str, float]]]) -> str:
    """Markdown: medians at both sizes and their ratio."""
    lines = ["| method | what | once | twice | ratio |", "|---|---|---|---|---|"]
    for method in METHODS:
        once, twice = measured[f"{method} {PRODUCTS}"], measured[f"{method} {2 * PRODUCTS}"]
        for field in ("reviews", *STAGES, "packed_mb", "peak_mb", "file_mb"):
            a, b = (statistics.median(run[field] for run in runs) for runs in (once, twice))
            unit = "s" if field in STAGES else ""
            lines.append(f"| {method} | {field} | {a:g} {unit} | {b:g} {unit} | {b / a:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    name, root_folder, cache_folder = sys.argv[1:]
    print(json.dumps(measure(name, Path(root_folder), Path(cache_folder))))
