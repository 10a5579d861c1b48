"""How fast a device trains and scores, and what a step's time goes to."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from benchmark.engine.evaluate import score_split
from benchmark.engine.resident import Resident
from benchmark.speed.measure import Trial, busy_share, operations_of, phase_shares
from benchmark.speed.operations import peak_flops, synchronise
from benchmark.speed.report import grid_seconds

if TYPE_CHECKING:
    from benchmark.data.corpus import Corpus
    from benchmark.runs.spec import RunSpec

WARM_STEPS = 48
"""Before anything is timed: every shape has been seen and captured by then."""
TRACED_STEPS = 12


@dataclass(frozen=True)
class Rates:
    """One method at one precision."""

    method: str
    precision: str
    how: str
    rows_per_s: float
    reviews_per_s: float
    phases: dict[str, float]
    """Shares of a step made by itself, the device waiting after each: data, forward, backward, optimiser."""
    gaps: float | None
    """Share of the time of real steps in which the device runs nothing."""
    gflop_per_row: float
    of_peak: float | None
    device_gb: float | None
    grid_seconds: float

    def row(self) -> list[str]:
        phases = "/".join(f"{100 * share:.0f}" for share in self.phases.values())
        return [
            self.method,
            self.precision,
            self.how,
            f"{self.rows_per_s:,.0f}",
            f"{self.reviews_per_s:,.0f}",
            f"{phases}%",
            "" if self.gaps is None else f"{100 * self.gaps:.0f}%",
            f"{self.gflop_per_row:.2f}",
            "not known" if self.of_peak is None else f"{100 * self.of_peak:.1f}%",
            "" if self.device_gb is None else f"{self.device_gb:.2f}",
            f"{self.grid_seconds / 3600:.1f}",
        ]


HEAD = [
    *("method", "precision", "steps", "rows/s", "reviews/s", "data/fwd/bwd/opt", "host gaps"),
    *("GFLOP/row", "of peak", "GPU GB", "grid h"),
]


def measure_rates(spec: RunSpec, corpus: Corpus, seconds: float, peaks: dict[str, float]) -> Rates:
    """Real steps for so many seconds, then scoring, then a trace; `peaks` remembers each precision's."""
    trial = Trial(spec, corpus)
    device, config = trial.device, trial.config
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    _steps(trial, WARM_STEPS if on_gpu else 1)
    rows, taken = 0, 0.0
    while taken < seconds:
        started = time.perf_counter()
        rows += _steps(trial, len(trial.plan) if on_gpu else 1)
        taken += time.perf_counter() - started
    if config.precision not in peaks:
        peaks[config.precision] = peak_flops(device, config.precision)
    operations, _ = operations_of(trial)
    share = rows / taken * operations / peaks[config.precision]
    scored = _scored_per_second(trial)
    profile = {
        "steps_per_epoch": len(trial.plan),
        "rows_per_step": sum(part.size for part in trial.plan) / len(trial.plan),
        "train_rows_per_s": rows / taken,
        "score_reviews_per_s": scored,
    }
    return Rates(
        spec.method,
        config.precision,
        trial.trainer.steps.how().removeprefix("features on the device, ") or "on the host",
        rows / taken,
        scored,
        phase_shares(trial),
        1 - busy_share(trial, TRACED_STEPS) if on_gpu else None,
        operations / 1e9,
        share if share <= 1 else None,
        torch.cuda.max_memory_allocated() / 1e9 if on_gpu else None,
        grid_seconds(spec, profile, corpus.train.n_reviews),
    )


def _steps(trial: Trial, count: int) -> int:
    """Make so many steps; their rows, once the device has done them."""
    rows = 0
    for batch in trial.batches(count):
        trial.step(batch)
        rows += len(batch)
    synchronise(trial.device)
    return rows


def _scored_per_second(trial: Trial) -> float:
    """The training split, as a run scores dev."""
    where = Resident(trial.collator, trial.device) if trial.device.type == "cuda" else trial.collator
    split = trial.corpus.train
    with torch.autocast(trial.device.type, torch.bfloat16, enabled=trial.config.precision == "bf16"):
        score_split(trial.model, split, where, trial.device)  # to warm up
        started = time.perf_counter()
        score_split(trial.model, split, where, trial.device)
    return split.n_reviews / (time.perf_counter() - started)
