"""How fast a method trains and scores on this machine, through the very functions that runs use."""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmark import runner
from benchmark.core.losses import ranking_loss
from benchmark.prefetch import prefetched
from benchmark.train import _step, autocast, collate, epoch_plan, make_optimiser, seed_everything

if TYPE_CHECKING:
    from benchmark.data.corpus import Corpus
    from benchmark.records import RunSpec

ESTIMATE_STEPS = 3


@dataclass(frozen=True)
class Throughput:
    """Measured on this machine, medians over steps."""

    train_rows_per_s: float
    """Rows (product, review) of training batches per second, data wait included."""
    score_reviews_per_s: float
    data_wait_share: float
    """Share of a training step spent waiting for its batch."""
    steps_per_epoch: int
    rows_per_step: float


def measure(spec: RunSpec, corpus: Corpus, *, steps: int, warmup: int = 1) -> Throughput:
    """Time `steps` training steps and the scoring of about as many reviews, after `warmup` of each."""
    config = runner.training_config(spec)
    device = torch.device(spec.device)
    runner.prepare_process(config)
    seed_everything(spec.seed)
    model = runner.build_model(spec, corpus).to(device).train()
    collator = runner.make_collator(corpus.train, model=model, corpus=corpus, config=config)
    optimiser = make_optimiser(model, config)
    objective = ranking_loss(config)
    model.start_training(torch.from_numpy(np.asarray(corpus.train.label_R, dtype=np.float32)))

    plan = epoch_plan(model, corpus.train, config, spec.seed, 1)
    parts = list(itertools.islice(itertools.cycle(plan), warmup + steps))
    step_seconds, wait_seconds, rows = [], [], []
    batches = prefetched((collate(model, collator, part, config) for part in parts), device)
    asked = time.perf_counter()
    for batch in batches:
        got = time.perf_counter()
        _step(model, batch, objective, optimiser, autocast(config, device))
        synchronise(device)
        done = time.perf_counter()
        wait_seconds.append(got - asked)
        step_seconds.append(done - asked)
        rows.append(len(batch))
        asked = time.perf_counter()
    step_seconds, wait_seconds, rows = step_seconds[warmup:], wait_seconds[warmup:], rows[warmup:]
    return Throughput(
        train_rows_per_s=float(np.median(np.divide(rows, step_seconds))),
        score_reviews_per_s=_scoring(model, corpus, collator, device, config),
        data_wait_share=float(np.sum(wait_seconds) / np.sum(step_seconds)),
        steps_per_epoch=len(plan),
        rows_per_step=float(np.mean(rows)),
    )


def _scoring(model: Any, corpus: Corpus, collator: Any, device: torch.device, config: Any) -> float:
    """Reviews scored per second: whole products of the training split, about 64 reviews at a time."""
    model.eval()
    sizes = np.bincount(corpus.train.product_R, minlength=corpus.train.n_products)
    products = np.flatnonzero(np.cumsum(sizes) <= max(64, int(sizes[0])))
    rates = []
    with torch.inference_mode(), autocast(config, device):
        for _ in range(3):
            started = time.perf_counter()
            batch = collator.products(products).to(device)
            model.score(batch)
            synchronise(device)
            rates.append(len(batch) / (time.perf_counter() - started))
    return float(np.median(rates[1:]))


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_per_run(spec: RunSpec, corpus: Corpus) -> float:
    """What one run would take if it used all its epochs: measured steps times their number, plus scoring
    dev after every epoch and test once."""
    config = runner.training_config(spec)
    speed = measure(spec, corpus, steps=ESTIMATE_STEPS)
    rows = speed.steps_per_epoch * speed.rows_per_step * config.epochs
    scored = corpus.dev.n_reviews * config.epochs + corpus.test.n_reviews
    return math.fsum([rows / speed.train_rows_per_s, scored / speed.score_reviews_per_s])
