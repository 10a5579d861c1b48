"""What a run computes, step by step: losses, gradients and every operation, for two runs to be compared."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils._python_dispatch import TorchDispatchMode

from benchmark.core.metrics import PAPER_METRICS
from benchmark.data.source import Source
from benchmark.engine import runner
from benchmark.runs.spec import RunSpec

if TYPE_CHECKING:
    from benchmark.core.model import RankingLoss, RankingModel
    from benchmark.core.types import Batch


@dataclass(frozen=True)
class Event:
    """One entry of a trace."""

    step: int
    """1, 2, ...; 0 before the first."""
    phase: str
    """`forward`, `backward`, `optimiser` or `evaluation`."""
    module: str
    """The innermost module that ran, by its name in the model; the parameter of a gradient or a weight."""
    what: str
    """The tensor operation (`aten.mm.default`), `batch`, `gradient` or `weight`."""
    digest: str

    @property
    def place(self) -> str:
        where = f" in {self.module}" if self.module else ""
        return f"{self.what}{where} ({self.phase}, step {self.step})"


@dataclass(frozen=True)
class Record:
    """What one run came to: everything by checksum or exact number."""

    losses: tuple[str, ...]
    """Of every step, in hexadecimal: exact."""
    dev: tuple[str, ...]
    """Dev metrics of every epoch, likewise."""
    weights: Mapping[str, str]
    """Parameter or buffer -> checksum, of the selected epoch."""
    state: Mapping[str, str]
    """Training state (pseudo labels, say), likewise."""
    scores: tuple[str, ...]
    """Of every test review, in hexadecimal."""
    trace: tuple[Event, ...] = field(default=(), repr=False)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Record:
        parts = {name: tuple(value[name]) for name in ("losses", "dev", "scores")}
        trace = tuple(Event(*event) for event in value["trace"])
        return cls(weights=value["weights"], state=value["state"], trace=trace, **parts)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"trace": [list(asdict(event).values()) for event in self.trace]}


def first_difference(a: Record, b: Record) -> str:
    """In words, the first thing in which two records of one specification differ; empty if in nothing."""
    for step, (x, y) in enumerate(zip_longest(a.losses, b.losses), start=1):
        if x != y:
            return f"the loss of step {step} ({_number(x)} and {_number(y)})"
    for row, (x, y) in enumerate(zip_longest(a.dev, b.dev), start=1):
        if x != y:
            return f"dev metric {row} ({_number(x)} and {_number(y)})"
    for kind, first, second in (("weights", a.weights, b.weights), ("training state", a.state, b.state)):
        names = [name for name in {**first, **second} if first.get(name) != second.get(name)]
        if names:
            return f"{len(names)} of {len(first)} {kind}, the first being {names[0]}"
    unequal = sum(x != y for x, y in zip_longest(a.scores, b.scores))
    return f"{unequal} of {len(a.scores)} test scores" if unequal else ""


def first_event(a: Record, b: Record) -> str:
    """The first entry of two traces that differs, in words; empty if none does."""
    found = ""
    for x, y in zip_longest(a.trace, b.trace):
        if x == y:
            continue
        if x is None or y is None:
            return f"one run does more: {(x or y).place}"
        if x.place != y.place:
            return f"the runs part: {x.place} in one, {y.place} in the other"
        if not found and x.what == "gradient":
            return f"the gradient of {x.module} (step {x.step})"
        if not found:
            found = x.place
            if x.phase != "backward":
                return found
        elif (
            x.what == "gradient"
        ):  # an operation of the backward pass belongs to no module: say what it led to
            return f"{found}, which reaches the gradient of {x.module}"
    return found


def _number(exact: str | None) -> str:
    return "none" if exact is None else f"{float.fromhex(exact):.9g}"


def digest(tensor: Tensor) -> str:
    """Checksum of a tensor's values, shape and type, to the last bit."""
    dense = tensor.detach()
    dense = dense.to_dense() if dense.layout is not torch.strided else dense
    values = dense.contiguous().cpu().reshape(-1)
    summary = hashlib.blake2b(f"{tensor.dtype}{list(tensor.shape)}".encode(), digest_size=8)
    summary.update(values.view(torch.uint8).numpy().tobytes() if values.numel() else b"")
    return summary.hexdigest()


class Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every tensor operation's result while it is active, and where it happened.

    Collating, forward and backward pass, optimiser and evaluation all go through the dispatcher; what NumPy
    computes shows in the first operation that uses it. Fresh memory and views are left out: what stands in
    fresh memory is noise until it is written, and a view holds what its base holds.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.events: list[Event] = []
        self.step, self.phase = 0, "evaluation"
        self.modules: list[str] = []

    def note(self, what: str, tensor: Tensor, module: str | None = None) -> None:
        where = (self.modules[-1] if self.modules else "") if module is None else module
        self.events.append(Event(self.step, self.phase, where, what, digest(tensor)))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if _is_fresh_or_view(func):
            return result
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, Tensor):
                self.note(str(func), value)
        return result

    @contextmanager
    def watch(self, model: RankingModel) -> Iterator[None]:
        """Follow a model: which module runs, which batch and step it is, its gradients and weights."""
        names = {id(module): name for name, module in model.named_modules()}

        def enter(module: nn.Module, inputs: object) -> None:
            self.modules.append(names[id(module)] or type(model).__name__)

        def leave(module: nn.Module, inputs: object, output: object) -> None:
            self.modules.pop()

        def gradient_hook(name: str) -> Callable[[Tensor], None]:
            return lambda parameter: self.note("gradient", _gradient(parameter), name)

        def before_step(*_: object) -> None:
            self.phase = "optimiser"

        def after_step(*_: object) -> None:
            for name, parameter in model.named_parameters():
                self.note("weight", parameter, name)
            self.phase = "evaluation"

        # Buffers that are written piece by piece would show what was there before: fill them while watched.
        filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
        torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]
        handles: list[Any] = [
            register_optimizer_step_pre_hook(before_step),
            register_optimizer_step_post_hook(after_step),
        ]
        for module in model.modules():
            handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                hook = parameter.register_post_accumulate_grad_hook(gradient_hook(name))  # type: ignore[no-untyped-call]
                handles.append(hook)
        try:
            yield
        finally:
            torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
            for handle in handles:
                handle.remove()

    def enter_step(self, batch: Batch) -> None:
        self.step, self.phase = self.step + 1, "forward"

        def seen(tensor: Tensor) -> Tensor:
            self.note("batch", tensor)
            return tensor

        batch.map(seen)


def _is_fresh_or_view(operation: Any) -> bool:
    """True for `empty` and its kin, and for what only looks at its argument's memory."""
    name = str(operation).partition(".")[2]
    aliases = [value.alias_info for value in operation._schema.returns if value.alias_info is not None]
    return name.startswith(("empty", "new_empty")) or (
        bool(aliases) and not any(alias.is_write for alias in aliases)
    )


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def record_run(spec: RunSpec, source: Source, trace: bool = False) -> Record:
    """Carry out one run, in this process, through the code that `bench run` uses, and record it."""
    losses: list[str] = []
    dev: list[str] = []
    tracer = Tracer() if trace else None
    watching: list[AbstractContextManager[None]] = []

    def on_model(model: RankingModel) -> None:
        _record_losses(model, losses, tracer)
        if tracer is not None:
            watching.append(tracer.watch(model))
            watching[-1].__enter__()

    def on_epoch(entry: dict[str, Any]) -> None:
        dev.extend(float(entry[f"dev_{name}"]).hex() for name in PAPER_METRICS)

    corpus = runner.open_once(source, spec.dataset, spec.category)
    with tracer or nullcontext():
        trained = runner.train_and_score(spec, corpus, on_model=on_model, on_epoch=on_epoch)
    for context in watching:
        context.__exit__(None, None, None)
    return Record(
        losses=tuple(losses),
        dev=tuple(dev),
        weights={name: digest(value) for name, value in trained.model.state_dict().items()},
        state={name: digest(value) for name, value in trained.model.training_state().items()},
        scores=tuple(float(score).hex() for score in trained.score_R),
        trace=tuple(tracer.events) if tracer is not None else (),
    )


def _record_losses(model: RankingModel, losses: list[str], tracer: Tracer | None) -> None:
    """Note the loss of every step on its way from the model to the optimiser."""
    compute = model.loss

    def loss(batch: Batch, ranking_loss: RankingLoss) -> Tensor:
        if tracer is not None:
            tracer.enter_step(batch)
        value = compute(batch, ranking_loss)
        losses.append(float(value.detach()).hex())
        if tracer is not None:
            tracer.phase = "backward"
        return value

    object.__setattr__(model, "loss", loss)


# Processes ---------------------------------------------------------------------------------------------------
