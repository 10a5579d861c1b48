"""How fast a method trains and scores on this machine, through the very functions that runs use.

`measure` is what estimates need; `profile` adds what `bench speed` prints: peak memory, phases of a step,
floating-point operations and the share of what the device can do.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmark.core.types import Batch
from benchmark.engine import machine, runner
from benchmark.engine.config import TrainingConfig
from benchmark.engine.losses import ranking_loss
from benchmark.engine.prefetch import prefetched
from benchmark.engine.steps import autocast, collate, epoch_plan, make_optimiser, train_step
from benchmark.engine.train import seed_everything
from benchmark.kernels import native

if TYPE_CHECKING:
    from benchmark.data.corpus import Corpus
    from benchmark.runs.spec import RunSpec

ESTIMATE_STEPS = 3
ESTIMATE_SCORED = 64
"""Reviews scored at once for an estimate; `bench speed` takes as many as runs do."""
PHASE_STEPS = 3
MATRIX = {"cpu": 2048, "cuda": 8192}
"""Side of the square matrices whose product measures the device's peak."""
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
    """Of a training step, forward and backward, as PyTorch does it without the compiled kernels. Counted: matrix
    products (not of matrix with vector), convolutions, attention kernels, and LSTMs by formula. Not counted:
    everything element by element, and so most of what pooling, kernels and pair networks do."""
    peak_flops_per_s: float
    """Of a square matrix product on this device at this precision."""
    compiled_kernels: bool
    """Whether `benchmark.kernels` was built here, which a CPU takes in float32."""

    def to_json(self) -> dict[str, Any]:
        """Flat, with the derived share of the device's peak."""
        record = asdict(self)
        rates = record.pop("throughput")
        share = self.throughput.train_rows_per_s * self.flops_per_row / self.peak_flops_per_s
        return {**rates, **record, "peak_share": share}


@dataclass
class _Trainer:
    """A model with fresh weights and everything that a training step of a run needs."""

    spec: RunSpec
    corpus: Corpus

    def __post_init__(self) -> None:
        self.config: TrainingConfig = runner.training_config(self.spec)
        self.device = torch.device(self.spec.device)
        machine.prepare_process(self.config)
        seed_everything(self.spec.seed)
        train = self.corpus.train
        self.model = runner.build_model(self.spec, self.corpus).to(self.device).train()
        self.collator = runner.make_collator(train, model=self.model, corpus=self.corpus, config=self.config)
        self.optimiser = make_optimiser(self.model, self.config)
        self.objective = ranking_loss(self.config)
        self.model.start_training(torch.from_numpy(np.asarray(train.label_R, dtype=np.float32)))
        self.plan = epoch_plan(self.model, train, self.config, self.spec.seed, 1)

    def batches(self, count: int) -> Iterator[Batch]:
        """`count` batches of the first epoch, which starts again where it is shorter."""
        parts = itertools.islice(itertools.cycle(self.plan), count)
        return prefetched(
            (collate(self.model, self.collator, part, self.config) for part in parts), self.device
        )

    def step(self, batch: Batch) -> Tensor:
        precision = autocast(self.config, self.device)
        return train_step(self.model, batch, self.objective, self.optimiser, precision)

    def loss(self, batch: Batch) -> Tensor:
        with autocast(self.config, self.device):
            return self.model.loss(batch, self.objective)


def measure(spec: RunSpec, corpus: Corpus, *, steps: int, warmup: int = 1) -> Throughput:
    """Time `steps` training steps and the scoring of about as many reviews, after `warmup` of each."""
    return _measure(_Trainer(spec, corpus), steps, warmup, ESTIMATE_SCORED)


def _measure(trainer: _Trainer, steps: int, warmup: int, scored: int) -> Throughput:
    device = trainer.device
    step_seconds, wait_seconds, rows = [], [], []
    asked = time.perf_counter()
    for number, batch in enumerate(trainer.batches(warmup + steps), start=1):
        got = time.perf_counter()
        trainer.step(batch)
        if device.type == "cpu" or number in (warmup, warmup + steps):
            synchronise(device)
        done = time.perf_counter()
        wait_seconds.append(got - asked)
        step_seconds.append(done - asked)
        rows.append(len(batch))
        asked = done
    step_seconds, wait_seconds, rows = step_seconds[warmup:], wait_seconds[warmup:], rows[warmup:]
    rate = np.median(np.divide(rows, step_seconds)) if device.type == "cpu" else sum(rows) / sum(step_seconds)
    return Throughput(
        train_rows_per_s=float(rate),
        score_reviews_per_s=_scoring(trainer, scored),
        data_wait_share=float(np.sum(wait_seconds) / np.sum(step_seconds)),
        steps_per_epoch=len(trainer.plan),
        rows_per_step=float(np.mean(rows)),
    )


def _scoring(trainer: _Trainer, reviews: int) -> float:
    """Reviews scored per second: whole products of the training split, about `reviews` at a time."""
    train, device = trainer.corpus.train, trainer.device
    sizes = np.bincount(train.product_R, minlength=train.n_products)
    products = np.flatnonzero(np.cumsum(sizes) <= max(reviews, int(sizes[0])))
    rates = []
    trainer.model.eval()
    with torch.inference_mode(), autocast(trainer.config, device):
        for _ in range(3):
            started = time.perf_counter()
            batch = trainer.collator.products(products).to(device)
            trainer.model.score(batch)
            synchronise(device)
            rates.append(len(batch) / (time.perf_counter() - started))
    trainer.model.train()
    return float(np.median(rates[1:]))


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
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


def profile(spec: RunSpec, corpus: Corpus, *, steps: int, warmup: int = 2) -> Profile:
    """Everything about one method. Call it once in a fresh process: a peak of memory cannot be reset."""
    from benchmark.engine.evaluate import SCORE_ROWS

    trainer = _Trainer(spec, corpus)
    throughput = _measure(trainer, steps, warmup, SCORE_ROWS)
    on_gpu = trainer.device.type == "cuda"
    host = machine.peak_host_bytes()
    device_bytes = torch.cuda.max_memory_allocated(trainer.device) if on_gpu else None
    return Profile(
        throughput=throughput,
        parameters=sum(parameter.numel() for parameter in trainer.model.parameters()),
        peak_memory_bytes=host,
        peak_device_memory_bytes=device_bytes,
        phase_shares=_phase_shares(trainer),
        device_busy_share=_busy_share(trainer, steps) if on_gpu else None,
        flops_per_row=_flops_per_row(trainer),
        peak_flops_per_s=peak_flops(trainer.device, trainer.config.precision),
        compiled_kernels=native.available(),
    )


def _phase_shares(trainer: _Trainer) -> dict[str, float]:
    seconds = dict.fromkeys(PHASES, 0.0)

    def phase(name: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = work()
        synchronise(trainer.device)
        seconds[name] += time.perf_counter() - started
        return result

    batches = trainer.batches(PHASE_STEPS)
    for _ in range(PHASE_STEPS):
        batch = phase("data", partial(next, batches))
        trainer.optimiser.zero_grad(set_to_none=True)
        loss = phase("forward", partial(trainer.loss, batch))
        phase("backward", loss.backward)
        phase("optimiser", trainer.optimiser.step)
    total = sum(seconds.values())
    return {name: value / total for name, value in seconds.items()}


def _busy_share(trainer: _Trainer, steps: int) -> float:
    """Share of `steps` training steps in which the GPU runs a kernel."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as trace

    batches = trainer.batches(steps + 1)
    trainer.step(next(batches))
    synchronise(trainer.device)
    with trace(activities=[ProfilerActivity.CUDA]) as traced:
        started = time.perf_counter()
        for batch in batches:
            trainer.step(batch)
        synchronise(trainer.device)
        elapsed = time.perf_counter() - started
    busy: float = sum(event.self_device_time_total for event in traced.key_averages()) * 1e-6
    return min(1.0, busy / elapsed)


def _flops_per_row(trainer: _Trainer) -> float:
    """Operations of one training step, forward and backward, per row."""
    (batch,) = trainer.batches(1)
    trainer.optimiser.zero_grad(set_to_none=True)
    counter = FlopCounterMode(display=False)
    with native.switched_off(), _lstm_flops(trainer.model) as lstm, counter:
        torch.autograd.backward(trainer.loss(batch))
    trainer.optimiser.zero_grad(set_to_none=True)
    return (counter.get_total_flops() + sum(lstm)) / len(batch)


@contextmanager
def _lstm_flops(model: nn.Module) -> Iterator[list[int]]:
    """Collects the operations of one-layer, one-direction LSTMs, which run as one kernel that the counter does
    not know: 2 · N T · 4H (E + H) forward, and twice that backward."""
    counted: list[int] = []

    def count(module: nn.Module, inputs: tuple[Any, ...], outputs: Any) -> None:
        assert isinstance(module, nn.LSTM)
        n_steps = inputs[0].shape[0] * inputs[0].shape[1]
        hidden, width = module.hidden_size, module.input_size
        counted.append(3 * 2 * n_steps * 4 * hidden * (width + hidden))

    lstms = [module for module in model.modules() if isinstance(module, nn.LSTM)]
    hooks = [module.register_forward_hook(count) for module in lstms if not _counter_sees(module)]
    try:
        yield counted
    finally:
        for hook in hooks:
            hook.remove()


def _counter_sees(lstm: nn.LSTM) -> bool:
    """Whether this build of torch runs an LSTM as matrix products, which are counted anyway."""
    weight = next(lstm.parameters())
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        lstm(weight.new_zeros(1, 1, lstm.input_size))
    return counter.get_total_flops() > 0


def peak_flops(device: torch.device, precision: str, repeats: int = 5) -> float:
    """Operations per second of the best of some square matrix products."""
    size = MATRIX[device.type]
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.ones(size, size, device=device, dtype=dtype) for _ in range(2))
    best = math.inf
    for _ in range(1 + repeats):
        synchronise(device)
        started = time.perf_counter()
        a @ b
        synchronise(device)
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best
