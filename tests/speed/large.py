"""A category of 370,000 reviews with images: how fast is it packed, how soon does a run start, in how much memory?

    python tests/speed/large.py [--reviews 370000] [--json FILE]

A script, not a test: nothing here is asserted. A category of the size of Amazon's largest is generated (its
splits in Table 3's proportions; a third of the reviews and every product with some eight RoIs of 2048), packed
by one process, and trained on and scored by two more as a run does: one with the pack evicted from the
system's page cache, one after it. Every item with images has a feature file of its own, a hard link to one of
`--distinct` files, which are evicted before they are read. It takes about 10 GB below the temporary folder
(`--folder`).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

PLACE = ("amazon", "home")
SHARES = {"train": 1.0, "dev": 0.25, "test": 0.3}
"""Reviews of a split for each one to train on: Table 3's 369,518, 92,707 and 111,193."""
REVIEWS_PER_PRODUCT = 25
LABEL_SHARES = (0.54, 0.20, 0.12, 0.09, 0.05)
WITH_IMAGE = 3
"""Every third review has images."""
ROI_WIDTH, MIN_ROIS, MAX_ROIS = 2048, 4, 12
WORDS, VOCABULARY = 60, 50_000
"""Mean number of words of a review, and distinct words."""
LOOK_SECONDS = 0.2
"""The resident set is looked at as often."""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--reviews", type=int, default=370_000, help="to train on")
    parser.add_argument("--distinct", type=int, default=20_000, help="feature files that are not links")
    parser.add_argument("--steps", type=int, default=400, help="training steps of each run")
    parser.add_argument("--threads", type=int, default=1, help="of a run")
    parser.add_argument(
        "--folder", type=Path, help="for the data, which stay and are used again; default: a temporary one"
    )
    parser.add_argument("--json", type=Path, help="also write the measurements to this file")
    parser.add_argument("--child", nargs=2, metavar=("STAGE", "STARTED"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        stage, started = options.child
        root, cache = options.folder / "release", options.folder / "cache"
        figures = (
            pack(root, cache)
            if stage == "pack"
            else run(root, cache, options.steps, options.threads, float(started))
        )
        print(json.dumps(figures))
        return
    with tempfile.TemporaryDirectory() as temporary:
        options.folder = options.folder or Path(temporary)
        measured = measure(options)
    print(report(measured))
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1) + "\n")


def measure(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Every stage in a fresh process."""
    root, cache = options.folder / "release", options.folder / "cache"
    if not (root / "synthetic.json").is_file():
        print("generating", file=sys.stderr, flush=True)
        generate(root, options.reviews, options.distinct)
    measured: dict[str, dict[str, Any]] = {}
    for name in ("pack", "run, cold", "run, warm"):
        if name == "pack":
            shutil.rmtree(cache, ignore_errors=True)
            evict((root / "distinct").iterdir())
        elif name == "run, cold":
            evict(path for path in cache.rglob("*") if path.is_file())
        stage = name.partition(",")[0]
        command = [
            *(sys.executable, __file__, "--folder", str(options.folder), "--steps", str(options.steps)),
            *("--threads", str(options.threads)),
            *("--child", stage, str(time.time())),
        ]
        finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        measured[name] = json.loads(finished.stdout)
        print(f"{name} {finished.stdout.strip()}", file=sys.stderr, flush=True)
    return measured


def evict(files: Iterable[Path]) -> None:
    """Have the system forget what it holds of these files (only of pages that are on disk and not mapped)."""
    os.sync()
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


# --- The category --------------------------------------------------------------------------------------


def generate(root: Path, reviews: int, distinct: int) -> None:
    """A release of one category in the published layout; `synthetic.json` comes last."""
    from benchmark.data.mini.files import write_json

    rng = np.random.default_rng(0)
    pool = _feature_pool(root / "distinct", rng, distinct)
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    vocabulary = np.array(
        ["".join(rng.choice(letters, size)) for size in rng.integers(2, 10, VOCABULARY)], object
    )
    share = np.cumsum(1 / np.arange(1, VOCABULARY + 1))
    for split, part in SHARES.items():
        _write_split(root, split, int(reviews * part), rng, vocabulary, share / share[-1], pool)
    write_json(root / "synthetic.json", {"name": f"synthetic-large-{reviews}", "synthetic": True})


def _feature_pool(folder: Path, rng: np.random.Generator, distinct: int) -> list[Path]:
    """Feature files of one or two images, all of them different."""
    import torch

    folder.mkdir(parents=True)
    features = torch.from_numpy(rng.random((4096, ROI_WIDTH), np.float32))
    for number in range(distinct):
        rois = features[(start := int(rng.integers(4096 - MAX_ROIS))) :][
            : rng.integers(MIN_ROIS, MAX_ROIS + 1)
        ]
        images = [{"x": x.clone()} for x in (rois.tensor_split(2) if start % 2 else [rois])]
        torch.save(images, folder / f"{number}.pth")
    return [folder / f"{number}.pth" for number in range(distinct)]


def _write_split(
    root: Path,
    split: str,
    reviews: int,
    rng: np.random.Generator,
    vocabulary: np.ndarray,
    share: np.ndarray,
    pool: list[Path],
) -> None:
    products = max(1, reviews // REVIEWS_PER_PRODUCT)
    product_R = np.sort(np.r_[np.arange(products), rng.integers(products, size=reviews - products)])
    label_R = rng.choice(len(LABEL_SHARES), reviews, p=LABEL_SHARES)
    product_ids = [f"{split}-{product}" for product in range(products)]
    review_ids = [f"{split}-{product}-r{row}" for row, product in enumerate(product_R.tolist())]

    def texts(count: int) -> list[str]:
        size_N = 1 + rng.poisson(rng.exponential(WORDS - 1, count))
        drawn = vocabulary[np.searchsorted(share, rng.random(int(size_N.sum())))]
        return [" ".join(part) + "." for part in np.split(drawn, np.cumsum(size_N)[:-1])]

    pictured = [row % WITH_IMAGE == 0 for row in range(reviews)]
    table = {"product_id": product_ids, "name": texts(products), "description": texts(products)}
    _write_table(root, "prd", split, table | {"img_url": [["a.jpg"]] * products})
    of_review = {"product_id": [product_ids[p] for p in product_R.tolist()], "review_id": review_ids}
    urls = [["a.jpg"] if has else [] for has in pictured]
    _write_table(root, "rvw", split, of_review | {"content": texts(reviews), "img_url": urls})
    _write_table(root, "rel", split, of_review | {"upvotes": label_R.tolist()})
    features = root.joinpath(*PLACE, "features", split)
    features.mkdir(parents=True)
    with_image = [review_id for review_id, has in zip(review_ids, pictured, strict=True) if has]
    for item_id, file in zip([*product_ids, *with_image], itertools.cycle(pool), strict=False):
        (features / item_id).mkdir()
        os.link(file, features / item_id / f"{item_id}.pth")


def _write_table(root: Path, kind: str, split: str, table: dict[str, list[Any]]) -> None:
    path = root.joinpath(*PLACE, f"{PLACE[1]}.{kind}.{split}")
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {
        name: dict(zip(map(str, range(len(values))), values, strict=True)) for name, values in table.items()
    }
    path.write_text(json.dumps(columns), encoding="utf-8")


# --- What is measured ----------------------------------------------------------------------------------


def pack(root: Path, cache: Path) -> dict[str, Any]:
    """Rates of packing, whole and of its parts: progress reports say when which one began."""
    from benchmark.data.source import Source

    seconds: dict[str, float] = defaultdict(float)
    last = ("start", time.perf_counter())

    def progress(done: int, total: int, what: str) -> None:
        nonlocal last
        now = time.perf_counter()
        seconds[last[0]] += now - last[1]
        last = (what.rpartition(" ")[2], now)

    from benchmark.data.corpus import open_corpus

    began = time.perf_counter()
    corpus = open_corpus(root, *PLACE, cache=cache, progress=progress)
    progress(1, 1, "end")
    total = time.perf_counter() - began
    assert Source(root, cache).open(*PLACE).fingerprint == corpus.fingerprint
    splits = (corpus.train, corpus.dev, corpus.test)
    reviews = sum(split.n_reviews for split in splits)
    items = reviews + sum(split.n_products for split in splits)
    files = sum(
        int((split.rois(side).count_N > 0).sum()) for split in splits for side in ("product", "review")
    )
    return {
        "reviews": reviews,
        "reviews to train on": corpus.train.n_reviews,
        "products": items - reviews,
        "feature files": files,
        "packed features GB": round((corpus.pack / "rois.npy").stat().st_size / 1e9, 2),
        "s": round(total, 1),
        "reviews/s": round(reviews / total),
        "tables s": round(seconds["tables"], 1),
        "features s": round(seconds["features"], 1),
        "feature files/s": round(files / seconds["features"]),
        "words s": round(seconds["words"], 1),
        "items tokenized/s": round(items / seconds["words"]),
        **resident(),
    }


def run(root: Path, cache: Path, steps: int, threads: int, started: float) -> dict[str, Any]:
    """Seconds from the start of the process to the end of the first step, then memory while it goes on."""
    seconds = {"imports begin": time.time() - started}

    def until(what: str) -> None:
        seconds[what] = time.time() - started

    import torch

    from benchmark.data.source import Source
    from benchmark.engine.evaluate import score_split
    from benchmark.engine.plan import Choices, expand
    from benchmark.engine.runner import make_collator
    from benchmark.speed.measure import Trial

    until("imported")
    corpus = Source(root, cache).open(*PLACE)
    until("opened")
    overrides = (f"train.threads={threads}",)
    choices = Choices(PLACE[:1], PLACE[1:], ("mcr",), (0,), overrides=overrides, device="cpu")
    (spec,) = expand(choices, [corpus])
    before_model = resident()
    trainer = Trial(spec, corpus)
    parameters = sum(p.numel() for p in trainer.model.parameters())
    until("planned")
    batches = trainer.batches(1 + steps)
    trainer.step(next(batches))
    until("first step")
    after_first = resident()

    waited, rows = 0.0, 0
    with largest_resident() as training:
        began = asked = time.perf_counter()
        for batch in batches:
            waited += time.perf_counter() - asked
            trainer.step(batch)
            rows += len(batch)
            asked = time.perf_counter()
    trained = time.perf_counter()
    collator = make_collator(corpus.dev, model=trainer.model, corpus=corpus, config=trainer.config)
    with largest_resident() as scoring:
        score_R = score_split(trainer.model, corpus.dev, collator, torch.device("cpu"))
    score_seconds = time.perf_counter() - trained
    assert np.isfinite(score_R).all()
    return {
        "start to first step s": round(seconds["first step"], 2),
        "ends s": {name: round(value, 2) for name, value in seconds.items()},
        "steps per epoch": len(trainer.plan),
        "steps": steps,
        "train rows/s": round(rows / (trained - began), 1),
        "data wait share": round(waited / (trained - began), 4),
        "dev reviews/s": round(corpus.dev.n_reviews / score_seconds, 1),
        # weights, gradients and Adam's two moments
        "model MB": round(4 * 4 * parameters / 1e6),
        "before the model": before_model,
        "after first step": after_first,
        "largest, training": training,
        "largest, scoring dev": scoring,
    }


@contextmanager
def largest_resident() -> Iterator[dict[str, float]]:
    """The largest figures of `resident` inside the block, each for itself."""
    largest = resident()
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_SECONDS):
            for name, value in resident().items():
                largest[name] = max(largest[name], value)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield largest
    finally:
        ended.set()
        watcher.join()


def resident() -> dict[str, float]:
    """MB of the resident set: the process's own, pages of mapped files, and the largest sum so far."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    names = {"own MB": "RssAnon", "file MB": "RssFile", "peak MB": "VmHWM"}
    return {name: round(int(status[key].split()[0]) * 1024 / 1e6) for name, key in names.items()}


def report(measured: dict[str, dict[str, Any]]) -> str:
    """Markdown: one row per figure of each stage."""
    lines = ["| stage | what | value |", "|---|---|---|"]
    for stage, figures in measured.items():
        for name, value in figures.items():
            shown = (
                ", ".join(f"{k} {v:g}" for k, v in value.items()) if isinstance(value, dict) else f"{value:g}"
            )
            lines.append(f"| {stage} | {name} | {shown} |")
    return "\n".join(lines)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main()
