"""The only training loop. Every method is fitted by it, on the same pairs, and selected on dev.

Same seed, same numbers: model, pairs and their order are functions of (seed, purpose, epoch); nothing
depends on how many runs go on side by side.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from benchmark.core.errors import TrainingError
from benchmark.core.model import RankingModel
from benchmark.core.seeding import derive_seed
from benchmark.engine.config import TrainingConfig
from benchmark.engine.evaluate import DIVERGED_ADVICE, mean_metrics, score_split
from benchmark.engine.losses import ranking_loss
from benchmark.engine.pairs import MIN_DISTINCT_LABELS
from benchmark.engine.stepping import Parts, make_steps
from benchmark.engine.steps import (
    autocast,
    epoch_plan,
    learning_rates,
    make_optimiser,
    rows_of_plan,
    set_learning_rates,
)

if TYPE_CHECKING:
    from benchmark.data.collate import Collator
    from benchmark.data.corpus import Split

PLATEAU_FACTOR, PLATEAU_PATIENCE = 0.5, 4


@dataclass(frozen=True)
class Feed:
    """A split and what turns its rows into batches."""

    split: Split
    collator: Collator


@dataclass
class Progress:
    """Where a run stands, for whoever watches."""

    epoch: int
    epochs: int
    step: int
    steps: int


OnStep = Callable[[Progress], None]
"""Called between two steps. What it raises ends the training there, and the trainer can be saved or go on."""


@dataclass
class Fitted:
    """What training found. The model holds the weights of `best_epoch`."""

    best_epoch: int = 0
    best_dev: dict[str, float] = field(default_factory=lambda: {"map": -1.0})
    epochs: int = 0
    steps: int = 0
    rows: int = 0
    data_seconds: float = 0.0
    step_seconds: float = 0.0
    log: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Epoch:
    """The epoch under way."""

    number: int
    loss: Tensor
    """Sum over its steps so far, float64."""
    step: int = 0
    """Steps made."""
    seconds: float = 0.0
    waited: float = 0.0
    """Of `seconds`: for batches."""
    notes: dict[str, Any] | None = None
    """What the model said at the end of its steps; None before."""


@dataclass
class TrainingState:
    """All that decides what comes after a step: numbers as tensors on the CPU, the rest as JSON values."""

    tensors: dict[str, Tensor]
    record: dict[str, Any]


def seed_everything(seed: int) -> None:
    """Seed what draws a model's initial weights and its dropout."""
    torch.manual_seed(derive_seed(seed, "model") % 2**63)


class Trainer:
    """One run's training: step it epoch by epoch, ask where it stands, save it and restore it.

    `state()` between any two steps, restored into a trainer that was built alike, goes on to the same bits:
    plans and batches are functions of (seed, epoch), so that generators, weights, optimiser and what the
    method keeps of its own are all there is to remember.

    Usage: `while not trainer.finished: trainer.advance()`, then `trainer.finish()`.
    """

    def __init__(
        self,
        model: RankingModel,
        train: Feed,
        dev: Feed,
        config: TrainingConfig,
        *,
        seed: int,
        device: torch.device,
        on_device: bool | None = None,
    ) -> None:
        """`on_device`: keep the features on the device and draw batches there; None: on a GPU, where they fit."""
        # before the optimiser is made, which must hold the parameters where they will stay
        self.model = model.to(device).train()
        self.train, self.dev = train, dev
        self.config, self.seed, self.device = config, seed, device
        self.optimiser = make_optimiser(model, config)
        self.schedule = _plateau(self.optimiser) if config.plateau else None
        parts = Parts(self.model, train.collator, config, ranking_loss(config), self.optimiser, device)
        self.steps, self.dev_resident = make_steps(parts, [train.collator, dev.collator], on_device)
        self.fitted = Fitted()
        self.best_weights: dict[str, Tensor] = {}
        self.visited_R = torch.zeros(train.split.n_reviews, dtype=torch.bool)
        """The training reviews that stood in a batch of any epoch that is closed."""
        self.epoch = self._fresh_epoch(1)
        # after `to`: what a method keeps is made on the model's device
        model.start_training(torch.from_numpy(np.asarray(train.split.label_R, dtype=np.float32)))

    @property
    def finished(self) -> bool:
        """True after the last epoch, or when `patience` epochs brought no better dev MAP (full lists)."""
        # from the record alone, so that a restored trainer stops where the first would have
        waited = self.fitted.epochs - self.fitted.best_epoch
        out_of_patience = bool(self.config.patience) and waited >= self.config.patience
        return self.fitted.epochs >= self.config.epochs or out_of_patience

    def advance(self, on_step: OnStep = lambda progress: None) -> dict[str, Any]:
        """Train to the end of the epoch under way, judge it on dev, and return its log entry.

        Raises TrainingError where the training split yields no pairs or the loss is not finite (names epoch
        and step).
        """
        plan = epoch_plan(self.model, self.train.split, self.config, self.seed, self.epoch.number)
        if not plan:
            raise TrainingError(_no_pairs(self.model, self.config))
        progress = Progress(self.epoch.number, self.config.epochs, self.epoch.step, len(plan))
        # a trainer that was saved while dev was scored has no step left, and scores anew
        self._train(plan, progress, on_step)
        judging = time.perf_counter()
        with autocast(self.config, self.device):
            dev_score_R = score_split(
                self.model,
                self.dev.split,
                self.dev_resident or self.dev.collator,
                self.device,
                on_batch=lambda: on_step(progress),
            )
        dev_metrics = mean_metrics(self.dev.split, dev_score_R, self.config.relevance_threshold)
        return self._close(plan, dev_metrics, time.perf_counter() - judging)

    def finish(self) -> Fitted:
        """Put the best epoch's weights into the model; what training found. No step may follow."""
        self.steps.release()
        self.dev_resident = None
        self.model.load_state_dict(self.best_weights)
        return self.fitted

    def _fresh_epoch(self, number: int) -> Epoch:
        return Epoch(number, torch.zeros((), dtype=torch.float64, device=self.device))

    def _train(self, plan: list[Any], progress: Progress, on_step: OnStep) -> None:
        """The steps of the epoch that were not made yet, then the model's own end of it."""
        epoch = self.epoch
        clock = asked = time.perf_counter()
        # closing: what on_step raises must end the thread that makes batches, too
        with closing(self.steps.batches(plan[epoch.step :])) as batches:
            for batch in batches:
                epoch.waited += time.perf_counter() - asked
                epoch.loss += self.steps.take(batch).double()
                epoch.step += 1
                # on a GPU to read the loss is to wait for it, so it is read once an epoch
                if self.device.type == "cpu" or epoch.step == len(plan):
                    _assert_finite(epoch.loss, epoch.number, epoch.step)
                self.fitted.steps += 1
                self.fitted.rows += len(batch)
                progress.step = epoch.step
                asked = time.perf_counter()
                epoch.seconds += asked - clock
                clock = asked
                on_step(progress)
        # once an epoch, although a restored trainer may pass here again: end_epoch moves a method's labels
        if epoch.notes is None:
            epoch.notes = self.model.end_epoch(epoch.number)
        epoch.seconds += time.perf_counter() - clock

    def _close(self, plan: list[Any], dev_metrics: dict[str, float], dev_seconds: float) -> dict[str, Any]:
        """Log the epoch, keep its weights if it is the best so far, begin the next one."""
        epoch, fitted, steps = self.epoch, self.fitted, len(plan)
        entry: dict[str, Any] = {
            "epoch": epoch.number,
            "steps": steps,
            "loss": float(epoch.loss) / steps,
            "learning_rate": learning_rates(self.optimiser)[-1],
            **{f"dev_{name}": value for name, value in dev_metrics.items()},
            "train_seconds": round(epoch.seconds, 4),
            "dev_seconds": round(dev_seconds, 4),
            "data_wait_seconds": round(epoch.waited, 4),
        }
        entry["coverage"] = self._visit(plan)
        if how := self.steps.how():
            entry["steps_made"] = how
        if epoch.notes:
            entry["notes"] = epoch.notes
        fitted.log.append(entry)
        fitted.epochs = epoch.number
        fitted.data_seconds += epoch.waited
        fitted.step_seconds += epoch.seconds
        if self.schedule is not None:
            self.schedule.step(dev_metrics["map"])
        # strictly above: the earliest of equally good epochs is kept
        if dev_metrics["map"] > fitted.best_dev["map"]:
            fitted.best_epoch, fitted.best_dev = epoch.number, dev_metrics
            # cloned: state_dict holds the parameters themselves, and the next step writes into them
            self.best_weights = {
                name: value.detach().clone() for name, value in self.model.state_dict().items()
            }
        self.epoch = self._fresh_epoch(epoch.number + 1)
        return entry

    def _visit(self, plan: list[Any]) -> dict[str, float]:
        """Shares of the training reviews that stood in a batch: in this epoch, and so far."""
        rows = torch.from_numpy(np.unique(rows_of_plan(plan)))
        self.visited_R[rows] = True
        share = len(rows) / len(self.visited_R)
        return {"epoch": round(share, 6), "so_far": round(float(self.visited_R.double().mean()), 6)}

    def state(self) -> TrainingState:
        """All that decides what comes next, as it stands between two steps."""
        optimiser = self.optimiser.state_dict()
        groups = {
            "model": without_aliases(self.model.state_dict()),
            "best": self.best_weights,
            "method": self.model.checkpoint_state(),
            "optimiser": {
                f"{parameter}.{key}": value
                for parameter, values in optimiser["state"].items()
                for key, value in values.items()
            },
            "generator": _generators(self.device),
            "epoch": {"loss": self.epoch.loss, "visited": self.visited_R},
        }
        tensors = {
            f"{group}/{name}": value.detach().cpu()
            for group, values in groups.items()
            for name, value in values.items()
        }
        epoch = {name: getattr(self.epoch, name) for name in ("number", "step", "seconds", "waited", "notes")}
        record = {
            "epoch": epoch,
            "fitted": asdict(self.fitted),
            "learning_rates": learning_rates(self.optimiser),
            "schedule": None if self.schedule is None else _plain(self.schedule.state_dict()),
        }
        return TrainingState(tensors, record)

    def restore(self, state: TrainingState) -> None:
        """Take the place of the trainer that `state` was taken from; this one must have been built alike.

        Raises KeyError, TypeError, ValueError or RuntimeError for a state of another model; the trainer is
        of no use then.
        """
        groups: dict[str, dict[str, Tensor]] = {}
        for name, value in state.tensors.items():
            group, _, rest = name.partition("/")
            # cloned: a file's tensors need not be aligned, and what a step does must not depend on that
            groups.setdefault(group, {})[rest] = value.to(self.device, copy=True)
        record = state.record
        own = without_aliases(self.model.state_dict())
        if own.keys() != groups["model"].keys():
            raise ValueError("weights of another model")
        with torch.no_grad():
            for name, value in own.items():
                # in place: the optimiser and tied names refer to these very tensors
                value.copy_(groups["model"][name])
        self.best_weights = groups.get("best", {})
        self._restore_optimiser(groups.get("optimiser", {}), record["learning_rates"])
        if self.schedule is not None:
            self.schedule.load_state_dict(record["schedule"])
        self.model.restore_checkpoint(groups.get("method", {}))
        self.visited_R = groups["epoch"]["visited"].cpu()
        self.epoch = Epoch(loss=groups["epoch"]["loss"], **record["epoch"])
        self.fitted = Fitted(**record["fitted"])
        _set_generators(groups["generator"], self.device)  # last: nothing after it may draw

    def _restore_optimiser(self, values: dict[str, Tensor], rates: list[float]) -> None:
        kept = [group["lr"] for group in self.optimiser.param_groups]
        full = self.optimiser.state_dict()
        full["state"] = {}
        for name, value in values.items():
            parameter, _, key = name.partition(".")
            full["state"].setdefault(int(parameter), {})[key] = value
        self.optimiser.load_state_dict(full)
        set_learning_rates(self.optimiser, rates, kept)


def without_aliases(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tied tensors once each, under their first name: a file holds no memory under two names."""
    seen: dict[int, str] = {}
    return {
        name: value
        for name, value in weights.items()
        # all empty tensors have address 0, tied or not
        if not value.numel() or seen.setdefault(value.data_ptr(), name) == name
    }


def _generators(device: torch.device) -> dict[str, Tensor]:
    """The states of torch's generators that a step may draw from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set_generators(states: Mapping[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"].cpu())
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"].cpu(), device)


def _plateau(optimiser: torch.optim.Optimizer) -> torch.optim.lr_scheduler.ReduceLROnPlateau:
    return torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimiser, mode="max", factor=PLATEAU_FACTOR, patience=PLATEAU_PATIENCE
    )


def _plain(state: Mapping[str, Any]) -> dict[str, Any]:
    """JSON values: a GPU's optimiser keeps its rates in tensors, and the schedule remembers them."""
    return {
        name: [float(rate) for rate in value] if name == "_last_lr" else value
        for name, value in state.items()
    }


def _assert_finite(total: Tensor, epoch: int, step: int) -> None:
    if not math.isfinite(float(total)):
        raise TrainingError(
            f"the loss is not finite in epoch {epoch}, by step {step}: the training diverged. {DIVERGED_ADVICE}"
        )


def _no_pairs(model: RankingModel, config: TrainingConfig) -> str:
    if model.sampling == "lists":
        return (
            "the training split yields no training lists: a product needs at least "
            f"{MIN_DISTINCT_LABELS} distinct labels."
        )
    needed = 2 + config.label_gap
    return (
        "the training split yields no training pairs: with label_gap "
        f"{config.label_gap} a product needs at least {needed} distinct labels."
        + (" Try --set train.label_gap=0." if config.label_gap else "")
    )
