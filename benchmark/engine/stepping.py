"""What the training loop repeats, between an epoch's plan and the loss of a step, apart from where the data lies.

`HostSteps` collates batches in the host's memory: on a CPU, and on a GPU whose memory the features do not fit into.
`DeviceSteps` draws them from features that lie on the GPU, pads them to a few shapes, and plays the steps back.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from benchmark.core.model import RankingModel
from benchmark.core.types import Batch
from benchmark.engine.buckets import Shape, choose, fitting
from benchmark.engine.config import TrainingConfig
from benchmark.engine.graphs import Graphs
from benchmark.engine.prefetch import prefetched
from benchmark.engine.resident import Resident, fits
from benchmark.engine.steps import autocast, collate, groups_per_step, train_step

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

    def release(self) -> None:
        """Give the device's memory back: no step follows."""


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

    def release(self) -> None:
        return None


def make_steps(
    parts: Parts, collators: list[Collator], on_device: bool | None
) -> tuple[Steps, Resident | None]:
    """How the training split's steps are made (the first collator's), and the last split on the device, if they are
    there: where they were asked to be, or (None) on a GPU that they fit into together."""
    if fits(collators, parts.device) if on_device is None else on_device:
        first, last = (Resident(collator, parts.device) for collator in (collators[0], collators[-1]))
        return DeviceSteps(parts, first), last
    return HostSteps(parts), None


STEPS_AHEAD = 64
"""Steps whose rows are looked up and sent to the device together, while it works on those before."""


@dataclass(frozen=True)
class DrawnStep:
    """A step as a device needs it: where its rows' items stand in its index, and the shape of its batch."""

    index: Tensor
    shape: Shape
    rows: int
    repeated: bool
    """Of a shape that many steps have."""

    def __len__(self) -> int:
        return self.rows


class DeviceSteps:
    """Batches drawn and padded on the device; on a GPU, steps of one shape played back.

    Shapes are fixed by the first epoch and hold any batch of the later ones. A released form, whose scores depend on
    how far a batch is padded, and a listwise method get each batch at its own size, step by step.
    """

    def __init__(self, parts: Parts, resident: Resident) -> None:
        self.parts, self.resident = parts, resident
        self._shapes: list[Shape] = []
        self.graphs: Graphs | None = None
        model, config = parts.model, parts.config
        self._group_size = None if model.sampling == "lists" else 1 + config.negatives
        self._buckets = model.batch_invariant and self._group_size is not None
        if parts.device.type == "cuda" and self._buckets:
            self.graphs = Graphs(self._run, parts.device)

    def batches(self, plan: list[Any]) -> Generator[DrawnStep, None, None]:
        if self._buckets and not self._shapes and plan:
            self._shapes = self._choose(plan)
        for start in range(0, len(plan), STEPS_AHEAD):
            yield from self._sent(plan[start : start + STEPS_AHEAD])

    def take(self, batch: DrawnStep) -> Tensor:
        if self.graphs is None:
            return self._run(batch.index, batch.shape, batch.rows)
        return self.graphs.step(batch.index, batch.shape, batch.rows, repeated=batch.repeated)

    def batch(self, step: DrawnStep) -> Batch:
        """The batch itself, which `take` makes within the step."""
        return self.resident.batch(step.index, step.shape, step.rows, self._group_size)

    def how(self) -> str:
        if self.graphs is None:
            return "features on the device, step by step"
        if self.graphs.refused:
            return f"features on the device, step by step: {self.graphs.refused}"
        return f"features on the device, {self.graphs.shapes} shapes played back"

    def release(self) -> None:
        # by hand: recordings refer to what made them, and such rings wait for Python's search for garbage
        if self.graphs is not None:
            self.graphs.release()
        self.graphs = None
        del self.resident

    def _run(self, index: Tensor, shape: Shape, rows: int) -> Tensor:
        return self.parts.train(self.resident.batch(index, shape, rows, self._group_size))

    def _choose(self, plan: list[Any]) -> list[Shape]:
        groups = groups_per_step(self.parts.config)
        limit = self.resident.largest(groups, groups * (self._group_size or 1))
        exact = [self.resident.exact(self.resident.drawn(_rows(part))) for part in plan]
        return choose(np.array(exact), limit)

    def _sent(self, plan: list[Any]) -> Generator[DrawnStep, None, None]:
        """These steps, their indices on the device after one transfer."""
        found = [(rows, self.resident.drawn(rows)) for rows in map(_rows, plan)]
        shapes = [self.resident.exact(drawn) for _, drawn in found]
        full = groups_per_step(self.parts.config) * (self._group_size or 1) if self._buckets else -1
        whole = [len(rows) == full for rows, _ in found]
        if any(whole):
            numbers = fitting(self._shapes, np.array(shapes))
            # a last step of fewer rows stays as it is: nobody else has its shape
            shapes = [
                self._shapes[number] if is_whole else shape
                for number, is_whole, shape in zip(numbers, whole, shapes, strict=True)
            ]
        indices = [drawn.index(shape) for (_, drawn), shape in zip(found, shapes, strict=True)]
        flat = torch.from_numpy(np.concatenate(indices))
        if self.parts.device.type == "cuda":
            flat = flat.pin_memory()
        sent = flat.to(self.parts.device, non_blocking=True).split_with_sizes(
            [len(index) for index in indices]
        )
        for (rows, _), index, shape, is_whole in zip(found, sent, shapes, whole, strict=True):
            yield DrawnStep(index, shape, len(rows), is_whole)


def _rows(part: Any) -> Any:
    """Review rows of one step of a plan: ranking groups `[groups, 1 + K]`, or a list of rows for each product."""
    return part.reshape(-1) if isinstance(part, np.ndarray) else np.concatenate(part)
