"""`bench speed`: all methods on one generated corpus, each in fresh processes, as many side by side as runs would be;
and the time of the whole grid.

The corpus is made once and cached. Its reviews are longer than 128 tokens, so that texts are cut to their
full length, and its RoIs are as wide as the published ones (2048).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from threading import BrokenBarrierError
from typing import Any

from benchmark import models
from benchmark.core.errors import UsageError
from benchmark.core.words import duration
from benchmark.data.datasets import BUILT_IN
from benchmark.data.mini.latent import MiniSpec
from benchmark.data.published import published_count
from benchmark.data.source import Source
from benchmark.data.store import build_folder, cache_root
from benchmark.engine import resolve
from benchmark.engine.machine import jobs_at_once
from benchmark.engine.plan import PAPER_SEEDS, Choices, expand
from benchmark.runs.spec import RunSpec

PLACE = ("amazon", "home")
"""Whose words the corpus has."""
TOKENS = 128
STAND_IN = {"layers": 12, "width": 128, "feedforward": 512, "heads": 2}
"""Size of MM-SS' default encoder (D-BERT): one of that size with new weights is as fast, where that one is not here."""


@dataclass(frozen=True)
class Request:
    """What to measure, and how."""

    choices: Choices
    """As `bench run` would expand them, over `PLACE`."""
    jobs: int | None = None
    """Processes that measure side by side, as runs are carried out; None: as many as `bench run` takes."""
    steps: int = 5
    products: int = 24

    def __post_init__(self) -> None:
        for name in ("jobs", "steps", "products"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"--{name} must be at least 1, not {value}.")


@dataclass(frozen=True)
class Measured:
    """One method's measurement, or why there is none."""

    spec: RunSpec
    jobs: int
    profile: dict[str, Any]
    """`benchmark.speed.measure.Profile` as JSON, of all jobs together (see `together`); empty if it failed."""
    grid_seconds: float | None
    """Five seeds on the paper's six categories, `jobs` runs at a time."""
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        training = self.spec.config["training"]
        return {
            "method": self.spec.method,
            "variant": self.spec.protocol,
            "preset": self.spec.preset,
            "overrides": list(self.spec.overrides),
            "device": self.spec.device,
            "precision": training["precision"],
            "threads": training["threads"],
            "jobs": self.jobs,
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


def specs_of(request: Request, source: Source) -> list[RunSpec]:
    """The runs that are measured: what `bench run` makes of the same choices, of the first seed."""
    corpus = source.open(*PLACE)
    choices = replace(request.choices, seeds=request.choices.seeds[:1])
    return expand(replace(choices, overrides=(*choices.overrides, *stand_in(choices))), [corpus])


def stand_in(choices: Choices) -> tuple[str, ...]:
    """Overrides that put an encoder of its size in the place of MM-SS' default one, where that one is neither here nor
    can be fetched. UsageError for one that the user chose and that is not there."""
    if models.PROPOSED not in choices.methods:
        return ()
    model_class = models.load(models.PROPOSED)
    overrides = resolve.qualify_overrides(choices.overrides, choices.methods)
    data_set = BUILT_IN[PLACE[0]]
    config = resolve.resolve(
        *(models.PROPOSED, data_set, PLACE[1]),
        preset=choices.preset,
        protocol=choices.protocol,
        overrides=overrides,
    ).model
    try:
        model_class.files_read(config)
    except UsageError:
        if config.encoder != model_class.config_class().encoder:
            raise
        sizes = (f"{models.PROPOSED}.scratch_{name}={size}" for name, size in STAND_IN.items())
        return f"{models.PROPOSED}.encoder=scratch", *sizes
    return ()


def measure_all(request: Request, source: Source) -> Iterator[Measured]:
    """Measure the methods one after the other, and yield each as it is known."""
    n_reviews = source.open(*PLACE).train.n_reviews
    for spec in specs_of(request, source):
        jobs, _ = jobs_at_once(request.jobs, spec.device, spec.config["training"]["threads"])
        yield _measured(spec, source, jobs, request.steps, n_reviews)


def _measured(spec: RunSpec, source: Source, jobs: int, steps: int, n_train_reviews: int) -> Measured:
    context = get_context("spawn")
    barrier = context.Barrier(jobs)
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_meet, initargs=(barrier,)) as fresh:
        parts = [fresh.submit(_profile, spec, source, steps) for _ in range(jobs)]
        try:
            profiles = [part.result() for part in parts]
        except Exception as error:  # whatever it is, out of memory for one: the other methods go on
            return Measured(spec, jobs, {}, None, _first_reason(parts, error))
    profile = together(profiles)
    return Measured(spec, jobs, profile, grid_seconds(spec, profile, n_train_reviews))


def _first_reason(parts: Sequence[Future[dict[str, Any]]], error: Exception) -> str:
    """Why it failed: not that the others waited in vain for the one that did."""
    errors = [e for part in parts if part.done() and not part.cancelled() and (e := part.exception())]
    own = [e for e in errors if not isinstance(e, BrokenBarrierError)]
    error = own[0] if own and isinstance(own[0], Exception) else error
    return str(error) or type(error).__name__


_barrier: Any = None


def _meet(barrier: Any) -> None:
    global _barrier
    _barrier = barrier


def _profile(spec: RunSpec, source: Source, steps: int) -> dict[str, Any]:
    from benchmark.speed.measure import profile

    try:
        return profile(spec, source.open(*PLACE), steps=steps, together=_barrier.wait).to_json()
    except BaseException:
        _barrier.abort()  # the others would wait for ever
        raise


ADDED = ("train_rows_per_s", "score_reviews_per_s", "peak_flops_per_s")
"""What several jobs side by side reach together is the sum of what each does."""


def together(profiles: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One profile of the jobs that were measured side by side: rates and peaks added up, shares averaged, of memory
    the largest process and the sum of all; and the share of the peak, which no true count can bring above 1."""
    first = dict(profiles[0])
    for name in ADDED:
        first[name] = sum(profile[name] for profile in profiles)
    for name in ("data_wait_share", "flops_per_row"):
        first[name] = sum(profile[name] for profile in profiles) / len(profiles)
    phases = first["phase_shares"]
    first["phase_shares"] = {
        name: sum(profile["phase_shares"][name] for profile in profiles) / len(profiles) for name in phases
    }
    first["peak_memory_bytes"] = max(profile["peak_memory_bytes"] for profile in profiles)
    first["memory_of_all_bytes"] = sum(profile["peak_memory_bytes"] for profile in profiles)
    share = first["train_rows_per_s"] * first["flops_per_row"] / first["peak_flops_per_s"]
    # above 1 the peak was not measured while the machine was as quiet as in the steps: nothing is known then
    first["peak_share"] = share if share <= 1 else None
    return first


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
    """The corpus, and what of each method was measured."""
    import numpy as np

    corpus = source.open(*PLACE)
    train, choices = corpus.train, request.choices
    rois = train.rois("review").count_N
    spec = specs_of(request, source)[0]
    training = spec.config["training"]
    # what a run cuts from a text is not read
    tokens = float(np.minimum(train.word_count_R, min(TOKENS, training["max_tokens"])).mean())
    jobs, _ = jobs_at_once(request.jobs, spec.device, training["threads"])
    encoder = "; MM-SS has a new encoder of the default one's size" if stand_in(choices) else ""
    return (
        f"generated corpus: {train.n_products} products, {train.n_reviews} reviews to train on; on average "
        f"{tokens:.0f} of at most {training['max_tokens']} tokens, {rois.mean():.0f} RoIs of "
        f"{corpus.manifest['roi_width']}; preset {choices.preset}, {choices.protocol}, {training['precision']}, "
        f"{jobs} at a time with {training['threads']} thread(s) each, {request.steps} steps{encoder}"
    )


def render(results: Sequence[Measured]) -> str:
    """Markdown table, and the sum of the grid's parts."""
    head = (
        "| method | training rows/s | scoring reviews/s | data wait | data/fwd/bwd/opt | peak memory GB "
        "| GFLOP/row | of peak | grid |"
    )
    lines = [head, "|---" * 9 + "|", *map(_row, results)]
    grid = [result.grid_seconds for result in results]
    if len(grid) > 1 and None not in grid:
        total = sum(seconds for seconds in grid if seconds is not None)
        lines += [
            "",
            f"The whole grid ({len(grid)} methods x 6 categories x 5 seeds, all epochs, "
            f"{results[0].jobs} at a time): {duration(total)}.",
        ]
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
    share = "not known" if p["peak_share"] is None else f"{100 * p['peak_share']:.0f}%"
    if p["uncounted"]:
        share = f"at least {share}"
    return (
        f"| {title} | {p['train_rows_per_s']:.1f} | {p['score_reviews_per_s']:.1f} "
        f"| {100 * p['data_wait_share']:.1f}% | {phases}% | {memory} | {p['flops_per_row'] / 1e9:.3g} "
        f"| {share} | {duration(result.grid_seconds)} |"
    )
