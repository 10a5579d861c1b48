"""One step of training, from its rows to the optimiser: what `train` repeats and `speed` times."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.core.errors import UsageError
from benchmark.core.model import RankingModel
from benchmark.core.seeding import generator
from benchmark.core.types import Batch
from benchmark.engine.adam import Adam
from benchmark.engine.config import TrainingConfig
from benchmark.engine.pairs import training_groups, training_lists

if TYPE_CHECKING:
    from benchmark.data.collate import Collator
    from benchmark.data.corpus import Split


def make_optimiser(model: RankingModel, config: TrainingConfig) -> torch.optim.Optimizer:
    """Adam over the model's parameter groups, its arithmetic fused: one pass over each parameter."""
    groups = [
        {**group, "params": list(group["params"])} for group in model.parameter_groups(config.learning_rate)
    ]
    device = next((p.device for group in groups for p in group["params"]), torch.device("cpu"))
    for group in groups:
        if device.type == "cuda":  # a number would be part of a step that is played back; memory can change
            group["lr"] = torch.tensor(float(group["lr"]), device=device)
    return Adam(groups, lr=config.learning_rate)


def learning_rates(optimiser: torch.optim.Optimizer) -> list[float]:
    """Of each group, as numbers wherever they are kept."""
    return [float(group["lr"]) for group in optimiser.param_groups]


def set_learning_rates(optimiser: torch.optim.Optimizer, rates: list[float], kept: list[Any]) -> None:
    """Put these rates back, into the very memory in which they were `kept` where that is a tensor's."""
    for group, rate, place in zip(optimiser.param_groups, rates, kept, strict=True):
        group["lr"] = place.fill_(rate) if isinstance(place, Tensor) else rate


def epoch_plan(model: RankingModel, train: Split, config: TrainingConfig, seed: int, epoch: int) -> list[Any]:
    """The steps of one epoch: review rows `[groups, 1 + K]` per step, or lists of rows per step for a
    listwise method. A pure function of (seed, epoch)."""
    if model.sampling == "lists":
        lists = training_lists(train.product_R, train.label_R, size=config.list_size, seed=seed, epoch=epoch)
        order = generator(seed, "order", epoch).permutation(len(lists))
        shuffled = [lists[i] for i in order]
        size = config.lists_per_batch
        return [shuffled[start : start + size] for start in range(0, len(shuffled), size)]
    groups_GK = training_groups(
        train.product_R,
        train.label_R,
        gap=config.label_gap,
        negatives=config.negatives,
        seed=seed,
        epoch=epoch,
        weighted=config.weighted_negatives,
    )
    # whole groups change places: a positive keeps its negatives
    groups_GK = groups_GK[generator(seed, "order", epoch).permutation(len(groups_GK))]
    size = groups_per_step(config)
    return [groups_GK[start : start + size] for start in range(0, len(groups_GK), size)]


def rows_of_plan(plan: list[Any]) -> NDArray[np.int64]:
    """Review rows of all steps, each as often as it stands in them."""
    return np.concatenate([np.concatenate([np.ravel(rows) for rows in part]) for part in plan])


def groups_per_step(config: TrainingConfig) -> int:
    """Ranking groups in a step (D-BATCH)."""
    if config.batch_unit == "pairs":
        return config.batch_size
    if config.batch_unit == "reviews":
        return max(1, config.batch_size // (1 + config.negatives))
    raise UsageError(f"batch_unit is `pairs` or `reviews`, not {config.batch_unit!r}.")


def collate(model: RankingModel, collator: Collator, part: Any, config: TrainingConfig) -> Batch:
    """One step's batch from its part of the plan."""
    if model.sampling == "lists":
        return collator.lists(part)
    rows: NDArray[np.int64] = part.reshape(-1)
    return collator.pairs(rows, 1 + config.negatives)


def autocast(config: TrainingConfig, device: torch.device) -> AbstractContextManager[Any]:
    """bf16 arithmetic where it was asked for; `tf32` is a switch of the device (see `runner`)."""
    if config.precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    if config.precision in ("float32", "tf32"):
        return nullcontext()
    raise UsageError(f"precision is float32, tf32 or bf16, not {config.precision!r}.")


def train_step(
    model: RankingModel,
    batch: Batch,
    objective: Callable[[Tensor, Batch], Tensor],
    optimiser: torch.optim.Optimizer,
    precision: AbstractContextManager[Any],
) -> Tensor:
    """One step; the loss that it started from."""
    # None instead of zeros: Adam leaves alone what has no part in this loss
    optimiser.zero_grad(set_to_none=True)
    with precision:
        loss = model.loss(batch, objective)
    # outside autocast: each backward operation takes the precision of its forward one
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return loss.detach()
