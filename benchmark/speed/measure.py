"""How fast a method trains and scores on this machine: a run's own trainer, timed.

`measure` is what estimates need; `profile` adds what `bench speed` prints: peak memory, phases of a step,
floating-point operations and the share of what the device can do.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from benchmark.core.types import Batch
from benchmark.engine import machine, runner
from benchmark.engine.evaluate import SCORE_ROWS, evaluation
from benchmark.engine.losses import ranking_loss
from benchmark.engine.prefetch import prefetched
from benchmark.engine.steps import autocast, collate, epoch_plan
from benchmark.kernels import native
from benchmark.speed.operations import counting, peak_flops, synchronise

if TYPE_CHECKING:
    from benchmark.data.corpus import Corpus
    from benchmark.runs.spec import RunSpec

ESTIMATE_STEPS = 3
ESTIMATE_SCORED = 64
"""Reviews scored at once for an estimate; `bench speed` takes as many as runs do."""
PHASE_STEPS = 2
SCORING_PASSES, SCORING_SECONDS = 3, 4.0
"""Scoring is repeated so often at most, and no more once it took so long."""
PHASES = ("data", "forward", "backward", "optimiser")


@dataclass(frozen=True)
class Throughput:
    """Measured on this machine."""

    train_rows_per_s: float
    """Rows (product, review) of training batches per second, data wait included; median over steps, on a GPU
    the mean (steps overlap there)."""
    score_reviews_per_s: float
    data_wait_share: float
    """Share of a training step spent waiting for its batch."""
    steps_per_epoch: int
    rows_per_step: float


@dataclass(frozen=True)
class Profile:
    """One method, measured in a process of its own."""

    throughput: Throughput
    parameters: int
    peak_memory_bytes: int
    """Largest resident set of the process, training and scoring; mapped data files count as far as read."""
    peak_device_memory_bytes: int | None
    """Largest amount that tensors held on the GPU."""
    phase_shares: dict[str, float]
    """Shares of a step with the device made to wait after each phase: data, forward, backward, optimiser."""
    device_busy_share: float | None
    """On a GPU: time in kernels over elapsed time; the rest is gaps in which it waits for the host."""
    flops_per_row: float
    """Of a training step, forward and backward; what is counted stands in `benchmark.speed.operations`."""
    uncounted: tuple[str, ...]
    """Compiled functions in that step whose operations nobody counted."""
    peak_flops_per_s: float
    """Of a square matrix product on this device at this precision, the best before and after the steps."""
    compiled_kernels: bool
    """Whether `benchmark.kernels` was built here, which a CPU takes in float32."""

    def to_json(self) -> dict[str, Any]:
        """Flat."""
        record = asdict(self)
        return {**record.pop("throughput"), **record}


@dataclass
class Trial:
    """A run's trainer before its first step, and the steps of its first epoch."""

    spec: RunSpec
    corpus: Corpus

    def __post_init__(self) -> None:
        self.trainer = trainer = runner.new_trainer(self.spec, self.corpus)
        self.model, self.config, self.device = trainer.model, trainer.config, trainer.device
        self.collator = trainer.train.collator
        self.plan = epoch_plan(self.model, self.corpus.train, self.config, self.spec.seed, 1)

    def batches(self, count: int) -> Iterator[Any]:
        """What `step` takes, `count` times: the first epoch, which starts again where it is shorter."""
        with closing(self.trainer.steps.batches(self._parts(count))) as batches:
            yield from batches

    def step(self, batch: Any) -> Tensor:
        return self.trainer.steps.take(batch)

    def plain_batches(self, count: int) -> Iterator[Batch]:
        """The batches themselves, wherever the trainer's lie."""
        made = (collate(self.model, self.collator, part, self.config) for part in self._parts(count))
        with closing(prefetched(made, self.device)) as batches:
            yield from batches

    def loss(self, batch: Batch) -> Tensor:
        with autocast(self.config, self.device):
            return self.model.loss(batch, ranking_loss(self.config))

    def _parts(self, count: int) -> list[Any]:
        return list(itertools.islice(itertools.cycle(self.plan), count))


def measure(spec: RunSpec, corpus: Corpus, *, steps: int, warmup: int = 1) -> Throughput:
    """Time `steps` training steps and the scoring of about as many reviews, after `warmup` of each."""
    return _measure(Trial(spec, corpus), steps, warmup, ESTIMATE_SCORED)


def _measure(
    trial: Trial, steps: int, warmup: int, scored: int, together: Callable[[], Any] = lambda: None
) -> Throughput:
    device = trial.device
    step_seconds, wait_seconds, rows = [], [], []
    asked = time.perf_counter()
    for number, batch in enumerate(trial.batches(warmup + steps), start=1):
        got = time.perf_counter()
        trial.step(batch)
        if device.type == "cpu" or number in (warmup, warmup + steps):
            synchronise(device)
        done = time.perf_counter()
        wait_seconds.append(got - asked)
        step_seconds.append(done - asked)
        rows.append(len(batch))
        asked = done
    step_seconds, wait_seconds, rows = step_seconds[warmup:], wait_seconds[warmup:], rows[warmup:]
    rate = np.median(np.divide(rows, step_seconds)) if device.type == "cpu" else sum(rows) / sum(step_seconds)
    together()
    return Throughput(
        train_rows_per_s=float(rate),
        score_reviews_per_s=_scoring(trial, scored),
        data_wait_share=float(np.sum(wait_seconds) / np.sum(step_seconds)),
        steps_per_epoch=len(trial.plan),
        rows_per_step=float(np.mean(rows)),
    )


def _scoring(trial: Trial, reviews: int) -> float:
    """Reviews scored per second: whole products of the training split, about `reviews` at a time."""
    train, device = trial.corpus.train, trial.device
    sizes = np.bincount(train.product_R, minlength=train.n_products)
    products = np.flatnonzero(np.cumsum(sizes) <= max(reviews, int(sizes[0])))
    seconds: list[float] = []
    with evaluation(trial.model), autocast(trial.config, device):
        trial.model.score(trial.collator.products(products[:1]).to(device))  # to warm up
        synchronise(device)
        while not seconds or (len(seconds) < SCORING_PASSES and sum(seconds) < SCORING_SECONDS):
            started = time.perf_counter()
            trial.model.score(trial.collator.products(products).to(device))
            synchronise(device)
            seconds.append(time.perf_counter() - started)
    return float(sizes[products].sum() / np.median(seconds))


def seconds_per_run(spec: RunSpec, corpus: Corpus) -> float:
    """What one run would take if it used all its epochs: measured steps times their number, plus scoring
    dev after every epoch and test once."""
    config = runner.training_config(spec)
    speed = measure(spec, corpus, steps=ESTIMATE_STEPS)
    rows = speed.steps_per_epoch * speed.rows_per_step * config.epochs
    scored = corpus.dev.n_reviews * config.epochs + corpus.test.n_reviews
    return math.fsum([rows / speed.train_rows_per_s, scored / speed.score_reviews_per_s])


def profile(
    spec: RunSpec, corpus: Corpus, *, steps: int, warmup: int = 1, together: Callable[[], Any] = lambda: None
) -> Profile:
    """Everything about one method. Call it once in a fresh process: a peak of memory cannot be reset. `together` waits
    for the other processes that measure beside this one, before each thing that is timed."""
    trial = Trial(spec, corpus)
    peaks = []
    together()
    peaks.append(peak_flops(trial.device, trial.config.precision))
    machine.forget_peak_memory(spec.device)
    together()
    throughput = _measure(trial, steps, warmup, SCORE_ROWS, together)
    on_gpu = trial.device.type == "cuda"
    host = machine.peak_host_bytes()
    device_bytes = torch.cuda.max_memory_allocated(trial.device) if on_gpu else None
    together()
    peaks.append(peak_flops(trial.device, trial.config.precision))
    flops_per_row, uncounted = operations_of(trial)
    return Profile(
        throughput=throughput,
        parameters=sum(parameter.numel() for parameter in trial.model.parameters()),
        peak_memory_bytes=host,
        peak_device_memory_bytes=device_bytes,
        phase_shares=phase_shares(trial),
        device_busy_share=busy_share(trial, steps) if on_gpu else None,
        flops_per_row=flops_per_row,
        uncounted=uncounted,
        peak_flops_per_s=max(peaks),
        compiled_kernels=native.available(),
    )


def phase_shares(trial: Trial) -> dict[str, float]:
    """Shares of a step made by itself, the device made to wait after each phase."""
    seconds = dict.fromkeys(PHASES, 0.0)

    def phase(name: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = work()
        synchronise(trial.device)
        seconds[name] += time.perf_counter() - started
        return result

    batches, optimiser = trial.plain_batches(PHASE_STEPS), trial.trainer.optimiser
    for _ in range(PHASE_STEPS):
        batch = phase("data", partial(next, batches))
        optimiser.zero_grad(set_to_none=True)
        loss = phase("forward", partial(trial.loss, batch))
        phase("backward", loss.backward)
        phase("optimiser", optimiser.step)
    total = sum(seconds.values())
    return {name: value / total for name, value in seconds.items()}


def busy_share(trial: Trial, steps: int) -> float:
    """Share of `steps` training steps in which the GPU runs a kernel."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as trace

    batches = trial.batches(steps + 1)
    trial.step(next(batches))
    synchronise(trial.device)
    with trace(activities=[ProfilerActivity.CUDA]) as traced:
        started = time.perf_counter()
        for batch in batches:
            trial.step(batch)
        synchronise(trial.device)
        elapsed = time.perf_counter() - started
    busy: float = sum(event.self_device_time_total for event in traced.key_averages()) * 1e-6
    return min(1.0, busy / elapsed)


def operations_of(trial: Trial) -> tuple[float, tuple[str, ...]]:
    """(operations of a training step, forward and backward, per row; what was not counted)."""
    rows = 0
    with counting(trial.model) as counted:
        for batch in trial.plain_batches(1):
            trial.trainer.optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(trial.loss(batch))
            rows += len(batch)
    trial.trainer.optimiser.zero_grad(set_to_none=True)
    return counted.total / rows, tuple(sorted(counted.unknown))
