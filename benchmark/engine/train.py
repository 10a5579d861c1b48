"""The only training loop. Every method is fitted by it, on the same pairs, and selected on dev.

Same seed, same numbers: model, pairs and their order are functions of (seed, purpose, epoch); nothing
depends on how many runs go on side by side.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.core.errors import TrainingError, UsageError
from benchmark.core.model import RankingModel
from benchmark.core.seeding import derive_seed, generator
from benchmark.core.types import Batch
from benchmark.engine.config import TrainingConfig
from benchmark.engine.evaluate import mean_metrics, score_split
from benchmark.engine.losses import ranking_loss
from benchmark.engine.pairs import training_groups, training_lists
from benchmark.engine.prefetch import prefetched

if TYPE_CHECKING:
    from benchmark.data.collate import Collator
    from benchmark.data.corpus import Split

PLATEAU_FACTOR, PLATEAU_PATIENCE = 0.5, 4
LOSS_CHECK_STEPS = 50
"""On a GPU the loss is read back (a synchronisation) only this often; on a CPU at every step."""


@dataclass
class Progress:
    """Where a run stands, for whoever watches."""

    epoch: int
    epochs: int
    step: int
    steps: int


@dataclass
class Fitted:
    """What training found. The model holds the weights of `best_epoch`."""

    best_epoch: int
    best_dev: dict[str, float]
    epochs: int
    steps: int
    rows: int
    data_seconds: float
    step_seconds: float
    log: list[dict[str, Any]] = field(default_factory=list)


def seed_everything(seed: int) -> None:
    """Seed what draws a model's initial weights and its dropout."""
    torch.manual_seed(derive_seed(seed, "model") % 2**63)


def fit(
    model: RankingModel,
    train: Split,
    dev: Split,
    collators: tuple[Collator, Collator],
    config: TrainingConfig,
    *,
    seed: int,
    device: torch.device,
    on_epoch: Callable[[dict[str, Any]], None] = lambda entry: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Fitted:
    """Train `model` in place; stop early on the dev split's full-list MAP and restore the best epoch.

    Raises TrainingError where the training split yields no pairs or the loss is not finite (names epoch
    and step).
    """
    train_collator, dev_collator = collators
    model.to(device).train()
    optimiser = make_optimiser(model, config)
    schedule = _plateau(optimiser) if config.plateau else None
    objective = ranking_loss(config)
    model.start_training(torch.from_numpy(np.asarray(train.label_R, dtype=np.float32)))

    fitted = Fitted(0, {"map": -1.0}, 0, 0, 0, 0.0, 0.0)
    best_state: dict[str, Tensor] = {}
    for epoch in range(1, config.epochs + 1):
        started = time.perf_counter()
        plan = epoch_plan(model, train, config, seed, epoch)
        if not plan:
            raise TrainingError(_no_pairs(config))
        progress = Progress(epoch, config.epochs, 0, len(plan))
        total = torch.zeros((), dtype=torch.float64)
        waited = 0.0
        batches = prefetched((collate(model, train_collator, part, config) for part in plan), device)
        asked = time.perf_counter()
        for step, batch in enumerate(batches, start=1):
            waited += time.perf_counter() - asked
            loss = _step(model, batch, objective, optimiser, autocast(config, device))
            total = total.to(loss.device) + loss.double()
            if device.type == "cpu" or step % LOSS_CHECK_STEPS == 0 or step == len(plan):
                _assert_finite(total, epoch, step)
            fitted.steps += 1
            fitted.rows += len(batch)
            progress.step = step
            on_progress(progress)
            asked = time.perf_counter()
        notes = model.end_epoch(epoch)
        trained = time.perf_counter()
        with autocast(config, device):
            dev_score_R = score_split(model, dev, dev_collator, device)
        dev_metrics = mean_metrics(dev, dev_score_R, config.relevance_threshold)
        fitted.data_seconds += waited
        fitted.step_seconds += trained - started
        entry: dict[str, Any] = {
            "epoch": epoch,
            "steps": len(plan),
            "loss": float(total) / len(plan),
            "learning_rate": optimiser.param_groups[-1]["lr"],
            **{f"dev_{name}": value for name, value in dev_metrics.items()},
            "train_seconds": round(trained - started, 4),
            "dev_seconds": round(time.perf_counter() - trained, 4),
            "data_wait_seconds": round(waited, 4),
        }
        if notes:
            entry["notes"] = notes
        fitted.log.append(entry)
        fitted.epochs = epoch
        on_epoch(entry)
        if schedule is not None:
            schedule.step(dev_metrics["map"])
        if dev_metrics["map"] > fitted.best_dev["map"]:
            fitted.best_epoch, fitted.best_dev = epoch, dev_metrics
            best_state = {name: value.detach().clone() for name, value in model.state_dict().items()}
        elif config.patience and epoch - fitted.best_epoch >= config.patience:
            break
    model.load_state_dict(best_state)
    return fitted


def make_optimiser(model: RankingModel, config: TrainingConfig) -> torch.optim.Optimizer:
    """Adam over the model's parameter groups, its arithmetic fused: one pass over each parameter."""
    groups = list(model.parameter_groups(config.learning_rate))
    return torch.optim.Adam(groups, lr=config.learning_rate, fused=True)


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
    groups_GK = groups_GK[generator(seed, "order", epoch).permutation(len(groups_GK))]
    size = groups_per_step(config)
    return [groups_GK[start : start + size] for start in range(0, len(groups_GK), size)]


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


def _step(
    model: RankingModel,
    batch: Batch,
    objective: Callable[[Tensor, Batch], Tensor],
    optimiser: torch.optim.Optimizer,
    precision: AbstractContextManager[Any],
) -> Tensor:
    optimiser.zero_grad(set_to_none=True)
    with precision:
        loss = model.loss(batch, objective)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return loss.detach()


def _plateau(optimiser: torch.optim.Optimizer) -> torch.optim.lr_scheduler.ReduceLROnPlateau:
    return torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimiser, mode="max", factor=PLATEAU_FACTOR, patience=PLATEAU_PATIENCE
    )


def _assert_finite(total: Tensor, epoch: int, step: int) -> None:
    if not math.isfinite(float(total)):
        raise TrainingError(
            f"the loss is not finite in epoch {epoch}, by step {step}. "
            "Lower the learning rate (--set train.learning_rate=...) or use float32."
        )


def _no_pairs(config: TrainingConfig) -> str:
    needed = 2 + config.label_gap
    return (
        "the training split yields no training pairs: with label_gap "
        f"{config.label_gap} a product needs at least {needed} distinct labels. "
        "Try --set train.label_gap=0."
    )
