"""Whether methods compute on a device what they compute on a CPU, and the same every time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmark.engine import runner
from benchmark.engine.evaluate import score_split
from benchmark.engine.plan import Choices, expand
from benchmark.engine.stepping import DeviceSteps

if TYPE_CHECKING:
    from benchmark.data.corpus import Corpus
    from benchmark.engine.train import Trainer
    from benchmark.runs.spec import RunSpec

EPOCHS = 3
CLOSE = 2e-3
"""Largest difference of a score on the CPU and on the device with the same weights, in standard deviations of the
scores: float32 rounding, and no more."""


@dataclass(frozen=True)
class Verdict:
    """One method on the device."""

    method: str
    ok: bool
    how: str
    """How its steps were made."""
    loss: str
    apart: float
    """CPU against device, see `CLOSE`."""
    identical: bool
    """Trained twice from one seed: losses, weights and scores bit for bit."""
    by_step: str
    """Against the same steps made one by one."""
    seconds: float

    def row(self) -> list[str]:
        return [
            self.method,
            "ok" if self.ok else "FAILED",
            self.how,
            self.loss,
            f"{self.apart:.1e}",
            "identical" if self.identical else "DIFFERS",
            self.by_step,
            f"{self.seconds:.1f}",
        ]


HEAD = ["method", "", "steps", "loss", "CPU - device (sd)", "trained twice", "against single steps", "s"]


def spec_of(corpus: Corpus, method: str, device: str, *overrides: str, preset: str = "quick") -> RunSpec:
    choices = Choices(
        *((corpus.dataset,), (corpus.category,), (method,), (0,)),
        preset=preset,
        overrides=overrides,
        device=device,
    )
    (spec,) = expand(choices, [corpus])
    return spec


@dataclass(frozen=True)
class _Trained:
    trainer: Trainer
    losses: list[float]
    score_R: Any

    def same_bits(self, other: _Trained) -> bool:
        mine, its = self.trainer.model.state_dict(), other.trainer.model.state_dict()
        return (
            self.losses == other.losses
            and np.array_equal(self.score_R, other.score_R)
            and all(torch.equal(value, its[name]) for name, value in mine.items())
        )


def _trained(
    spec: RunSpec, corpus: Corpus, prepare: Callable[[Trainer], None] = lambda trainer: None
) -> _Trained:
    trainer = runner.new_trainer(spec, corpus, on_device=True)
    prepare(trainer)
    losses = [trainer.advance()["loss"] for _ in range(EPOCHS)]
    assert trainer.dev_resident is not None
    score_R = score_split(trainer.model, corpus.dev, trainer.dev_resident, trainer.device)
    return _Trained(trainer, losses, score_R)


def step_by_step(trainer: Trainer) -> None:
    """Nothing is played back."""
    if isinstance(trainer.steps, DeviceSteps):
        trainer.steps.graphs = None


def check_method(method: str, corpus: Corpus, device: str) -> Verdict:
    """Train it twice, once more step by step, and score with its weights on the CPU."""
    started = time.perf_counter()
    spec = spec_of(corpus, method, device, f"train.epochs={EPOCHS}", "train.batch_size=8")
    first, second = _trained(spec, corpus), _trained(spec, corpus)
    how = first.trainer.steps.how()
    by_step = "not needed"
    if "played back" in how:
        single = _trained(spec, corpus, step_by_step)
        gap = abs(single.losses[-1] - first.losses[-1]) / max(1e-9, abs(single.losses[-1]))
        by_step = "identical" if single.same_bits(first) else f"loss {100 * gap:.2g}% apart"
    on_device = first.score_R
    trainer = first.trainer
    trainer.model.cpu()
    on_cpu = score_split(trainer.model, corpus.dev, trainer.dev.collator, torch.device("cpu"))
    apart = float(np.abs(on_cpu - on_device).max() / max(1e-9, float(on_cpu.std())))
    identical = first.same_bits(second) if device == "cpu" else _same_bits_on_cpu(first, second)
    finite = bool(np.isfinite(first.losses).all())
    loss = f"{first.losses[0]:.3f} to {first.losses[-1]:.3f}"
    ok = finite and identical and apart <= CLOSE
    return Verdict(method, ok, how, loss, apart, identical, by_step, time.perf_counter() - started)


def _same_bits_on_cpu(first: _Trained, second: _Trained) -> bool:
    second.trainer.model.cpu()  # as the first one's is by now
    return first.same_bits(second)
