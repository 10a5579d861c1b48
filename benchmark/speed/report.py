"""`bench speed`: all methods on one generated corpus, each in a fresh process; and the time of the whole grid.

The corpus is made once and cached. Its reviews are longer than 128 tokens, so that texts are cut to their
full length, and its RoIs are as wide as the published ones (2048).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmark import models
from benchmark.core.errors import UsageError
from benchmark.core.words import duration
from benchmark.data.datasets import BUILT_IN
from benchmark.data.mini.latent import MiniSpec
from benchmark.data.published import published_count
from benchmark.data.source import Source
from benchmark.data.store import build_folder, cache_root
from benchmark.engine.plan import PAPER_SEEDS, Choices, expand
from benchmark.runs.spec import RunSpec

PLACE = ("amazon", "home")
"""Whose words the corpus has."""
TOKENS = 128
BERT_BASE = {"layers": 12, "width": 768, "feedforward": 3072, "heads": 12}
"""Size of the encoder that MM-SS fine-tunes."""


@dataclass(frozen=True)
class Request:
    """What to measure, and how."""

    methods: tuple[str, ...] = models.DEFAULT_METHODS
    preset: str = "paper"
    protocol: str = "fair"
    device: str = "auto"
    precision: str = "float32"
    threads: int = 1
    steps: int = 5
    products: int = 24
    overrides: tuple[str, ...] = ()
    cache: Path | None = None

    def __post_init__(self) -> None:
        for name in ("threads", "steps", "products"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name} must be at least 1, not {getattr(self, name)}.")


@dataclass(frozen=True)
class Measured:
    """One method's measurement, or why there is none."""

    spec: RunSpec
    profile: dict[str, Any]
    """`benchmark.speed.Profile` as JSON; empty if it failed."""
    grid_seconds: float | None
    """Five seeds on the paper's six categories, one run after the other."""
    reason: str = ""

    def to_json(self, request: Request) -> dict[str, Any]:
        return {
            "method": self.spec.method,
            "variant": self.spec.protocol,
            "preset": self.spec.preset,
            "device": self.spec.device,
            "precision": request.precision,
            "threads": request.threads,
            **self.profile,
            "grid_seconds": self.grid_seconds,
            **({"error": self.reason} if self.reason else {}),
        }


def corpus_spec(products: int) -> MiniSpec:
    """The generated corpus: `products` of 16 reviews to train on, some 30 clauses a review, and one to four
    images of 8 to 32 RoIs."""
    return MiniSpec(
        train_products=products,
        dev_products=2,
        test_products=2,
        min_reviews=16,
        max_reviews=16,
        datasets=PLACE[:1],
        categories=PLACE[1:],
        roi_width=2048,
        max_images=4,
        min_rois=8,
        max_rois=32,
        own_aspects=5,
        mention_slots=4,
        detail_slots=28,
        filler_share=1.0,
    )


def speed_corpus(products: int, cache: Path | None) -> Source:
    """The generated corpus, written below the cache folder the first time."""
    from benchmark.data.mini.corpus import GENERATOR_VERSION, write_corpus

    spec = corpus_spec(products)
    text = json.dumps([GENERATOR_VERSION, spec.as_json()], sort_keys=True)
    name = f"speed-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    root = build_folder(cache_root(cache) / name, lambda out: write_corpus(out, spec), sealed=False)
    return Source(root, cache)


def measure_all(request: Request, source: Source) -> Iterator[Measured]:
    """Measure the methods one after the other, and yield each as it is known."""
    corpus = source.open(*PLACE)
    overrides = [f"train.threads={request.threads}", f"train.precision={request.precision}"]
    if "mmss" in request.methods:
        overrides += _full_size_encoder(request.overrides, request.preset)
    choices = Choices(
        datasets=PLACE[:1],
        categories=PLACE[1:],
        methods=request.methods,
        seeds=(0,),
        preset=request.preset,
        protocol=request.protocol,
        overrides=(*overrides, *request.overrides),
        device=request.device,
    )
    for spec in expand(choices, [corpus]):
        yield _measured(spec, source, request.steps, corpus.train.n_reviews)


def _full_size_encoder(given: Sequence[str], preset: str) -> list[str]:
    """A new encoder of BERT-base's size in place of the pre-trained one, which is as fast and need not be
    fetched; nothing if the user chose an encoder, or the small preset, which has its own."""
    if preset != "paper" or any(item.startswith(("encoder=", "mmss.encoder=")) for item in given):
        return []
    return ["mmss.encoder=scratch", *(f"mmss.scratch_{name}={size}" for name, size in BERT_BASE.items())]


def _measured(spec: RunSpec, source: Source, steps: int, n_train_reviews: int) -> Measured:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        try:
            profile = fresh.submit(_profile, spec, source, steps).result()
        except Exception as error:  # whatever it is, out of memory for one: the other methods go on
            return Measured(spec, {}, None, str(error) or type(error).__name__)
    return Measured(spec, profile, grid_seconds(spec, profile, n_train_reviews))


def _profile(spec: RunSpec, source: Source, steps: int) -> dict[str, Any]:
    from benchmark.speed.measure import profile

    return profile(spec, source.open(*PLACE), steps=steps).to_json()


def grid_seconds(spec: RunSpec, profile: dict[str, Any], n_train_reviews: int) -> float:
    """The method's part of the paper's grid: its six categories (Table 3's sizes) with five seeds.

    Every epoch is used, dev scored after each and test once. Training rows per review are taken from the
    generated corpus, for Table 3 does not tell how many positives there are.
    """
    epochs = int(spec.config["training"]["epochs"])
    rows_per_review = profile["steps_per_epoch"] * profile["rows_per_step"] / n_train_reviews
    seconds = 0.0
    for data_set in BUILT_IN.values():
        for category in data_set.category_names:
            train, dev, test = (
                published_count(data_set.name, category, split, "reviews") or 0
                for split in ("train", "dev", "test")
            )
            seconds += epochs * train * rows_per_review / profile["train_rows_per_s"]
            seconds += (epochs * dev + test) / profile["score_reviews_per_s"]
    return len(PAPER_SEEDS) * seconds


def describe(request: Request, source: Source) -> str:
    """The corpus and the machine's part in one line each."""
    import numpy as np

    corpus = source.open(*PLACE)
    train = corpus.train
    tokens = float(np.minimum(train.word_count_R, TOKENS).mean())
    rois = train.rois("review").count_N
    return (
        f"generated corpus: {train.n_products} products, {train.n_reviews} reviews to train on; on average "
        f"{tokens:.0f} of at most {TOKENS} tokens, {rois.mean():.0f} RoIs of {corpus.manifest['roi_width']}; "
        f"preset {request.preset}, {request.protocol}, {request.precision}, {request.threads} threads, "
        f"{request.steps} steps"
    )


def render(results: Sequence[Measured], request: Request) -> str:
    """Markdown table, and the sum of the grid's parts."""
    head = (
        "| method | training rows/s | scoring reviews/s | data wait | data/fwd/bwd/opt | peak memory GB "
        "| GFLOP/row | of peak | paper's grid |"
    )
    lines = [head, "|---" * 9 + "|", *map(_row, results)]
    grid = [result.grid_seconds for result in results]
    if len(grid) > 1 and None not in grid:
        total = sum(seconds for seconds in grid if seconds is not None)
        lines += [
            "",
            f"The whole grid ({len(grid)} methods x 6 categories x 5 seeds, all epochs, one run at a ",
        ]
        lines[-1] += f"time): {duration(total)}."
    return "\n".join(lines)


def _row(result: Measured) -> str:
    title = models.get(result.spec.method).title
    if result.reason or result.grid_seconds is None:
        return f"| {title} | failed: {' '.join(result.reason.split())[:200]} " + "| " * 7 + "|"
    p = result.profile
    phases = "/".join(f"{100 * share:.0f}" for share in p["phase_shares"].values())
    memory = f"{p['peak_memory_bytes'] / 1e9:.2f}"
    if p["peak_device_memory_bytes"] is not None:
        memory += f" + {p['peak_device_memory_bytes'] / 1e9:.2f} GPU"
    return (
        f"| {title} | {p['train_rows_per_s']:.1f} | {p['score_reviews_per_s']:.1f} "
        f"| {100 * p['data_wait_share']:.1f}% | {phases}% | {memory} | {p['flops_per_row'] / 1e9:.2f} "
        f"| {100 * p['peak_share']:.0f}% | {duration(result.grid_seconds)} |"
    )
