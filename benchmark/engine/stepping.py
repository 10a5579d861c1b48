"""What the training loop repeats, between an epoch's plan and the loss of a step, apart from where the data lies.

`HostSteps` collates batches in the host's memory: on a CPU, and on a GPU whose memory the features do not fit into.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from benchmark.core.model import RankingModel
from benchmark.core.types import Batch
from benchmark.engine.config import TrainingConfig
from benchmark.engine.prefetch import prefetched
from benchmark.engine.steps import autocast, collate, train_step

if TYPE_CHECKING:
    from benchmark.data.collate import Collator


@dataclass(frozen=True)
class Parts:
    """What every step needs, the same for all of a run."""

    model: RankingModel
    collator: Collator
    config: TrainingConfig
    objective: Callable[[Tensor, Batch], Tensor]
    optimiser: torch.optim.Optimizer
    device: torch.device

    def train(self, batch: Batch) -> Tensor:
        """Forward, backward and optimiser; the loss that the step started from."""
        precision = autocast(self.config, self.device)
        return train_step(self.model, batch, self.objective, self.optimiser, precision)


class Sized(Protocol):
    """A step's rows, however a `Steps` holds them."""

    def __len__(self) -> int: ...


class Steps(Protocol):
    """The steps of an epoch, from their plan."""

    def batches(self, plan: list[Any]) -> Generator[Any, None, None]:
        """What `take` wants, one for each part of the plan, in order. To be closed."""

    def take(self, batch: Any) -> Tensor:
        """One step; its loss, on the device, valid until the next one."""

    def how(self) -> str:
        """In a word, for the log; empty where there is nothing to say."""


class HostSteps:
    """Batches made in the host's memory, ahead of a GPU."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def batches(self, plan: list[Any]) -> Generator[Batch, None, None]:
        parts = self.parts
        ahead = (collate(parts.model, parts.collator, part, parts.config) for part in plan)
        return prefetched(ahead, parts.device)

    def take(self, batch: Batch) -> Tensor:
        return self.parts.train(batch)

    def how(self) -> str:
        return "" if self.parts.device.type == "cpu" else "features in the host's memory, step by step"
